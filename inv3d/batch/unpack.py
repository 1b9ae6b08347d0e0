"""Unpacking a zip of captures: a run must find its capture again, also where it goes on later."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from inv3d.core.errors import InputError
from inv3d.core.files import atomic_write
from inv3d.io.files import check_inside, plain_name

_DIGITS = 16


def unpacked(source: Path, folder: Path) -> Path:
    """Unpack a zip and return the folder that holds the items.

    A zip that has changed has a folder of its own, so that nothing of its former self is an item.
    Files that are there already, as large and as old as in the zip, stay: what was unpacked before
    an interruption isn't unpacked again, and counts as unchanged.

    Args:
        source: the zip.
        folder: in which that of the zip is made where it isn't there.

    Raises:
        InputError: where it can't be read, or a name in it points outside.
        RunError: where a file can't be written.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            for member in members:
                check_inside(member.filename, str(source))
            folder /= _digest(members)
            for member in members:
                _unpack(archive, member, folder / plain_name(member.filename))
    # a damaged zip shows itself in any of these ways
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"CAPTURES {source}: can't be unpacked ({error}); pack it again") from None
    return _inner(folder) if members else folder


def _digest(members: Sequence[zipfile.ZipInfo]) -> str:
    """Return what changes when a file of a zip is another one, or has another name or time."""
    facts = sorted((m.filename, m.CRC, m.file_size, m.date_time) for m in members)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:_DIGITS]


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    written = time.mktime((*member.date_time, 0, 0, -1))
    if path.is_file():
        facts = path.stat()
        if (facts.st_size, int(facts.st_mtime)) == (member.file_size, int(written)):
            return
    with atomic_write(path) as temporary:
        with archive.open(member) as packed, temporary.open("wb") as file:
            shutil.copyfileobj(packed, file)
        os.utime(temporary, (written, written))


def _inner(folder: Path) -> Path:
    """Return the folder that alone lies in it, as in the zip of a folder; else itself."""
    inside = [path for path in folder.iterdir() if path.name[0] != "." and path.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
