"""Examples in docstrings, shown as code in the reference of the site."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_HEAD = re.compile(r"^( *)Example:$", re.MULTILINE)


class Examples(Extension):
    """Gives the section the name by which Griffe knows it."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rename it in the docstring of a class or function, which isn't parsed yet."""
        if obj.docstring is not None:
            obj.docstring.value = _HEAD.sub(r"\1Examples:", obj.docstring.value)
