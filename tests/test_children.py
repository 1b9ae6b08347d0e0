"""Children measure their own memory and tell what happened to them."""

from __future__ import annotations

import importlib.util
import os
import time

import pytest

from tests.children import PRELOADED, outcome, started

MIB = 1 << 20


def fill(size: int) -> int:
    return len(bytearray(os.urandom(MIB)) * (size // MIB))


def fail() -> None:
    raise ValueError("oops")


@pytest.mark.parametrize("name", PRELOADED)
def test_what_the_server_imports_is_there(name: str) -> None:
    """It says nothing where a module is missing; every child would import the others then."""
    assert importlib.util.find_spec(name) is not None


def test_memory_is_that_of_the_call_whatever_this_process_has_needed() -> None:
    fill(200 * MIB)
    assert outcome(fill, 2 * MIB).memory < 20 * MIB
    much = outcome(fill, 100 * MIB)
    assert much.value == 100 * MIB
    assert 95 * MIB < much.memory < 130 * MIB
    assert outcome(fill, 2 * MIB).memory < 20 * MIB


def test_errors_come_back() -> None:
    found = outcome(fail)
    assert isinstance(found.error, ValueError) and str(found.error) == "oops"


def test_a_child_that_ends_or_hangs_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="_exit ended its process: 7"):
        outcome(os._exit, 7)
    with pytest.raises(AssertionError, match=r"sleep hasn't ended after 0\.5 s"):
        outcome(time.sleep, 600, patience=0.5)


def test_a_child_runs_beside_this_process() -> None:
    process = started(time.sleep, 600)
    assert process.is_alive() and process.pid != os.getpid()
    process.kill()
    process.join()
    assert process.exitcode == -9
