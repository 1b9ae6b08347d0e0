"""Pictures of faces for tests: embedded captures, and photographs inside dependencies."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.io.dataset import open_capture
from inv3d.io.video import write_video


def photograph(name: str) -> Path:
    """`astronaut.png`, `camera.png` (a profile) or `grace_hopper.jpg`."""
    package, folder = (
        ("matplotlib", "mpl-data/sample_data") if name.endswith("jpg") else ("skimage", "data")
    )
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / folder / name


@lru_cache(maxsize=1)
def heads() -> Capture:
    """Eleven frames of the embedded moving head, from -70 to +70 degrees."""
    return open_capture("sample:dynamic").load(128, [*range(0, 60, 6), 59])


def as_bytes(image: Tensor) -> Tensor:
    """[3, H, W] in [-1, 1] to bytes."""
    return ((image + 1) * 127.5).round().byte()


def write_clip(path: Path, rows: range = range(6, 54, 3), fps: float = 10) -> Path:
    """A video of the embedded moving head."""
    capture = open_capture("sample:dynamic").load(128, list(rows))
    frames = [as_bytes(image).permute(1, 2, 0).numpy() for image in capture.images]
    write_video(path, (np.ascontiguousarray(frame) for frame in frames), fps=fps)
    return path


def true_yaw(rows: range = range(6, 54, 3)) -> Tensor:
    """Of the frames of `write_clip`, degrees."""
    cameras = open_capture("sample:dynamic").camera[list(rows)]
    return torch.rad2deg(cameras.yaw)
