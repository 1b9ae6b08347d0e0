"""Videos: read back what was written, odd sizes, fallbacks, refusals."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from inv3d.core.errors import ConfigError, RunError, UsageError
from inv3d.io import video
from inv3d.io.clips import clip_frames, open_clip
from inv3d.io.video import read_video, write_video


def ramp(count: int = 6, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Grey frames that brighten, with a red left half."""
    frames = np.full((count, height, width, 3), 40, dtype=np.uint8)
    frames += (np.arange(count, dtype=np.uint8) * 20)[:, None, None, None]
    frames[:, :, : width // 2, 0] += 60
    return list(frames)


def test_mp4_is_h264_yuv420p_with_the_same_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert write_video(path, ramp(), fps=12) == "h264"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 12
    for seen, frame in zip(read_video(path), ramp(), strict=True):
        assert np.abs(seen.astype(int) - frame.astype(int)).mean() < 4


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(23.976, "24000/1001"), (29.97, "30000/1001"), (59.94, "60000/1001"), (24, "24"),
     (12.5, "25/2"), (0.01, "1/100")],
)  # fmt: skip
def test_rates_of_television_are_written_exactly(tmp_path: Path, fps: float, rate: str) -> None:
    write_video(tmp_path / "a.mp4", ramp(3), fps=fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(rate)


def test_odd_sizes_are_padded(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", ramp(height=33, width=47))
    assert read_video(tmp_path / "a.mp4")[0].shape == (34, 48, 3)


def test_mpeg4_where_there_is_no_h264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "CODECS", ("no_such_codec", "mpeg4"))
    assert write_video(tmp_path / "a.mp4", ramp()) == "mpeg4"
    assert len(read_video(tmp_path / "a.mp4")) == 6


PATCHES = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]],
        [[0, 0, 0], [128, 128, 128], [220, 170, 140], [20, 90, 200]],
    ],
    dtype=np.uint8,
)


def by_bt709(frame: av.VideoFrame) -> np.ndarray:
    """Colours [H / 2, W / 2, 3] of a frame of limited range, by BT.709's matrix alone."""
    planes = frame.to_ndarray(format="yuv420p").astype(float)
    half = (2, frame.height // 2, frame.width // 2)
    luma = (planes[: frame.height : 2, ::2] - 16) / 219
    blue, red = (planes[frame.height :].reshape(half) - 128) / 224
    red, blue = luma + 1.5748 * red, luma + 1.8556 * blue
    return 255 * np.stack([red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue], -1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("odd", [0, 1])
def test_colours_are_those_that_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, odd: int
) -> None:
    """Players guess of files that don't say: BT.709 for large pictures, BT.601 for small ones."""
    monkeypatch.setattr(video, "CODECS", (codec,))
    frame = np.repeat(np.repeat(PATCHES, 32, 0), 32, 1)[: 64 - odd, : 128 - odd]
    write_video(tmp_path / "a.mp4", [frame] * 3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        said = (context.colorspace, context.color_primaries, context.color_trc)
        assert (context.color_range, *said) == (1, 1, 1, 1), "limited, and BT.709 thrice"
        seen = by_bt709(next(container.decode(video=0)))
    assert np.abs(seen[8::16, 8::16] - PATCHES).max() < 4
    inner = (slice(16, None, 32), slice(16, None, 32))
    first = next(clip_frames(open_clip(tmp_path / "a.mp4"))).pixels.permute(1, 2, 0).numpy()
    for read in (read_video(tmp_path / "a.mp4")[0], first):
        assert np.abs(read[inner].astype(int) - PATCHES).max() < 5


def test_without_pyav_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install av"):
        write_video(tmp_path / "a.mp4", ramp())
    assert not list(tmp_path.iterdir())


def test_gif_plays_all_frames_for_ever(tmp_path: Path) -> None:
    assert write_video(tmp_path / "a.gif", ramp(), fps=10) == "gif"
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 6
        assert picture.info["duration"] == 100
        assert picture.info["loop"] == 0


@pytest.mark.parametrize(
    ("fps", "durations"),
    [(30, [30, 40, 30, 30, 40, 30]), (24, [40, 40, 40, 50, 40, 40]), (50, [20] * 6)],
)
def test_frames_of_a_gif_keep_time(tmp_path: Path, fps: float, durations: list[int]) -> None:
    write_video(tmp_path / "a.gif", ramp(), fps=fps)
    with Image.open(tmp_path / "a.gif") as picture:
        seen = []
        for index in range(6):
            picture.seek(index)
            seen.append(picture.info["duration"])
    assert seen == durations
    assert sum(seen) == pytest.approx(6000 / fps, abs=5)


def test_a_folder_gets_exact_png_files(tmp_path: Path) -> None:
    assert write_video(tmp_path / "frames", ramp()) == "png"
    files = sorted((tmp_path / "frames").iterdir())
    assert [f.name for f in files] == [f"{i:04d}.png" for i in range(6)]
    np.testing.assert_array_equal(np.asarray(Image.open(files[3])), ramp()[3])
    with pytest.raises(RunError, match="exists already"):
        write_video(tmp_path / "frames", ramp())


def test_nothing_is_left_of_a_video_that_fails(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from ramp()
        raise KeyError("frame")

    for name in ("a.mp4", "a.gif", "a"):
        with pytest.raises(KeyError):
            write_video(tmp_path / name, broken())
    assert not list(tmp_path.iterdir())


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'mp4'"):
        write_video(tmp_path / "a.mp3", ramp())


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_no_frames_and_frames_of_two_sizes_are_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="there are no frames to write; give one or more"):
        write_video(tmp_path / name, [])
    two = [*ramp(2), *ramp(1, height=16, width=20)]
    with pytest.raises(UsageError, match="frame 2 has 20 x 16 pixels, the first one 48 x 32"):
        write_video(tmp_path / name, two)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1, 1e-6, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_a_rate_out_of_range_is_one_line(tmp_path: Path, name: str, fps: float) -> None:
    with pytest.raises(ConfigError, match=r"^fps: found .*, expected 0\.01 or more frames"):
        write_video(tmp_path / name, ramp(), fps=fps)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_the_slowest_rate_is_written(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / name, ramp(2), fps=0.01)


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif", "a"):
        write_video(str(tmp_path / name), ramp(2))
        assert (tmp_path / name).exists()
