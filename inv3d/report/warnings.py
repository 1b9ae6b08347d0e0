"""What a user should know before trusting a result: one sentence each, with what to try."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.framing import framing_warnings
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.latent import latent_statistics
from inv3d.report.plots import stages

FAR_DEVIATIONS = 4.0
STILL_FALLING = 0.03
# the same where the rate falls to nothing, which lowers a loss by itself
STILL_FALLING_RAMPED = 0.08
# standard errors: steps that take a few views each have losses that differ by their views
CERTAIN = 2.0
RISEN = 1.5
OVERFIT = 2.0
LOW_IDENTITY_DROP = 0.3
_WINDOW = 0.1
_MIN_STEPS = 40
_STATISTIC_SAMPLES = 2000


def find_warnings(
    generator: Generator,
    inversion: Inversion,
    capture: Capture,
    metrics: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return everything worth a warning.

    Args:
        generator: that was inverted.
        inversion: the result.
        capture: all frames.
        metrics: as `evaluate` returns them.
        log: rows of steps.jsonl.
    """
    return [
        *framing_warnings(capture.camera, generator.spec, capture.names),
        *latent_warnings(generator, inversion),
        *loss_warnings(log),
        *held_out_warnings(metrics),
    ]


def latent_warnings(generator: Generator, inversion: Inversion) -> list[str]:
    """Warn of latents far from the mean latent, which edit and rotate badly."""
    worst = float(deviations(generator, inversion.ws).max())
    if worst <= FAR_DEVIATIONS:
        return []
    return [
        f"the latent lies {worst:.1f} standard deviations from the generator's mean "
        f"(random heads lie 1 away): other views and edits suffer; give w_norm more weight or "
        "take fewer steps"
    ]


@torch.no_grad()
def deviations(generator: Generator, ws: Tensor) -> Tensor:
    """Return the root mean square deviation of every latent from the mean, in deviations of W.

    Args:
        generator: whose W.
        ws: [M, num_ws, w_dim].

    Returns:
        [M]; about 1 for latents that are mapped from random z.
    """
    facts = latent_statistics(generator, _STATISTIC_SAMPLES)
    mean, deviation = facts.mean.to(ws), facts.deviation.to(ws).clamp_min(1e-6)
    return ((ws - mean) / deviation).square().mean((1, 2)).sqrt()


def loss_warnings(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warn of stages that ended too early or went wrong."""
    found = []
    for name, rows in stages(log).items():
        totals = [row["losses"].get("total") for row in rows]
        values = [value for value in totals if value is not None]
        if len(values) < _MIN_STEPS:
            continue
        window = max(2, round(len(values) * _WINDOW))
        share = STILL_FALLING_RAMPED if _ramped(rows) else STILL_FALLING
        last, before = _median(values[-window:]), _median(values[-2 * window : -window])
        if last > RISEN * _median(sorted(values)[:window]):
            found.append(
                f"stage '{name}' ended at {last / min(values):.1f} times its lowest loss; "
                "try a lower learning rate"
            )
        elif _falling(values[-2 * window :], share):
            found.append(
                f"stage '{name}' was still improving at its end (by {1 - last / before:.0%} over "
                f"the last {window} steps); more steps may help"
            )
    return found


def _falling(values: Sequence[float], share: float) -> bool:
    """Whether the second half of some losses is lower by a share, and by more than by chance."""
    half = len(values) // 2
    before, last = values[:half], values[half:]
    fall = _median(before) - _median(last)
    error = math.sqrt((statistics.variance(before) + statistics.variance(last)) / half)
    return fall > share * _median(before) and fall > CERTAIN * error


def _ramped(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a stage's rate is far below its largest at its end; logs of others may have none."""
    given = [row.get("lr") for row in rows]
    rates = [max(lr.values(), default=0.0) for lr in given if isinstance(lr, Mapping)]
    return bool(rates) and rates[-1] < max(rates) / 2


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def held_out_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Warn where views that the method never saw are much worse than those that it fitted."""
    chosen, held_out = metrics["chosen"], metrics["held_out"]
    found = []
    if _both(chosen, held_out, "mse") and held_out["mse"] > OVERFIT * max(chosen["mse"], 1e-5):
        found.append(
            f"held-out views are {held_out['mse'] / max(chosen['mse'], 1e-9):.1f} times worse "
            f"(MSE) than the fitted ones: overfitted; use more views, fewer steps or "
            "stronger regularisers"
        )
    if (
        _both(chosen, held_out, "identity")
        and chosen["identity"] - held_out["identity"] > LOW_IDENTITY_DROP
    ):
        found.append(
            f"the identity is lost between views: ID {chosen['identity']:.2f} on fitted views, "
            f"{held_out['identity']:.2f} on held-out ones"
        )
    return found


def _both(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    return first[name] is not None and second[name] is not None
