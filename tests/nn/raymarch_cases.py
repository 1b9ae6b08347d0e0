"""What Triton's programs and plain torch make of the same rays; see `test_raymarch`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.scene import OutputName
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.planes.decoder import Activation, Decoder
from inv3d.nn.planes.triplane import PlaneAxes
from inv3d.nn.raymarch import plain
from inv3d.nn.raymarch.plain import density_plain, march_plain
from inv3d.nn.raymarch.planes import Layers, Lines, PlaneVolume
from inv3d.nn.volume import March, Sums
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.panohead import PanoHead
from tests.tiny_generators import latents, tiny, views

BOX = 1.3


@dataclass(frozen=True)
class Case:
    """A volume and rays through it.

    Attributes:
        axes: of the planes.
        slices: of a tri-grid, 0 for a tri-plane.
        activation: of the colours.
        channels: of the planes.
        hidden: width of the decoder.
        out: colours.
        scenes: B.
        rays: R; those of a program are some power of two.
        samples: S.
        size: texels a side.
        margin: leave the box empty beyond some |x| and |z|.
        colour: composite colours.
        march: density options.
        weights: gradients to the decoder too.
        side_by_side: the planes have their channels side by side in memory.
        ordered: gradients in an order.
        tf32: products in TF32, on a GPU.
    """

    axes: PlaneAxes = "eg3d"
    slices: int = 0
    activation: Activation = "sigmoid"
    channels: int = 5
    hidden: int = 9
    out: int = 4
    scenes: int = 1
    rays: int = 9
    samples: int = 3
    size: int = 6
    margin: bool = False
    colour: bool = True
    march: March = field(default_factory=lambda: March(4, 4))
    weights: bool = True
    side_by_side: bool = False
    ordered: bool = False
    tf32: bool = False

    def volume(self, device: str) -> PlaneVolume:
        """Random planes and layers."""
        rng = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng).to(device)

        slices = (self.slices,) if self.slices else ()
        planes = normal(self.scenes, 3, self.channels, *slices, self.size, self.size)
        if self.side_by_side:
            planes = planes.movedim(2, -1).contiguous().movedim(-1, 2)
        layers = Layers(
            normal(self.hidden, self.channels), normal(self.hidden),
            normal(1 + self.out, self.hidden), normal(1 + self.out), self.activation,
        )  # fmt: skip
        limit = BOX / 3 if self.margin else None
        return PlaneVolume(planes, layers, self.axes, BOX, limit, self.tf32)

    def rays_of(self, device: str) -> tuple[Lines, Tensor]:
        """Rays and distances, some of which lie outside the box."""
        rng = torch.Generator().manual_seed(6)
        ends = torch.randn(2, self.scenes, self.rays, 3, generator=rng)
        origins = ends[0] / ends[0].norm(dim=-1, keepdim=True) * 1.5
        towards = ends[1] * 0.3 - origins
        directions = towards / towards.norm(dim=-1, keepdim=True)
        shape = (self.scenes, self.rays, self.samples)
        depths = (torch.rand(shape, generator=rng) * 2.4 + 0.3).sort(dim=-1).values
        return Lines(origins.to(device), directions.to(device)), depths.to(device)


@dataclass(frozen=True)
class Found:
    """Sums, gradients of planes and layers, raw densities; on the CPU."""

    sums: list[Tensor]
    gradients: list[Tensor]
    raw: Tensor


Marching = Callable[[PlaneVolume, Lines, Tensor, March, bool], Sums]
Densities = Callable[[PlaneVolume, Lines, Tensor], Tensor]


def found(
    case: Case, marching: Marching, densities: Densities, device: str, dtype: torch.dtype
) -> Found:
    """Composite a case and back-propagate random gradients."""
    volume = case.volume(device)
    wanted = [True] + [case.weights] * 4
    leaves = [
        tensor.to(dtype).requires_grad_(wants)
        for tensor, wants in zip(volume.tensors(), wanted, strict=True)
    ]
    volume = volume.of(*leaves)
    lines, depths = case.rays_of(device)
    lines, depths = Lines(lines.origins.to(dtype), lines.directions.to(dtype)), depths.to(dtype)
    sums = marching(volume, lines, depths, case.march, case.colour)
    given = [v for v in (sums.features, sums.distance, sums.opacity) if v is not None]
    rng = torch.Generator().manual_seed(7)
    worth = [torch.randn(v.shape, generator=rng).to(v) for v in given]
    made = torch.autograd.grad(given, [v for v in leaves if v.requires_grad], worth,
                               allow_unused=not case.colour)  # fmt: skip
    with torch.no_grad():
        raw = densities(volume, lines, depths)
    return Found([v.detach().cpu() for v in given],
                 [v.cpu() for v in made if v is not None], raw.cpu())  # fmt: skip


def plainly(case: Case, device: str = "cpu") -> Found:
    """What plain torch makes of it in double precision."""
    return found(case, march_plain, density_plain, device, torch.float64)


def plainly_rounded(case: Case) -> Found:
    """The same with the factors of all products rounded to TF32, forwards and backwards."""
    rounded = SimpleNamespace(linear=_RoundedLinear.apply, softplus=plain.F.softplus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "F", rounded)
        return plainly(case)


class _RoundedLinear(torch.autograd.Function):
    """`F.linear` as tensor cores compute it: exact products of factors of ten bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _tf32(x) @ _tf32(weight).T + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, weight = (_tf32(value) for value in ctx.saved_tensors)
        rows, rounded = gradient.flatten(0, -2), _tf32(gradient)
        return rounded @ weight, rounded.flatten(0, -2).T @ x.flatten(0, -2), rows.sum(0)


def _tf32(x: Tensor) -> Tensor:
    """Round to ten bits of mantissa, to the nearest."""
    bits = (x.float().contiguous().view(torch.int32) + (1 << 12)) & ~((1 << 13) - 1)
    return bits.view(torch.float32).to(x.dtype)


def by_programs(case: Case, device: str = "cpu") -> Found:
    """What the programs make of it, in the interpreter on a CPU."""
    if device == "cpu":
        assert os.environ.get("TRITON_INTERPRET") == "1"
    from inv3d.nn.raymarch.node import density, march

    torch.use_deterministic_algorithms(case.ordered)
    try:
        return found(case, march, density, device, torch.float32)
    finally:
        torch.use_deterministic_algorithms(False)


def full_tiles(case: Case, tf32: bool) -> Case:
    """A case of more rays and larger layers, for a GPU."""
    return replace(case, rays=333, samples=53, channels=32, hidden=64, out=32, size=40, tf32=tf32)


def decoder_of(case: Case) -> Decoder:
    """A decoder of the sizes of a case."""
    return Decoder(case.channels, case.out, case.hidden, activation=case.activation)


def fault(wrong: bool) -> str | None:
    """What a proof says of programs that work, or that find something else."""
    from inv3d.nn.raymarch import node, proof

    volume = Case().volume("cpu")
    march = node.march

    def other(*given: Any) -> Sums:
        seen = march(*given)
        return replace(seen, distance=seen.distance * 1.01) if wrong else seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node, "march", other)
        return proof.fault_of(volume)


KINDS: dict[str, tuple[type[TriplaneGenerator], dict[str, Any]]] = {
    "merge": (EG3D, {"depth_resolution": 4, "depth_resolution_importance": 2}),
    "guide": (
        EG3D,
        {"depth_resolution": 4, "depth_resolution_importance": 3, "coarse": "guide",
         "white_back": True},
    ),
    "coarse only": (EG3D, {"depth_resolution": 4, "depth_resolution_importance": 0}),
    "panohead": (PanoHead, {"depth_resolution": 4, "depth_resolution_importance": 2}),
}  # fmt: skip


def rendered(kind: str, programs: bool, device: str = "cpu") -> list[Tensor]:
    """Pictures, depths and masks of two views of a tiny network, and gradients.

    Args:
        kind: a key of KINDS.
        programs: render by Triton's programs.
        device: on which.
    """
    made, changes = KINDS[kind]
    generator = (
        tiny(made, rendering=changes, neural_rendering_resolution=4).requires_grad_(True).to(device)
    )
    generator.triton = programs
    ws = latents(1, generator).to(device).requires_grad_()
    camera = views(2, generator).to(device)
    with pytest.MonkeyPatch.context() as patch:
        if programs and device == "cpu":
            patch.setattr("inv3d.nn.raymarch.field._supported", lambda *given: True)
            patch.setattr("inv3d.nn.raymarch.field.proven", lambda volume: True)
        outputs: tuple[OutputName, ...] = ("image", "raw", "depth", "mask")
        seen = generator.render(generator.synthesize(ws), camera, outputs=outputs)
        values = [seen.require(name) for name in outputs]
        rng = torch.Generator().manual_seed(2)
        worth = [torch.randn(v.shape, generator=rng).to(device) for v in values]
        wanted = [ws, *generator.decoder.parameters()]
        gradients = torch.autograd.grad(values, wanted, worth)
    return [value.detach().cpu() for value in (*values, *gradients)]
