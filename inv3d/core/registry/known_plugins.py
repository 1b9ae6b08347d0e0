"""Plugins that are known to exist, for those who haven't installed them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from inv3d.core.registry.record import PluginRecord


@dataclass(frozen=True)
class KnownPlugin:
    """A plugin of another distribution.

    Attributes:
        kind: in the plural.
        name: of the plugin.
        distribution: that has it.
        summary: one line.
        install: the line that installs it.
        tensors: names that its networks have and no others, by which a weight file is told.
    """

    kind: str
    name: str
    distribution: str
    summary: str
    install: str
    tensors: tuple[str, ...] = ()


KNOWN = (
    KnownPlugin(
        "methods",
        "planelift",
        "inv3d-planelift",
        "mean or encoder start, then L-BFGS on an offset of the scene",
        "pip install ./examples/plugins/inv3d-planelift  (in a checkout of 3dinv)",
    ),
    KnownPlugin(
        "generators",
        "gaussians",
        "inv3d-gaussians",
        "a generator of 3D Gaussians, rendered in plain PyTorch",
        "pip install ./examples/plugins/inv3d-gaussians  (in a checkout of 3dinv)",
    ),
    KnownPlugin(
        "generators",
        "spherehead",
        "inv3d-spherehead",
        "a relative of PanoHead: one map split into three planes and a sphere",
        "pip install ./examples/plugins/inv3d-spherehead  (in a checkout of 3dinv)",
        ("sphere.radius", "sphere.gain"),
    ),
)


def missing_plugins(records: Iterable[PluginRecord]) -> list[KnownPlugin]:
    """Return the known plugins that aren't among those that were found."""
    there = {(record.kind, record.name) for record in records}
    return [known for known in KNOWN if (known.kind, known.name) not in there]


def known_reader(tensors: Collection[str]) -> KnownPlugin | None:
    """Return the known plugin whose networks have tensors of these names."""
    names = set(tensors)
    return next((k for k in KNOWN if k.tensors and set(k.tensors) <= names), None)
