"""The frames of videos and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.core.errors import InputError
from inv3d.io.video import write_video
from inv3d.photos.sources import open_sources, without_bars


def test_folders_files_and_names(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.png", "c d.jpg"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    sources = open_sources([tmp_path, tmp_path / "b2.png"], 10)
    shots = [shot for source in sources for shot in source.shots()]
    assert [shot.name for shot in shots] == ["b2", "b10", "c_d", "b2-2"]
    assert [shot.origin for shot in shots] == ["b2.png", "b10.png", "c d.jpg", "b2.png"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no pictures or videos in this folder"):
        open_sources([empty], 10)


def test_a_long_clip_is_looked_at_evenly_and_a_frame_at_a_time(tmp_path: Path) -> None:
    frames = (np.full((32, 32, 3), 40 + i, np.uint8) for i in range(120))
    write_video(tmp_path / "a.mp4", frames, fps=30)
    (source,) = open_sources([tmp_path / "a.mp4"], 10)
    shots = source.shots()
    first = next(shots)
    assert first.name == "a_000000" and first.time_s == 0
    times = [shot.time_s for shot in shots]
    assert 9 <= len(times) + 1 <= 12 and source.count == 10
    steps = np.diff(np.asarray(times, float))
    assert steps.max() < 1.3 * steps.min()
    names = ["a_000007", "a_000030"]
    assert [shot.name for shot in source.again(names)] == names


def test_bars_are_cut_and_dark_pictures_stay() -> None:
    picture = torch.full((3, 60, 80), 120, dtype=torch.uint8)
    picture[:, :12] = picture[:, -8:] = 3
    assert without_bars(picture).shape == (3, 40, 80)
    night = torch.full((3, 60, 80), 5, dtype=torch.uint8)
    night[:, 30, 30] = 200
    assert without_bars(night).shape == (3, 60, 80)
