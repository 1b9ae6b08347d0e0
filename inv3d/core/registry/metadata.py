"""What the installed distributions declare: read as data, whatever state they are in."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inv3d.core.errors import first_line

_FILE = "entry_points.txt"
_OURS = re.compile(rb"inv3d|3dinv|threedinv", re.IGNORECASE)
_BOM = "\ufeff"


@dataclass(frozen=True)
class Declared:
    """The entry points of one distribution that may have plugins.

    Attributes:
        distribution: its name, that of its metadata folder where it has none.
        version: empty where it has none.
        text: of its `entry_points.txt`.
        fault: why that can't be read; empty where it can.
    """

    distribution: str
    version: str
    text: str = ""
    fault: str = ""


def declared() -> Iterator[Declared]:
    """Yield every distribution that speaks of us, once, whatever is wrong with it or with others.

    One whose entry points can't be read at all may be ours, and is yielded as well.
    """
    seen: set[str] = set()
    for distribution in _distributions():
        text, fault = _entry_points(distribution)
        if not (fault or _OURS.search(text.encode(errors="replace"))):
            continue
        name = name_of(distribution)
        if normal(name) not in seen:
            seen.add(normal(name))
            yield Declared(name, _said(distribution, "version"), text, fault)


def name_of(distribution: importlib.metadata.Distribution) -> str:
    """Return a distribution's name, that of its metadata folder where it has none."""
    return _said(distribution, "name") or _folder_name(distribution)


def normal(name: str) -> str:
    """Spell a name as package indexes do, so that my_plugin and My-Plugin are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _distributions() -> Iterator[importlib.metadata.Distribution]:
    """Yield what importers find; one that fails ends the search, and costs what comes after it."""
    try:
        yield from importlib.metadata.distributions()
    except Exception:  # an importer of others may raise anything
        return


def _entry_points(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Return the text of a distribution's entry points, and why it can't be read."""
    try:
        text = distribution.read_text(_FILE)
    except UnicodeDecodeError as error:
        return "", _other_text(error.object)
    except Exception as error:  # a reader of others may raise anything
        return "", f"its {_FILE} can't be read ({type(error).__name__}: {first_line(error)})"
    if text and "\0" in text:
        return "", _other_text(text.encode())
    return (text or "").removeprefix(_BOM), "" if text else _refusal(distribution)


def _other_text(content: bytes) -> str:
    """Say that a file isn't UTF-8 text; nothing where it doesn't speak of us."""
    # UTF-16 has zeros between the letters
    ours = _OURS.search(content.replace(b"\0", b""))
    return f"its {_FILE} isn't UTF-8 text; write it again as UTF-8" if ours else ""


def _refusal(distribution: importlib.metadata.Distribution) -> str:
    """Say why a file that is there wasn't read: the library keeps silent about it."""
    folder = _folder(distribution)
    try:
        file = folder / _FILE if folder is not None else None
        if file is not None and file.is_file():
            file.read_bytes()
    except OSError as error:
        return f"its {_FILE} can't be read ({error.strerror}); correct its permissions"
    except Exception:  # no folder of a file system
        return ""
    return ""


def _said(distribution: importlib.metadata.Distribution, what: str) -> str:
    """Return name or version; empty where the metadata are missing or damaged."""
    try:
        value = distribution.metadata[what.title()]
    except Exception:  # missing, not UTF-8, or anything that a reader of others raises
        return ""
    return " ".join(str(value or "").split())


def _folder_name(distribution: importlib.metadata.Distribution) -> str:
    """Return the name that the metadata folder has, as of inv3d_mine-0.2.dist-info."""
    name = str(getattr(_folder(distribution), "name", ""))
    return name.rpartition(".")[0].partition("-")[0] or "unknown"


def _folder(distribution: importlib.metadata.Distribution) -> Any:
    """Return where the metadata lie, a path of any kind, or None where they have no place."""
    return getattr(distribution, "_path", None)
