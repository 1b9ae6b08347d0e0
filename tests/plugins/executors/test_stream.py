"""Ray Data: items flow through two kinds of actors; what is lost is said. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inv3d.core.executor import Event, Executor, Several, Wanted
from inv3d.core.registry.hooks import open_executor
from tests.offline import sitecustomize
from tests.plugins.executors.test_cluster import needs_ray
from tests.plugins.executors.works import Piecewise

pytest.importorskip("pyarrow")


@pytest.fixture
def pipeline() -> Iterator[Executor]:
    """A pipeline of two workers; Ray's processes speak by an address that isn't the loopback's."""
    with pytest.MonkeyPatch.context() as patch:
        offline = str(Path(sitecustomize.__file__).parent)
        places = os.environ["PYTHONPATH"].split(os.pathsep)
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in places if p != offline))
        with open_executor("ray-data", Wanted("cpu", 2, 1)) as executor:
            assert list(executor.open(Piecewise)) == ["pipeline"]
            yield executor


def until_it_ends(executor: Executor) -> list[Event]:
    """Return what is said, up to the end of the task."""
    events: list[Event] = []
    for _ in range(240):
        events += executor.poll(0.5)
        if events and events[-1].kind != "said":
            return events
    raise AssertionError(f"it doesn't end: {events}")


@needs_ray
@pytest.mark.slow
def test_items_flow_in_passes_and_what_kills_its_worker_is_lost_alone(pipeline: Executor) -> None:
    assert pipeline.whole and pipeline.device == "cpu" and pipeline.threads == 1
    pipeline.submit("pipeline", "hello")
    assert until_it_ends(pipeline) == [Event("pipeline", "done", ("alone", "hello"))]
    pipeline.submit("pipeline", Several(tuple(range(1, 8)), 3))
    *said, end = until_it_ends(pipeline)
    assert sorted(event.content[1] for event in said) == list(range(1, 8))
    assert {event.content[0] for event in said} == {"ready"}
    assert {event.content[2] for event in said} <= {1, 2, 3} and end.kind == "done"
    pipeline.submit("pipeline", Several((1, 2, 3, -1), 1))
    *said, end = until_it_ends(pipeline)
    assert end.kind == "lost" and "lost with their workers" in end.content
    assert {event.content[1] for event in said} <= {1, 2, 3}
    pipeline.replace("pipeline")
    pipeline.submit("pipeline", Several((0, 0), 1))
    assert pipeline.poll(0.1) == []
    # one that hangs is given up with all of its actors
    pipeline.replace("pipeline")
    pipeline.submit("pipeline", "again")
    assert until_it_ends(pipeline) == [Event("pipeline", "done", ("alone", "again"))]
