"""Arguments of Python's callers: what's of another type is refused in one line.

The command line has looked at its options by itself.
"""

from __future__ import annotations

import os
from reprlib import repr as short
from typing import Any

from inv3d.core.errors import ConfigError

PATH = (str, os.PathLike)
# what messages show of a value as it was given; of others they name the type
_PLAIN = (str, int, float, type(None))


def expect(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """See that an argument is of a type.

    Args:
        name: of the argument.
        value: that was given.
        kinds: one of which it should be.
        expected: which, in words, and how to get one.

    Raises:
        ConfigError: where it's of another type.
    """
    if not isinstance(value, kinds):
        raise ConfigError(f"{name}: found {shown(value)}, expected {expected}")


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    if isinstance(value, _PLAIN):
        return short(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a value of type {type(value).__name__}"
