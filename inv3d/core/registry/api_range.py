"""Which versions of the plugin API a plugin works with, and whether this one is among them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_VERSION = re.compile(r"\s*(\d+)\.(\d+)\s*")
# signs of a specifier whose number is the least that will do
_LEAST = (">=", ">", "~=", "==")


def supported(wanted: Any) -> SpecifierSet:
    """Return the versions that an `api` stands for.

    Args:
        wanted: "1.2", which is from 1.2 on and below 2, or a range such as ">=1.2,<3" in the way
            of requirements.

    Raises:
        ValueError: where it's neither.
    """
    from packaging.specifiers import SpecifierSet

    if not isinstance(wanted, str):
        raise ValueError("no text")
    version = _VERSION.fullmatch(wanted)
    if version:
        return SpecifierSet(f">={version[1]}.{version[2]},<{int(version[1]) + 1}")
    found = SpecifierSet(wanted)
    if not len(found):
        raise ValueError("empty")
    return found


def api_fault(wanted: Any, have: str, owner: str) -> str:
    """Say why a plugin doesn't work with this plugin API; empty where it does.

    Args:
        wanted: what its class says in `api`.
        have: the version that is here.
        owner: what is to be upgraded where the plugin is too old: its distribution.
    """
    from packaging.version import Version

    try:
        versions = supported(wanted)
    except ValueError:
        return (
            f"api is {wanted!r}, expected 'major.minor' such as '{have}', or a range such as "
            f"'>={have},<3'; correct it in the class"
        )
    if have in versions:
        return ""
    newer = any(
        bound.operator in _LEAST and Version(bound.version.removesuffix(".*")) > Version(have)
        for bound in versions
    )
    return (
        f"written for plugin API {wanted}, this 3dinv has {have}; "
        f"upgrade {'3dinv' if newer else owner}"
    )
