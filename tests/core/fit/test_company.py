"""Runs that keep one another company get what they'd get alone, from fewer passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import DivergedError, RunError
from inv3d.core.fit.backward import Look, latent_source
from inv3d.core.fit.company import Company, present
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Stage
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.terms import LossTerm
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering, Scene
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents

STEPS = 5
TERMS = {"mse": LossTerm(), "l1": LossTerm(weight=0.1), "w_norm": LossTerm(weight=0.3)}


class Counting(ToyGenerator):
    """Adds up what all of them were asked for, and may have room for few views only."""

    synthesised: list[int]
    room: int

    def __init__(self, sampling: str = "deterministic") -> None:
        super().__init__(ToyConfig(sampling=sampling))  # type: ignore[arg-type]
        self.double().requires_grad_(False)

    def synthesize(self, ws: Tensor) -> Scene:
        self.synthesised.append(len(ws))
        return super().synthesize(ws)

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        if len(camera) > self.room:
            raise torch.OutOfMemoryError(f"{len(camera)} views")
        return super().render(scene, camera, **options)


@pytest.fixture(autouse=True)
def counts() -> list[int]:
    Counting.synthesised, Counting.room = [], 99
    return Counting.synthesised


class Fit:
    """A run in W+ of a few views, with further looks where they're wanted."""

    def __init__(self, seed: int, views: int = 3, **how: Any) -> None:
        sampling = how.pop("sampling", "deterministic")
        self.generator = Counting(sampling)
        self.context = Context.create(seed=seed, **how)
        self.generator.rng = self.context.state.generators["render"]
        self.capture = toy_capture(ToyGenerator(ToyConfig()), views, seed).to("cpu", torch.float64)
        self.ws = toy_latents(self.generator, 1, seed=seed + 7).requires_grad_()
        self.offset: dict[str, Tensor] = {}
        self.joint = False
        self.losses: list[dict[str, float]] = []

    def looks(self) -> list[Look]:
        camera = self.capture.camera
        target = Target(self.capture.images, anchor=self.ws.detach()[0, :1] + 0.1)
        looks = [Look(camera, self.context.objective(TERMS, target))]
        if self.joint:
            looks.append(Look(camera, joint=self._spread, outputs=("depth",), weight=0.5))
        return looks

    def _spread(self, rendering: Rendering, camera: Camera) -> Tensor:
        return rendering.require("depth").var() + 0.1 * camera.cam2world.square().sum()

    def run(self) -> Tensor:
        looks = self.looks()

        def update(step: int) -> dict[str, Tensor]:
            source = latent_source(self.generator, self.ws, offset=self.offset)
            return self.context.backward(self.generator, source, *looks)

        groups = {"ws": Group({"ws": self.ws}, constant(0.03))}
        for step in self.context.run(Stage("fit", STEPS, groups, {"fit": update})):
            self.losses.append(step.losses)
        return self.ws.detach()


def in_company(fits: list[Fit], most: int = 9) -> Company:
    """Run them together."""
    company = Company(most)
    company.run([fit.run for fit in fits])
    return company


def same(makes: list[Callable[[], Fit]], most: int = 9) -> Company:
    """They get the same latents and losses together as alone."""
    together, apart = [make() for make in makes], [make() for make in makes]
    company = in_company(together, most)
    for fit, other in zip(together, apart, strict=True):
        torch.testing.assert_close(fit.ws.detach(), other.run(), rtol=1e-9, atol=1e-9)
        for found, expected in zip(fit.losses, other.losses, strict=True):
            assert found == pytest.approx(expected, rel=1e-9)
    return company


def test_runs_alike_share_every_pass_but_the_first(counts: list[int]) -> None:
    fits = [Fit(seed) for seed in range(3)]
    in_company(fits)
    assert counts == [1, 1, 1] + [3] * (STEPS - 1)
    same([partial(Fit, seed) for seed in range(3)])


def test_no_more_than_wanted_are_computed_as_one(counts: list[int]) -> None:
    in_company([Fit(seed) for seed in range(5)], most=2)
    assert counts == [1] * 5 + [2, 2, 1] * (STEPS - 1)


def test_several_looks_and_joint_functions() -> None:
    def make(seed: int) -> Fit:
        fit = Fit(seed)
        fit.joint = True
        return fit

    assert same([partial(make, seed) for seed in range(2)]).shared == 2 * (STEPS - 1)


def test_offsets_are_each_runs_own() -> None:
    def make(seed: int) -> Fit:
        fit = Fit(seed)
        parts = ToyGenerator.synthesize(fit.generator, fit.ws.detach()).parts
        name, part = next(iter(parts.items()))
        fit.offset = {name: 0.01 * (seed + 1) * torch.ones_like(part)}
        return fit

    assert same([partial(make, seed) for seed in range(2)]).shared == 2 * (STEPS - 1)


def test_other_numbers_of_views_keep_to_themselves() -> None:
    company = same([partial(Fit, 0), partial(Fit, 1, views=2), partial(Fit, 2)])
    assert company.shared == 2 * (STEPS - 1)


def test_random_rays_are_each_runs_own() -> None:
    assert same([partial(Fit, seed, sampling="stochastic") for seed in range(2)]).shared == 0


@pytest.mark.parametrize("what", ["tuned", "trained", "chunked"])
def test_what_belongs_to_one_run_is_not_shared(what: str) -> None:
    def make(seed: int) -> Fit:
        fit = Fit(seed, view_chunk=2 if what == "chunked" else None)
        fit.generator.tuned = what == "tuned"
        fit.generator.tint.weight.requires_grad_(what == "trained")
        return fit

    assert same([partial(make, seed) for seed in range(2)]).shared == 0


def test_where_memory_runs_out_fewer_are_computed_as_one(counts: list[int]) -> None:
    Counting.room = 6
    company = in_company(fits := [Fit(seed) for seed in range(4)])
    assert company.most == 2
    # each alone, all four in vain and then each alone, two and two from there on
    assert counts == [1] * 4 + [4] + [1] * 4 + [2, 2] * (STEPS - 2)
    assert all(fit.context.state.view_chunk is None for fit in fits)
    Counting.room = 99
    torch.testing.assert_close(fits[0].ws.detach(), Fit(0).run(), rtol=1e-9, atol=1e-9)


def test_a_run_without_room_renders_fewer_views_alone() -> None:
    Counting.room = 2
    fits = [Fit(seed) for seed in range(2)]
    assert in_company(fits).shared == 0
    assert [fit.context.state.view_chunk for fit in fits] == [1, 1]


def test_runs_of_other_lengths_and_failures_hold_up_nobody() -> None:
    def fail() -> Tensor:
        raise RunError("no head")

    def spoil(fit: Fit) -> Mapping[str, Tensor]:
        fit.capture.images[:] = torch.nan
        return {"ws": fit.run()}

    fit = Fit(1)
    with pytest.raises(RunError, match="no head"):
        Company(3).run([fail, fit.run, lambda: Fit(2).run()])
    torch.testing.assert_close(fit.ws.detach(), Fit(1).run(), rtol=1e-9, atol=1e-9)
    bad, good = Fit(3), Fit(1)
    with pytest.raises(DivergedError, match="finite"):
        Company(2).run([partial(spoil, bad), good.run])
    torch.testing.assert_close(good.ws.detach(), Fit(1).run(), rtol=1e-9, atol=1e-9)


def test_a_pass_that_cant_say_what_it_is_like_fails_alone() -> None:
    bad, good = Fit(0), Fit(1)
    bad.generator.config = SimpleNamespace(sampling="deterministic")  # type: ignore[assignment]
    with pytest.raises(AttributeError, match="model_dump_json"):
        in_company([bad, good])
    torch.testing.assert_close(good.ws.detach(), Fit(1).run(), rtol=1e-9, atol=1e-9)


def test_one_run_is_awake_at_a_time_and_what_each_returns_comes_in_order() -> None:
    awake: list[int] = []

    def work(number: int) -> int:
        assert present()
        for _ in range(50):
            awake.append(number)
            assert awake[-1] == number
        return number

    assert Company(4).run([partial(work, number) for number in range(4)]) == [0, 1, 2, 3]
    assert all(len(set(awake[i : i + 50])) == 1 for i in range(0, 200, 50))
    assert not present()
