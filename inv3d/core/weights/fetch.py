"""Getting a known weight file: licence, network, progress."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from inv3d.core.errors import UsageError, WeightsError
from inv3d.core.weights.download import Report, download
from inv3d.core.weights.known import WeightFile

OFFLINE = "INV3D_OFFLINE"
_PLAIN_SECONDS = 10.0


def fetch(file: WeightFile, owner: str = "", *, accepted: bool = False) -> Path:
    """Download a weight file into the folder for weights, with its progress on stderr.

    Args:
        file: which one.
        owner: who needs it, for the message, such as "loss lpips".
        accepted: the user accepts a licence that isn't free for all uses.

    Returns:
        Where it lies.

    Raises:
        UsageError: where its licence has to be accepted first.
        WeightsError: where it can't be had from here, with what to do.
        RunError: where it can't be written.
    """
    if not file.url:
        raise file.missing(owner, "there's no direct address")
    if file.noncommercial and not accepted:
        raise licence_refused(file)
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise file.missing(owner, f"{OFFLINE} is set")
    path = file.destination
    with progress_bar(file.name) as report:
        try:
            download(file.url, path, size=file.size, sha256=file.sha256, report=report)
        except WeightsError as error:
            raise file.missing(owner, str(error).removeprefix(f"{file.url}: ")) from None
    return path


def licence_refused(file: WeightFile) -> UsageError:
    """Return the error to raise where a licence isn't accepted."""
    return UsageError(
        f"{file.name}: its licence, {file.licence}, doesn't allow all uses; read it at {file.page} "
        f"and, if you accept it, run '3dinv weights fetch --accept-licence {file.name}'"
    )


@contextlib.contextmanager
def progress_bar(name: str) -> Iterator[Report]:
    """Give a function that shows progress: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(name)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _lines(name: str) -> Report:
    """Return a function that writes a line now and then."""
    last = time.monotonic() - _PLAIN_SECONDS

    def report(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last < _PLAIN_SECONDS and done != total:
            return
        last = time.monotonic()
        share = f" of {total / 1e6:.0f}" if total else ""
        print(f"{name}: {done / 1e6:.0f}{share} MB", file=sys.stderr)

    return report
