"""Executors of `3dinv batch`: in this process, in processes of this machine, on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inv3d.core.executor import Executor, Wanted
from inv3d.core.registry.hookspecs import hookimpl


def _here(wanted: Wanted) -> Executor:
    from inv3d.plugins.executors.here import Here

    return Here(wanted)


def _local(wanted: Wanted) -> Executor:
    from inv3d.plugins.executors.local import Local

    return Local(wanted)


def _ray(wanted: Wanted, **options: Any) -> Executor:
    from inv3d.plugins.executors.cluster import RayCluster

    return RayCluster(wanted, **options)


def _ray_data(wanted: Wanted, **options: Any) -> Executor:
    from inv3d.plugins.executors.stream import RayData

    return RayData(wanted, **options)


@hookimpl
def inv3d_executors() -> dict[str, Callable[..., Executor]]:
    """Offer them; what they need is imported when they're asked for."""
    return {"here": _here, "local": _local, "ray": _ray, "ray-data": _ray_data}
