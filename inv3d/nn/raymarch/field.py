"""A field made of planes, which renders whole rays on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inv3d.nn.layers import EqualLinear
from inv3d.nn.planes.decode import is_own
from inv3d.nn.planes.decoder import Decoder
from inv3d.nn.planes.triplane import PlaneAxes
from inv3d.nn.raymarch.planes import Lines, PlaneVolume, layers_of
from inv3d.nn.raymarch.proof import proven
from inv3d.nn.trial import may_run
from inv3d.nn.volume import Composite, Field, March, Rays, coarse_depths, fine_depths, finish

# What programs hold in registers: channels of the planes, hidden channels, colours.
_LARGEST = (64, 128, 64)


@dataclass(frozen=True)
class PlaneField:
    """A `Field` that says what it's made of.

    On NVIDIA GPUs, where Triton is installed (PyTorch brings it), rays are rendered by its programs
    (`node`) in single precision, unless cameras want a gradient. Everywhere else and for single
    points the function is asked.

    Attributes:
        evaluate: the function of points.
        planes: [B, 3, C, R, R], or [B, 3, C, D, R, R] with D slices.
        decoder: of their features.
        axes: which axes the planes span.
        box: side of the cube that the planes cover, world units.
        limit: largest |x| and |z| of points that aren't in the empty margin; None for no margin.
        tf32: products may round their factors to TF32.
        programs: may be used.
    """

    evaluate: Field
    planes: Tensor
    decoder: Decoder
    axes: PlaneAxes
    box: float
    limit: float | None = None
    tf32: bool = False
    programs: bool = True

    def __call__(self, points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
        """Return raw density and features of points."""
        return self.evaluate(points, colour)

    def with_margin(self, evaluate: Field, limit: float) -> PlaneField:
        """Return the field with an empty margin, which its function must have as well."""
        return replace(self, evaluate=evaluate, limit=limit)

    def render_rays(self, rays: Rays, march: March, colour: bool) -> Composite | None:
        """Render rays as `volume.render_rays` does, or return None where the function must do.

        Samples of both passes are sorted before they're evaluated, so that a program can composite
        one after the other; where EG3D composites both, those of the first are evaluated again.
        """
        return march_rays(self._volume(), rays, march, colour) if self.keeps_little(rays) else None

    def keeps_little(self, rays: Rays) -> bool:
        """Whether of samples density and colours alone are kept, so that many can be at once."""
        if not self.programs or not _supported(self.planes, self.decoder, rays):
            return False
        return proven(self._volume())

    def _volume(self) -> PlaneVolume:
        layers = layers_of(self.decoder)
        return PlaneVolume(self.planes, layers, self.axes, self.box, self.limit, self.tf32)


def march_rays(volume: PlaneVolume, rays: Rays, march: March, colour: bool) -> Composite:
    """Render rays through planes by programs.

    Args:
        volume: B scenes.
        rays: B x R rays, without gradient.
        march: how many samples, and how they're composited.
        colour: composite features too.
    """
    from inv3d.nn.raymarch import node

    lines = Lines(rays.origins, rays.directions)
    depths = coarse_depths(rays, march)
    if march.fine:
        fine = fine_depths(rays, node.density(volume, lines, depths), depths, march)
        depths = fine if march.guide else torch.cat([depths, fine], -1)
        depths = depths.sort(dim=-1).values
    return finish(node.march(volume, lines, depths, march, colour), depths, march)


def _supported(planes: Tensor, decoder: Decoder, rays: Rays) -> bool:
    """Whether the programs are made for such tensors."""
    if not may_run(planes) or type(decoder) is not Decoder or not is_own(decoder, torch.float32):
        return False
    if planes.dtype != torch.float32 or rays.origins.dtype != torch.float32:
        return False
    placed = (rays.origins, rays.directions, rays.near, rays.far)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in placed):
        return False
    first = decoder.net[0]
    assert isinstance(first, EqualLinear)
    hidden, channels = first.weight.shape
    sizes = (channels, hidden, decoder.out_channels)
    return all(size <= most for size, most in zip(sizes, _LARGEST, strict=True))
