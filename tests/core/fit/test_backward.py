"""Gradients in chunks are the gradients of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.fit.backward import Joint, Look, Source, backward, latent_source
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.terms import LossTerm
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


def backward_views(
    generator: ToyGenerator,
    ws: Tensor,
    camera: Camera,
    objective: Objective,
    chunk: int | None = None,
    *,
    latent: Tensor | None = None,
) -> dict[str, Tensor]:
    """One look with an objective."""
    source = latent_source(generator, ws, latent=latent)
    return backward(generator, source, [Look(camera, objective)], chunk=chunk)


def backward_joint(
    generator: ToyGenerator,
    ws: Tensor,
    camera: Camera,
    function: Joint,
    chunk: int | None = None,
) -> Tensor:
    """One look with a joint function of the depth."""
    look = Look(camera, joint=function, outputs=("depth",))
    source = latent_source(generator, ws)
    return backward(generator, source, [look], chunk=chunk, rng=generator.rng)["total"]


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


def _spread(rendering: Rendering, camera: Camera) -> Tensor:
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
        value = backward_joint(generator, w, cameras, _spread, limit)
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
        return backward_joint(generator, ws, cameras, _spread, 2)

    value(w)
    gradient = _gradients(generator, w)["w"]
    step = 1e-5 * torch.randn(w.shape, generator=torch.Generator().manual_seed(0)).double()
    difference = value(w.detach() + step) - value(w.detach() - step)
    assert torch.allclose(difference / 2, (gradient * step).sum(), rtol=1e-3)


class Noisy(Counting):
    """Draws when it makes scenes, as networks with random noise do."""

    def synthesize(self, ws: Tensor) -> Scene:
        shape = (len(ws), 8, 3)
        noise = torch.randn(shape, generator=self.rng, dtype=torch.float64)
        return super().synthesize(ws) + {"centres": 0.1 * noise}


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
def test_joint_gradient_belongs_to_the_scenes_of_its_value(chunk: int | None) -> None:
    """Scenes that are made twice are the same: finite differences agree."""
    _, w, camera, objective = _setting(2)
    generator, rng = Noisy("stochastic"), torch.Generator()
    generator.rng = rng
    joint = Look(camera, joint=_spread, outputs=("depth",))
    looks = [joint, Look(camera, objective)]

    def value(ws: Tensor) -> Tensor:
        rng.manual_seed(3)
        return backward(generator, latent_source(generator, ws), looks, chunk=chunk, rng=rng)[
            "total"
        ]

    value(w)
    gradient = _gradients(generator, w)["w"]
    step = 1e-5 * torch.randn(w.shape, generator=torch.Generator().manual_seed(0)).double()
    difference = value(w.detach() + step) - value(w.detach() - step)
    assert torch.allclose(difference / 2, (gradient * step).sum(), rtol=1e-3)


# --- several looks, cameras and offsets as variables


class Variables:
    """A latent, the yaw of four cameras and an offset of the scene, and two looks at it."""

    def __init__(self) -> None:
        self.generator = Counting()
        self.generator.requires_grad_(False)
        self.capture = toy_capture(self.generator, 4, seed=2).to("cpu", torch.float64)
        self.ws = toy_latents(self.generator, 1, seed=1).requires_grad_()
        self.yaw = self.capture.camera.yaw.clone().requires_grad_()
        parts = self.generator.synthesize(self.ws.detach()).parts
        self.offset = {"centres": torch.zeros_like(parts["centres"]).requires_grad_()}
        self.generator.synthesised, self.generator.rendered = [], []
        context = Context.create()
        terms = {"mse": LossTerm(weight=1.0), "l1": LossTerm(weight=0.1)}
        images = self.capture.images
        self.near = context.objective(terms, Target(images))
        self.far = context.objective({"mse": LossTerm(weight=1.0)}, Target(images[:2]))

    def looks(self) -> list[Look]:
        cameras = self.generator.spec.camera.orbit(self.yaw)
        fixed = self.capture.camera
        return [
            Look(cameras, self.near),
            Look(fixed[[0, 1]], self.far, resolution=8, weight=0.5, name="far"),
            Look(cameras, joint=_towards, outputs=("depth",), weight=0.3, name="joint"),
        ]

    def gradients(self) -> list[Tensor]:
        variables = [self.ws, self.yaw, *self.offset.values()]
        found = [v.grad for v in variables if v.grad is not None]
        assert len(found) == 3
        for variable in variables:
            variable.grad = None
        return found

    def source(self) -> Source:
        return latent_source(self.generator, self.ws, offset=self.offset)


def _towards(rendering: Rendering, camera: Camera) -> Tensor:
    """A function of depth and cameras: the mean height of all points that are seen."""
    depth = rendering.require("depth").flatten(1)
    origins, directions = camera.rays(rendering.require("depth").shape[-1])
    return (origins + directions * depth[..., None])[..., 1].square().mean()


def _one_graph(case: Variables) -> None:
    """Everything in one graph, without chunks and cuts."""
    scene = case.generator.synthesize(case.ws) + case.offset
    near, far, joint = case.looks()
    assert near.objective is not None and far.objective is not None
    seen = case.generator.render(scene, near.camera, outputs=("image",))
    total = near.objective.evaluate(seen, slice(0, 4))[0]
    seen = case.generator.render(scene, far.camera, outputs=("image",), resolution=8)
    total = total + 0.5 * far.objective.evaluate(seen, slice(0, 2))[0]
    seen = case.generator.render(scene, joint.camera, outputs=("depth",))
    (total + 0.3 * _towards(seen, joint.camera)).backward()


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 4])
def test_several_looks_share_one_synthesis_and_cameras_are_variables(chunk: int | None) -> None:
    case = Variables()
    _one_graph(case)
    expected = case.gradients()
    case.generator.synthesised = []
    sums = backward(case.generator, case.source(), case.looks(), chunk=chunk)
    for found, wanted in zip(case.gradients(), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-13)
    # a joint function that is split looks ahead, with a synthesis of its own
    assert case.generator.synthesised == ([1] if chunk in (None, 4) else [1, 1])
    assert {"mse", "l1", "far/mse", "total"} == set(sums)
    losses = sums["mse"] + 0.1 * sums["l1"] + 0.5 * sums["far/mse"]
    assert losses < sums["total"] < losses + 1


def test_a_source_can_be_any_function_of_rows() -> None:
    generator, w, camera, objective = _setting(3)
    backward_views(generator, w * 0.5, camera, objective)
    expected = _gradients(generator, w)

    def make(rows: slice, inputs: Mapping[str, Tensor]) -> Scene:
        return generator.synthesize(inputs["w"][rows] * 0.5)

    source = Source(make, 3, {"w": w}, w * 0.5)
    backward(generator, source, [Look(camera, objective)], chunk=2)
    assert _same(_gradients(generator, w), expected)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_offsets_of_one_or_of_every_scene(rows: int, chunk: int | None) -> None:
    generator, w, camera, objective = _setting(3)
    offset = {"looks": torch.full((rows, 8, 5), 0.1).double().requires_grad_()}
    source = latent_source(generator, w, offset=offset)
    backward(generator, source, [Look(camera, objective)], chunk=chunk)
    gradient, offset["looks"].grad = offset["looks"].grad, None
    scene = generator.synthesize(w) + offset
    seen = generator.render(scene, camera, outputs=("image",))
    objective.evaluate(seen, slice(0, VIEWS))[0].backward()
    assert gradient is not None and offset["looks"].grad is not None
    assert torch.allclose(gradient, offset["looks"].grad, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("chunk", range(1, 13))
def test_a_joint_function_sees_all_views_though_another_look_has_more(chunk: int) -> None:
    """Scenes come a few at a time for the other look, so that its few views are split too."""
    generator, w, camera, objective = _setting(3)
    looks = [Look(camera[::2], joint=_spread, outputs=("depth",)), Look(camera, objective)]
    whole = backward(generator, latent_source(generator, w), looks)
    expected = _gradients(generator, w)
    parts = backward(generator, latent_source(generator, w), looks, chunk=chunk)
    assert torch.allclose(parts["total"], whole["total"])
    assert _same(_gradients(generator, w), expected)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("name", ["image", "ws"])
def test_a_joint_function_is_given_what_it_asked_for_alone(name: Any, chunk: int | None) -> None:
    """What it didn't ask for would get no gradient where its views are split."""
    generator, w, camera, objective = _setting(1)

    def joint(rendering: Rendering, cameras: Camera) -> Tensor:
        return rendering.require("depth").mean() + rendering.require(name).mean()

    look = Look(camera, objective, joint, outputs=("depth",))
    with pytest.raises(ValueError, match=f"has no {name}: ask for it"):
        backward(generator, latent_source(generator, w), [look], chunk=chunk)


def test_offsets_that_do_not_fit_the_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="offset 'looks': 5 rows for 3 scenes, expected 1 or 3"):
        latent_source(Counting(), torch.zeros(3, 4, 8), offset={"looks": torch.zeros(5, 8, 5)})


def test_a_pass_without_looks_is_refused() -> None:
    generator, w, _, _ = _setting(1)
    with pytest.raises(ValueError, match="at least one look"):
        backward(generator, latent_source(generator, w), [])


def test_cameras_that_do_not_fit_the_scenes_are_refused() -> None:
    generator, w, camera, objective = _setting(2)
    with pytest.raises(ValueError, match="5 cameras can't be shared by 2 scenes"):
        backward_views(generator, w, camera[:5], objective)
    with pytest.raises(ValueError, match="6 targets for 4 cameras"):
        backward_views(generator, w, camera[:4], objective)


@pytest.mark.parametrize("scenes", [1, 2, 3, 6])
@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 5, 50])
def test_every_view_is_rendered_once(scenes: int, chunk: int | None) -> None:
    generator, w, camera, objective = _setting(scenes)
    backward_views(generator, w, camera, objective, chunk)
    assert sum(generator.rendered) == VIEWS and sum(generator.synthesised) == scenes
    assert chunk is None or max(generator.rendered) <= chunk
