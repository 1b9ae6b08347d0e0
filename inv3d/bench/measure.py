"""Measuring stages: one item after the other, each as soon as it's known."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from inv3d.bench.agreement import TOLERANCES, compare
from inv3d.bench.cases import Case
from inv3d.bench.machine import Machine
from inv3d.bench.problem import Mode
from inv3d.bench.profiles import profile_call
from inv3d.bench.reference import ReferenceNetwork, Upsampling
from inv3d.bench.results import Exact, Item, Limit, Memory, Profile, Row
from inv3d.bench.timing import Clock, peak_bytes, take_turns
from inv3d.bench.turntable import turntable
from inv3d.bench.ways import Pair, StageName, make_pair
from inv3d.bench.work import work_of
from inv3d.nn.choices import Precision

# two, so that gradients of views are added up; one rendered at a time, so that graphs are cut
EXACT_VIEWS = 2
_TURNTABLE_FRAMES = 12


@dataclass(frozen=True)
class Plan:
    """How stages are measured.

    Attributes:
        stages: which.
        views: numbers of views, ascending.
        repeats: of the timing.
        clock: whose seconds make ratios.
        precision: of the generator's convolutions.
        memory: whether to measure memory too.
        exact: whether to compare in double precision too.
        profile: whether to profile steps too.
        upsampling: of the reference's convolutions.
    """

    stages: Sequence[StageName]
    views: Sequence[int]
    repeats: int
    clock: Clock = "wall"
    precision: Precision = "fp32"
    memory: bool = True
    exact: bool = True
    profile: bool = False
    upsampling: Upsampling = "transposed"


def modes_of(stage: StageName) -> tuple[Mode, ...]:
    """Return the modes of a stage; a step always has gradients."""
    return ("w+", "tuning") if stage == "step" else ("forward", "w+", "tuning")


def measure(case: Case, plan: Plan, machine: Machine) -> Iterator[Item]:
    """Measure every stage in every mode for every number of views.

    Raises:
        ConfigError: for options that the reference doesn't compute.
    """
    device = torch.device(machine.device)
    network = ReferenceNetwork(case.generator.to(device), plan.upsampling)
    for stage in plan.stages:
        # the backbone sees no camera
        views = plan.views if stage != "backbone" else plan.views[:1]
        for mode in modes_of(stage):
            for count in views:
                yield from _measured(case, network, plan, machine, stage, mode, count)
        if stage == "render":
            yield turntable(case.generator, max(_TURNTABLE_FRAMES, *views), device)
    if plan.exact:
        # a step goes through all stages
        for stage in ("step",) if "step" in plan.stages else plan.stages:
            yield from _exactly(case, plan, stage)


def _measured(
    case: Case,
    network: ReferenceNetwork,
    plan: Plan,
    machine: Machine,
    stage: StageName,
    mode: Mode,
    views: int,
) -> Iterator[Item]:
    device = torch.device(machine.device)
    pair = make_pair(case, network, stage, mode, views, plan.precision)
    with pair.ready():
        agreement = compare(pair)  # warms both up
        turns = take_turns(pair.ours, pair.reference, plan.repeats, device, plan.clock)
        memory = _memory(pair, device) if plan.memory else None
        profiles = list(_profiles(pair, device)) if plan.profile and stage == "step" else []
    work = work_of(case, network, stage, mode, views)
    least = work.seconds(machine.rates)
    own, theirs = (
        least / max(seconds.by(plan.clock).median, 1e-12)
        for seconds in (turns.ours, turns.reference)
    )
    agrees = agreement.within(TOLERANCES[plan.precision])
    limit = Limit(work.operations, work.bytes, least, own, theirs)
    ours, reference, ratio = turns.ours, turns.reference, turns.ratio
    yield Row(stage, mode, views, ours, reference, ratio, agreement, agrees, memory, limit)
    yield from profiles


def _memory(pair: Pair, device: torch.device) -> Memory:
    peaks = []
    for way in (pair.ours, pair.reference):
        pair.forget()
        peaks.append(peak_bytes(way.call, device))
    return Memory(*peaks)


def _profiles(pair: Pair, device: torch.device) -> Iterator[Profile]:
    for name, way in (("reference", pair.reference), ("ours", pair.ours)):
        operations = profile_call(way.call, device, way.steps)
        yield Profile(pair.mode, name, pair.views, operations)


def _exactly(case: Case, plan: Plan, stage: StageName) -> Iterator[Exact]:
    """Compare both ways on a copy of the network in double precision."""
    generator = copy.deepcopy(case.generator).double()
    generator.precision = "fp32"
    case = replace(case, generator=generator, chunk=1)
    network = ReferenceNetwork(generator, plan.upsampling)
    for mode in modes_of(stage):
        if mode == "forward":
            continue
        pair = make_pair(case, network, stage, mode, EXACT_VIEWS)
        with pair.ready():
            agreement = compare(pair)
        yield Exact(stage, mode, EXACT_VIEWS, agreement, agreement.exact)
