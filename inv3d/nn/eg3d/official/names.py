"""The names in network pickles of StyleGAN2-ADA, EG3D and PanoHead, and what stands for them.

Their modules are stored as "persistent objects": a class name, the source text of the module that
defined it, and the instance's state. The text is never looked at.
"""

from __future__ import annotations

from typing import Any

from inv3d.core.weights.plain import OPTIONS, instance
from inv3d.core.weights.unpickle import Instance, Names, Refused

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


def _persistent(arguments: tuple[Any, ...]) -> Instance:
    match arguments:
        case ({"type": "class", "class_name": str() as kind, "state": dict() as state},):
            return Instance(kind, state)
    raise Refused("is damaged: a persistent object isn't a class name and a state")


def _easy_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise Refused("is damaged: an EasyDict is made of something")
    return {}


NAMES: Names = {
    **OPTIONS,
    "dnnlib.util.EasyDict": _easy_dict,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    **{name: instance(name) for name in _MODULES},
}
