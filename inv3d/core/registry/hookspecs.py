"""The whole hook surface: what a plugin can add besides the kinds of plugins (pluggy)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pluggy

from inv3d.core.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import click

PROJECT = "inv3d"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """All hooks. A module named in the entry-point group `inv3d.hooks` implements any of them."""

    @hookspec
    def inv3d_commands(self, group: click.Group) -> None:
        """Add commands to the `3dinv` group; ours can't be replaced.

        Args:
            group: of commands (click), empty so far.
        """

    @hookspec
    def inv3d_run_start(self, directory: Path, config: dict[str, Any]) -> None:
        """A run begins, or goes on.

        Args:
            directory: the run directory.
            config: resolved options, as in run.json.
        """

    @hookspec
    def inv3d_run_step(self, directory: Path, progress: Any) -> None:
        """A step was taken.

        Args:
            directory: the run directory.
            progress: an `inv3d.Progress`: stage, step, losses, rates, seconds.
        """

    @hookspec
    def inv3d_run_end(self, directory: Path, inversion: Any, metrics: dict[str, Any]) -> None:
        """A run ended well.

        Args:
            directory: the run directory, with its report.
            inversion: an `inv3d.Inversion`.
            metrics: the contents of metrics.json.
        """

    @hookspec
    def inv3d_run_failed(self, directory: Path, error: BaseException) -> None:
        """A run ended without a report: it failed, or was stopped and can go on.

        Args:
            directory: the run directory.
            error: that ended it; `inv3d.core.errors.InterruptedRun` where a user stopped it.
        """

    @hookspec
    def inv3d_training_start(self, directory: Path, config: dict[str, Any]) -> None:
        """A training begins, or goes on; of several processes the first one tells.

        Args:
            directory: of the training.
            config: resolved options, as in train.json.
        """

    @hookspec
    def inv3d_training_step(self, directory: Path, progress: Any) -> None:
        """A step of a training was taken.

        Args:
            directory: of the training.
            progress: an `inv3d.Progress`: step, losses, rates, seconds.
        """

    @hookspec
    def inv3d_training_checked(
        self, directory: Path, step: int, values: Mapping[str, float]
    ) -> None:
        """Held-out pictures were looked at.

        Args:
            directory: of the training.
            step: how many steps are behind it.
            values: name -> number, as on its page.
        """

    @hookspec
    def inv3d_training_end(self, directory: Path, error: BaseException | None) -> None:
        """A training ended.

        Args:
            directory: of the training.
            error: that ended it, or None where it came to its end;
                `inv3d.core.errors.InterruptedRun` where a user stopped it.
        """

    @hookspec
    def inv3d_exporters(self) -> dict[str, Callable[..., Any]]:  # type: ignore[empty-body]
        """Return format name -> function(inversion, generator, path), for `3dinv export`."""

    @hookspec
    def inv3d_read_capture(  # type: ignore[empty-body]
        self, path: Path
    ) -> Mapping[str, bytes | Callable[[], bytes]] | None:
        """Return a capture of a format of your own as files of a form that 3dinv knows.

        Args:
            path: that `--input` names, a file or a folder.

        Returns:
            Relative name -> content, or a function that reads it when it's needed: pictures and a
            `dataset.json` or `transforms.json`, as a folder would hold them. None where the path
            isn't of this format.
        """

    @hookspec
    def inv3d_loggers(self) -> dict[str, Callable[..., Any]]:  # type: ignore[empty-body]
        """Return name -> function(**options), for `--logger NAME?OPTION=VALUE`.

        The function is called when a run or a training begins that asks for it, and returns an
        object with any of their hooks as methods; only then may it import what it needs.
        """

    @hookspec
    def inv3d_executors(self) -> dict[str, Callable[..., Any]]:  # type: ignore[empty-body]
        """Return name -> function(wanted, **options), for `3dinv batch --executor NAME`.

        The function is given an `inv3d.Wanted` and returns an `inv3d.Executor`; only then may it
        import what it needs.
        """

    @hookspec
    def inv3d_metrics(self) -> dict[str, str]:  # type: ignore[empty-body]
        """Return role -> loss with options, such as {"soft": "l1?resolution=32"}.

        They measure every run that begins, as `--metric` does, which wins over them.
        """

    @hookspec
    def inv3d_classifiers(self) -> dict[str, Any]:  # type: ignore[empty-body]
        """Return classifier name -> function(images [N, 3, H, W] in [-1, 1]).

        The function returns attribute name -> scores [N]; more of it is a larger number. Editors
        find directions by them.
        """


def manager() -> pluggy.PluginManager:
    """Return a manager that knows the specifications and no plugin."""
    empty = pluggy.PluginManager(PROJECT)
    empty.add_hookspecs(HookSpecs)
    return empty


def misspelt_hook(module: Any) -> str:
    """Say which hook of a module is misspelt or takes other arguments; empty if none."""
    trial, specs = manager(), vars(HookSpecs)
    known = [spec for spec in specs if spec.startswith(f"{PROJECT}_")]
    for attribute in dir(module):
        options = trial.parse_hookimpl_opts(module, attribute)
        if options is None:
            continue
        name = options.get("specname") or attribute
        if name not in known:
            return f"there is no hook {name}{suggest(name, known)}"
        arguments = list(inspect.signature(specs[name]).parameters)[1:]
        for argument in inspect.signature(getattr(module, attribute)).parameters:
            if argument not in arguments:
                return f"hook {name} has no argument '{argument}'{suggest(argument, arguments)}"
    return ""
