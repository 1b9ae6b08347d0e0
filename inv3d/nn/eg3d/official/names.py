"""The names in network pickles of StyleGAN2-ADA, EG3D and PanoHead, and what stands for them.

Their modules are stored as "persistent objects": a class name, the source text of the module that
defined it, and the instance's state. The text is never looked at.
"""

from __future__ import annotations

import struct
from typing import Any

from inv3d.core.weights.unpickle import Instance, Names, Refused

_NUMBERS = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?",
}  # fmt: skip
_MODULES = (
    "torch.nn.modules.activation.LeakyReLU",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.activation.Sigmoid",
    "torch.nn.modules.activation.Softplus",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.linear.Identity",
    "training.triplane.OSGDecoder",
    "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
    "training.volumetric_rendering.ray_sampler.RaySampler",
    "training.volumetric_rendering.renderer.ImportanceRenderer",
)


def _module(kind: str) -> Any:
    def make(arguments: tuple[Any, ...]) -> Instance:
        if arguments:
            raise Refused(f"calls {kind}, which is only stored with its state")
        return Instance(kind.rpartition(".")[2])

    return make


def _persistent(arguments: tuple[Any, ...]) -> Instance:
    match arguments:
        case ({"type": "class", "class_name": str() as kind, "state": dict() as state},):
            return Instance(kind, state)
    raise Refused("is damaged: a persistent object isn't a class name and a state")


def _easy_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise Refused("is damaged: an EasyDict is made of something")
    return {}


def _dtype(arguments: tuple[Any, ...]) -> Instance:
    match arguments:
        case (str() as code, bool(), bool()) if code in _NUMBERS:
            return Instance(code)
        case (str() as code, *_):
            raise Refused(f"has NumPy values of the type {code[:8]!r}; only numbers are taken")
    raise Refused("is damaged: a NumPy type isn't described as NumPy does it")


def _scalar(arguments: tuple[Any, ...]) -> float | int | bool:
    match arguments:
        case (Instance(kind=kind, state=tuple() as state), bytes() as data) if kind in _NUMBERS:
            order, form = state[1:2], _NUMBERS[kind]
            if order in (("<",), ("|",)) and len(data) == struct.calcsize(f"<{form}"):
                number: float | int | bool = struct.unpack(f"<{form}", data)[0]
                return number
    raise Refused("has a NumPy value that isn't a number")


NAMES: Names = {
    "dnnlib.util.EasyDict": _easy_dict,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    **{name: _module(name) for name in _MODULES},
}
