"""Losses, rates and metrics of runs and trainings for TensorBoard: `--logger tensorboard`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inv3d.core.errors import UnsupportedError
from inv3d.core.registry.hookspecs import hookimpl

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files into the run directory, or into a folder of its name elsewhere.

    Trainings are logged as runs are.
    """

    def __init__(self, writer: Callable[..., Any], folder: Path | None) -> None:
        self.make = writer
        self.folder = folder
        self.writer: Any = None
        self.taken = 0

    @hookimpl
    def inv3d_run_start(self, directory: Path, config: dict[str, Any]) -> None:
        """Begin; the options are a text."""
        self._begin("run", directory, config, ("method", "generator", "input", "seed"))

    @hookimpl
    def inv3d_training_start(self, directory: Path, config: dict[str, Any]) -> None:
        """Begin; the options are a text."""
        self._begin("training", directory, config, ("plugin", "generator", "training", "request"))

    def _begin(
        self, what: str, directory: Path, config: dict[str, Any], names: tuple[str, ...]
    ) -> None:
        place = directory / FOLDER if self.folder is None else self.folder / directory.name
        self.writer, self.taken = self.make(str(place)), 0
        options = {name: config.get(name) for name in names}
        text = json.dumps(options, indent=2, default=str)
        self.writer.add_text(what, "\n".join(f"    {line}" for line in text.splitlines()))

    @hookimpl
    def inv3d_run_step(self, progress: Any) -> None:
        """Log a step, at its number within its stage."""
        self._log(progress)

    @hookimpl
    def inv3d_training_step(self, progress: Any) -> None:
        """Log a step."""
        self._log(progress)

    def _log(self, progress: Any) -> None:
        for name, value in progress.losses.items():
            self.writer.add_scalar(f"{progress.stage}/{name}", value, progress.step)
        for name, value in progress.lr.items():
            self.writer.add_scalar(f"{progress.stage}/rate of {name}", value, progress.step)
        self.taken += 1

    @hookimpl
    def inv3d_training_checked(self, step: int, values: Mapping[str, float]) -> None:
        """Log what held-out pictures say."""
        for name, value in values.items():
            self.writer.add_scalar(f"held-out/{name}", value, step)

    @hookimpl
    def inv3d_training_end(self) -> None:
        """Keep what there is."""
        self.writer.close()

    @hookimpl
    def inv3d_run_end(self, metrics: dict[str, Any]) -> None:
        """Log the metrics of fitted and held-out views."""
        for name, value in numbers(metrics).items():
            self.writer.add_scalar(name, value, self.taken)
        self.writer.close()

    @hookimpl
    def inv3d_run_failed(self) -> None:
        """Keep what there is."""
        self.writer.close()


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among the metrics of views, such as "held_out/psnr"."""
    found = {}
    for group in ("front", "chosen", "held_out"):
        for name, value in (metrics.get(group) or {}).items():
            if isinstance(value, int | float):
                found[f"{group}/{name}"] = float(value)
    return found


def make(folder: str | None = None) -> TensorBoard:
    """Make the logger.

    Args:
        folder: where event files go, in a folder of the run's name; its directory if None.

    Raises:
        UnsupportedError: where the package isn't installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UnsupportedError(
            f"--logger tensorboard: needs the package tensorboard ({error}); pip install "
            "tensorboard, or leave it out"
        ) from error
    return TensorBoard(SummaryWriter, None if folder is None else Path(folder))


@hookimpl
def inv3d_loggers() -> dict[str, Callable[..., Any]]:
    """Offer it; nothing is imported before it's asked for."""
    return {"tensorboard": make}
