"""The frames that a run reads: what `run.json` keeps of them, and reading them again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, no_cameras
from inv3d.core.errors import InputError, RunError
from inv3d.core.inversion import Inversion
from inv3d.io.capturefiles import CaptureFiles
from inv3d.io.dataset import is_there, open_capture
from inv3d.rundir.record import InputPart

# a capture, the positions of the chosen and those of the held-out frames in it
Frames = tuple[Capture, list[int], list[int]]


def describe_input(
    source: str,
    capture: Capture,
    chosen: Sequence[int],
    held_out: Sequence[int],
    *,
    undistort: bool = False,
    estimated: bool = False,
) -> InputPart:
    """Describe frames that were read.

    Args:
        source: the capture as the user named it.
        capture: the frames, at the generator's resolution.
        chosen: those that are inverted, as positions in the capture.
        held_out: those that only the metrics see, likewise.
        undistort: whether their lens distortion was taken out.
        estimated: whether their cameras aren't the capture's own, and so must be kept.
    """
    rows = capture.camera.labels().tolist() if estimated else None
    labels = None if rows is None else tuple(tuple(row) for row in rows)
    return InputPart(
        path=source if source.startswith("sample:") else str(Path(source).absolute()),
        views=capture.names,
        chosen=tuple(chosen),
        held_out=tuple(held_out),
        digest=digest(capture),
        undistort=undistort,
        cameras=labels,
    )


def load_input(part: InputPart, resolution: int, *, run: str, otherwise: str = "") -> Frames:
    """Read the frames of a run again, and see that they're what they were.

    Args:
        part: "input" of `run.json`.
        resolution: of the generator, pixels a side.
        run: what the messages call it.
        otherwise: what the user can do where they aren't, besides putting them back.

    Returns:
        The capture, the positions of the chosen and those of the held-out frames in it.

    Raises:
        InputError: where the capture is gone or can't be read, there never was one, or it has lost
            frames.
        RunError: where images, cameras or masks aren't what they were.
    """
    if part.path is None:
        raise InputError(f"{run}: was imported without its capture; give the capture with --input")
    remedy = f"back, or {otherwise}" if otherwise else "back"
    if not is_there(part.path):
        raise InputError(f"{run}: its capture {part.path} isn't there; put it {remedy}")
    files = open_capture(part.path, undistort=part.undistort)
    there = set(files.names)
    lost = [name for name in part.views if name not in there]
    if lost:
        raise InputError(
            f"{part.path}: no longer has {lost[0]}, which {run} was made from; put it {remedy}"
        )
    capture = load_frames(files, part.views, resolution)
    if part.cameras is not None:
        labels = torch.tensor(part.cameras, dtype=capture.images.dtype)
        capture = capture.with_cameras(Camera.from_labels(labels))
    if digest(capture) != part.digest:
        raise RunError(
            f"{part.path}: its images, labels or masks aren't those that {run} was made from; "
            f"put them {remedy}"
        )
    return capture, list(part.chosen), list(part.held_out)


def load_frames(files: CaptureFiles, frames: Sequence[str], resolution: int) -> Capture:
    """Read frames by name; all of them are there."""
    position = {name: row for row, name in enumerate(files.names)}
    return files.load(resolution, [position[name] for name in frames])


def digest(capture: Capture) -> str:
    """Return 16 hex digits that tell images, cameras, masks and depth maps apart."""
    result = hashlib.sha256()
    labels = None if capture.cameras is None else capture.cameras.labels()
    for tensor in (capture.images, labels, capture.masks, capture.depths):
        if tensor is not None:
            result.update(tensor.contiguous().numpy().data)
    return result.hexdigest()[:16]


def located(
    capture: Capture, inversion: Inversion, chosen: Sequence[int], held_out: Sequence[int]
) -> Frames:
    """Give frames the cameras that the method found, and leave out those without any.

    Args:
        capture: the frames of a run, with or without cameras.
        inversion: whose `poses` come before the capture's own cameras.
        chosen: positions of the frames that were inverted.
        held_out: positions of those that only the metrics see.

    Returns:
        The same, with a camera for every frame that's left.

    Raises:
        InputError: where no frame has a camera.
    """
    if capture.posed and not inversion.poses:
        return capture, list(chosen), list(held_out)
    cameras = [
        inversion.camera_of(name) or (capture.camera[row] if capture.posed else None)
        for row, name in enumerate(capture.names)
    ]
    rows = [row for row, camera in enumerate(cameras) if camera is not None]
    if not rows:
        raise no_cameras(capture.source)
    found = Camera.cat([camera for camera in cameras if camera is not None])
    place = {row: i for i, row in enumerate(rows)}
    kept = capture[rows].with_cameras(found)
    return (
        kept,
        [place[r] for r in chosen if r in place],
        [place[r] for r in held_out if r in place],
    )
