"""Telling what a file is by its contents: the forms of weight files, and what is taken for them."""

from __future__ import annotations

import codecs
import re
import stat
from pathlib import Path
from typing import Literal

from inv3d.core.errors import WeightsError, plain_text

Form = Literal["safetensors", "zip", "legacy", "pickle"]

# the pickled magic number at the start of files that torch.save wrote before 1.6
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e")
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
_LONGEST_HEADER = 100 << 20
_LONGEST_QUOTE = 60
_START, _FURTHER = 512, 1 << 16
UNKNOWN = "something else"
# what stands at the start of files that are often taken for networks
_OTHERS = (
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x1f\x9d", "a compress archive (.Z); unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"]\0\0", "an LZMA archive; unpack it"),
    (b'\x04"M\x18', "an LZ4 archive; unpack it"),
    (b"(\xb5/\xfd", "a zstd archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"PK\x05\x06", "a zip archive with nothing in it; fetch it again"),
    (b"PK\x07\x08", "the first part of a zip archive in several; unpack them together"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run 'git lfs pull'"),
    (b"<", "a web page, not the file itself; the download needs a login or another link"),
    (b"{", "JSON text"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF file, as of language models"),
)
# and what doesn't stand at the very start
_WITHIN = (
    (4, b"ftyp", "an MP4 video, or a picture of its kind"),
    (8, b"WEBP", "a picture"),
    (
        257,
        b"ustar",
        "a tar archive; unpack it (torch.save before 1.0 wrote such, too: save it again)",
    ),
)
# a dict, a list or a name, as pickles of protocol 0 and 1 begin
_OLD_PICKLE = re.compile(rb"\([dl]p\d+\n|[}\]]q\0|c[\w.]+\n\w+\n[pq(]")
_BLANK = b" \t\n\r\v\f\0"
_ZERO = b"\0"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def form_of(path: Path) -> Form:
    """Tell the form of a weight file by its contents.

    Raises:
        WeightsError: where it's missing, or of no form that weights have.
    """
    start = read_start(path)
    # before the pickle, whose first byte a header's length may have too
    if is_safetensors(start):
        return "safetensors"
    if start.startswith(ZIP):
        return "zip"
    if start.startswith(LEGACY):
        return "legacy"
    if start[:1] == PICKLE:
        return "pickle"
    remedy = "expected .safetensors, a network pickle (.pkl), or what torch.save writes (.pt, .pth)"
    if not start.strip(_ZERO):
        remedy = "get it again"
    raise WeightsError(f"{path}: not a weight file but {describe_other(start)}; {remedy}")


def read_start(path: Path, wanted: str = "weight file") -> bytes:
    """Return the first 512 bytes of a file, fewer where it's shorter, more where they're blank.

    Args:
        path: of the file.
        wanted: what it should be, for the message.

    Raises:
        WeightsError: where there's no such file, or it can't be read twice.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise WeightsError(f"{path}: is a folder; give the path of the {wanted} in it")
        if not stat.S_ISREG(mode):
            raise WeightsError(f"{path}: is a pipe or a device; save what comes from it to a file")
        with path.open("rb") as file:
            start = file.read(_START)
            return start if start.strip(_BLANK) else start + file.read(_FURTHER)
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{path}: no such file; give the path of a {wanted}") from None
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror or error})") from None


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so is one of safetensors, though maybe a damaged one."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < _LONGEST_HEADER


def mistaken(path: Path) -> str:
    """Say what a file is that no weights are, such as a server's page; "" where it may be them.

    Raises:
        WeightsError: where it can't be read.
    """
    start = read_start(path)
    what = describe(start)
    known_form = is_safetensors(start) or start.startswith((ZIP, PICKLE))
    return "" if known_form or what == UNKNOWN else what


def describe(start: bytes) -> str:
    """Say what any file is, by what `read_start` returns of it."""
    if is_safetensors(start):
        return "a safetensors file"
    if start.startswith(ZIP):
        return "a zip archive, as torch.save and numpy.savez write"
    return "a pickle, as of networks" if start[:1] == PICKLE else describe_other(start)


def describe_other(start: bytes) -> str:
    """Say what a file is that isn't what it should be, by what `read_start` returns of it."""
    if not start:
        return "an empty file"
    if not start.strip(_ZERO):
        return "a damaged file that begins with zeros alone"
    if _OLD_PICKLE.match(start):
        return "a pickle of an old protocol; have it saved again with torch.save"
    text = _unmarked(start).lstrip(_BLANK)
    named = [name for at, signature, name in _WITHIN if start.startswith(signature, at)]
    named += [name for signature, name in _OTHERS if text.startswith(signature)]
    return named[0] if named else _quoted(text) or UNKNOWN


def _unmarked(start: bytes) -> bytes:
    """Return a text that begins with a byte order mark as UTF-8 without it, others as they are."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return start.removeprefix(mark).decode(name, "ignore").encode()
    return start


def _quoted(start: bytes) -> str:
    """Return the first line of a text, such as a server's answer; empty where it's no text."""
    try:
        text, _ = codecs.utf_8_decode(start, "strict", False)  # the last letter may be cut
    except UnicodeDecodeError:
        return ""
    if not text or not all(c.isprintable() or c.isspace() for c in text):
        return ""
    return f"text ('{plain_text(text.splitlines()[0][:_LONGEST_QUOTE])}')"
