"""What one step spends its time on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from inv3d.bench.timing import finish

TOP = 12


@dataclass(frozen=True)
class Operation:
    """One kind of operation.

    Attributes:
        name: as torch calls it.
        calls: how often it ran.
        seconds: on the device, without what it called.
        share: of the whole, 0 to 1.
    """

    name: str
    calls: int
    seconds: float
    share: float


def profile_call(
    call: Callable[[], Any], device: torch.device, steps: int = 1, top: int = TOP
) -> list[Operation]:
    """Profile a call that is warm.

    Args:
        call: what is profiled.
        device: where it runs.
        steps: that it takes; numbers are those of one.
        top: how many operations are named; the others are one row, "everything else".

    Returns:
        Operations, the longest first.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        call()
        finish(device)
    times = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    spent = [
        (event.key, event.count // steps, getattr(event, times) / 1e6 / steps)
        for event in profiler.key_averages()
    ]
    spent.sort(key=lambda one: -one[2])
    whole = max(sum(seconds for *_, seconds in spent), 1e-12)
    rest = spent[top:]
    if rest:
        other = ("everything else", sum(n for _, n, _ in rest), sum(s for *_, s in rest))
        spent = [*spent[:top], other]
    return [Operation(name, calls, seconds, seconds / whole) for name, calls, seconds in spent]
