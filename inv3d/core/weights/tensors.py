"""Reading and writing tensors: safetensors only, nothing pickled, clear errors."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from inv3d.core.arguments import PATH, expect
from inv3d.core.errors import MismatchError, WeightsError, plain_text
from inv3d.core.files import atomic_write
from inv3d.core.weights.archive import is_torch_save, mapped, open_archive, other_archive
from inv3d.core.weights.forms import (
    LEGACY,
    PICKLE,
    UNKNOWN,
    ZIP,
    describe,
    is_safetensors,
    mistaken,
    read_start,
)
from inv3d.core.weights.unpickle import Refused

METADATA_KEY = "inv3d"
_PICKLES_END = b"."
# what is in a file is counted before it's made, since empty tensors cost nothing to write
MOST_TENSORS = 20_000
_CONVERT = (
    "give the generator that a network belongs to (such as --generator eg3d), or make a "
    ".safetensors of it with '3dinv convert'"
)
_CHOOSE = "choose the generator or variant that these weights belong to"
_LONGEST_HEADER = 16 << 20
_DEEPEST = 32
M = TypeVar("M", bound=nn.Module)


def asset(name: str) -> Path:
    """Return the path of an embedded file, such as `minihead.safetensors`."""
    return Path(__file__).resolve().parents[2] / "assets" / name


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors with JSON metadata to a safetensors file, whole or not at all.

    Tensors that share memory, such as tied weights of a network, are written each by itself.
    """
    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        ready[name] = own.clone() if place in seen else own
        seen.add(place)
    with atomic_write(path) as temporary:
        try:
            save_file(ready, temporary, {METADATA_KEY: json.dumps(metadata)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file and its JSON metadata.

    Raises:
        WeightsError: where the file is missing, no safetensors file, or cut short.
    """
    expect("path", path, PATH, "the path of a weight file")
    with _opened(Path(path), device) as file:
        metadata = _metadata(file)
        return {name: file.get_tensor(name) for name in file.keys()}, metadata


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the JSON metadata of a safetensors file, without its numbers.

    Raises:
        WeightsError: as `read_tensors`.
    """
    with _opened(Path(path), "cpu") as file:
        return _metadata(file)


def fault(path: Path) -> str:
    """Say what's wrong with a weight file, as far as its header, directory or end shows it.

    Returns:
        One line that names the file; empty where nothing is wrong, or it's of an unknown form.
    """
    try:
        what, start = mistaken(path), read_start(path)
        if what:
            return f"{path}: {what}"
        if is_safetensors(start):
            read_metadata(path)
        elif start.startswith(ZIP):
            with path.open("rb") as file, open_archive(mapped(file)):
                pass
        elif start.startswith(PICKLE) and not start.startswith(LEGACY):
            return _cut_short(path)
    except WeightsError as error:
        return str(error)
    except Refused as error:
        return f"{path}: {error}"
    return ""


def _cut_short(path: Path) -> str:
    """Say where a pickle is without its end, unless it was cut where a byte looks like one."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        whole = file.read() == _PICKLES_END
    return "" if whole else f"{path}: is cut short: a pickle without its end; get it again"


@contextlib.contextmanager
def _opened(path: Path, device: str) -> Iterator[Any]:
    """Open a safetensors file; what goes wrong with it is an error that names it."""
    start = read_start(path)
    if not is_safetensors(start):
        _say_what_else(path, start)
    header = int.from_bytes(start[:8], "little")
    try:
        if _LONGEST_HEADER < header < path.stat().st_size:
            raise ValueError(f"a header of {header} bytes, expected at most {_LONGEST_HEADER}")
        with safe_open(path, framework="pt", device=device) as file:
            count = len(file.keys())
            if count > MOST_TENSORS:
                raise ValueError(f"{count} tensors, expected at most {MOST_TENSORS}")
            yield file
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        reason = plain_text(str(error))
        raise WeightsError(
            f"{path}: not a readable safetensors file ({reason}); fetch or write it again"
        ) from error


def _say_what_else(path: Path, start: bytes) -> None:
    """Raise an error that names what a file is, where that's known."""
    what = describe(start)
    if what == UNKNOWN:
        return
    remedy = "fetch or write it again"
    if start.startswith(ZIP):
        _check_other_archive(path)
    if start.startswith((PICKLE, ZIP)):
        remedy = _CONVERT
    raise WeightsError(f"{path}: not a readable safetensors file but {what}; {remedy}")


def _check_other_archive(path: Path) -> None:
    """Refuse an archive of other files, naming what to unpack."""
    try:
        with path.open("rb") as file, open_archive(mapped(file)) as archive:
            names = archive.namelist()
    except Refused as error:
        raise WeightsError(f"{path}: {error}: {error.remedy}") from None
    if not is_torch_save(names):
        other = other_archive(names)
        raise WeightsError(f"{path}: {other}: {other.remedy}")


def _metadata(file: Any) -> dict[str, Any]:
    return _table((file.metadata() or {}).get(METADATA_KEY, "{}"))


def _table(text: str) -> dict[str, Any]:
    """Read metadata: a JSON object whose depth nobody needs to care about."""
    metadata = json.loads(text)
    if not isinstance(metadata, dict):
        raise ValueError(f"its metadata is a JSON {type(metadata).__name__}, expected an object")
    level: list[Any] = [metadata]
    for _ in range(_DEEPEST):
        inside = [v.values() if isinstance(v, dict) else v for v in level]
        level = [v for values in inside for v in values if isinstance(v, dict | list)]
        if not level:
            return metadata
    raise ValueError(f"its metadata is nested more than {_DEEPEST} deep")


def under_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load tensors into a module by name, in the module's own floating-point types.

    Raises:
        MismatchError: naming the first tensor that is missing, left over or of another shape.
        WeightsError: naming the first one that has other numbers than finite floating-point ones.
    """
    state = module.state_dict()
    check_state(state, tensors, path)
    ready = {n: t.to(state[n].dtype) for n, t in tensors.items()}
    check_finite(ready, path)
    module.load_state_dict(ready)


def check_finite(tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """See that all floating-point numbers are finite.

    Args:
        tensors: by name.
        path: where they're from, for the message.

    Raises:
        WeightsError: naming the first tensor that has others.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise WeightsError(
                f"{path}: {name} has numbers that aren't finite: the file is damaged, or its "
                "training diverged; take another one"
            )


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has no nan and no infinity."""
    if not (tensor.is_floating_point() and tensor.numel()):
        return True
    if tensor.element_size() == 1:  # these have no aminmax()
        tensor = tensor.float()
    # much faster than isfinite() of all numbers, and takes no memory; nan is least and most
    least, most = tensor.aminmax()
    return bool(least.isfinite() and most.isfinite())


def make_filled(
    make: Callable[[], M],
    tensors: Mapping[str, Tensor],
    path: Path | str,
    remedy: str = _CHOOSE,
) -> M:
    """Build a module with given weights; nothing is allocated before they were found to fit.

    Args:
        make: builds the module, all of whose tensors must be in its state dict.
        tensors: its state dict.
        path: where they're from, for the message.
        remedy: what to do where they don't fit; to give another generator, unless given.

    Raises:
        MismatchError: naming the first tensor that is missing, left over or of another shape.
        WeightsError: naming the first one that has other numbers than finite floating-point ones.
    """
    with torch.device("meta"):
        module = make()
    check_state(module.state_dict(), tensors, path, remedy)
    module.to_empty(device="cpu")
    load_state(module, tensors, path)
    return module


def check_state(
    state: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    path: Path | str,
    remedy: str = _CHOOSE,
) -> None:
    """Compare names, shapes and kinds of numbers with those that a network has.

    Args:
        state: of the network.
        tensors: to be compared with it.
        path: where they're from, for the message.
        remedy: what to do where they don't fit; to give another generator, unless given.

    Raises:
        MismatchError: naming the first tensor that is missing, left over or of another shape.
        WeightsError: naming the first one of whole numbers where floating-point ones are expected.
    """
    missing = sorted(set(state) - set(tensors))
    extra = sorted(set(tensors) - set(state))
    shapes = {
        name: (tuple(tensors[name].shape), tuple(expected.shape))
        for name, expected in state.items()
        if name in tensors and expected.shape != tensors[name].shape
    }
    if not (missing or extra or shapes):
        _check_kinds(state, tensors, path)
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors missing (first: {missing[0]})")
    if extra:
        parts.append(f"{len(extra)} left over (first: {extra[0]})")
    for name, (found, expected) in list(shapes.items())[:1]:
        parts.append(
            f"{len(shapes)} of another shape (first: {name} is {found}, expected {expected})"
        )
    if prefix := _prefix(missing, extra):
        remedy = f"these are the missing ones behind '{prefix}': save them without it"
    raise MismatchError(
        f"{path}: weights of another architecture: {'; '.join(parts)}; {remedy}",
        missing,
        extra,
        shapes,
    )


def _prefix(missing: Sequence[str], extra: Sequence[str]) -> str:
    """Return what stands before every missing name to make those left over; else nothing."""
    prefix = extra[0].removesuffix(missing[0]) if missing and extra else ""
    return prefix if [f"{prefix}{name}" for name in missing] == list(extra) else ""


def _check_kinds(
    state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path | str
) -> None:
    for name, expected in state.items():
        if expected.is_floating_point():
            check_floating(name, tensors[name], path)


def check_floating(name: str, tensor: Tensor, path: Path | str) -> None:
    """Refuse whole numbers, as those of a quantised network.

    Raises:
        WeightsError: naming the tensor.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise WeightsError(
            f"{path}: {name} is of the type {kind}, expected floating-point numbers; save the "
            "network as it was trained"
        )


def fingerprint(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits that tell architecture and weights apart."""
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
