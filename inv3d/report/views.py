"""Rendering many views of an inversion, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from inv3d.core.arguments import expect
from inv3d.core.border import check_rendering
from inv3d.core.camera import Camera
from inv3d.core.errors import WeightsError
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.scene import OutputName, Rendering, Scene

RAYS_AT_ONCE = 1 << 15
# samples of more rays don't stay in a processor's cache from one layer to the next
RAYS_IN_CACHE = 7 << 10
# between numbers of the labels of cameras: world units, radians
_ALIKE = 1e-5


def views_at_once(rays: int, budget: int = RAYS_AT_ONCE) -> int:
    """Return how many views of rays x rays fit into a number of rays; at least one."""
    return max(1, budget // rays**2)


def blocks(count: int, size: int) -> Iterator[slice]:
    """Return consecutive slices of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def first_alike(camera: Camera) -> list[int]:
    """Return for each of N cameras the number of the first one that is like it, to rounding."""
    # the yaw besides: right behind a head it's -180 or 180 degrees, with latents of their own
    rows = torch.cat([camera.labels(), camera.yaw[:, None]], 1).double().cpu()
    alike = (rows[:, None] - rows).abs().amax(-1) < _ALIKE
    return [int(first) for first in alike.int().argmax(1)]


@torch.no_grad()
def render_views(
    generator: Generator,
    inversion: Inversion,
    camera: Camera,
    outputs: Sequence[OutputName] = ("image",),
    resolution: int | None = None,
    frames: Sequence[str] = (),
) -> Iterator[tuple[slice, Rendering]]:
    """Render an inversion from N cameras; a single latent is synthesised once.

    Args:
        generator: tuned for the inversion.
        inversion: whose latents are interpolated by the cameras' angles.
        camera: N cameras, on any device.
        outputs: what to render.
        resolution: rays a side, the generator's own if None.
        frames: N names, where the cameras are those of frames.

    Yields:
        Which cameras, and what they see.

    Raises:
        ConfigError: where an argument is of another type.
        UnsupportedError: where the generator makes no such output.
        WeightsError: where the generator is another one than the inversion's, or isn't tuned.
    """
    expect("generator", generator, Generator, "a Generator, as inv3d.load_generator returns it")
    expect("inversion", inversion, Inversion, "an Inversion, as inv3d.open_run(directory) has it")
    expect("camera", camera, Camera, "a Camera, such as generator.spec.camera.front()")
    expect("resolution", resolution, (int, type(None)), "a whole number of rays a side, or None")
    generator.require(outputs, "these views")
    camera = camera.to(generator.device)
    for views, scene in scenes_of(generator, inversion, camera, resolution, frames):
        seen = generator.render(scene, camera[views], outputs=outputs, resolution=resolution)
        check_rendering(generator, seen, outputs, len(camera[views]), resolution)
        yield views, seen


@torch.no_grad()
def scenes_of(
    generator: Generator,
    inversion: Inversion,
    camera: Camera,
    resolution: int | None = None,
    frames: Sequence[str] = (),
) -> Iterator[tuple[slice, Scene]]:
    """Synthesise what N cameras see, as many scenes at once as can be rendered at once.

    Args:
        generator: tuned for the inversion.
        inversion: whose latents are interpolated by the cameras' angles.
        camera: N cameras, on the generator's device.
        resolution: rays a side that they'll be rendered with, the generator's own if None.
        frames: N names, where the cameras are those of frames.

    Yields:
        Which cameras, and a scene for each; the same one scene for all where there's one latent.

    Raises:
        WeightsError: where the generator is another one than the inversion's, or isn't tuned.
    """
    _check_tuned(generator, inversion)
    shared = inversion.scene_for(generator, camera[:1]) if len(inversion.ws) == 1 else None
    for views in blocks(len(camera), views_at_once(resolution or generator.spec.render_resolution)):
        yield views, shared or inversion.scene_for(generator, camera[views], frames[views])


def _check_tuned(generator: Generator, inversion: Inversion) -> None:
    """Refuse a generator with which an inversion would be another head."""
    inversion.check_generator(generator)
    if inversion.generator_delta and not generator.tuned:
        raise WeightsError(
            f"generator {generator.spec.name}: isn't tuned, but the inversion tunes it, and "
            "without that it's another head; call inversion.tune(generator) first"
        )


@torch.no_grad()
def render_scene(
    generator: Generator,
    scene: Scene,
    camera: Camera,
    output: OutputName,
    resolution: int | None = None,
) -> Tensor:
    """Render one field of one scene from N cameras, [N, ...].

    On the CPU a few views at a time, which takes a fifth less than many.

    Raises:
        UnsupportedError: where the generator makes no such output.
    """
    generator.require((output,), "these views")
    return torch.cat(
        [
            generator.render(
                scene, camera[views], outputs=(output,), resolution=resolution
            ).require(output)
            for views in blocks(len(camera), _at_once(generator, resolution))
        ]
    )


@torch.no_grad()
def render_scenes(
    generator: Generator,
    scenes: Scene,
    camera: Camera,
    output: OutputName,
    resolution: int | None = None,
) -> Tensor:
    """Render one field of B scenes, all of them from the same V cameras, [B, V, ...].

    As many scenes at once as `render_scene` renders views at once.

    Raises:
        UnsupportedError: where the generator makes no such output.
    """
    scenes_at_once = _at_once(generator, resolution) // len(camera)
    if scenes_at_once < 2:
        each = [scenes[[row]] for row in range(len(scenes))]
        return torch.stack([render_scene(generator, s, camera, output, resolution) for s in each])
    generator.require((output,), "these views")
    parts = []
    for rows in blocks(len(scenes), scenes_at_once):
        part = scenes[rows]
        cameras = Camera.cat([camera] * len(part))
        seen = generator.render(part, cameras, outputs=(output,), resolution=resolution)
        values = seen.require(output)
        parts.append(values.reshape(len(part), len(camera), *values.shape[1:]))
    return torch.cat(parts)


def _at_once(generator: Generator, resolution: int | None) -> int:
    """Views of a scene that are rendered at once where super-resolution doesn't matter."""
    budget = RAYS_IN_CACHE if generator.device.type == "cpu" else RAYS_AT_ONCE
    return views_at_once(resolution or generator.spec.render_resolution, budget)
