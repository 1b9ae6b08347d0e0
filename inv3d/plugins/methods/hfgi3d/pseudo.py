"""Pseudo views: the picture where it shows something, another source where it doesn't."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.generator import Generator
from inv3d.core.geometry.masks import blur, soft_mask
from inv3d.core.geometry.normals import facing
from inv3d.core.geometry.poisson import poisson_blend
from inv3d.core.geometry.warp import warp_view
from inv3d.core.inversion import Inversion
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.plugins.methods.hfgi3d.config import VisibleOptions

# of pictures that the sizes of erosion and blur are given for
_SIZE = 512
_SURFACE, _LEAST = 0.5, 1e-6


@dataclass(frozen=True)
class Surface:
    """What cameras see of a scene.

    Attributes:
        camera: N cameras.
        images: [N, 3, H, W].
        depth: [N, 1, H, W] along the ray, world units, 0 where there's no surface.
        step: pixels between two rays that were rendered.
    """

    camera: Camera
    images: Tensor
    depth: Tensor
    step: int = 1


@dataclass(frozen=True)
class PseudoViews:
    """N pseudo views.

    Attributes:
        camera: N cameras.
        warped: [N, 3, H, W], the picture as it looks from there.
        mask: [N, 1, H, W] in [0, 1], how much of it is taken.
        occluded: [N, 3, H, W], what is taken where the picture shows nothing.
        blended: [N, 3, H, W], both together.
        depth: [N, 1, H, W], of the coarse fit, 0 where there's no surface.
    """

    camera: Camera
    warped: Tensor
    mask: Tensor
    occluded: Tensor
    blended: Tensor
    depth: Tensor


@torch.no_grad()
def surface_of(generator: Generator, scene: Scene, camera: Camera) -> Surface:
    """Render one scene from N cameras, one at a time, with its depth where it has a surface."""
    wanted: tuple[OutputName, ...] = ("image", "depth")
    if "mask" in generator.spec.outputs:
        wanted = (*wanted, "mask")
    seen = Rendering.cat(
        [generator.render(scene, camera[i], outputs=wanted) for i in range(len(camera))]
    )
    images, depth = seen.require("image"), seen.require("depth")
    step = math.ceil(images.shape[-1] / depth.shape[-1])
    return Surface(camera, images, surface_depth(depth, seen.mask, images), step)


def surface_depth(depth: Tensor, opacity: Tensor | None, images: Tensor) -> Tensor:
    """Return depth as large as the pictures, 0 where there's no surface.

    The depth of the surface isn't mixed with that of the space around it, so that it goes up to an
    edge as smooth as the opacity's.

    Args:
        depth: [N, 1, h, w].
        opacity: [N, 1, h, w], or None where there's a surface everywhere.
        images: [N, 3, H, W].
    """
    size = images.shape[-2:]
    if opacity is None:
        return F.interpolate(depth, size, mode="bilinear", align_corners=False)
    solid = (opacity > _SURFACE).to(depth)
    share, value, edge = (
        F.interpolate(part, size, mode="bilinear", align_corners=False)
        for part in (solid, depth * solid, opacity)
    )
    known = (edge > _SURFACE) & (share > 0)
    return torch.where(known, value / share.clamp_min(_LEAST), torch.zeros_like(value))


@torch.no_grad()
def rendered(generator: Generator, found: Inversion, camera: Camera) -> Tensor:
    """Return what N cameras see of an inversion in its generator, one at a time, [N, 3, H, W]."""
    images = []
    for i in range(len(camera)):
        scene = found.scene_for(generator, camera[i])
        images.append(generator.render(scene, camera[i]).require("image"))
    return torch.cat(images)


@torch.no_grad()
def make_pseudo_views(
    image: Tensor, source: Surface, views: Surface, occluded: Tensor, options: VisibleOptions
) -> PseudoViews:
    """Warp a picture to the pseudo views and put the occluded part around it.

    Args:
        image: [1, 3, H, W], the picture.
        source: what its camera sees of the coarse fit.
        views: what the N cameras of the pseudo views see of it.
        occluded: [N, 3, H, W].
        options: of the visible part.
    """
    warped = warp_view(
        image, source.camera, source.depth, views.camera, views.depth, tolerance=options.tolerance
    )
    if options.warp:
        seen = warped.seen * _square_enough(views, source.camera, options.grazing_deg)
        mask = visible_mask(seen, _framed(warped.uv, views.depth), options)
    else:
        mask = torch.zeros_like(warped.seen)
    blended = blend(warped.image, occluded, mask, options)
    return PseudoViews(views.camera, warped.image, mask, occluded, blended, views.depth)


def _square_enough(views: Surface, camera: Camera, grazing_deg: float) -> Tensor:
    """Where a camera looks at surfaces at no flatter angle, one view at a time, [N, 1, H, W].

    Angles are averaged over neighbouring rays, for depth is noisy, and a mask shouldn't be.
    """
    least, step = math.cos(math.radians(grazing_deg)), views.step
    squarely = [
        blur(facing(views.camera[i], views.depth[i : i + 1], camera, step=step), 2 * step + 1)
        for i in range(len(views.camera))
    ]
    return torch.cat(squarely) >= least


def _framed(uv: Tensor, depth: Tensor) -> Tensor:
    """Where the picture's frame covers pseudo views, [N, 1, H, W]: all but what is outside of it.

    Where there's no surface, nothing is outside.
    """
    inside = ((uv >= 0) & (uv <= 1)).all(-1)[:, None]
    return (inside | (depth == 0)).to(uv)


def visible_mask(seen: Tensor, frame: Tensor, options: VisibleOptions) -> Tensor:
    """Return how much of the warped picture is taken, [N, 1, H, W] in [0, 1].

    Args:
        seen: [N, 1, H, W], 1 where the picture's camera sees the point.
        frame: [N, 1, H, W], 1 where the picture's frame covers the view.
        options: sizes of erosion and blur, for pictures of 512 pixels; scaled to those of others.
    """
    scale = seen.shape[-1] / _SIZE
    shrink, outline, feather = (
        _scaled(size, scale) for size in (options.shrink, options.shrink_outline, options.feather)
    )
    feather += 1 - feather % 2  # a blur has a middle
    return soft_mask(seen, frame, shrink=shrink, shrink_outline=outline, feather=feather).clamp(
        0, 1
    )


def _scaled(size: int, scale: float) -> int:
    """Return a size for other pictures; odd, for what has no middle would move by half a pixel."""
    if scale == 1:
        return size
    scaled = max(1, round(size * scale))
    return scaled + 1 - scaled % 2


def blend(warped: Tensor, occluded: Tensor, mask: Tensor, options: VisibleOptions) -> Tensor:
    """Return both parts in one picture, [N, 3, H, W] in [-1, 1]."""
    if options.blend == "gaussian":
        return torch.lerp(occluded, warped, mask)
    views = [
        poisson_blend(warped[i : i + 1], occluded[i : i + 1], mask[i : i + 1])
        for i in range(len(mask))
    ]
    return torch.cat(views).clamp(-1, 1)
