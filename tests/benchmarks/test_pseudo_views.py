"""The cost of pseudo views: both ways give one gradient, and the ball is where it should be."""

from __future__ import annotations

import re

import pytest
import torch
from click.testing import CliRunner

from benchmarks.pseudo_views import VIEWS, ball, main
from inv3d.testing.toy import ToyConfig, ToyGenerator


def test_the_ball_is_seen_at_its_distance() -> None:
    camera = ToyGenerator(ToyConfig()).spec.camera.orbit(torch.tensor([0.3, -0.2]))
    depth = ball(camera, 65)
    nearest = camera.position.norm(dim=1) - 0.3
    assert depth[:, 0, 32, 32].tolist() == pytest.approx(nearest.tolist(), abs=1e-4)
    assert not depth[:, 0, 0].any() and 0.05 < (depth > 0).float().mean() < 0.5


def test_both_ways_of_a_step_have_one_gradient() -> None:
    options = ["--size", "mini", "--rays", "16", "--pixels", "32", "--repeats", "1"]
    result = CliRunner().invoke(main, options, catch_exceptions=False)
    off = re.search(r"gradients differ by (\S+)", result.output)
    assert off is not None and float(off[1]) < 1e-5
    assert f"warp to {VIEWS} views of 32 pixels" in result.output
