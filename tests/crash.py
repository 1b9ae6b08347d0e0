"""Programs that die at a chosen change of their files, by SIGKILL and in a warm child."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.children import outcome, started

# (event of CPython's file functions, name of the file)
Change = tuple[str, str]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# event -> which of its arguments has the path that changes
_PATH = {
    "open": 0,
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rename": 1,
    "os.rmdir": 0,
    "os.truncate": 0,
    "shutil.rmtree": 0,
}


def changes(folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Change]:
    """Call a function in a child; return all changes of files below a folder, in their order."""
    found = outcome(_recorded, folder, function, *arguments)
    if found.error is not None:
        raise found.error
    made: list[Change] = found.value
    return made


def died(folder: Path, fatal: int, function: Callable[..., Any], *arguments: Any) -> bool:
    """Call a function in a child that is killed at a change of the files below a folder.

    Args:
        folder: absolute.
        fatal: number of the change, from 0, that isn't made any more.
        function: to call.
        arguments: its arguments.

    Returns:
        Whether it came to that; if not, it came to its end.
    """
    process = started(_doomed, folder, fatal, function, *arguments)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _recorded(folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Change]:
    found: list[Change] = []
    _on_change(folder, found.append)
    function(*arguments)
    return found


def _doomed(folder: Path, fatal: int, function: Callable[..., Any], *arguments: Any) -> None:
    left = iter(range(fatal))

    def see(_: Change) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    _on_change(folder, see)
    function(*arguments)


def _on_change(folder: Path, see: Callable[[Change], None]) -> None:
    """Call `see` before every change of a file below a folder, until this process ends."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _PATH:
            return
        path = arguments[_PATH[event]]
        only_read = event == "open" and not arguments[2] & _WRITES
        if only_read or not isinstance(path, str | os.PathLike):
            return
        if Path(os.path.abspath(path)).is_relative_to(folder):
            see((event, os.path.basename(path)))

    sys.addaudithook(audit)
