"""Losses that the trainings of encoders share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.fit.loop import TOTAL, Metrics
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.ranger import Ranger
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.core.training import Lesson
from inv3d.core.weights.known import resolve_path
from inv3d.nn.encoders.published import start_trunk
from inv3d.nn.ir_se import IR_SE50_WEIGHTS
from inv3d.plugins.methods.encoders.options import EncoderTraining


def terms_of(generator: Generator, *layers: Mapping[str, LossTerm]) -> dict[str, LossTerm]:
    """Return losses: those of the last layer over those before it, or the generator's defaults."""
    given: dict[str, LossTerm] = {}
    for layer in layers:
        given |= {name: term.over(given.get(name)) for name, term in layer.items()}
    if given:
        return given
    return {name: LossTerm(weight=w) for name, w in generator.spec.default_losses.items()}


def compare(
    lesson: Lesson[Any],
    terms: Mapping[str, LossTerm],
    rendering: Rendering,
    images: Tensor,
    *,
    masks: Tensor | None = None,
    maps: Mapping[str, Tensor] | None = None,
) -> Metrics:
    """Return the losses between renderings and pictures, means over the pictures.

    Args:
        lesson: whose context builds the losses.
        terms: of the losses.
        rendering: of N views.
        images: [N, 3, H, W] in [-1, 1].
        masks: of the pictures, [N, 1, H, W], for losses that ask for them.
        maps: of the pictures, such as their uncertainty.

    Returns:
        Name -> scalar, with their weighted sum as "total".
    """
    rays = lesson.generator.spec.render_resolution
    target = Target(images, masks, rays=rays, maps=maps or {})
    objective = Objective(lesson.context.losses(terms), target)
    count = len(images)
    total, parts = objective.evaluate(rendering, slice(0, count))
    return {name: value / count for name, value in parts.items()} | {TOTAL: total / count}


def adds(made: Metrics, extra: Mapping[str, tuple[float, Tensor]]) -> Metrics:
    """Return losses with further ones, name -> weight and scalar, added to the total.

    Args:
        made: losses with a "total", or none at all.
        extra: those with a weight of 0 are left out.
    """
    weighed = {name: (weight, value) for name, (weight, value) in extra.items() if weight}
    totals = [made[TOTAL]] if TOTAL in made else []
    totals += [weight * value for weight, value in weighed.values()]
    values = {name: value.detach() for name, (_, value) in weighed.items()}
    return {**made, **values, TOTAL: torch.stack(totals).sum()}


def prefixed(prefix: str, metrics: Metrics) -> Metrics:
    """Return metrics without their total, under longer names."""
    return {f"{prefix}{n}": v.detach() for n, v in metrics.items() if n != TOTAL}


def optimizer_of(parameters: Iterable[nn.Parameter], training: EncoderTraining) -> Optimizer:
    """Return the optimiser that a training names."""
    if training.optimizer == "ranger":
        return Ranger(parameters, lr=training.lr)
    return torch.optim.Adam(parameters, lr=training.lr)


def start_trunks(
    parts: Iterable[nn.Module], training: EncoderTraining, rng: torch.Generator
) -> None:
    """Give trunks the weights of the face recognition network, where a training wants it.

    Raises:
        WeightsError: where the file is missing, damaged or of other sizes.
    """
    path = resolve_path(training.trunk, (IR_SE50_WEIGHTS,), "option 'training.trunk'")
    for part in parts if path is not None else ():
        assert path is not None
        start_trunk(part, path, rng)
