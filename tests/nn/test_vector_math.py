"""The one number that makes softplus fast, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SPY = """
import torch
seen, log1p = [], torch.log1p
torch.log1p = lambda x: seen.append(x) or log1p(x)
"""
SEEN = """
x = seen[0]
assert x.device.type == "cpu" and x.dtype == torch.float32
assert x.tolist() == [0.0] and torch.signbit(x).all()
"""
WAYS = {
    "a program that uses the networks": "from inv3d.nn.volume import composite",
    "a run": "from inv3d.runs.process import settle_process; settle_process()",
    "a generator by name": "from inv3d.plugins.generators.minihead import MiniHead",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_negative_zero_has_gone_through(way: str) -> None:
    program = f"{SPY}\n{WAYS[way]}\n{SEEN}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
