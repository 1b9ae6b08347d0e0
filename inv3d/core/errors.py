"""Errors that a user can put right: one line, and the exit code that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

_LONGEST = 300


class InvError(Exception):
    """Base class of everything that is reported as one line instead of a traceback.

    The message names the file or field, what was found, what was expected and what to do.
    """

    exit_code = 1


class Note(UserWarning):
    """Something that a user may want to know, and nothing to put right."""


class UsageError(InvError):
    """The command line or a configuration is wrong (exit code 2)."""

    exit_code = 2


class InputError(UsageError):
    """A capture, image, label or camera that can't be used."""


class ConfigError(UsageError):
    """An option that doesn't exist or a value out of range."""


class PluginError(UsageError):
    """A plugin that is unknown, broken, duplicated or of another API version."""


class ContractError(PluginError):
    """Something that a plugin says or returns, and that its kind doesn't allow (exit code 1)."""

    exit_code = 1


class UnsupportedError(UsageError):
    """Something that a generator or a method can't do."""


class WeightsError(InvError):
    """A weight file that is missing, corrupt or belongs to another architecture."""


class MismatchError(WeightsError):
    """Tensors of another architecture.

    Attributes:
        missing: names of tensors that the network has and the file doesn't.
        extra: names of tensors that only the file has.
        shapes: name -> shape in the file and shape in the network.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[str],
        extra: Sequence[str],
        shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        super().__init__(message)
        self.missing = missing
        self.extra = extra
        self.shapes = shapes


class RunError(InvError):
    """A run directory that can't be read, written or continued."""


class DivergedError(InvError):
    """An optimisation whose loss is no longer finite."""


class InterruptedRun(InvError):
    """A run that was stopped by the user and can be continued."""

    exit_code = 130


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or the list of known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def whole_text(error: BaseException) -> str:
    """Return an error's text; empty where it has none, or can't say it."""
    try:
        return _key(error) or str(error)
    except Exception:  # an error of others may fail at that as well
        return ""


def _key(error: BaseException) -> str:
    """Return the text of a `KeyError` of several lines, which would have them as a literal \\n."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else None
    return text if isinstance(text, str) and "\n" in text else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; empty where it has none."""
    return next(iter(whole_text(error).splitlines()), "")


def plain_text(text: str) -> str:
    """Return a text from a file as it may stand in a message: short, plain and printable."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:_LONGEST])


def printable(text: str) -> str:
    """Return a text without control characters, by which a file could command a terminal.

    Lines stay lines.
    """
    return "".join(c for c in text if c.isprintable() or c == "\n")
