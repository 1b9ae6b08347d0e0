"""Which networks a file holds, also those that lie within a larger state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from inv3d.core.weights.plain import NAMESPACE
from inv3d.core.weights.state_dict import unwrapped, without_part
from inv3d.core.weights.tensors import MOST_TENSORS
from inv3d.core.weights.torchfile import StoredTensor
from inv3d.core.weights.unpickle import Instance

# which of a file's networks is taken, the first that is there
ENTRIES = ("G_ema", "G", "state_dict")
# a tensor that every generator of EG3D and PanoHead has, and hardly anything else
SIGN = "backbone.synthesis.b4.const"
# what data-parallel training of a part of it puts between
_WRAPPER = "module"
_SIGN_WITHIN = re.compile(r"(?:(.*)\.)?" + SIGN.replace(".", rf"\.(?:{_WRAPPER}\.)*"))
_EMA = re.compile(
    r"(?i:(?<![a-z])ema(?![a-z]))|(?<![A-Z])EMA|(?<![A-Za-z])ema(?=[A-Z])|Ema(?![a-z])"
)
_MOST_PARTS = 16
_MOST_ENTRIES = 300
V = TypeVar("V")


def entries_of(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Return modules and state dicts by name; "" is a file that is one state dict itself.

    A state dict with generators in it, such as an inversion encoder's, is these: "state_dict.G".
    So is a dict of networks: "model.G".
    """
    if is_state(tree):
        return dict(parts_of(tree))
    entries: dict[str, Any] = {}
    found: dict[int, Mapping[str, Any]] = {}  # a file may name one thing countless times
    for names, value in _held(tree):
        if id(value) not in found:
            found[id(value)] = _networks(value)
        for part, network in found[id(value)].items():
            entries[".".join(filter(None, (*names, part)))] = network
        if len(entries) > _MOST_ENTRIES:
            break
    return entries


def _held(tree: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what a dict holds by name, then what the dicts in it do."""
    yield from (((str(name),), value) for name, value in tree.items())
    for name, value in tree.items():
        if isinstance(value, dict) and len(value) <= _MOST_ENTRIES:
            yield from (((str(name), str(inner)), held) for inner, held in value.items())


def _networks(value: Any) -> Mapping[str, Any]:
    """Return the networks in a value by name; "" is the value itself."""
    if is_module(value):
        return {"": value}
    return parts_of(value) if is_state(value) else {}


def parts_of(named: Mapping[str, V]) -> dict[str, dict[str, V]]:
    """Return the generators in a state dict by what stands before their names.

    Args:
        named: its tensors.

    Returns:
        Tensors by the names that they have in a generator; all of them as "" where the state dict
        is one itself, or has none in it.
    """
    named = unwrapped(named)
    within = [sign[1] for name in named if (sign := _SIGN_WITHIN.fullmatch(name))]
    if not within:
        return {"": named}
    if None in within:
        return {"": without_part(named, _WRAPPER)}
    parts = {part: _under(f"{part}.", named) for part in within[:_MOST_PARTS]}
    return {part: without_part(inside, _WRAPPER) for part, inside in parts.items()}


def _under(prefix: str, named: Mapping[str, V]) -> dict[str, V]:
    return {n.removeprefix(prefix): value for n, value in named.items() if n.startswith(prefix)}


def choose(entries: Mapping[str, Any], wanted: str | None) -> str | None:
    """Return the name of the network that is meant.

    Args:
        entries: all networks by name.
        wanted: what the user says, the whole name or its beginning or end. If None it's the best
            known one of `ENTRIES`, or else the first generator, or else the first; of this network
            the running average, where it lies beside it.
    """
    if wanted is not None:
        return next((n for n in entries if _means(wanted, n)), None)
    names = sorted(entries, key=lambda name: SIGN not in _tensor_names(entries[name]))
    name = next((n for c in (*ENTRIES, *names) for n in names if _means(c, n)), None)
    return None if name is None else _averaged_twin(entries, name)


def _averaged_twin(entries: Mapping[str, Any], name: str) -> str:
    """Return the running average (EMA) of a network: there's "ema" in its name, however a trainer
    spells it, and it has the same tensors. Or else the network itself.
    """
    if _EMA.search(name):
        return name
    return next((n for n in entries if _EMA.search(n) and _alike(entries[n], entries[name])), name)


def _tensor_names(value: Any) -> Iterable[str]:
    return value if isinstance(value, Mapping) else ()


def _alike(first: Any, second: Any) -> bool:
    if is_module(first) and is_module(second):
        return bool(first.kind == second.kind)
    states = isinstance(first, Mapping) and isinstance(second, Mapping)
    return states and first.keys() == second.keys()


def _means(said: str, name: str) -> bool:
    return name == said or name.startswith(f"{said}.") or name.endswith(f".{said}")


def is_module(value: Any) -> bool:
    """Whether a value is a network's object, and not that of a network's options."""
    return isinstance(value, Instance) and value.kind != NAMESPACE


def is_state(value: Any) -> bool:
    """Whether a value is a state dict: tensors by name, at least one of them of some module."""
    return (
        isinstance(value, dict)
        and 0 < len(value) <= MOST_TENSORS
        and all(isinstance(n, str) and isinstance(t, StoredTensor) for n, t in value.items())
        and any("." in name for name in value)
    )
