"""Inverting a capture from Python in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.arguments import expect
from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.errors import InputError
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.io.capturefiles import CaptureFiles
from inv3d.report.views import render_views
from inv3d.runs.asked import asked, check_beside
from inv3d.runs.display import Display, Told, open_display
from inv3d.runs.execute import start
from inv3d.runs.prepare import PreparedRun, prepare


@dataclass(frozen=True)
class Inverted:
    """A head that was inverted, ready to render.

    Attributes:
        generator: tuned for the inversion, on the device.
        inversion: the result.
        capture: the frames that were read, those that were inverted and those held out.
        directory: of the run, if one was asked for.
        metrics: contents of its metrics.json, if there is one.
    """

    generator: Generator = field(repr=False)
    inversion: Inversion = field(repr=False)
    capture: Capture = field(repr=False)
    directory: Path | None = None
    metrics: Mapping[str, Any] | None = field(default=None, repr=False)

    def render(self, camera: Camera) -> Tensor:
        """Return what cameras see.

        Args:
            camera: N cameras, such as `generator.spec.camera.orbit(yaw)`.

        Returns:
            [N, 3, H, W] in [-1, 1], on the generator's device.

        Raises:
            ConfigError: where it's something else.
            InputError: where there's no camera.
        """
        expect("camera", camera, Camera, "a Camera, such as generator.spec.camera.front()")
        if not len(camera):
            raise InputError("camera: found no cameras, expected one or more")
        views = render_views(self.generator, self.inversion, camera)
        return torch.cat([seen.require("image") for _, seen in views])


def invert(
    capture: str | Path | CaptureFiles,
    *,
    method: str = "multilatent",
    generator: str = "minihead",
    out: str | Path | None = None,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    **request: Any,
) -> Inverted:
    """Invert a capture, as `3dinv run` does.

    Args:
        capture: folder or zip with images and cameras, or "sample:dynamic", "sample:static"; or
            what `open_capture` returned, which is opened once more.
        method: name of the plugin.
        generator: name of the plugin.
        out: directory to write with everything that `3dinv run` writes; nothing is written if
            None, and nothing is measured.
        overwrite: replace a run that is in `out`.
        on_step: is told of every step; without it, progress is shown on stderr.
        request: other fields of `inv3d.runs.prepare.Request`: `options` (nested, of the method,
            with those of the generator in a table "generator"), `preset`, `generator_preset`,
            `weights`, `views`, `selection`, `hold_out`, `undistort`, `seed`, `device`,
            `view_chunk`, `init`, `pictures`, `metrics`, `camera`.

    Returns:
        The tuned generator, the inversion and the frames.

    Raises:
        ConfigError: where a field isn't known, or a value of another type or out of range.
        InvError: with one line that says what's wrong and what to do.

    Example:
        >>> import inv3d, torch
        >>> found = inv3d.invert("sample:static", method="wplus", hold_out="none",
        ...     options={"latent": {"steps": 1, "samples": 100}}, on_step=print)
        Progress(stage='latent', step=0, ...)
        >>> yaw = torch.tensor([-0.5, 0.5])
        >>> found.render(found.generator.spec.camera.orbit(yaw)).shape
        torch.Size([2, 3, 128, 128])
    """
    check_beside(out=out, overwrite=overwrite, on_step=on_step)
    run = prepare(asked(capture, {"method": method, "generator": generator, **request}))
    if on_step is not None:
        return _invert(run, Told(on_step), out, overwrite)
    with open_display() as display:
        return _invert(run, display, out, overwrite)


def _invert(
    run: PreparedRun, display: Display, out: str | Path | None, overwrite: bool
) -> Inverted:
    if out is not None:
        directory, metrics = start(
            run, Path(out), display, overwrite=overwrite, command=["inv3d.invert"]
        )
        inversion = Inversion.load(directory.path)
        return Inverted(run.generator, inversion, run.capture, directory.path, metrics)
    for notice in run.notices:
        display.say(f"warning: {notice}")
    inversion = run.method.invert(run.generator, run.chosen, run.context(None), display.step)
    return Inverted(run.generator, inversion, run.capture)
