"""State dicts of other projects, and what lies beside them: read as data, no code is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from inv3d.core.arguments import PATH, expect
from inv3d.core.errors import WeightsError
from inv3d.core.weights.archive import listed
from inv3d.core.weights.forms import form_of
from inv3d.core.weights.plain import MOST_VALUES, OPTIONS, plain
from inv3d.core.weights.tensors import check_finite, read_tensors
from inv3d.core.weights.torchfile import (
    Pickled,
    StoredTensor,
    check_name,
    kind_of,
    read_pickled,
    refusal,
)
from inv3d.core.weights.unpickle import Instance, Refused

# what data-parallel training and torch.compile put before every name of what they wrap
_WRAPPERS = ("module.", "_orig_mod.")
# what no module of a network's own is called, wherever it stands
_COMPILED = "_orig_mod"
V = TypeVar("V")


def read_state_dict(path: Path, part: str | None = None, prefix: str = "") -> dict[str, Tensor]:
    """Read the state dict in a weight file of any form.

    Args:
        path: .safetensors, or what torch.save wrote.
        part: see `Checkpoint.state_dict`.
        prefix: likewise.

    Raises:
        WeightsError: where the file is missing or damaged, holds anything that isn't data, or no
            such state dict.
    """
    return open_checkpoint(path).state_dict(part, prefix)


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """A weight file whose numbers are read when they are asked for.

    Attributes:
        path: of the file.
        contents: plain data with tensors in it; of a .safetensors file the tensors by name.
        metadata: what 3dinv wrote into a .safetensors file.
    """

    path: Path
    contents: Any
    metadata: Mapping[str, Any] = field(default_factory=dict)
    _pickled: Pickled | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the file holds, by name, without what is None; of a .safetensors file tensors and
        metadata.
        """
        own = self.contents if isinstance(self.contents, dict) else {}
        held = (name for name, value in own.items() if value is not None)
        return tuple(str(name) for name in (*held, *self.metadata))

    def state_dict(self, part: str | None = None, prefix: str = "") -> dict[str, Tensor]:
        """Return tensors by name; what wraps a whole network, such as "module.", is left out.

        Args:
            part: which entry of the file they are, such as "state_dict", or "ema.state_dict" where
                it lies deeper. A file that holds nothing but tensors is that entry itself, so that
                a copy as .safetensors can be given too. None is the file itself, or the one dict
                of tensors in a file that has no tensors beside it.
            prefix: only those whose names begin with it, such as "encoder."; it's taken off.

        Raises:
            WeightsError: where there's no such entry, it holds anything but tensors, none of their
                names begins so, or a number isn't finite.
        """
        named = unwrapped(self._named_tensors(part))
        chosen = {n.removeprefix(prefix): t for n, t in named.items() if n.startswith(prefix)}
        if not chosen:
            raise self._error(
                f"has no tensor whose name begins with '{prefix}'; its names are "
                f"{listed(list(named))}"
            )
        return self._read(unwrapped(chosen))

    def tensor(self, part: str) -> Tensor:
        """Return one tensor, such as the "latent_avg" beside a state dict.

        Args:
            part: its name; dots lead deeper.

        Raises:
            WeightsError: where there's none, or a number in it isn't finite.
        """
        value = self._part(part)
        if not _is_named_tensor(part, value):
            raise self._error(f"'{part}' is a {kind_of(value)}, expected a tensor")
        return self._read({part: value})[part]

    def options(self, part: str) -> dict[str, Any]:
        """Return plain values, such as the "opts" beside a state dict.

        Args:
            part: the name of a dict or an argparse.Namespace; dots lead deeper.

        Returns:
            Numbers, texts, lists and dicts; None in place of anything else.

        Raises:
            WeightsError: where there's none.
        """
        value = self._part(part)
        value = value.state if isinstance(value, Instance) else value
        if not isinstance(value, dict):
            raise self._error(f"'{part}' is a {kind_of(value)}, expected options by name")
        try:
            options: dict[str, Any] = plain(value, [MOST_VALUES])
        except Refused as error:
            raise refusal(self.path, error) from None
        return options

    def _named_tensors(self, part: str | None) -> dict[str, Any]:
        """Return tensors by name, as the file holds them."""
        bare = part is None or (_holds_only_tensors(self.contents) and part not in self.contents)
        held = _only_state(self.contents) if bare else self._part(str(part))
        where = "" if bare else f"'{part}' "
        if not isinstance(held, dict) or not held:
            found = "nothing" if held == {} else f"a {kind_of(held)}"
            raise self._error(f"{where}holds {found}, expected a dict of tensors")
        for name, value in held.items():
            if not _is_named_tensor(name, value):
                found = f"{listed([name])}, a {kind_of(value)}"
                raise self._error(f"{where}holds {found}, expected tensors by name")
        return held

    def _part(self, part: str) -> Any:
        """Return an entry by its whole name, else by its steps."""
        own = self.contents if isinstance(self.contents, dict) else {}
        level: Any = {**self.metadata, **own}
        for name in [part] if part in level else part.split("."):
            if not isinstance(level, dict) or name not in level:
                raise self._error(f"has no '{part}'; it holds {listed(self.names)}")
            level = level[name]
        return level

    def _read(self, chosen: Mapping[str, Any]) -> dict[str, Tensor]:
        tensors = {}
        try:
            for name, value in chosen.items():
                check_name(name)
                tensors[name] = self._pickled.tensor(value) if self._pickled else value
        except Refused as error:
            raise refusal(self.path, error) from None
        check_finite(tensors, self.path)
        return tensors

    def _error(self, found: str) -> WeightsError:
        return WeightsError(f"{self.path}: {found}; give the file of the network that is asked for")


def open_checkpoint(path: Path) -> Checkpoint:
    """Read what a weight file of any form holds, without its numbers where they can wait.

    Raises:
        WeightsError: where it's missing, damaged, or holds anything that isn't data.
    """
    expect("path", path, PATH, "the path of a weight file")
    path = Path(path)
    if form_of(path) == "safetensors":
        return Checkpoint(path, *read_tensors(path))
    pickled = read_pickled(path, OPTIONS)
    return Checkpoint(path, pickled.tree, _pickled=pickled)


def unwrapped(named: Mapping[str, V]) -> dict[str, V]:
    """Return values by names without what wrappers put before every one of them.

    What compiling puts before the names of a part of a network is left out as well.
    """
    named = without_part(named, _COMPILED)
    while wrapper := _wrapper(named):
        named = {name.removeprefix(wrapper): value for name, value in named.items()}
    return named


def without_part(named: Mapping[str, V], part: str) -> dict[str, V]:
    """Return values by names without one of their parts, as they are where two would be one.

    Args:
        named: values by dotted names.
        part: such as "module", which leaves "a.b" of "a.module.b"; the last part stays.
    """
    short = {}
    for name, value in named.items():
        *before, last = name.split(".")
        short[".".join([*(one for one in before if one != part), last])] = value
    return short if len(short) == len(named) else dict(named)


def _wrapper(names: Collection[str]) -> str:
    common = (w for w in _WRAPPERS if names and all(name.startswith(w) for name in names))
    return next(common, "")


def _holds_only_tensors(contents: Any) -> bool:
    return isinstance(contents, dict) and all(_is_named_tensor(n, v) for n, v in contents.items())


def _only_state(contents: Any) -> Any:
    """Return the one dict of tensors in a dict without tensors of its own, else the contents."""
    values = contents.values() if isinstance(contents, dict) else ()
    if any(isinstance(value, StoredTensor | Tensor) for value in values):
        return contents
    inside = {id(value): value for value in values}  # a file may name one thing countless times
    states = [value for value in inside.values() if value and _holds_only_tensors(value)]
    return states[0] if len(states) == 1 else contents


def _is_named_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, StoredTensor | Tensor)
