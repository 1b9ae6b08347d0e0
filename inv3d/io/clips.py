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

_MISSED = 1e-6


@dataclass(frozen=True)
class Clip:
    """A video that was opened once.

    Attributes:
        path: of the file.
        duration_s: seconds; 0 where the file doesn't say.
        frames: how many it says it has, or an estimate; 0 where nothing is known.
    """

    path: Path
    duration_s: float
    frames: int


@dataclass(frozen=True)
class ClipFrame:
    """A frame, upright, with square pixels, in sRGB.

    Attributes:
        index: 0 for the first one that can be decoded.
        time_s: seconds since the clip began; frames needn't be evenly spaced.
        pixels: [3, H, W] bytes.
    """

    index: int
    time_s: float
    pixels: Tensor


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
        return Clip(path, seconds, int(stream.frames or round(seconds * rate)))


def clip_frames(
    clip: Clip, *, every_s: float = 0.0, only: frozenset[int] | None = None
) -> Iterator[ClipFrame]:
    """Decode a video; no more than a few frames are held at a time.

    A file that is cut short ends where it does.

    Args:
        clip: the video.
        every_s: seconds between the frames that are returned, at least.
        only: indices of the frames that are returned; all if None.

    Raises:
        InputError: where not a single frame can be decoded.
    """
    index, due = -1, -np.inf
    with _opened(clip.path) as (container, stream):
        begin = None
        for index, frame in enumerate(_decoded(container)):
            begin = frame.time if begin is None else begin
            time = float((frame.time or 0.0) - (begin or 0.0))
            if only is not None and index not in only:
                continue
            if time + _MISSED < due:
                continue
            due = max(due, time) + every_s if np.isfinite(due) else time + every_s
            yield ClipFrame(index, time, _upright(frame, stream))
            if only is not None and index >= max(only):
                break
    if index < 0:
        raise InputError(f"--input {clip.path}: no frame of it can be decoded; is it cut short?")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--input {path}: can't be read as a video ({reason})") from None
    with container:
        if not container.streams.video:
            raise InputError(f"--input {path}: no video in it, only sound or data")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _decoded(container: Any) -> Iterator[Any]:
    """Frames until the end, or until the first one that is damaged."""
    import av

    try:
        yield from container.decode(video=0)
    except (av.FFmpegError, ValueError):
        return


def _upright(frame: Any, stream: Any) -> Tensor:
    pixels = _coloured(frame)
    turns = round((frame.rotation or 0) / 90) % 4
    levels = torch.from_numpy(np.ascontiguousarray(np.rot90(pixels, turns))).permute(2, 0, 1)
    aspect = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio or 1
    if aspect <= 0 or aspect == 1:
        return levels.contiguous()
    height, width = pixels.shape[:2]
    size = (height, max(1, round(width * float(aspect))))
    size = size[::-1] if turns % 2 else size
    resize = torch.nn.functional.interpolate(
        levels[None].float(), size=size, mode="bilinear", antialias=True
    )
    return resize[0].round().clamp(0, 255).byte()


def _coloured(frame: Any) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] in sRGB."""
    transfer = TRANSFERS.get(int(frame.color_trc))
    if transfer is None:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        return pixels
    return to_srgb(frame.to_ndarray(format="rgb48le"), transfer)
