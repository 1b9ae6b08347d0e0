"""The frames of videos and pictures, one at a time, as often as they're wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inv3d.core.errors import InputError
from inv3d.io.clips import Clip, clip_frames, open_clip
from inv3d.io.files import natural
from inv3d.io.formats import PICTURES, UNPREPARED, VIDEOS
from inv3d.io.photos import read_photo

# of a bar above and below, or at the sides: darker than that all over
_BLACK, _STRIDE = 20, 4
_LEAST_LEFT = 0.3


@dataclass(frozen=True)
class Shot:
    """A frame.

    Attributes:
        name: of the picture that it becomes, without an ending.
        origin: what it is, for people.
        pixels: [3, H, W] bytes.
        time_s: seconds since its video began; None for photographs.
        alpha: [1, H, W] bytes of a picture that is transparent somewhere.
    """

    name: str
    origin: str
    pixels: Tensor
    time_s: float | None = None
    alpha: Tensor | None = None


class Source(ABC):
    """A video, or pictures.

    Attributes:
        label: what the user gave.
        count: how many frames `shots` will give; an estimate.
    """

    label: str
    count: int

    @abstractmethod
    def shots(self) -> Iterator[Shot]:
        """Read the frames that are looked at."""

    @abstractmethod
    def again(self, names: Sequence[str]) -> Iterator[Shot]:
        """Read frames again, those of these names, in the order of `shots`."""


class ClipSource(Source):
    """A video."""

    def __init__(self, path: Path, stem: str, look_at: int) -> None:
        self.clip: Clip = open_clip(path)
        self.label = str(path)
        self._stem = stem
        seconds = self.clip.duration_s
        self.count = min(self.clip.frames or look_at, look_at)
        # a frame may come a little early, and mustn't be passed over for that
        spread = self.clip.frames > look_at or not self.clip.frames
        self._every = 0.98 * seconds / look_at if spread else 0.0

    def shots(self) -> Iterator[Shot]:
        """Read frames evenly spaced in time."""
        for frame in clip_frames(self.clip, every_s=self._every):
            yield self._shot(frame.index, frame.time_s, frame.pixels)

    def again(self, names: Sequence[str]) -> Iterator[Shot]:
        """Read some frames again."""
        wanted = frozenset(int(name.rsplit("_", 1)[-1]) for name in names)
        if wanted:
            for frame in clip_frames(self.clip, only=wanted):
                yield self._shot(frame.index, frame.time_s, frame.pixels)

    def _shot(self, index: int, time_s: float, pixels: Tensor) -> Shot:
        origin = f"frame {index} at {time_s:.2f} s"
        return Shot(f"{self._stem}_{index:06d}", origin, without_bars(pixels), time_s)


class PictureSource(Source):
    """A picture."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.label, self.name, self.count = path, str(path), name, 1

    def shots(self) -> Iterator[Shot]:
        """Read it."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"--input {self.path}: can't be read ({error.strerror})") from None
        photo = read_photo(content, str(self.path))
        yield Shot(self.name, self.path.name, photo.pixels, None, photo.alpha)

    def again(self, names: Sequence[str]) -> Iterator[Shot]:
        """Read it again."""
        if self.name in names:
            yield from self.shots()


def open_sources(inputs: Sequence[Path], look_at: int) -> list[Source]:
    """Open everything that a user named; folders stand for the pictures in them.

    Raises:
        InputError: where something doesn't exist, or is neither a picture nor a video.
    """
    paths = [path for given in inputs for path in _expanded(given)]
    names: set[str] = set()
    sources: list[Source] = []
    for path in paths:
        name = _unused(path.stem, names)
        names.add(name)
        clip = path.suffix.lower() in VIDEOS
        sources.append(ClipSource(path, name, look_at) if clip else PictureSource(path, name))
    return sources


def _expanded(path: Path) -> list[Path]:
    suffix = path.suffix.lower()
    if path.is_dir():
        known = PICTURES | VIDEOS | UNPREPARED
        inside = [p for p in path.iterdir() if p.suffix.lower() in known and p.name[0] != "."]
        if not inside:
            raise InputError(f"--input {path}: no pictures or videos in this folder")
        return sorted(inside, key=lambda p: natural(p.name))
    if not path.is_file():
        raise InputError(f"--input {path}: no such file or folder")
    if suffix not in PICTURES | UNPREPARED | VIDEOS:
        raise InputError(
            f"--input {path}: neither a picture nor a video by its name; known are "
            f"{', '.join(sorted(PICTURES | UNPREPARED | VIDEOS))}"
        )
    return [path]


def _unused(stem: str, names: set[str]) -> str:
    """A name for files, of plain characters, that nothing else has."""
    plain = "".join(c if c.isalnum() or c in "-." else "_" for c in stem).strip("._") or "picture"
    candidates = (plain, *(f"{plain}-{i}" for i in range(2, len(names) + 3)))
    return next(name for name in candidates if name not in names)


def without_bars(pixels: Tensor) -> Tensor:
    """Cut black bars off the edges of a frame [3, H, W]; a frame that is dark all over stays."""
    levels = pixels.amax(0)
    rows = levels[:, ::_STRIDE].amax(1).numpy() > _BLACK
    columns = levels[::_STRIDE].amax(0).numpy() > _BLACK
    if not (rows.any() and columns.any()):
        return pixels
    top, bottom = _extent(rows)
    left, right = _extent(columns)
    if (bottom - top) < _LEAST_LEFT * len(rows) or (right - left) < _LEAST_LEFT * len(columns):
        return pixels
    return pixels[:, top:bottom, left:right]


def _extent(lit: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(lit)
    return int(places[0]), int(places[-1]) + 1


def mirrored(shot: Shot) -> Shot:
    """Turn a mirrored picture back."""
    alpha = None if shot.alpha is None else torch.flip(shot.alpha, [2])
    return Shot(shot.name, shot.origin, torch.flip(shot.pixels, [2]), shot.time_s, alpha)
