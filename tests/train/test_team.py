"""Processes that train together: what they compute, how they leave, what they say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import torch

from inv3d.train.team import Team
from tests.train.team_child import network, norm_of, penalty, pictures


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What each of two processes finds."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        ports = [str(free.getsockname()[1]) for free in (one, other)]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared |= dict(zip(("MASTER_PORT", "OTHER_PORT"), ports, strict=True))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.team_child"],
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return [json.loads(text) for text in said]


def test_second_derivatives_are_those_of_one_process(found: list[dict[str, Any]]) -> None:
    made = network(torch.float64)
    loss = penalty(made, pictures())
    gradients = torch.autograd.grad(loss, list(made.parameters()), allow_unused=True)
    expected = [g.flatten() for g in gradients if g is not None]
    for one in found:
        for mine, right in zip(one["second"], expected, strict=True):
            torch.testing.assert_close(torch.tensor(mine, dtype=right.dtype), right)


def test_sixteen_bits_are_summed_in_more(found: list[dict[str, Any]]) -> None:
    norm, _ = norm_of(torch.bfloat16, Team())
    for one in found:
        torch.testing.assert_close(torch.tensor(one["mean"]), norm.running_mean, rtol=0, atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="names of threads are read as Linux has them")
def test_no_thread_of_the_team_outlives_it(found: list[dict[str, Any]]) -> None:
    for one in found:
        assert not [name for name in one["threads"] if "gloo" in name or "tcpstore" in name]


def test_those_who_are_left_say_that_another_has_ended(found: list[dict[str, Any]]) -> None:
    assert found[0]["said"] == "its disk is full"
    assert found[1]["said"].startswith("another of the processes that train together has ended")
