"""Videos as cameras and phones leave them, one frame at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inv3d.core.errors import InputError
from inv3d.io.hdr import TRANSFERS, to_srgb

# seconds between frames of a file that tells neither their times nor their rate
_STEP_S = 1 / 25
_MISSED = 1e-6


@dataclass(frozen=True)
class Clip:
    """A video that was opened once.

    Attributes:
        path: of the file.
        duration_s: seconds; 0 where the file doesn't say.
        frames: how many it says it has, or an estimate; 0 where nothing is known.
        step_s: seconds from frame to frame, where they don't say when they are.
    """

    path: Path
    duration_s: float
    frames: int
    step_s: float = _STEP_S


@dataclass(frozen=True)
class ClipFrame:
    """A frame, upright, with square pixels, in sRGB.

    Attributes:
        index: 0 for the first one that can be decoded.
        time_s: seconds since the clip began; frames needn't be evenly spaced.
        pixels: [3, H, W] bytes; what's transparent is white.
        alpha: [1, H, W] bytes of a video that has an alpha channel.
    """

    index: int
    time_s: float
    pixels: Tensor
    alpha: Tensor | None = None


def open_clip(path: Path) -> Clip:
    """See whether a file is a video that can be decoded.

    Raises:
        InputError: where it isn't.
    """
    with _opened(path) as (container, stream):
        seconds = 0.0
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration:
            seconds = container.duration / 1e6
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        step = 1 / rate if rate > 0 else _STEP_S
        return Clip(path, seconds, int(stream.frames or round(seconds * rate)), step)


def clip_frames(
    clip: Clip, *, every_s: float = 0.0, only: frozenset[int] | None = None
) -> Iterator[ClipFrame]:
    """Decode a video; no more than a few frames are held at a time.

    What is damaged is passed over, and a file that is cut short ends where it does.

    Args:
        clip: the video.
        every_s: seconds between the frames that are returned, at least.
        only: indices of the frames that are returned; all if None.

    Raises:
        InputError: where not a single frame can be decoded.
    """
    index, due, time, begin = -1, -np.inf, -clip.step_s, 0.0
    with _opened(clip.path) as (container, stream):
        for index, frame in enumerate(_decoded(container, stream)):
            if index == 0:
                begin = frame.time or 0.0
            told = None if frame.time is None else float(frame.time) - begin
            # raw streams have no times, and broken ones the same again
            time = told if told is not None and told > time else time + clip.step_s
            if only is not None and index not in only:
                continue
            if time + _MISSED < due:
                continue
            due = max(due, time) + every_s if np.isfinite(due) else time + every_s
            yield ClipFrame(index, time, *_upright(frame, stream))
            if only is not None and index >= max(only):
                break
    if index < 0:
        raise InputError(
            f"--input {clip.path}: no frame of it can be decoded; is it cut short? Copy it again"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    import av

    try:
        if path.stat().st_size == 0:
            raise InputError(f"--input {path}: an empty file (0 bytes); copy it again")
        # a colon in its name is no protocol, and a playlist reaches nothing but files
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--input {path}: can't be read as a video ({reason}); is it one, and whole? Copy it "
            "again, or save it as MP4"
        ) from None
    with container:
        stream: Any = container.streams.best("video")
        if stream is None:
            raise InputError(f"--input {path}: no video in it, only sound or data")
        stream.thread_type = "AUTO"
        yield container, stream


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames until the end, or until nothing more can be read; damaged ones are left out."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError):
            packet = None
        try:
            yield from stream.decode(packet)
        except (av.FFmpegError, ValueError):
            pass
        if packet is None:
            return


def _upright(frame: Any, stream: Any) -> tuple[Tensor, Tensor | None]:
    """Colours and opacity, turned as the file says, with square pixels."""
    pixels = _coloured(frame)
    turns = round((frame.rotation or 0) / 90) % 4
    height, width = pixels.shape[:2]
    aspect = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio or 1
    size = (height, max(1, round(width * float(aspect)))) if aspect > 0 else (height, width)
    if frame.interlaced_frame and height > 3:
        pixels = pixels[::2]  # its two halves are of different moments
    levels = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    if tuple(levels.shape[1:]) != size:
        resized = torch.nn.functional.interpolate(
            levels[None].float(), size=size, mode="bilinear", antialias=True
        )
        levels = resized[0].round().clamp(0, 255).byte()
    levels = torch.rot90(levels, turns, [1, 2]).contiguous()
    return _on_white(levels) if len(levels) == 4 else (levels, None)


def _on_white(levels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Put [4, H, W] bytes on white; opacity is None where it is opaque all over."""
    alpha = levels[3:]
    if int(alpha.min()) == 255:
        return levels[:3].contiguous(), None
    part = alpha / 255
    return (levels[:3] * part + 255 * (1 - part)).round().byte(), alpha


def _coloured(frame: Any) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] in sRGB, or [H, W, 4] with opacity."""
    transfer = TRANSFERS.get(int(frame.color_trc))
    if transfer is not None:
        return to_srgb(frame.to_ndarray(format="rgb48le"), transfer)
    clear = any(component.is_alpha for component in frame.format.components)
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgba" if clear else "rgb24")
    return pixels
