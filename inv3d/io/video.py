"""Pictures in a row: MP4 through PyAV, GIF and PNG folders through Pillow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inv3d.core.errors import ConfigError, UsageError, suggest
from inv3d.core.files import atomic_directory, atomic_write
from inv3d.io.formats import VIDEO_FORMATS
from inv3d.io.images import Frame, check_frame

if TYPE_CHECKING:
    from PIL.Image import Image

CODECS = ("libx264", "mpeg4")
# frames a second; the longest that a GIF can show a frame is 11 minutes
_SLOWEST = 0.01
# as H.273 numbers matrices, primaries and transfers, and FFmpeg ranges
_BT709, _LIMITED = 1, 1
_OPTIONS = {"libx264": {"crf": "18", "preset": "medium"}, "mpeg4": {"qscale": "3"}}


def video_format(path: Path) -> str:
    """Return "mp4", "gif" or "png" (a folder of pictures, for a path without an ending).

    Raises:
        UsageError: where the ending is another one.
    """
    name = path.suffix.removeprefix(".").lower()
    if not name:
        return "png"
    if name not in VIDEO_FORMATS:
        raise UsageError(
            f"unknown video format '{name}' for {path}{suggest(name, VIDEO_FORMATS)} "
            "(.mp4, .gif, or a folder name for PNG files)"
        )
    return name


def write_video(path: Path | str, frames: Iterable[Frame], fps: float = 24) -> str:
    """Write frames whole or not at all.

    An MP4 is BT.709 of limited range, and says so.

    Args:
        path: .mp4, .gif, or a new folder for numbered PNG files.
        frames: [H, W, 3] each, all of one size; taken one by one for MP4 and folders.
        fps: frames a second.

    Returns:
        The codec: "h264", "mpeg4" (where this PyAV has no H.264 encoder), "gif" or "png".

    Raises:
        UsageError: where the format is unknown, PyAV isn't installed, or frames are none or of
            several sizes.
        ConfigError: where a frame is no picture, or `fps` is out of range.
        RunError: where the place can't be written, or a PNG folder exists.
    """
    path = Path(path)
    form = video_format(path)
    if not _SLOWEST <= fps < math.inf:
        raise ConfigError(f"fps: found {fps}, expected {_SLOWEST} or more frames a second")
    frames = _of_one_size(frames, path)
    if form == "png":
        return _write_folder(path, frames)
    with atomic_write(path) as temporary:
        if form == "gif":
            return _write_gif(temporary, frames, fps)
        return _write_mp4(temporary, frames, fps)


def _of_one_size(frames: Iterable[Frame], path: Path) -> Iterator[Frame]:
    """Yield frames, and refuse none at all and those of another size than the first."""
    size: tuple[int, ...] = ()
    for index, frame in enumerate(frames):
        check_frame(frame, f"frame {index}")
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            (height, width), (first_height, first_width) = frame.shape[:2], size
            raise UsageError(
                f"{path}: frame {index} has {width} x {height} pixels, the first one "
                f"{first_width} x {first_height}; give frames of one size"
            )
        yield frame
    if not size:
        raise UsageError(f"{path}: there are no frames to write; give one or more")


def _write_mp4(path: Path, frames: Iterable[Frame], fps: float) -> str:
    try:
        import av
    except ImportError as error:
        raise UsageError(
            "MP4 needs PyAV: pip install av, or give a name that ends in .gif"
        ) from error
    codec = _codec()
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for frame in frames:
            even = _even(frame)
            if stream is None:
                stream = container.add_stream(codec, rate=exact_rate(fps), options=_OPTIONS[codec])
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                _tag(stream.codec_context)
            whole = av.VideoFrame.from_ndarray(even, format="rgb24")
            container.mux(stream.encode(_in_bt709(whole)))
        if stream is not None:
            container.mux(stream.encode())
    return "h264" if codec == "libx264" else codec


def exact_rate(fps: float) -> Fraction:
    """Return the rate that is meant: 24000/1001 by 23.976, as television has it."""
    television = Fraction(1000 * round(fps * 1.001), 1001)
    is_meant = math.isclose(fps, television, rel_tol=1e-5)
    return television if is_meant else Fraction(fps).limit_denominator(1001)


def _codec() -> str:
    import av

    for name in CODECS:
        try:
            av.Codec(name, "w")
        except ValueError:
            continue
        return name
    raise UsageError("this PyAV can encode neither H.264 nor MPEG-4; write .gif instead")


def _tag(context: Any) -> None:
    """Say what the colours are, since players guess of streams that don't: by their size."""
    context.color_range = _LIMITED
    context.colorspace = context.color_primaries = context.color_trc = _BT709


def _in_bt709(frame: Any) -> Any:
    """Convert an RGB frame to what `_tag` says of it."""
    return frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)


def _even(frame: Frame) -> Frame:
    """Repeat the last row or column where a side is odd, which yuv420p can't hold."""
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge"))


def _write_gif(path: Path, frames: Iterable[Frame], fps: float) -> str:
    pictures = [_picture(frame) for frame in frames]
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=_durations(len(pictures), fps),
        loop=0,
    )
    return "gif"


def _durations(count: int, fps: float) -> list[int]:
    """Milliseconds of every frame of a GIF, whole hundredths of a second that keep time."""
    ends = [round(100 * index / fps) for index in range(count + 1)]
    return [10 * max(1, end - begin) for begin, end in itertools.pairwise(ends)]


def _write_folder(path: Path, frames: Iterable[Frame]) -> str:
    with atomic_directory(path) as temporary:
        for index, frame in enumerate(frames):
            _picture(frame).save(temporary / f"{index:04d}.png")
    return "png"


def _picture(frame: Frame) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(frame))


def read_video(path: Path) -> list[Frame]:
    """Return all frames of a video file as [H, W, 3] arrays."""
    import av

    with av.open(str(path)) as container:
        decoded = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [frame.astype(np.uint8, copy=False) for frame in decoded]
