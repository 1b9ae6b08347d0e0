"""Cameras for a capture that has none: an estimator tells them of the pictures."""

from __future__ import annotations

from dataclasses import replace

import torch

from inv3d.core.border import check_cameras
from inv3d.core.camera import Camera
from inv3d.core.errors import ConfigError, InputError
from inv3d.core.estimator import AUTO, AnyEstimator, find_estimator, load_estimator
from inv3d.core.generator import Generator
from inv3d.io.capturefiles import CaptureFiles

_AT_A_TIME = 16


def estimator_name(wanted: str) -> str | None:
    """Return the estimator that `--camera` names; None leaves it to us.

    Raises:
        ConfigError: where it's something else than auto or auto:ESTIMATOR.
    """
    kind, colon, name = wanted.partition(":")
    if kind != AUTO or (colon and not name):
        raise ConfigError(
            f"--camera {wanted}: expected auto, or auto:ESTIMATOR with a name that '3dinv "
            "list-plugins --kind estimators' shows"
        )
    return name or None


def with_estimated_cameras(
    files: CaptureFiles, generator: Generator, wanted: str
) -> tuple[CaptureFiles, str]:
    """Return a capture with a camera for every picture, and what the user should know of them.

    Args:
        files: of a capture without cameras.
        generator: in whose coordinates they are, on the device.
        wanted: "auto" or "auto:ESTIMATOR".

    Raises:
        ConfigError: where it's neither.
        InputError: where the capture has cameras, or a picture that the estimator can't place.
        PluginError: where there's no such estimator.
        UnsupportedError: where no installed one serves the generator.
        WeightsError: where the one that is named has no networks for the generator.
    """
    name = estimator_name(wanted)
    if files.posed:
        raise InputError(
            f"--camera {wanted}: the capture {files.source} has cameras; leave --camera out to "
            "take them"
        )
    device = generator.device
    if name is None:
        estimator = find_estimator(generator, f"--camera {wanted}", device=device)
    else:
        estimator = load_estimator(name, device=device, generator=generator)
    cameras = _cameras(estimator, files, generator)
    notice = (
        f"the cameras of {files.source} are what estimator {estimator.name} tells of the pictures; "
        "results can't be better than they are"
    )
    return replace(files, cameras=cameras), notice


@torch.no_grad()
def _cameras(estimator: AnyEstimator, files: CaptureFiles, generator: Generator) -> Camera:
    """Ask for the cameras of all pictures, a few at a time."""
    parts = []
    for first in range(0, len(files), _AT_A_TIME):
        rows = range(first, min(first + _AT_A_TIME, len(files)))
        images = files.load(generator.spec.resolution, rows).images
        seen = estimator.estimate(images.to(generator.device, generator.dtype), generator)
        cameras = check_cameras(seen, len(images), estimator.name)
        parts.append(cameras.to("cpu", images.dtype))
    return Camera.cat(parts)
