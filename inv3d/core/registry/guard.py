"""Importing code of others: what it prints, what it changes, and who stops it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class Guard:
    """What was seen while a plugin was imported.

    Attributes:
        prints: whether it printed.
        changes: what it changed and is no business of an import, in words; all but threads was
            put back.
        stopped: whether the user pressed Ctrl-C.
    """

    prints: bool = False
    changes: tuple[str, ...] = ()
    stopped: bool = False
    _stream: Any = field(default=None, repr=False)


@contextlib.contextmanager
def guarded() -> Iterator[Guard]:
    """Let code of others run: what it prints goes to stderr, what it changes is put back."""
    guard = Guard()
    printed = _Printed(guard)
    before = {thing.words: thing.read() for thing in _THINGS}
    threads = set(threading.enumerate())
    with _noticed_interrupts(guard), _raw_output_to_stderr():
        streams = sys.stdin, sys.stdout, sys.stderr
        sys.stdout = printed  # type: ignore[assignment]
        try:
            yield guard
        finally:
            taken = sys.stdout is not printed or (sys.stdin, sys.stderr) != streams[::2]
            sys.stdin, sys.stdout, sys.stderr = streams
            found = ["the standard streams"] if taken else []
            found += [thing.words for thing in _THINGS if thing.put_back(before[thing.words])]
            if any(not thread.daemon for thread in set(threading.enumerate()) - threads):
                found.append("what runs, by a thread that keeps 3dinv from ending")
            guard.changes = tuple(found)


class _Printed:
    """Stands for stdout: passes to stderr what is printed, and remembers that it was."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._stream = sys.stderr

    def write(self, text: str) -> int:
        """Pass a text on."""
        self._guard.prints |= bool(text)
        return self._stream.write(text)

    def close(self) -> None:
        """Stay open: others print as well."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _raw_output_to_stderr() -> Iterator[None]:
    """Send what is written by C or by other programs to stderr as well."""
    try:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):  # there's no such stream
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _noticed_interrupts(guard: Guard) -> Iterator[None]:
    """Tell a user's Ctrl-C or SIGTERM from a KeyboardInterrupt that somebody's code raises."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in known.items() if callable(handler)}

    def notice(number: int, frame: FrameType | None) -> None:
        guard.stopped = True
        handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, notice)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Thing:
    """Something that an import may change and shouldn't.

    Attributes:
        words: what it is.
        read: returns its state.
        write: sets it.
    """

    words: str
    read: Callable[[], Any]
    write: Callable[[Any], None]

    def put_back(self, before: Any) -> bool:
        """Set what it was before; return whether it had changed."""
        if self.read() == before:
            return False
        with contextlib.suppress(OSError):
            self.write(before)
        return True


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _write_arguments(arguments: list[str]) -> None:
    sys.argv[:] = arguments


def _errors() -> tuple[Any, ...]:
    return tuple(entry for entry in warnings.filters if entry[0] == "error")


def _write_errors(before: tuple[Any, ...]) -> None:
    kept = [entry for entry in warnings.filters if entry[0] != "error" or entry in before]
    warnings.filters[:] = kept  # type: ignore[index]


def _torch_defaults() -> tuple[Any, ...]:
    """Return the type of new tensors, whether gradients are recorded, and where tensors go."""
    torch = sys.modules.get("torch")
    # half imported where an import of torch itself failed
    if torch is None or not hasattr(torch, "get_default_device"):
        return "float32", True, "cpu"
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    return dtype, torch.is_grad_enabled(), str(torch.get_default_device())


def _write_torch_defaults(before: tuple[Any, ...]) -> None:
    import torch

    dtype, gradients, device = before
    torch.set_default_dtype(getattr(torch, dtype))
    torch.set_grad_enabled(gradients)
    torch.set_default_device(None if device == "cpu" else device)


_THINGS = (
    _Thing("the working directory", _folder, os.chdir),
    _Thing("the command line's words", lambda: list(sys.argv), _write_arguments),
    _Thing("warnings, which become errors", _errors, _write_errors),
    _Thing("the depth of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    _Thing("torch's defaults", _torch_defaults, _write_torch_defaults),
)
