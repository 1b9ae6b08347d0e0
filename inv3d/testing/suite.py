"""Suites of checks: collected by a decorator, counted, run one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from inv3d.core.errors import UsageError, first_line, suggest
from inv3d.testing.results import Result, Status

S = TypeVar("S")
Check = Callable[[S], None]


class DoesntApply(Exception):
    """Raised by a check that has nothing to look at in this plugin; the text says why."""


class Suite(Generic[S]):
    """The checks of a kind, in the order in which they were written down."""

    def __init__(self) -> None:
        self.checks: dict[str, Check[S]] = {}

    def check(self, function: Check[S]) -> Check[S]:
        """Add a check; its name is that of the function, in words, its docstring what it sees."""
        self.checks[function.__name__.replace("_", " ").strip()] = function
        return function

    def run(self, subject: S, expected: Mapping[str, str]) -> Iterator[Result]:
        """Run every check.

        Args:
            subject: what is looked at.
            expected: name of a check that fails -> why that's as it should be.

        Raises:
            UsageError: where a failure of a check that doesn't exist is expected.
        """
        for name in expected:
            if name not in self.checks:
                raise UsageError(
                    f"expected failure '{name}': no such check{suggest(name, self.checks)}"
                )
        for name, function in self.checks.items():
            started = time.perf_counter()
            status, said = _outcome(function, subject)
            if name in expected:
                status, said = _as_expected(status, said, expected[name])
            yield Result(name, status, said, round(time.perf_counter() - started, 3))


def _outcome(function: Check[Any], subject: Any) -> tuple[Status, str]:
    try:
        function(subject)
    except DoesntApply as reason:
        return "left out", str(reason)
    except AssertionError as error:
        return "failed", first_line(error) or "an assertion without a text"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin raises
        return "failed", f"{type(error).__name__}: {first_line(error)}"
    return "passed", ""


def _as_expected(status: Status, said: str, reason: str) -> tuple[Status, str]:
    if status == "failed":
        return "expected", f"{reason} ({said})"
    if status == "passed":
        return "unexpected", f"it passed, but was expected to fail: {reason}"
    return status, said
