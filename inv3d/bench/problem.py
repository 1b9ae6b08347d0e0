"""What both ways are given, and our way to take a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inv3d.bench.cases import SEED, Case
from inv3d.core.camera import Camera
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Stage
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import neutral_condition
from inv3d.core.latent import latent_statistics
from inv3d.core.loss import Target
from inv3d.nn.eg3d.generator import TriplaneGenerator

Mode = Literal["forward", "w+", "tuning"]

# Both ways must meet the same weights in every repeat; the optimiser works as hard at rate zero.
RATE = 0.0
_YAW_DEG = 60.0
_STATISTICS = 500


@dataclass(frozen=True)
class Setting:
    """A network, a latent and cameras.

    Attributes:
        generator: on its device, frozen.
        ws: [1, num_ws, w_dim].
        camera: N cameras.
    """

    generator: TriplaneGenerator
    ws: Tensor
    camera: Camera


@dataclass(frozen=True)
class Problem:
    """What both steps are given.

    Attributes:
        mode: "w+" (ws changes) or "tuning" (the generator changes).
        setting: network, latent, cameras.
        target: N targets.
        losses: name -> loss and weight.
        variables: what changes, by name.
    """

    mode: Mode
    setting: Setting
    target: Target
    losses: Mapping[str, WeightedLoss]
    variables: Mapping[str, Tensor]


def make_setting(case: Case, views: int, device: torch.device) -> Setting:
    """Return a seeded latent and cameras around the head."""
    generator = case.generator.to(device).eval().requires_grad_(False)
    spec = generator.spec
    yaw = torch.deg2rad(torch.linspace(-_YAW_DEG, _YAW_DEG, views + 2)[1:-1])
    rng = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        z = torch.randn(1, spec.z_dim, generator=rng).to(device, generator.dtype)
        ws = generator.map(z, neutral_condition(generator)).clone()
    return Setting(generator, ws, spec.camera.orbit(yaw).to(device, generator.dtype))


def make_problem(case: Case, mode: Mode, setting: Setting) -> Problem:
    """Return targets of seeded noise and losses in the generator's own type."""
    generator, views = setting.generator, len(setting.camera)
    rng = torch.Generator().manual_seed(SEED)
    size = generator.spec.resolution
    images = torch.rand(views, 3, size, size, generator=rng) * 2 - 1
    terms = {name: LossTerm(weight=weight) for name, weight in case.losses.items()}
    anchor = None
    if mode == "w+":
        anchor = latent_statistics(generator, _STATISTICS).mean[None]
        terms["w_norm"] = LossTerm(weight=1.0)
    losses = Context.create(generator.device, SEED).losses(terms)
    for one in losses.values():
        one.loss.to(generator.dtype)
    return Problem(
        mode,
        setting,
        Target(images.to(setting.ws), anchor=anchor),
        losses,
        {"ws": setting.ws} if mode == "w+" else dict(generator.named_parameters()),
    )


class OurStep:
    """A step of the optimisation loop that `3dinv run` goes through.

    Args:
        problem: what is optimised.
        chunk: views rendered at a time, None: all.

    Attributes:
        steps: that one call takes; the loop reads losses from the device once for all of them.
    """

    def __init__(self, problem: Problem, chunk: int | None = None) -> None:
        setting = problem.setting
        context = Context.create(setting.generator.device, SEED, view_chunk=chunk)
        look = Look(setting.camera, Objective(problem.losses, problem.target))

        def update(step: int) -> Metrics:
            return context.backward(setting.generator, setting.ws, look)

        groups = {"variables": Group(problem.variables, constant(RATE))}
        self.steps = context.state.read_every
        self._progress = context.run(Stage(problem.mode, 1 << 30, groups, {"fit": update}))

    def __call__(self) -> dict[str, float]:
        """Take the steps and return every loss summed over the views, "total" weighted."""
        taken = [next(self._progress) for _ in range(self.steps)]
        return taken[-1].losses
