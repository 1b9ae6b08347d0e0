"""Types of options and arguments that take a path, for `type=`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _Named(click.ParamType):  # type: ignore[type-arg]
    """What has a name; an empty path would be that of the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value.

        Raises:
            click.BadParameter: where it's empty.
        """
        if value == "":
            expected = "expected that of a file or folder; . is the working directory"
            self.fail(f"found an empty path, {expected}", param, ctx)
        return super().convert(value, param, ctx)


class _Path(_Named, click.Path):
    pass


class _Text(_Named, click.types.StringParamType):
    pass


PATH = _Path(path_type=Path)
# of a capture, which may be a sample's name
CAPTURE = _Text()
