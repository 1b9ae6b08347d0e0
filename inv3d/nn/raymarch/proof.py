"""Whether Triton's programs work on a device: tried once before they're used.

A GPU, its driver and Triton are what they are on a user's machine. Programs that don't compile
there, or that find something else than plain torch, must cost nothing but time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from inv3d.nn.raymarch.plain import density_plain, march_plain
from inv3d.nn.raymarch.planes import Lines, PlaneVolume
from inv3d.nn.volume import March, Sums

# Largest error in units of the largest number: of float32 with a wide margin, and of TF32.
TOLERANCE, TOLERANCE_TF32 = 1e-3, 5e-2
_MARCH = March(coarse=6, fine=0)
Densities = Callable[[PlaneVolume, Lines, Tensor], Tensor]
Marching = Callable[[PlaneVolume, Lines, Tensor, March, bool], Sums]
_known: dict[tuple[object, ...], bool] = {}


def proven(volume: PlaneVolume) -> bool:
    """Whether the programs for such a volume were found to work on its device.

    They're tried the first time that a volume of another make is asked for, which takes as long as
    compiling them. A failure is warned of, once.
    """
    layers, planes = volume.layers, volume.planes
    key = (
        planes.device, planes.ndim, volume.axes, volume.limit is None, volume.tf32,
        layers.w1.shape, layers.w2.shape, layers.activation,
        torch.are_deterministic_algorithms_enabled(),
    )  # fmt: skip
    if key not in _known:
        fault = None if find_spec("triton") is None else fault_of(volume)
        _known[key] = find_spec("triton") is not None and fault is None
        if fault is not None:
            warnings.warn(
                f"rays aren't rendered by Triton's programs but by plain torch, which is slower: "
                f"{fault}",
                RuntimeWarning,
                stacklevel=2,
            )
    return _known[key]


def fault_of(volume: PlaneVolume) -> str | None:
    """Return in a line what is wrong with the programs for such a volume, None if nothing is."""
    from inv3d.nn.raymarch import node

    small = _small(volume)
    try:
        found = _made(small, node.density, node.march)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {said[-1]}"
    exact = small.of(*(tensor.double().cpu() for tensor in small.tensors()))
    most = TOLERANCE_TF32 if volume.tf32 else TOLERANCE
    for name, value, wanted in zip(
        _NAMES, found, _made(exact, density_plain, march_plain), strict=True
    ):
        off = float((value.cpu() - wanted).abs().max() / wanted.abs().max())
        if not off <= most:
            return f"{name} is off by {off:.1e} of its largest value on {volume.planes.device}"
    return None


_NAMES = (
    "density", "colour", "distance", "opacity", "the planes' gradient",
    "the first layer's gradient", "the first bias' gradient", "the second layer's gradient",
    "the second bias' gradient",
)  # fmt: skip


def _small(volume: PlaneVolume) -> PlaneVolume:
    """Random planes and layers like those of a volume, of a few texels."""
    rng = torch.Generator().manual_seed(0)
    size = [2, 3, *volume.planes.shape[2:-2], 8, 8]
    shapes = [size, *(tensor.shape for tensor in volume.tensors()[1:])]
    tensors = [torch.randn(*shape, generator=rng).to(volume.planes.device) for shape in shapes]
    planes, w1, b1, w2, b2 = tensors
    # A decoder that makes numbers of the order of one.
    w1, w2 = w1 / w1.shape[1] ** 0.5, w2 / w2.shape[1] ** 0.5
    limit = None if volume.limit is None else volume.box / 3
    return PlaneVolume(
        planes, volume.of(planes, w1, b1, w2, b2).layers, volume.axes, volume.box, limit,
        volume.tf32,
    )  # fmt: skip


def _made(volume: PlaneVolume, density: Densities, march: Marching) -> list[Tensor]:
    """Raw densities, sums, and the gradients of a weighted total, of 45 rays."""
    rng = torch.Generator().manual_seed(1)
    like = volume.planes

    def drawn(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=rng) - 0.5).to(like)

    lines = Lines(drawn(2, 45, 3) * volume.box, drawn(2, 45, 3))
    depths = (drawn(2, 45, _MARCH.coarse) * volume.box).sort(dim=-1).values
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in volume.tensors()]
        seen = march(volume.of(*leaves), lines, depths, _MARCH, True)
        assert seen.features is not None
        sums = [seen.features, seen.distance, seen.opacity]
        worth = [drawn(*value.shape) for value in sums]
        gradients = torch.autograd.grad(sums, leaves, worth)
    return [density(volume, lines, depths), *(value.detach() for value in sums), *gradients]
