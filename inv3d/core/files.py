"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inv3d.core.errors import RunError, plain_text

_BLOCK = 1 << 20


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    Where `path` is a link, what it leads to is replaced; a pipe or a device stays what it is and
    gets the contents.

    Raises:
        RunError: where the file can't be written (no permission, disk full).
    """
    path = Path(path)
    try:
        special = path.exists() and not (path.is_file() or path.is_dir())
        with _poured_into(path) if special else _replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise not_written(path, error) from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        # some writers put a file of their own in its place
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _poured_into(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / path.name
        yield temporary
        with temporary.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)


def not_written(path: Path, error: OSError) -> RunError:
    """Return the error to raise where the system refuses to write."""
    full = error.errno == errno.ENOSPC or "No space left" in str(error)
    remedy = "free some space or choose another place" if full else "choose another place"
    return RunError(f"{path}: can't be written ({error.strerror or error}); {remedy}")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; bytes of paths that aren't UTF-8 are spelt out."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; numbers that aren't finite become null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return JSON for people and programs; numbers that aren't finite become null."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return plain values in which numbers that aren't finite have become None."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def read_json(path: Path, remedy: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: of the file.
        remedy: what the user can do where it's damaged.

    Raises:
        RunError: where it's missing or isn't JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: can't be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        way = f"; {remedy}" if remedy else ""
        raise RunError(f"{path}: not valid JSON ({plain_text(str(error))}){way}") from error


def file_digest(path: Path, on_progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file, 64 hex digits.

    Args:
        path: of the file.
        on_progress: called with the number of bytes behind it.

    Raises:
        RunError: where it can't be read.
    """
    result = hashlib.sha256()
    try:
        with path.open("rb") as source:
            while block := source.read(_BLOCK):
                result.update(block)
                if on_progress is not None:
                    on_progress(source.tell())
    except OSError as error:
        raise RunError(f"{path}: can't be read ({error.strerror or error})") from error
    return result.hexdigest()


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory that becomes `path` when the block ends well.

    Raises:
        RunError: where the directory exists or can't be written.
    """
    path = Path(path)
    try:
        if path.exists():
            raise RunError(f"{path}: exists already; choose another place or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.mkdir()
    except OSError as error:
        raise not_written(path, error) from error
    try:
        yield temporary
        temporary.rename(path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
