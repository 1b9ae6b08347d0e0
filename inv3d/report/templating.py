"""The templates of the pages: every text is escaped, and a name that's missing is an error."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from inv3d.report.pictures import data_uri
from inv3d.report.tables import degrees, number

if TYPE_CHECKING:
    from jinja2 import Environment


def render_template(name: str, **context: Any) -> str:
    """Return a page.

    Args:
        name: of a file in `templates/`.
        context: what the template reads.
    """
    return environment().get_template(name).render(context)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the environment of all templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("inv3d.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"data_uri": data_uri, "degrees": degrees, "number": number}
    return made
