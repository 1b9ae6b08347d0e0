"""Runs and trainings in Weights & Biases, or in trackio of the same shape: `--logger wandb`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from inv3d.core.errors import UnsupportedError
from inv3d.core.registry.hookspecs import hookimpl

PROJECT = "3dinv"


class Tracker:
    """Logs to a package with `init`, `log` and `finish`."""

    def __init__(self, package: Any, options: Mapping[str, Any], place: str = "") -> None:
        """Log to a package.

        Args:
            package: with these functions.
            options: of its `init`.
            place: option of its `init` for the folder that it writes, if it has one; the run
                directory unless the options say another.
        """
        self.package = package
        self.options = dict(options)
        self.place = place

    @hookimpl
    def inv3d_run_start(self, directory: Path, config: dict[str, Any]) -> None:
        """Begin a run of the directory's name, with the options of method and generator."""
        self._begin(directory, config, ("method", "generator", "input", "seed"))

    @hookimpl
    def inv3d_training_start(self, directory: Path, config: dict[str, Any]) -> None:
        """Begin a run of the directory's name, with the options of the training."""
        self._begin(directory, config, ("plugin", "generator", "training", "request"))

    def _begin(self, directory: Path, config: dict[str, Any], names: tuple[str, ...]) -> None:
        kept = {name: config.get(name) for name in names}
        place = {self.place: str(directory)} if self.place else {}
        self.package.init(**{"name": directory.name, "config": kept, **place} | self.options)

    @hookimpl
    def inv3d_run_step(self, progress: Any) -> None:
        """Log a step under the names of its stage."""
        self._log(progress)

    @hookimpl
    def inv3d_training_step(self, progress: Any) -> None:
        """Log a step."""
        self._log(progress)

    @hookimpl
    def inv3d_training_checked(self, step: int, values: Mapping[str, float]) -> None:
        """Log what held-out pictures say."""
        self.package.log({f"held-out/{name}": value for name, value in values.items()})

    @hookimpl
    def inv3d_training_end(self) -> None:
        """End what was begun."""
        self.package.finish()

    def _log(self, progress: Any) -> None:
        values = {f"{progress.stage}/{name}": value for name, value in progress.losses.items()}
        rates = {f"{progress.stage}/rate of {name}": value for name, value in progress.lr.items()}
        self.package.log({**values, **rates, f"{progress.stage}/step": progress.step})

    @hookimpl
    def inv3d_run_end(self, metrics: dict[str, Any]) -> None:
        """Log the metrics and end."""
        groups = {group: metrics.get(group) or {} for group in ("front", "chosen", "held_out")}
        self.package.log(
            {
                f"{group}/{name}": value
                for group, values in groups.items()
                for name, value in values.items()
                if isinstance(value, int | float)
            }
        )
        self.package.finish()

    @hookimpl
    def inv3d_run_failed(self) -> None:
        """End what was begun."""
        self.package.finish()


def make_wandb(mode: str = "offline", **options: Any) -> Tracker:
    """Make a logger for wandb that sends nothing unless the mode says so.

    Offline it reports its own use and errors to its maker all the same, which is switched off here
    unless the user's environment says something of it.

    Args:
        mode: of its `init`.
        options: see `make`.
    """
    if mode != "online":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return make("wandb", "dir", mode=mode, **options)


def make(module: str, place: str, **options: Any) -> Tracker:
    """Make a logger.

    Args:
        module: that is imported.
        place: see `Tracker`.
        options: of its `init`.

    Raises:
        UnsupportedError: where the package isn't installed.
    """
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedError(
            f"--logger {module}: needs the package {module} ({error}); pip install {module}, or "
            "leave it out"
        ) from error
    return Tracker(package, {"project": PROJECT, **options}, place)


@hookimpl
def inv3d_loggers() -> dict[str, Callable[..., Any]]:
    """Offer them; nothing is imported before it's asked for, nothing sent unless it's said."""
    return {
        "wandb": make_wandb,
        "trackio": partial(make, "trackio", ""),
    }
