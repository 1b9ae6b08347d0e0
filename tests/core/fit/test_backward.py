"""Gradients in chunks are the gradients of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.fit.backward import backward_joint, backward_views, chunks
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import LossTerm, Objective
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering, Scene
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents

VIEWS = 6


class Counting(ToyGenerator):
    """Remembers what it was asked for."""

    def __init__(self, sampling: str = "deterministic") -> None:
        super().__init__(ToyConfig(sampling=sampling))  # type: ignore[arg-type]
        self.double()
        self.synthesised: list[int] = []
        self.rendered: list[int] = []
        self.outputs: set[str] = set()

    def synthesize(self, ws: Tensor) -> Scene:
        self.synthesised.append(len(ws))
        return super().synthesize(ws)

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        self.rendered.append(len(camera))
        self.outputs |= set(options["outputs"])
        return super().render(scene, camera, **options)


def _setting(scenes: int) -> tuple[Counting, Tensor, Camera, Objective]:
    generator = Counting()
    capture = toy_capture(generator, VIEWS, seed=2).to("cpu", torch.float64)
    generator.synthesised, generator.rendered = [], []
    w = toy_latents(generator, scenes, seed=1, motion=0.5).requires_grad_()
    terms = {n: LossTerm(weight=k) for n, k in {"mse": 1.0, "l1": 0.1, "w_norm": 0.3}.items()}
    target = Target(capture.images, anchor=torch.zeros(1, 8, dtype=torch.float64))
    return generator, w, capture.camera, Context.create().objective(terms, target)


def _gradients(generator: ToyGenerator, w: Tensor) -> dict[str, Tensor]:
    found = {n: p.grad for n, p in [("w", w), *generator.named_parameters()] if p.grad is not None}
    w.grad = None
    generator.zero_grad()
    return found


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.allclose(first[n], second[n], rtol=1e-9, atol=1e-13) for n in first
    )


@pytest.mark.parametrize("scenes", [1, 2, 3, 6])
@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6, 100])
def test_chunked_gradient_is_the_whole_ones(scenes: int, chunk: int) -> None:
    generator, w, camera, objective = _setting(scenes)
    whole = backward_views(generator, w * 1.0, camera, objective)
    expected = _gradients(generator, w)
    assert {"w", "layout.weight", "tint.weight", "background"} <= set(expected)
    part = backward_views(generator, w * 1.0, camera, objective, chunk)
    assert _same(_gradients(generator, w), expected)
    assert part.keys() == whole.keys() == {"mse", "l1", "w_norm", "total"}
    assert all(torch.allclose(part[n], whole[n]) for n in whole)


@pytest.mark.parametrize("scenes", [1, 2, 3, 6])
def test_gradient_is_that_of_one_synthesis_a_view(scenes: int) -> None:
    generator, w, camera, objective = _setting(scenes)
    backward_views(generator, w, camera, objective)
    shared = _gradients(generator, w)
    for view in range(VIEWS):
        ws = w[view * scenes // VIEWS][None]
        seen = generator.render(generator.synthesize(ws), camera[view], outputs=("image",))
        objective.evaluate(seen, slice(view, view + 1))[0].backward()
    assert _same(_gradients(generator, w), shared)


def test_a_shared_scene_is_synthesised_once_whatever_the_chunk() -> None:
    generator, w, camera, objective = _setting(1)
    backward_views(generator, w, camera, objective, 2)
    assert generator.synthesised == [1] and generator.rendered == [2, 2, 2]


def test_latents_are_synthesised_in_one_batch() -> None:
    generator, w, camera, objective = _setting(6)
    backward_views(generator, w, camera, objective)
    assert generator.synthesised == [6] and generator.rendered == [6]
    backward_views(generator, w, camera, objective, 4)
    assert generator.synthesised[1:] == [4, 2] and generator.rendered[1:] == [4, 2]


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_losses_on_the_latent_see_the_clean_one(chunk: int | None) -> None:
    generator, w, camera, objective = _setting(1)
    noisy = w + 0.1
    sums = backward_views(generator, noisy, camera, objective, chunk, latent=w)
    assert torch.allclose(sums["w_norm"], VIEWS * w.square().mean())
    with_noise = _gradients(generator, w)["w"]
    backward_views(generator, noisy, camera, objective, chunk)
    pull = 0.3 * VIEWS * 2 * 0.1 / w[0].numel()
    assert torch.allclose(_gradients(generator, w)["w"] - with_noise, torch.full_like(w, pull))


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_frozen_latent_leaves_only_the_generators_gradient(chunk: int | None) -> None:
    generator, w, camera, objective = _setting(1)
    backward_views(generator, w.detach(), camera, objective, chunk)
    assert w.grad is None and generator.layout.weight.grad is not None


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_frozen_generator_gets_none(chunk: int | None) -> None:
    generator, w, camera, objective = _setting(2)
    generator.requires_grad_(False)
    backward_views(generator, w, camera, objective, chunk)
    assert set(_gradients(generator, w)) == {"w"}


def _spread(rendering: Rendering) -> Tensor:
    depth = rendering.require("depth")
    return (depth - depth.mean(0)).square().mean()


@pytest.mark.parametrize("scenes", [1, 2, 3, 6])
@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("sampling", ["deterministic", "stochastic"])
def test_joint_gradient_in_chunks(scenes: int, chunk: int, sampling: str) -> None:
    generator, camera = Counting(sampling), ToyGenerator(ToyConfig()).spec.camera
    generator.rng = torch.Generator()
    cameras = camera.orbit(torch.linspace(1, -1, VIEWS)).to(dtype=torch.float64)
    w = toy_latents(generator, scenes, seed=1, motion=0.5).requires_grad_()
    outcomes = []
    for limit in (None, chunk) if sampling == "deterministic" else (chunk, chunk):
        generator.rng.manual_seed(3)
        value = backward_joint(generator, w, cameras, _spread, ("depth",), limit, rng=generator.rng)
        outcomes.append((value, _gradients(generator, w)))
    assert torch.allclose(outcomes[0][0], outcomes[1][0])
    assert _same(outcomes[0][1], outcomes[1][1])
    assert generator.outputs == {"depth"}


def test_joint_gradient_with_random_rays_belongs_to_the_rays_of_its_value() -> None:
    """The second rendering of a chunk draws what the first drew: finite differences agree."""
    generator = Counting("stochastic")
    generator.rng = torch.Generator()
    cameras = generator.spec.camera.orbit(torch.linspace(1, -1, VIEWS)).to(dtype=torch.float64)
    w = toy_latents(generator, 2, seed=1, motion=0.5).requires_grad_()

    def value(ws: Tensor) -> Tensor:
        assert generator.rng is not None
        generator.rng.manual_seed(3)
        return backward_joint(generator, ws, cameras, _spread, ("depth",), 2, rng=generator.rng)

    value(w)
    gradient = _gradients(generator, w)["w"]
    step = 1e-5 * torch.randn(w.shape, generator=torch.Generator().manual_seed(0)).double()
    difference = value(w.detach() + step) - value(w.detach() - step)
    assert torch.allclose(difference / 2, (gradient * step).sum(), rtol=1e-3)


@pytest.mark.parametrize("scenes", [1, 3, 5])
@pytest.mark.parametrize("per_scene", [1, 2, 7])
@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 6, 50])
def test_chunks_cover_everything_once(scenes: int, per_scene: int, chunk: int | None) -> None:
    seen: list[int] = []
    blocks: list[int] = []
    for block, parts in chunks(scenes, per_scene, chunk):
        blocks += range(block.start, block.stop)
        views = _indices(parts)
        assert views == list(range(block.start * per_scene, block.stop * per_scene))
        assert len(parts) == 1 or block.stop - block.start == 1
        assert chunk is None or all(part.stop - part.start <= chunk for part in parts)
        seen += views
    assert blocks == list(range(scenes)) and seen == list(range(scenes * per_scene))


def _indices(parts: Sequence[slice]) -> list[int]:
    return [i for part in parts for i in range(part.start, part.stop)]
