"""Gradients over many views of one or several scenes, a few views at a time.

A scene that several views share is synthesised once. Where not all views fit into memory, the
graph is cut at the scene: views are rendered and back-propagated a few at a time into the scene,
and from there once into backbone and latent. Memory doesn't grow with the number of views, and
the gradient is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.fit.objective import Objective
from inv3d.core.generator import Generator
from inv3d.core.scene import OutputName, Rendering

Take = Callable[[Rendering, slice], None]


def backward_views(
    generator: Generator,
    ws: Tensor,
    camera: Camera,
    objective: Objective,
    chunk: int | None = None,
    *,
    latent: Tensor | None = None,
) -> dict[str, Tensor]:
    """Render all views, add the gradient of the objective, and return the summed losses.

    Args:
        generator: gradients reach its parameters where they require them.
        ws: [B, num_ws, w_dim], B scenes; gradients reach what they were made from.
        camera: N = B * V cameras, V consecutive ones a scene.
        objective: over N targets.
        chunk: views rendered at a time; all if None.
        latent: [B, num_ws, w_dim], what losses on the latent see; `ws` if None. Different where
            ws carries noise.

    Returns:
        Loss name -> sum over the views, and "total", the weighted sum; detached, on the device.
    """
    sums: dict[str, Tensor] = {}
    shown, seen = _cut(ws), _cut(ws if latent is None else latent)
    per_scene = len(camera) // len(ws)

    def take(rendering: Rendering, views: slice) -> None:
        rows = torch.arange(views.start, views.stop, device=seen.device) // per_scene
        total, parts = objective.evaluate(replace(rendering, ws=seen[rows]), views)
        total.backward()  # type: ignore[no-untyped-call]
        for name, value in {**parts, "total": total.detach()}.items():
            sums[name] = sums[name] + value if name in sums else value

    _each_chunk(generator, shown, camera, chunk, take, objective.outputs)
    _pass_on([ws, ws if latent is None else latent], [shown, seen])
    return sums


def backward_joint(
    generator: Generator,
    ws: Tensor,
    camera: Camera,
    function: Callable[[Rendering], Tensor],
    outputs: Sequence[OutputName],
    chunk: int | None = None,
    *,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Add the gradient of a function that needs the renderings of all views together.

    With a chunk, everything is rendered twice: once without gradient for the function, whose
    gradient on the pictures is then back-propagated a few views at a time.

    Args:
        generator: gradients reach its parameters where they require them.
        ws: [B, num_ws, w_dim], B scenes.
        camera: N = B * V cameras, V consecutive ones a scene.
        function: of the rendering of all N views to a scalar; called once.
        outputs: fields of the rendering that the function reads.
        chunk: views rendered at a time; all if None.
        rng: the generator's source of random samples, rewound for the second rendering.

    Returns:
        The function's value, detached, on the device.
    """
    shown = _cut(ws)
    values: list[Tensor] = []

    def take_all(rendering: Rendering, views: slice) -> None:
        value = function(rendering)
        value.backward()  # type: ignore[no-untyped-call]
        values.append(value.detach())

    if chunk is None or chunk >= len(camera):
        _each_chunk(generator, shown, camera, None, take_all, outputs)
        _pass_on([ws], [shown])
        return values[0]

    start = None if rng is None else rng.get_state()
    parts: list[Rendering] = []
    with torch.no_grad():
        _each_chunk(generator, shown, camera, chunk, lambda r, v: parts.append(r), outputs)
    whole = Rendering.cat(parts)
    leaves = {name: whole.require(name).detach().requires_grad_() for name in outputs}
    take_all(replace(whole, **leaves), slice(0, len(camera)))

    def take(rendering: Rendering, views: slice) -> None:
        gradients = {n: leaf.grad[views] for n, leaf in leaves.items() if leaf.grad is not None}
        torch.autograd.backward([rendering.require(n) for n in gradients], [*gradients.values()])

    if rng is not None and start is not None:
        rng.set_state(start)
    _each_chunk(generator, shown, camera, chunk, take, outputs)
    _pass_on([ws], [shown])
    return values[0]


def _each_chunk(
    generator: Generator,
    ws: Tensor,
    camera: Camera,
    chunk: int | None,
    take: Take,
    outputs: Sequence[OutputName],
) -> None:
    """Render all views; `take` is given each chunk and back-propagates it."""
    for scenes, parts in chunks(len(ws), len(camera) // len(ws), chunk):
        scene = generator.synthesize(ws[scenes])
        seen = scene if len(parts) == 1 else scene.apply(_cut)
        for views in parts:
            take(generator.render(seen, camera[views], outputs=outputs), views)
        if seen is not scene:
            _pass_on(scene.tensors(), seen.tensors())


def chunks(scenes: int, per_scene: int, chunk: int | None) -> Iterator[tuple[slice, list[slice]]]:
    """Divide B scenes with V views each into renderings of at most `chunk` views.

    Args:
        scenes: B.
        per_scene: V.
        chunk: at least 1; None for everything at once.

    Yields:
        Scenes that are synthesised together, and the views of each rendering among all B * V.
        Several scenes only come together with all their views.
    """
    limit = scenes * per_scene if chunk is None else chunk
    for block in _blocks(0, scenes, max(1, limit // per_scene)):
        yield block, list(_blocks(block.start * per_scene, block.stop * per_scene, limit))


def _blocks(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _cut(tensor: Tensor) -> Tensor:
    """Return the same values as a leaf that collects the gradient."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _pass_on(tensors: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """Hand the gradients that arrived at the leaves on to the tensors that they stand for."""
    pairs = [
        (t, leaf.grad) for t, leaf in zip(tensors, leaves, strict=True) if leaf.grad is not None
    ]
    if pairs and any(t.requires_grad for t, _ in pairs):
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])
