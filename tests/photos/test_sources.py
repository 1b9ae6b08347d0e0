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


def test_clips_and_pictures_mixed_are_read_again_by_their_own_names(tmp_path: Path) -> None:
    frames = [np.full((32, 32, 3), 60 + 20 * i, np.uint8) for i in range(4)]
    for name in ("a.mp4", "a_000001.mp4"):
        write_video(tmp_path / name, frames, fps=10)
    Image.new("RGB", (30, 30), "red").save(tmp_path / "a_000002.png")
    Image.new("RGB", (30, 30), "red").save(tmp_path / "z.png")
    sources = open_sources([tmp_path], 10)
    names = [[shot.name for shot in source.shots()] for source in sources]
    every = [name for group in names for name in group]
    assert len(set(every)) == len(every) == 10
    assert [[s.name for s in source.again(every)] for source in sources] == names


def test_animations_are_clips(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), (40 + 20 * i, 90, 90)) for i in range(9)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    (source,) = open_sources([tmp_path / "a.gif"], 5)
    shots = list(source.shots())
    assert [shot.name for shot in shots] == [f"a_{i:06d}" for i in (0, 2, 4, 6, 8)]
    assert source.count == 5 and shots[2].time_s == pytest.approx(0.4)
    assert [shot.name for shot in source.again(["a_000004"])] == ["a_000004"]


def test_what_was_cut_short_or_left_out_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(20)]
    whole = tmp_path / "whole.mp4"
    write_video(whole, frames, fps=10)
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    pages = tmp_path / "pages.tif"
    Image.new("RGB", (30, 30)).save(pages, save_all=True, append_images=[Image.new("RGB", (9, 9))])
    notices = {}
    for path in (whole, short, pages):
        (source,) = open_sources([path], 5)
        assert list(source.shots())
        notices[path] = source.notice
    assert notices[whole] == ""
    assert "short.mp4: ends after" in notices[short] and "of 2.0 seconds" in notices[short]
    assert "pages.tif: 2 pages, of which the first is taken" in notices[pages]
