"""Saying beforehand that something will go away."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(
    since: str, *, instead: str, gone: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that will go away; calling it warns, at the line that calls.

    Args:
        since: version of the plugin API from which on it warns.
        instead: what to take.
        gone: version of the plugin API that won't have it.

    Example:
        >>> import inv3d
        >>> @inv3d.deprecated("1.1", instead="add", gone="2.0")
        ... def plus(a, b):
        ...     return a + b
        >>> plus.__name__
        'plus'
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        said = (
            f"{function.__qualname__} is deprecated since plugin API {since} and ends with {gone}; "
            f"use {instead}"
        )

        @functools.wraps(function)
        def warned(*arguments: P.args, **options: P.kwargs) -> R:
            warnings.warn(said, DeprecationWarning, stacklevel=2)
            return function(*arguments, **options)

        return warned

    return mark
