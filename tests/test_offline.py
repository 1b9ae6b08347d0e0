"""Tests and the programs that they start reach no other machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.children import outcome
from tests.web import serving

# an address that is reserved for documentation: nobody has it
ELSEWHERE = "192.0.2.1"


def connect() -> None:
    with socket.socket() as made:
        made.settimeout(1)
        made.connect((ELSEWHERE, 80))


def send() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        made.sendto(b"hello", (ELSEWHERE, 53))


def look_up() -> None:
    socket.getaddrinfo("example.org", 80)


@pytest.mark.parametrize("reach", [connect, send, look_up])
def test_another_machine_is_out_of_reach(reach: Callable[[], None]) -> None:
    with pytest.raises(RuntimeError, match=r"reaches for (192\.0\.2\.1|example\.org)"):
        reach()
    assert isinstance(outcome(reach).error, RuntimeError)


def test_programs_that_are_started_dont_reach_one_either() -> None:
    code = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"RuntimeError: a test reaches for {ELSEWHERE}" in done.stderr


def test_this_machine_is_within_reach() -> None:
    with serving(b"") as server:
        host, port = server.url.split("/")[2].split(":")
        socket.create_connection((host, int(port)), timeout=10).close()
        socket.create_connection(("localhost", int(port)), timeout=10).close()
