"""The frames of videos and pictures, one at a time, as often as they're wanted."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inv3d.core.errors import InputError
from inv3d.io.clips import Clip, ClipFrame, clip_frames, open_clip
from inv3d.io.files import natural
from inv3d.io.formats import PICTURES, VIDEOS
from inv3d.io.photos import Photo, animation, moments, read_photo

# of a bar above and below, or at the sides: darker than that all over
_BLACK, _STRIDE = 20, 4
_LEAST_LEFT = 0.3
# formats with pages; further pictures in others are previews and the like
_PAGED = (".tif", ".tiff")
# a video that ends before that part of its time was cut short
_WHOLE = 0.9


@dataclass(frozen=True)
class Shot:
    """A frame.

    Attributes:
        name: of the picture that it becomes, without an ending.
        origin: what it is, for people.
        pixels: [3, H, W] bytes.
        time_s: seconds since its video began; None for photographs.
        alpha: [1, H, W] bytes of a picture that is transparent somewhere.
        scale: pixels of it to one of the file's picture.
    """

    name: str
    origin: str
    pixels: Tensor
    time_s: float | None = None
    alpha: Tensor | None = None
    scale: float = 1.0


class Source(ABC):
    """A video, or pictures.

    Attributes:
        label: what the user gave.
        count: how many frames `shots` will give; an estimate.
        notice: what the user should know once the shots were read; "" for nothing.
    """

    label: str
    count: int
    notice: str = ""

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
        last = 0.0
        for frame in clip_frames(self.clip, every_s=self._every):
            last = frame.time_s
            yield self._shot(frame)
        # the last frame lasts too, and the last one looked at may not be the last of all
        lasted = last + max(self._every, self.clip.step_s)
        if lasted < _WHOLE * self.clip.duration_s:
            self.notice = (
                f"{self.label}: ends after {lasted:.1f} of {self.clip.duration_s:.1f} seconds; cut "
                "short or damaged, copy it again if the rest is wanted"
            )

    def again(self, names: Sequence[str]) -> Iterator[Shot]:
        """Read some frames again."""
        wanted = _indices(names, self._stem)
        if wanted:
            yield from map(self._shot, clip_frames(self.clip, only=wanted))

    def _shot(self, frame: ClipFrame) -> Shot:
        return _moment(self._stem, frame.index, frame.time_s, frame.pixels, frame.alpha)


class AnimationSource(Source):
    """A GIF, WebP, PNG or AVIF that moves."""

    def __init__(self, path: Path, stem: str, look_at: int, frames: int) -> None:
        self.path, self.label, self._stem = path, str(path), stem
        self._step = max(1, math.ceil(frames / look_at))
        self.count = math.ceil(frames / self._step)

    def shots(self) -> Iterator[Shot]:
        """Read every so many frames."""
        for index, shot in enumerate(self._all()):
            if index % self._step == 0:
                yield shot

    def again(self, names: Sequence[str]) -> Iterator[Shot]:
        """Read some frames again."""
        wanted = frozenset(names)
        return (shot for shot in self._all() if shot.name in wanted)

    def _all(self) -> Iterator[Shot]:
        for index, (time_s, photo) in enumerate(animation(_content(self.path), self.label)):
            yield _moment(self._stem, index, time_s, photo.pixels, photo.alpha)


class PictureSource(Source):
    """A picture."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.label, self.name, self.count = path, str(path), name, 1

    def shots(self) -> Iterator[Shot]:
        """Read it."""
        photo: Photo = read_photo(_content(self.path), self.label)
        if photo.pages > 1 and self.path.suffix.lower() in _PAGED:
            self.notice = f"{self.label}: {photo.pages} pages, of which the first is taken"
        yield Shot(self.name, self.path.name, photo.pixels, None, photo.alpha, photo.scale)

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
        sources.append(_source(path, name, look_at))
    return sources


def _source(path: Path, name: str, look_at: int) -> Source:
    if path.suffix.lower() in VIDEOS:
        return ClipSource(path, name, look_at)
    frames = moments(_content(path), str(path))
    return AnimationSource(path, name, look_at, frames) if frames > 1 else PictureSource(path, name)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"--input {path}: can't be read ({error.strerror})") from None


def _moment(stem: str, index: int, time_s: float, pixels: Tensor, alpha: Tensor | None) -> Shot:
    """A frame of something that moves; black bars are cut where it isn't transparent."""
    origin = f"frame {index} at {time_s:.2f} s"
    pixels = without_bars(pixels) if alpha is None else pixels
    return Shot(f"{stem}_{index:06d}", origin, pixels, time_s, alpha)


def _indices(names: Sequence[str], stem: str) -> frozenset[int]:
    """Which frames of the clip of this name are meant."""
    found = (name.removeprefix(f"{stem}_") for name in names if name.startswith(f"{stem}_"))
    return frozenset(int(number) for number in found if number.isdecimal())


def _expanded(path: Path) -> list[Path]:
    suffix = path.suffix.lower()
    if path.is_dir():
        known = PICTURES | VIDEOS
        inside = [p for p in path.iterdir() if p.suffix.lower() in known and p.name[0] != "."]
        if not inside:
            raise InputError(f"--input {path}: no pictures or videos in this folder")
        return sorted(inside, key=lambda p: natural(p.name))
    if not path.is_file():
        raise InputError(f"--input {path}: no such file or folder")
    if suffix not in PICTURES | VIDEOS:
        raise InputError(
            f"--input {path}: neither a picture nor a video by its name; rename it if it is one "
            f"({', '.join(sorted(PICTURES | VIDEOS))})"
        )
    return [path]


def _unused(stem: str, names: set[str]) -> str:
    """A name for files, of plain characters, that nothing else has, nor frames of anything."""
    plain = "".join(c if c.isalnum() or c in "-." else "_" for c in stem).strip("._") or "picture"
    candidates = (plain, *(f"{plain}-{i}" for i in range(2, 2 * len(names) + 3)))
    return next(name for name in candidates if not any(_clash(name, other) for other in names))


def _clash(name: str, other: str) -> bool:
    """Whether two names, or those of frames of one of them, could be the same."""
    short, long = sorted((name, other), key=len)
    return short == long or bool(re.fullmatch(re.escape(short) + r"_[0-9]{6,}", long))


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
    return replace(shot, pixels=torch.flip(shot.pixels, [2]), alpha=alpha)
