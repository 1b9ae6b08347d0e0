"""Reading a network from a file of any form, without running anything in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from inv3d.core.errors import UsageError, WeightsError, plain_text, suggest
from inv3d.core.weights.archive import listed
from inv3d.core.weights.forms import Form, form_of
from inv3d.core.weights.plain import MOST_VALUES, plain
from inv3d.core.weights.tensors import read_tensors
from inv3d.core.weights.torchfile import (
    Pickled,
    StoredTensor,
    check_name,
    kind_of,
    read_pickled,
    refusal,
)
from inv3d.core.weights.unpickle import Instance, Refused
from inv3d.nn.eg3d.official.entries import choose, entries_of, is_module, is_state, parts_of
from inv3d.nn.eg3d.official.names import NAMES

# what may lie beside it: a latent and its camera
BESIDE = ("w", "c")
# Buffers that official training leaves on the network and that nothing computes with.
_IGNORED = frozenset({"dataset_label_std"})
_FILTER, _LARGE = "superresolution.resample_filter", 512
_DEEPEST = 32
_MOST_MODULES = 20_000
_MOST_NAMES = 300
V = TypeVar("V")


@dataclass(frozen=True)
class Network:
    """A network as a file holds it.

    Attributes:
        path: of the file.
        form: of the file.
        entry: which of the file's networks, such as "G_ema", or "state_dict.decoder" in a state
            dict that has others beside it; empty where there's only one.
        kind: name of its class where the file says it, such as "TriPlaneGenerator".
        tensors: its state dict.
        settings: plain attributes of the object, among them the live "rendering_kwargs" and
            "neural_rendering_resolution"; "init_kwargs", "plane_axes" (3 x 3 x 3 numbers) and
            "training_set" where the file has them.
        metadata: what 3dinv wrote into a .safetensors file.
        beside: tensors that lie beside the network: a latent "w", its camera "c".
    """

    path: Path
    form: Form
    entry: str
    kind: str
    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Tensor] = field(default_factory=dict)

    @property
    def used(self) -> dict[str, Tensor]:
        """The state dict, without what nothing computes with."""
        unused = _IGNORED | ({_FILTER} if not self.metadata and self._is_large() else set())
        return {name: tensor for name, tensor in self.tensors.items() if name not in unused}

    def _is_large(self) -> bool:
        """Whether its pictures have 512 pixels, whose super-resolution needs no filter of its own.

        Official modules of that size may carry one all the same.
        """
        noise = self.tensors.get("superresolution.block1.conv1.noise_const")
        said = self.settings.get("img_resolution")
        return (said if noise is None else noise.shape[-1]) == _LARGE


def read_network(path: Path, entry: str | None = None) -> Network:
    """Read a network: .safetensors, a network pickle, or what torch.save wrote.

    Args:
        path: the file; what it is, is told by its contents.
        entry: which network of a file that holds several, "G_ema" or the like unless given; the
            end of a name will do, such as "decoder" for "state_dict.decoder".

    Raises:
        WeightsError: where the file is damaged, holds no network, or anything that isn't data.
        UsageError: where it has other networks than the one that was named.
    """
    path = Path(path)
    form = form_of(path)
    try:
        if form == "safetensors":
            tensors, metadata = read_tensors(path)
            for name in tensors:
                check_name(name)
            entry, tensors = _chosen(path, parts_of(tensors), entry)
            return Network(path, form, entry, "", tensors, metadata=metadata)
        return _find(path, read_pickled(path, NAMES), entry)
    except Refused as error:
        raise refusal(path, error) from None


def _find(path: Path, pickled: Pickled, wanted: str | None) -> Network:
    tree = pickled.tree
    if is_module(tree):
        return _taken(path, pickled, "", tree)
    if not isinstance(tree, dict):
        raise _no_network(path, f"holds a {kind_of(tree)}, no network")
    if len(tree) > _MOST_NAMES and not is_state(tree):
        raise _no_network(
            path, f"has no network; it holds {len(tree)} things, {listed(list(tree))}"
        )
    entries = entries_of(tree)
    if not entries:
        raise _no_network(path, f"has no network; it holds {listed(list(tree))}")
    return _taken(path, pickled, *_chosen(path, entries, wanted))


def _chosen(path: Path, entries: Mapping[str, V], wanted: str | None) -> tuple[str, V]:
    """Return one of a file's networks with its name."""
    name = choose(entries, wanted)
    if name is None:
        near = suggest(str(wanted), [plain_text(n) for n in entries if n])
        raise UsageError(f"{path}: has no network {wanted!r}{near or '; leave --entry out'}")
    return plain_text(name), entries[name]


class NoNetworkError(WeightsError):
    """A file that was read, but holds other things than a network."""


def _no_network(path: Path, held: str) -> NoNetworkError:
    return NoNetworkError(
        f"{path}: {held}; nothing in it was run: give a network pickle, a module or a state dict"
    )


def _taken(path: Path, pickled: Pickled, entry: str, value: Any) -> Network:
    """Return one of a file's networks: a module, or a bare state dict."""
    module = isinstance(value, Instance)
    tensors = {}
    for name, stored in _tensors(value) if module else value.items():
        check_name(name)
        tensors[name] = pickled.tensor(stored)
    kind = plain_text(value.kind) if module else ""
    if not tensors:
        raise Refused(f"holds a {kind} without weights")
    settings = _settings(pickled, value) if module else {}
    tree = pickled.tree if isinstance(pickled.tree, dict) else {}
    beside = {n: pickled.tensor(tree[n]) for n in BESIDE if isinstance(tree.get(n), StoredTensor)}
    return Network(path, pickled.form, entry, kind, tensors, settings, {}, beside)


def _tensors(module: Instance) -> Iterator[tuple[str, StoredTensor]]:
    """Yield the state dict of a module, in torch's order."""
    todo: list[tuple[str, int, Any]] = [("", 0, module)]
    modules = 0
    while todo:
        prefix, depth, part = todo.pop()
        modules += 1
        if depth > _DEEPEST or modules > _MOST_MODULES:
            raise Refused("nests modules deeper or oftener than any network does")
        state = part.state if isinstance(part, Instance) else None
        if not isinstance(state, dict):
            raise Refused(f"is damaged: module {plain_text(prefix) or 'at the top'} has no state")
        held_back = state.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, stored in _named(state, kind).items():
                if stored is None or (isinstance(held_back, set) and name in held_back):
                    continue
                if not isinstance(stored, StoredTensor):
                    raise Refused(f"is damaged: {plain_text(prefix + name)} isn't a tensor")
                yield prefix + name, stored
        children = reversed(_named(state, "_modules").items())
        todo.extend((f"{prefix}{n}.", depth + 1, m) for n, m in children if m is not None)


def _named(state: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return a module's parameters, buffers or modules by name."""
    value = state.get(group)
    if not isinstance(value, dict) or len(value) > _MOST_NAMES:
        raise Refused(f"is damaged: a module has no {group}, or very many")
    if not all(isinstance(name, str) and len(name) < _MOST_NAMES for name in value):
        raise Refused(f"is damaged: {group} of a module have no names")
    return value


def _settings(pickled: Pickled, module: Instance) -> dict[str, Any]:
    """Return what a generator's object says besides its tensors."""
    state: dict[str, Any] = module.state
    left = [MOST_VALUES]
    settings = {
        name: plain(value, left)
        for name, value in state.items()
        if isinstance(name, str) and not name.startswith("_")
    }
    settings["init_kwargs"] = plain(state.get("_init_kwargs"), left)
    if isinstance(pickled.tree, dict):
        settings["training_set"] = plain(pickled.tree.get("training_set_kwargs"), left)
    renderer = _named(state, "_modules").get("renderer")
    inside = renderer.state if isinstance(renderer, Instance) else None
    axes = inside.get("plane_axes") if isinstance(inside, dict) else None
    if isinstance(axes, StoredTensor):
        if axes.shape != (3, 3, 3):
            raise Refused(f"has plane axes of shape {axes.shape}, expected (3, 3, 3)")
        settings["plane_axes"] = pickled.tensor(axes).float().tolist()
    return {name: value for name, value in settings.items() if value is not None}
