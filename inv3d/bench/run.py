"""A whole benchmark: machine, stages or methods, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import torch

from inv3d import __version__
from inv3d.bench.cases import SEED, Choice, make_case
from inv3d.bench.machine import describe_machine
from inv3d.bench.measure import Plan, measure
from inv3d.bench.methods import Entry, compare_methods
from inv3d.bench.results import Item, Report, Settings

Told = Callable[[Item], None]


def run_stages(what: str, choice: Choice, plan: Plan, device: torch.device, told: Told) -> Report:
    """Measure stages of a network.

    Args:
        what: was asked for, a stage or "all".
        choice: of the network.
        plan: how.
        device: where.
        told: is given every result as soon as it's there.

    Raises:
        InvError: where the network can't be built, or the reference doesn't compute it.
    """
    case = make_case(choice)
    settings = Settings(
        what,
        choice.size,
        case.note,
        tuple(plan.views),
        plan.repeats,
        case.chunk,
        plan.precision,
        plan.upsampling,
        plan.clock,
        dict(choice.options or {}),
        SEED,
    )
    machine = describe_machine(device, plan.precision, plan.clock)
    report = Report(_now(), __version__, machine, settings)
    for item in measure(case, plan, machine):
        report.add(item)
        told(item)
    return report


def run_methods(
    entries: Sequence[Entry], plan: Plan, choice: Choice, device: torch.device, told: Told
) -> Report:
    """Compare inversions of one capture.

    Args:
        entries: the runs.
        plan: whose views, clock and precision count.
        choice: of the generator.
        device: where.
        told: is given every result as soon as it's there.

    Raises:
        InvError: of the kind that fits what's wrong.
    """
    request = entries[0].request
    settings = Settings(
        "methods",
        choice.size,
        f"{request.generator}, {request.input}, seed {request.seed}",
        tuple(plan.views),
        1,
        choice.chunk,
        plan.precision,
        plan.upsampling,
        plan.clock,
        dict(choice.options or {}),
        request.seed,
    )
    machine = describe_machine(device, plan.precision, plan.clock)
    report = Report(_now(), __version__, machine, settings)
    for item in compare_methods(entries, plan.clock):
        report.add(item)
        told(item)
    return report


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
