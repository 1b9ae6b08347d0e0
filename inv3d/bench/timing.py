"""Seconds of two ways in turns, and the memory that each takes."""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch.profiler import ProfilerActivity, profile

from inv3d.bench.ways import Way

Clock = Literal["wall", "cpu"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)
# what a GPU has to do at least between two looks at the clock
_LEAST_SECONDS = 0.2


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of several measurements."""

    median: float
    min: float
    max: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Return the spread of one or more numbers."""
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Seconds:
    """Seconds of one call.

    Attributes:
        wall: that passed.
        cpu: that the process used in all its threads.
    """

    wall: Spread
    cpu: Spread

    def by(self, clock: Clock) -> Spread:
        """Return those of a clock."""
        return self.wall if clock == "wall" else self.cpu


@dataclass(frozen=True)
class Turns:
    """Two ways that took turns.

    Attributes:
        ours: seconds of our way, a step.
        reference: seconds of the other.
        ratio: reference / ours of neighbours.
    """

    ours: Seconds
    reference: Seconds
    ratio: Spread


def take_turns(
    ours: Way, reference: Way, repeats: int, device: torch.device, clock: Clock
) -> Turns:
    """Time two ways, which are warm, A B A B."""
    counts = [_count(way, device) for way in (ours, reference)]
    pairs = [
        tuple(
            _sample(way, count, device)
            for way, count in zip((ours, reference), counts, strict=True)
        )
        for _ in range(repeats)
    ]
    index = CLOCKS.index(clock)
    ratios = [theirs[index] / max(own[index], 1e-12) for own, theirs in pairs]
    own, theirs = (
        Seconds(*(Spread.of([pair[way][i] for pair in pairs]) for i in range(2))) for way in (0, 1)
    )
    return Turns(own, theirs, Spread.of(ratios))


def _count(way: Way, device: torch.device) -> int:
    """Calls of one measurement: one on a CPU, on a GPU as many as fill a moment."""
    if device.type == "cpu":
        return 1
    wall, _ = _sample(way, 1, device)
    return max(1, math.ceil(_LEAST_SECONDS / max(wall * way.steps, 1e-9)))


def _sample(way: Way, count: int, device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of a step."""
    finish(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        way.call()
    finish(device)
    steps = count * way.steps
    return (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps


def finish(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Return the most memory that a call holds beyond what was held before it.

    On a CPU that is what torch's allocator gives out and takes back, call by call; scratch memory
    of the libraries below it isn't seen.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    # read when the profiler starts; it logs every start and stop otherwise
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most
