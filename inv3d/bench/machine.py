"""The machine: what it is, and the rates that it reaches."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from inv3d.bench.timing import Clock, finish
from inv3d.nn.choices import Precision
from inv3d.nn.precision import rounding

_REPEATS = 5
_CPU_INFO = Path("/proc/cpuinfo")
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Rates:
    """What the machine does at best, in the precision and with the clock of the run.

    Attributes:
        matrices: 10^9 operations a second of a product of square matrices.
        convolutions: the same of a 3 x 3 convolution.
        copy: 10^9 bytes a second, read and written, of a large copy.
    """

    matrices: float
    convolutions: float
    copy: float

    @property
    def arithmetic(self) -> float:
        """The larger of the two rates of arithmetic."""
        return max(self.matrices, self.convolutions)


@dataclass(frozen=True)
class Machine:
    """Where a run took place.

    Attributes:
        device: cpu, or cuda with its number.
        processor: name of what computes.
        cores: that this process may use.
        threads: of torch.
        load: of the machine in the minute before, processes that want to run; None if unknown.
        system: operating system and architecture.
        torch: its version.
        rates: that it reaches.
    """

    device: str
    processor: str
    cores: int
    threads: int
    load: float | None
    system: str
    torch: str
    rates: Rates


def describe_machine(device: torch.device, precision: Precision, clock: Clock) -> Machine:
    """Say what the machine is, and measure what it can do."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        str(device),
        torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        len(affinity(0)) if affinity else os.cpu_count() or 1,
        torch.get_num_threads(),
        load,
        f"{platform.system()} {platform.machine()}",
        torch.__version__,
        measure_rates(device, precision, clock),
    )


def processor_name() -> str:
    """Return the name of the CPU, or its architecture where the system tells no more."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@torch.no_grad()
def measure_rates(
    device: torch.device, precision: Precision = "fp32", clock: Clock = "wall"
) -> Rates:
    """Measure a matrix product, a convolution in both layouts, and a copy; the best of a few."""
    on_cuda = device.type == "cuda"
    dtype = _TYPES.get(precision, torch.float32)
    side, channels, pixels = (8192, 256, 256) if on_cuda else (1024, 128, 96)
    numbers = (1 << 28) if on_cuda else (1 << 25)

    def seconds(call: Callable[[], object]) -> float:
        return _best(call, device, clock)

    with rounding(precision):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        matrices = 2 * side**3 / seconds(lambda: a @ b)
        x = torch.randn(1, channels, pixels, pixels, device=device).to(dtype)
        weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
        convolutions = 0.0
        for layout in (torch.contiguous_format, torch.channels_last):
            y, w = (value.contiguous(memory_format=layout) for value in (x, weight))
            spent = seconds(lambda y=y, w=w: F.conv2d(y, w, padding=1))  # type: ignore[misc]
            convolutions = max(convolutions, 18 * channels**2 * pixels**2 / spent)
    source = torch.ones(numbers, device=device)
    goal = torch.zeros_like(source)
    copy = 2 * source.nbytes / seconds(lambda: goal.copy_(source))
    return Rates(*(round(rate / 1e9, 2) for rate in (matrices, convolutions, copy)))


def _best(call: Callable[[], object], device: torch.device, clock: Clock) -> float:
    """The fewest seconds of a few calls, the first left out."""
    now = time.perf_counter if clock == "wall" else time.process_time
    spent = []
    for _ in range(_REPEATS + 1):
        finish(device)
        started = now()
        call()
        finish(device)
        spent.append(now() - started)
    return max(min(spent[1:]), 1e-9)
