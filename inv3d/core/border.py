"""Where what plugins return is looked at before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import ContractError
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.inversion import Inversion
from inv3d.core.scene import OutputName, Rendering, Scene

_OURS = __name__.partition(".")[0]
_CHANNELS: dict[str, int | None] = {"image": 3, "raw": 3, "depth": 1, "mask": 1, "features": None}
# pictures leave [-1, 1] a little, and those in 0 to 255 far
_FAR_FROM_A_PICTURE = 20.0
# largest entry of R R^T - 1 that is a matter of precision
_UNLIKE_A_ROTATION = 1e-2


def is_foreign(plugin: Any) -> bool:
    """Whether a plugin's class is another distribution's."""
    return type(plugin).__module__.partition(".")[0] != _OURS


@torch.no_grad()
def check_generator(generator: Generator) -> None:
    """See, with one small picture, that a generator makes what its spec says.

    Raises:
        ContractError: naming what it returned.
    """
    spec, owner = generator.spec, f"generator {type(generator).name}"
    z = torch.zeros(1, spec.z_dim).to(generator.device, generator.dtype)
    ws = generator.map(z, neutral_condition(generator, 1))
    _check(f"{owner}: its map()", "ws", ws, (1, spec.num_ws, spec.w_dim))
    scene = generator.synthesize(ws)
    if not isinstance(scene, Scene) or len(scene) != 1:
        raise _report(f"{owner}: its synthesize() returned a {type(scene).__name__}", "a Scene")
    camera = spec.camera.front().to(generator.device, generator.dtype)
    names = [name for name in spec.outputs if name != "features"]
    seen = generator.render(scene, camera, outputs=names)
    check_rendering(generator, seen, names, 1)
    for name in names:
        _check_finite(f"{owner}: its render()", name, seen.require(name))
    farthest = float(seen.require("image").abs().max())
    if farthest > _FAR_FROM_A_PICTURE:
        raise _report(f"{owner}: its render() has an image that reaches {farthest:.3g}", "[-1, 1]")


def check_rendering(
    generator: Generator,
    seen: Any,
    outputs: Iterable[OutputName],
    views: int,
    resolution: int | None = None,
) -> None:
    """See that a rendering has what was asked for, in its shape; numbers aren't looked at.

    Args:
        generator: that made it.
        seen: what it returned.
        outputs: that were asked for.
        views: number of cameras.
        resolution: rays a side, the spec's if None.

    Raises:
        ContractError: naming the first that isn't as it should be.
    """
    spec, owner = generator.spec, f"generator {type(generator).name}: its render()"
    if not isinstance(seen, Rendering):
        raise _report(f"{owner} returned a {type(seen).__name__}", "a Rendering")
    for name in outputs:
        value = getattr(seen, name)
        side = spec.resolution if name == "image" else resolution or spec.render_resolution
        if name == "image" and resolution is not None and isinstance(value, Tensor):
            side = value.shape[-1]  # a generator without super-resolution may follow the rays
        _check(owner, name, value, (views, _CHANNELS[name], side, side))


def check_values(loss: str, values: Any, views: int) -> None:
    """See that a loss returned one number a view.

    Raises:
        ContractError: naming what it returned.
    """
    if isinstance(values, Tensor) and tuple(values.shape) == (views,):
        return
    kind = isinstance(values, Tensor)
    found = f"shape {tuple(values.shape)}" if kind else f"a {type(values).__name__}"
    raise ContractError(
        f"loss '{loss}': returned {found} for {views} views, expected a tensor of shape ({views},),"
        " one number a view; report it to the loss's author"
    )


def check_result(result: Any, generator: Generator, method: str) -> Inversion:
    """See that an inversion is one of this generator, and all of its numbers are finite.

    Returns:
        The result.

    Raises:
        ContractError: naming what isn't as it should be.
    """
    owner = f"method {method}: its steps"
    if not isinstance(result, Inversion):
        raise _report(f"{owner} returned a {type(result).__name__}", "an Inversion")
    return _checked(result, generator, f"method {method}: its result")


def check_edited(result: Any, before: Inversion, generator: Generator, editor: str) -> Inversion:
    """See that an edited inversion is one of this generator, finite, and knows the edit.

    Args:
        result: what the editor's `apply` returned.
        before: the inversion that it edited.
        generator: of both.
        editor: name of the plugin.

    Returns:
        The result.

    Raises:
        ContractError: naming what isn't as it should be.
    """
    owner = f"editor {editor}: its apply"
    if not isinstance(result, Inversion):
        raise _report(f"{owner} returned a {type(result).__name__}", "an Inversion")
    _checked(result, generator, f"editor {editor}: its result")
    known, made = len(before.history), result.history
    if len(made) != known + 1 or (made[-1].kind, made[-1].name) != ("editor", editor):
        raise _report(
            f"editor {editor}: its result has {len(made) - known} more entries in its history",
            "the edit, as self.edited(subject, edit, ...) adds it",
        )
    return result


def check_tensors(owner: str, tensors: Mapping[str, Any]) -> None:
    """See that what a plugin made are tensors, at least one, and finite.

    Raises:
        ContractError: naming the first that isn't.
    """
    if not tensors:
        raise _report(f"{owner} have no tensors", "one or more")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise _report(f"{owner} have a {type(tensor).__name__} as '{name}'", "a tensor")
        _check_finite(owner, f"'{name}'", tensor)


def check_cameras(found: Any, pictures: int, estimator: str) -> Camera:
    """See that an estimator gave every picture a camera that can be.

    Args:
        found: what its `estimate` returned.
        pictures: number of them.
        estimator: name of the plugin.

    Returns:
        The cameras.

    Raises:
        ContractError: naming what isn't as it should be.
    """
    owner = f"estimator {estimator}: its estimate"
    if not isinstance(found, Camera):
        raise _report(f"{owner} returned a {type(found).__name__}", "a Camera")
    if len(found) != pictures:
        raise _report(f"{owner} returned {len(found)} cameras", f"{pictures}, one a picture")
    _check_finite(owner, "the cameras", found.labels())
    rotation = found.rotation.detach().double()
    off = rotation @ rotation.transpose(1, 2) - torch.eye(3).to(rotation)
    worst = max(float(off.abs().max()), float((torch.linalg.det(rotation) - 1).abs().max()))
    if worst > _UNLIKE_A_ROTATION:
        raise _report(f"{owner} returned cameras whose 3x3 part is no rotation", "rotations")
    return found


def _checked(result: Inversion, generator: Generator, owner: str) -> Inversion:
    spec = generator.spec
    _check(owner, "ws", result.ws, (None, spec.num_ws, spec.w_dim))
    if result.fingerprint != spec.fingerprint:
        raise _report(
            f"{owner} is of generator {result.fingerprint}", f"{spec.name}, {spec.fingerprint}"
        )
    for name, tensor in result.tensors().items():
        _check_finite(owner, name, tensor)
    return result


def _check(owner: str, name: str, value: Any, shape: tuple[int | None, ...]) -> None:
    wanted = f"a tensor [{', '.join('N' if size is None else str(size) for size in shape)}]"
    if not isinstance(value, Tensor):
        raise _report(f"{owner} has a {type(value).__name__} as {name}", wanted)
    found = tuple(value.shape)
    same = len(found) == len(shape) and all(
        size in (None, there) for size, there in zip(shape, found, strict=True)
    )
    if not same:
        raise _report(f"{owner} has {name} of shape {list(found)}", wanted)


def _check_finite(owner: str, name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        bad = int((~tensor.isfinite()).sum())
        raise _report(f"{owner} has {bad} of {tensor.numel()} numbers of {name} not finite", "all")


def _report(found: str, expected: str) -> ContractError:
    return ContractError(f"{found}, expected {expected}; report it to the plugin's author")
