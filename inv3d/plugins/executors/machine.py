"""What a machine offers workers: cores and memory that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the cores that this process may use, at least 1: affinity and the group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.strip().isdecimal() and period.strip().isdecimal():
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def free_memory() -> int | None:
    """Return the bytes that can still be taken, by the machine and the group; None if unknown."""
    known = []
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            known.append(int(line.split()[1]) * 1024)
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        known.append(max(int(limit) - int(used), 0))
    return min(known, default=None)


def share(cores: int, memory: int | None, need: int, threads: int | None) -> tuple[int, int]:
    """Share a machine among workers.

    Many workers with few threads do more than few with many, so that each has one thread where
    memory lets there be a worker a core.

    Args:
        cores: that may be used.
        memory: free bytes, None if unknown.
        need: bytes that a worker takes.
        threads: of a worker, None to choose them.

    Returns:
        Workers, and threads of each.
    """
    fit = cores if memory is None else max(1, memory // need)
    workers = max(1, min(cores // (threads or 1), fit))
    return workers, threads or max(1, cores // workers)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
