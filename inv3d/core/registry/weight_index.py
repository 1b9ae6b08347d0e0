"""All weight files that the installed plugins know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from inv3d.core.errors import PluginError, UsageError, suggest
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import KINDS, singular
from inv3d.core.weights.known import WeightFile


@dataclass(frozen=True)
class KnownWeights:
    """A weight file, and who uses it.

    Attributes:
        file: as its first user describes it.
        users: such as "generator eg3d".
    """

    file: WeightFile
    users: tuple[str, ...]


def list_known_weights() -> list[KnownWeights]:
    """Return every file once, in the order of kinds, plugins and their own lists.

    The plugins are imported; one that can't be is left out (`3dinv list-plugins` shows it).
    """
    users: dict[str, list[str]] = {}
    files: dict[str, WeightFile] = {}
    for kind in KINDS:
        for record in registry().of_kind(kind):
            try:
                target = registry().load(kind, record.name)
            except PluginError:
                continue
            for file in target.weights:
                files.setdefault(file.name, file)
                users.setdefault(file.name, []).append(f"{singular(kind)} {record.name}")
    return [KnownWeights(file, tuple(users[name])) for name, file in files.items()]


def pick_known_weights(name: str, known: Iterable[KnownWeights]) -> KnownWeights:
    """Return one of the known files by its name.

    Raises:
        UsageError: where no plugin knows it.
    """
    by_name = {weights.file.name: weights for weights in known}
    if name not in by_name:
        raise UsageError(
            f"no plugin knows a weight file '{name}'{suggest(name, by_name)}; see '3dinv weights "
            "list'"
        )
    return by_name[name]
