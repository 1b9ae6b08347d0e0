"""Writing pickles opcode by opcode: files in the official form, and hostile ones."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Name:
    """A class or function by module and name; it needn't exist."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What a name gives for arguments."""

    target: Name
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Built:
    """An instance of a class with a state."""

    target: Name
    state: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes that are written as they are."""

    code: bytes


def dump(value: Any) -> bytes:
    """Return a pickle of protocol 4."""
    return b"\x80\x04" + _emit(value) + b"."


def _emit(value: Any) -> bytes:
    match value:
        case Raw(code):
            return code
        case Name(module, name):
            return b"c" + f"{module}\n{name}\n".encode()
        case Call(target, arguments):
            return _emit(target) + _emit(arguments) + b"R"
        case Built(target, state):
            return _emit(target) + b")\x81" + _emit(state) + b"b"
        case tuple():
            return b"(" + b"".join(map(_emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_emit, value)) + b"e"
        case dict():
            items = b"".join(_emit(k) + _emit(v) for k, v in value.items())
            return b"}(" + items + b"u"
        case set():
            return b"\x8f(" + b"".join(map(_emit, sorted(value))) + b"\x90"
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case _:  # what is left needs no names
            return pickle.dumps(value, 2)[2:-1]


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Call(Name("collections", "OrderedDict"))


def stream(tensor: Tensor) -> bytes:
    """Return the numbers of a tensor as torch's storages pickle themselves."""
    buffer = io.BytesIO()
    storage = torch.TypedStorage(
        wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True
    )
    torch.save(storage, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def stored(tensor: Tensor, data: bytes | None = None, **changes: Any) -> Call:
    """Return a tensor as official network pickles hold it; data or parts of it can be wrong."""
    tensor = tensor.contiguous()
    storage = Call(Name("torch.storage", "_load_from_bytes"), (data or stream(tensor),))
    parts = {"offset": 0, "shape": tuple(tensor.shape), "stride": tensor.stride()} | changes
    return Call(REBUILD, (storage, *parts.values(), False, ORDERED))


def module(kind: str, tensors: Mapping[str, Any], **attributes: Any) -> Call:
    """Return a persistent module of the official form with nested modules made of dotted names."""
    own = {n: t for n, t in tensors.items() if "." not in n}
    parts: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        part, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(part, {})[rest] = tensor
    state = {
        "_parameters": {n: stored(t) if isinstance(t, Tensor) else t for n, t in own.items()},
        "_buffers": {},
        "_modules": {name: module("Part", inside) for name, inside in parts.items()},
        **attributes,
    }
    facts = {"type": "class", "version": 6, "module_src": "", "class_name": kind, "state": state}
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (facts,))


def save_module(path: Path, kind: str, tensors: Mapping[str, Tensor], **attributes: Any) -> None:
    """Save a persistent module with torch.save, as PTI does; its classes exist only meanwhile."""
    persistence = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
        raise AssertionError("was called")

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence.__dict__["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    known = {"torch_utils": types.ModuleType("torch_utils"), persistence.__name__: persistence}

    class Part:
        """A module that is pickled as the reference's persistent classes are."""

        def __init__(self, kind: str, state: dict[str, Any]) -> None:
            facts = {"type": "class", "version": 6, "module_src": "raise SystemExit"}
            self.facts = {**facts, "class_name": kind, "state": state}

        def __reduce__(self) -> Any:
            return _reconstruct_persistent_obj, (self.facts,)

    def made(kind: str, tensors: Mapping[str, Tensor], **attributes: Any) -> Part:
        own = {n: torch.nn.Parameter(t, False) for n, t in tensors.items() if "." not in n}
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, dot, rest = name.partition(".")
            if dot:
                parts.setdefault(part, {})[rest] = tensor
        modules = {name: made("Part", inside) for name, inside in parts.items()}
        empty = {"_buffers": OrderedDict(), "_non_persistent_buffers_set": set()}
        return Part(kind, {"_parameters": own, "_modules": modules, **empty, **attributes})

    with pytest.MonkeyPatch.context() as patch:
        for name, there in known.items():
            patch.setitem(sys.modules, name, there)
        torch.save(made(kind, tensors, **attributes), path)
