"""Child processes that begin warm: forked from a server that has imported what is slow to import.

A child can be killed without harm, and the memory that it needs is its own: the peak that the
system counts is one of a process's whole life, which says nothing in one that runs many tests.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
PRELOADED = [
    "torch._dynamo",  # an optimiser imports it
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "inv3d.commands.run",
    "inv3d.core.weights.download",
    "inv3d.io.latents",
    "inv3d.nn.eg3d.official",
    "inv3d.plugins.losses.latent",
    "inv3d.plugins.losses.pixel",
    "inv3d.plugins.methods.multilatent",
    "inv3d.plugins.methods.multiview",
    "inv3d.runs.execute",
    "inv3d.runs.finish",
    "inv3d.testing.toy",
]
WARM = multiprocessing.get_context("forkserver")
# bytes in the unit in which the system says the peak
_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Outcome:
    """What came of a call in a child.

    Attributes:
        value: that it returned.
        error: that it raised.
        memory: bytes that it needed at most beyond those that the child began with.
    """

    value: Any
    error: Exception | None
    memory: int


def started(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a call in a child, which ends with this process if not before.

    Args:
        function: of a module, as it must be found from the child.
        arguments: that can be pickled.
    """
    WARM.set_forkserver_preload(PRELOADED)
    with contextlib.chdir(_ROOT):  # where the server finds what it imports
        forkserver.ensure_running()
    process = WARM.Process(target=_single_threaded, args=(function, *arguments), daemon=True)
    process.start()
    return process


def outcome(function: Callable[..., Any], *arguments: Any, patience: float = 60.0) -> Outcome:
    """Call a function in a child of its own; see `started`.

    Args:
        function: whose value or error can be pickled.
        arguments: its arguments.
        patience: seconds after which the child hangs.
    """
    receiver, sender = WARM.Pipe(duplex=False)
    process = started(_report, sender, function, *arguments)
    sender.close()
    try:
        assert receiver.poll(patience), f"{function.__name__} hasn't ended after {patience:g} s"
        found: Outcome = receiver.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"{function.__name__} ended its process: {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    return found


def _single_threaded(function: Callable[..., Any], *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    function(*arguments)


def _report(sender: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    value, error = None, None
    before = _peak()
    try:
        value = function(*arguments)
    except Exception as raised:
        error = raised
    memory = _peak() - before
    sender.send(Outcome(value, error, memory))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
