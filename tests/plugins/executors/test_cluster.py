"""Ray: the same answers as from processes of our own. Tested on Linux only."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inv3d.core.errors import UnsupportedError, UsageError
from inv3d.core.executor import Executor, Wanted
from inv3d.core.registry.hooks import open_executor
from tests.offline import sitecustomize
from tests.plugins.executors.works import Obedient, gathered

HAS_RAY = importlib.util.find_spec("ray") is not None and sys.platform == "linux"
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray isn't installed, or this isn't Linux")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Executor, list[str]]]:
    """Two actors; Ray's processes speak to one another by an address that isn't the loopback's."""
    with pytest.MonkeyPatch.context() as patch:
        offline = str(Path(sitecustomize.__file__).parent)
        places = os.environ["PYTHONPATH"].split(os.pathsep)
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in places if p != offline))
        with open_executor("ray", Wanted("cpu", 2, 1)) as executor:
            yield executor, list(executor.open(Obedient))


@needs_ray
@pytest.mark.slow
def test_actors_do_what_processes_do(cluster: tuple[Executor, list[str]]) -> None:
    executor, names = cluster
    assert names == ["worker-0", "worker-1"] and executor.device == "cpu"
    for name in names:
        executor.submit(name, ("echo", name))
    found = sorted(gathered(executor, 2))
    assert found == [(name, "done", ("echo", name)) for name in names]
    executor.submit(names[0], ("env", "OMP_NUM_THREADS"))
    assert gathered(executor, 1) == [(names[0], "done", "1")]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    executor.submit(names[0], ("die",))
    ((worker, kind, said),) = gathered(executor, 1)
    assert (worker, kind) == (names[0], "lost") and "its actor was lost" in said
    executor.replace(names[0])
    executor.submit(names[0], ("wait",))
    executor.submit(names[1], ("wait",))
    executor.stop()
    assert {content for _, _, content in gathered(executor, 2)} == {("wait",)}


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_says_how_to_get_it() -> None:
    with pytest.raises(
        UnsupportedError, match=r"needs the package ray .*pip install '3dinv\[ray\]'"
    ):
        open_executor("ray", Wanted("cpu", 2, 1))


@needs_ray
def test_a_cluster_that_isnt_there_is_one_line() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(
            UsageError, match=f"the cluster at {address} can't be reached .*refused"
        ):
            open_executor(f"ray?address={address}", Wanted("cpu", 2, 1))
