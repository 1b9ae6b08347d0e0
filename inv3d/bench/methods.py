"""Time to quality: inversions of one capture, one after the other in one process."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inv3d.bench.results import MethodRun
from inv3d.bench.timing import Clock, finish
from inv3d.core.config import parse_overrides
from inv3d.core.errors import ConfigError
from inv3d.core.fit.loop import Progress
from inv3d.core.inversion import Inversion
from inv3d.report.metrics import evaluate
from inv3d.runs.prepare import PreparedRun, Request, prepare

METRICS = ("mse", "perceptual", "identity")
# it isn't shown, and takes long
_CONSISTENCY_VIEWS = 2


@dataclass(frozen=True)
class Entry:
    """A run that takes part.

    Attributes:
        text: as it was given: METHOD or METHOD:PRESET, then NAME=VALUE words.
        request: the same for `prepare`.
    """

    text: str
    request: Request


def read_entry(text: str, common: Request) -> Entry:
    """Read "multiview:fast latent.steps=20".

    Args:
        text: method, preset after a colon, then options as of `--set`.
        common: what all runs share; its options are the generator's.

    Raises:
        ConfigError: where there's no method in it, or an option isn't NAME=VALUE.
    """
    try:
        name, *settings = shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"--run {text!r}: expected METHOD, or 'METHOD:PRESET NAME=VALUE ...'"
        ) from error
    method, colon, preset = name.partition(":")
    if not method or (colon and not preset):
        raise ConfigError(f"--run {text!r}: expected METHOD, or 'METHOD:PRESET NAME=VALUE ...'")
    options = {**common.options, **parse_overrides(settings)}
    return Entry(text, replace(common, method=method, preset=preset or None, options=options))


def compare_methods(entries: Sequence[Entry], clock: Clock) -> Iterator[MethodRun]:
    """Prepare all runs, so that a mistake is answered at once; then invert and measure each.

    Raises:
        InvError: of the kind that fits what's wrong.
    """
    for entry in entries:
        prepare(entry.request)
    first: float | None = None
    for entry in entries:
        run = prepare(entry.request)
        inversion, wall, cpu, steps = _invert(run)
        spent = wall if clock == "wall" else cpu
        first = first or spent
        metrics = _metrics(run, inversion)
        held_out = {name: metrics["held_out"].get(name) for name in METRICS}
        notes = {n: text for n, text in metrics["notes"].items() if n in METRICS}
        yield MethodRun(entry.text, wall, cpu, first / max(spent, 1e-9), steps, held_out, notes)


def _invert(run: PreparedRun) -> tuple[Inversion, float, float, int]:
    """Take all steps; the result, wall and CPU seconds, and how many steps there were."""
    taken: list[Progress] = []
    chosen, context = run.capture[run.plan.input.chosen], run.context(None)
    finish(run.device)
    wall, cpu = time.perf_counter(), time.process_time()
    inversion = run.method.invert(run.generator, chosen, context, taken.append)
    finish(run.device)
    return inversion, time.perf_counter() - wall, time.process_time() - cpu, len(taken)


def _metrics(run: PreparedRun, inversion: Inversion) -> dict[str, Any]:
    """Measure the frames that were held out."""
    part = run.plan.input
    return evaluate(
        run.generator,
        inversion,
        run.capture,
        part.chosen,
        part.held_out,
        run.device,
        consistency_views=_CONSISTENCY_VIEWS,
    )
