"""Videos of all sorts, a frame at a time."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from inv3d.core.errors import InputError
from inv3d.io.clips import clip_frames, open_clip


def corner(level: int = 200) -> NDArray[np.uint8]:
    """Red on the left, blue on top, 96 x 64."""
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:, :48, 0] = level
    frame[:20, :, 2] = level
    return frame


def write(
    path: Path,
    frames: Sequence[NDArray[Any]],
    times_ms: Sequence[int] | None = None,
    *,
    rotation: int = 0,
    aspect: str = "1",
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    transfer: int = 0,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if codec == "mpeg4":
            stream.options = {"qscale": "2"}
        if rotation:
            stream.set_display_rotation(rotation)
        if transfer:
            stream.codec_context.color_trc = transfer
            stream.codec_context.color_primaries = stream.codec_context.colorspace = 9
        for i, frame in enumerate(frames):
            kind = "rgb24" if frame.dtype == np.uint8 else "rgb48le"
            kind = "rgba" if frame.shape[2] == 4 else kind
            picture = av.VideoFrame.from_ndarray(frame, format=kind)
            picture.pts = times_ms[i] if times_ms else 40 * i
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def near(found: Any, expected: Sequence[int]) -> bool:
    return max(abs(int(a) - b) for a, b in zip(found, expected, strict=True)) < 12


def test_frames_with_their_times(tmp_path: Path) -> None:
    clip = open_clip(write(tmp_path / "a.mp4", [corner()] * 7))
    frames = list(clip_frames(clip))
    assert clip.frames == 7 and clip.duration_s == pytest.approx(0.28, abs=0.05)
    assert [f.index for f in frames] == list(range(7))
    assert frames[3].time_s == pytest.approx(0.12, abs=0.01)
    assert frames[0].pixels.shape == (3, 64, 96)
    assert near(frames[0].pixels[:, 50, 10], (200, 0, 0))


def test_some_frames_only(tmp_path: Path) -> None:
    clip = open_clip(write(tmp_path / "a.mp4", [corner()] * 9))
    assert [f.index for f in clip_frames(clip, only=frozenset({2, 5}))] == [2, 5]


def test_variable_frame_rates_are_sampled_by_time(tmp_path: Path) -> None:
    times = [0, 20, 40, 60, 500, 1000, 1020]
    clip = open_clip(write(tmp_path / "a.mp4", [corner()] * 7, times))
    frames = list(clip_frames(clip, every_s=0.3))
    assert [round(1000 * f.time_s) for f in frames] == [0, 500, 1000]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_turned_videos_stand_upright(tmp_path: Path, rotation: int) -> None:
    clip = open_clip(write(tmp_path / "a.mp4", [corner()] * 2, rotation=rotation))
    frame = next(clip_frames(clip))
    expected = np.rot90(corner(), rotation // 90).transpose(2, 0, 1)
    assert frame.pixels.shape == expected.shape
    assert np.abs(frame.pixels.numpy().astype(int) - expected).mean() < 8


def test_pixels_that_are_not_square_become_square(tmp_path: Path) -> None:
    clip = open_clip(write(tmp_path / "a.mp4", [corner()] * 2, aspect="2"))
    assert next(clip_frames(clip)).pixels.shape == (3, 64, 192)


def test_a_video_that_is_cut_short_ends_early(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(12)]
    whole = write(tmp_path / "a.mkv", frames).read_bytes()
    short = tmp_path / "short.mkv"
    short.write_bytes(whole[: len(whole) // 2])
    assert 0 < len(list(clip_frames(open_clip(short)))) < 12


def test_high_dynamic_range_becomes_ordinary(tmp_path: Path) -> None:
    grey = np.full((64, 64, 3), round(0.58 * 65535), np.uint16)  # paper white in PQ
    try:
        path = write(tmp_path / "a.mp4", [grey] * 2, codec="libx265", pixels="yuv420p10le",
                     transfer=16)  # fmt: skip
    except (av.FFmpegError, ValueError):
        pytest.skip("this PyAV can't encode 10 bits")
    pixels = next(clip_frames(open_clip(path))).pixels
    assert int(pixels.min()) > 230 and int(pixels.max() - pixels.min()) < 12


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"no video at all" * 50, "can't be read as a video .*is it one, and"),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mp4: {said}"):
        open_clip(path)


def test_a_playlist_opens_no_connection(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.ts"
        path = tmp_path / "a.mp4"
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(InputError, match=r"can't be read|no frame"):
            list(clip_frames(open_clip(path)))
        with pytest.raises(TimeoutError):
            listener.accept()


def test_names_that_look_like_protocols_and_patterns(tmp_path: Path) -> None:
    path = write(tmp_path / "http:b%03d.mp4", [corner()] * 2)
    assert len(list(clip_frames(open_clip(path)))) == 2


def test_streams_without_times_have_their_frames_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.mpg"
    with av.open(str(path), "w", format="m4v") as container:  # the bare stream
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = corner().shape[:2]
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corner(), format="rgb24")))
        container.mux(stream.encode())
    times = [frame.time_s for frame in clip_frames(open_clip(path))]
    assert len(times) == 5 and times[0] == 0 and np.diff(times).min() > 0.01


def test_damaged_frames_are_passed_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(12)]
    path = write(tmp_path / "a.mov", frames, codec="png", pixels="rgb24")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3 : len(whole) // 3 + 2000] = bytes(2000)
    path.write_bytes(bytes(whole))
    found = list(clip_frames(open_clip(path)))
    assert 6 < len(found) <= 12
    last = found[-1].pixels.permute(1, 2, 0).numpy().astype(int)
    assert np.abs(last - frames[-1]).max() < 4


def test_transparent_videos_are_put_on_white(tmp_path: Path) -> None:
    clear = np.dstack([corner(), np.full((64, 96), 255, np.uint8)])
    clear[:32, :, 3] = 0
    path = write(tmp_path / "a.mov", [clear] * 2, codec="png", pixels="rgba")
    frame = next(clip_frames(open_clip(path)))
    assert frame.alpha is not None and frame.alpha[0, :32].max() == 0
    assert frame.alpha[0, 32:].min() == 255
    assert frame.pixels[:, 10, 10].tolist() == [255, 255, 255]
    assert near(frame.pixels[:, 50, 10], (200, 0, 0))


def test_interlaced_videos_show_one_moment_a_frame(tmp_path: Path) -> None:
    striped = np.zeros((64, 96, 3), np.uint8)
    striped[::2] = 220  # one half is bright, the other dark
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        options = {"x264-params": "tff=1", "crf": "1"}
        try:
            stream = container.add_stream("libx264", rate=25, options=options)
        except ValueError:
            pytest.skip("this PyAV can't encode interlaced videos")
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(striped, format="rgb24")))
        container.mux(stream.encode())
    pixels = next(clip_frames(open_clip(path))).pixels
    assert pixels.shape == (3, 64, 96) and int(pixels.min()) > 200


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp",
                                           layout="mono")  # fmt: skip
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video in it"):
        open_clip(path)
