"""The strip of new views around an inverted head."""

from __future__ import annotations

import torch

from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.scene import OutputName, Rendering
from inv3d.report import pictures as pics
from inv3d.report.html import NovelView
from inv3d.report.orbit import strip
from inv3d.report.views import render_views

_WANTED: tuple[OutputName, ...] = ("image", "depth", "mask")


def novel_views(generator: Generator, inversion: Inversion) -> list[NovelView]:
    """Return the strip of new views; without depth and shape where the generator has no depth."""
    camera = strip(generator.spec.camera)
    outputs = [name for name in _WANTED if name in generator.spec.outputs]
    seen = Rendering.cat([r for _, r in render_views(generator, inversion, camera, outputs)])
    images = seen.require("image").float().cpu()
    views = [
        NovelView(float(yaw), float(pitch), image)
        for yaw, pitch, image in zip(
            camera.yaw.rad2deg(), camera.pitch.rad2deg(), pics.colour_frames(images), strict=True
        )
    ]
    if seen.depth is None:
        return views
    depth, size = seen.depth.float().cpu(), images.shape[-1]
    mask = torch.ones_like(depth) if seen.mask is None else seen.mask.float().cpu()
    depths = pics.depth_frames(depth, mask, size)
    shapes = pics.shape_frames(depth, mask, camera, size)
    return [
        NovelView(view.yaw_deg, view.pitch_deg, view.image, far, shape)
        for view, far, shape in zip(views, depths, shapes, strict=True)
    ]
