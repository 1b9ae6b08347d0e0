"""The course of an edit's effect over the angles, on made-up numbers and pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from benchmarks.edit_angles import Course, plot


def test_a_course_that_scales_is_flat_and_a_jump_is_seen(tmp_path: Path) -> None:
    one = torch.tensor([4.0, 8.0, 5.0])
    flat = Course("a", "age=1", 1.5 * one, one)
    assert torch.allclose(flat.ratio, torch.ones(3))
    assert flat.row() == "| a | `age=1` | 6.0 to 12.0 | 0.0% |"
    jump = Course("b", "age=1", one * torch.tensor([1.0, 1.0, 1.3]), one)
    assert jump.row().endswith("| 18.2% |")
    plot([flat, jump], torch.tensor([60.0, 0.0, -60.0]), tmp_path / "angles.png")
    assert Image.open(tmp_path / "angles.png").size == (990, 374)
