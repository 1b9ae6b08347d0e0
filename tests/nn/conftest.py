"""A process in which Triton interprets its programs, for those who have no GPU."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import Any

import pytest
import torch


def interpret() -> None:
    """Let Triton interpret programs in this process; it looks when it's imported."""
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Callable[..., Any]]:
    """Calls a function of a module in that process."""
    if find_spec("triton") is None:
        pytest.skip("Triton isn't installed")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=interpret) as pool:
        yield lambda *given: pool.submit(*given).result(timeout=500)
