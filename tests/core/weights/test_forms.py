"""What a file is, told by its contents; and files that are no files, or of countless parts."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inv3d.core.errors import WeightsError
from inv3d.core.weights.forms import form_of
from inv3d.core.weights.state_dict import read_state_dict
from inv3d.core.weights.tensors import METADATA_KEY, read_tensors, write_tensors
from tests.children import outcome


def padded(path: Path, length: int) -> Path:
    """A file whose header has a length that ends in the byte 0x80, as pickles begin."""
    for extra in range(0x200):
        write_tensors(path, {"a.b": torch.ones(4)}, {"licence": "x" * extra})
        if path.read_bytes()[0] == length:
            return path
    raise AssertionError


def test_every_form_is_told_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    write_tensors(path, {"a": torch.ones(1)}, {})
    assert form_of(path) == "safetensors"
    assert form_of(padded(path, 0x80)) == "safetensors"
    assert set(read_state_dict(path)) == {"a.b"}
    torch.save({"a": torch.ones(1)}, path)
    assert form_of(path) == "zip"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    assert form_of(path) == "legacy"
    path.write_bytes(b"\x80\x02}.")
    assert form_of(path) == "pickle"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file; get it again"),
        (b"<!DOCTYPE html>", "a web page, not the file itself"),
        (b"\n\n \t <html>", "a web page, not the file itself"),
        (b" " * 5000 + b"<html>", "a web page, not the file itself"),
        (b"\0" * 16 + b"<html>", "a web page, not the file itself"),
        ("<html>".encode("utf-8-sig"), "a web page, not the file itself"),
        ("<html>".encode("utf-16"), "a web page, not the file itself"),
        ("Access denied".encode("utf-16"), r"text \('Access denied'\)"),
        (b' {"error": 1}', "JSON text"),
        (b"Too many requests\nwait", r"text \('Too many requests'\)"),
        ("Détail: non trouvé".encode(), r"text \('D\?tail: non trouv\?'\)"),
        (("é" * 600).encode()[:511], r"text \('\?{60}'\)"),
        (b"caf\xe9 is no text in UTF-8", "something else"),
        (b"\x1b[2J is no text", "something else"),
        (b"\x00" * 600, "a damaged file that begins with zeros alone; get it again"),
        (b"\x00" * 100_000, "a damaged file that begins with zeros alone; get it again"),
        (gzip.compress(b"x"), "a gzip archive; unpack it"),
        (bz2.compress(b"x"), "a bzip2 archive; unpack it"),
        (lzma.compress(b"x"), "an xz archive; unpack it"),
        (lzma.compress(b"x", lzma.FORMAT_ALONE), "an LZMA archive; unpack it"),
        (b'\x04"M\x18d@\xa7', "an LZ4 archive; unpack it"),
        (b"\x1f\x9d\x90aaa", r"a compress archive \(.Z\); unpack it"),
        (b"PK\x05\x06" + bytes(18), "a zip archive with nothing in it; fetch it again"),
        (b"PK\x07\x08PK\x03\x04", "the first part of a zip archive in several"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"GIF89a", "a picture"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "a picture"),
        (b"\0\0\0\x18ftypmp42", "an MP4 video"),
        (b"%PDF-1.4", "a PDF document"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (pickle.dumps({"a": 1}, 0), "a pickle of an old protocol"),
        (pickle.dumps([1], 1), "a pickle of an old protocol"),
        (pickle.dumps(np.ones(2), 0), "a pickle of an old protocol"),
        (b"closed\nfor today\n", r"text \('closed'\)"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"net\.pkl: not a weight file but {message}") as caught:
        form_of(path)
    assert str(caught.value).isprintable()


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is a folder; give the path of the weight file in it"),
        (tmp_path / "none", "no such file; give the path"),
        (tmp_path / "file" / "none", "no such file; give the path"),
        (tmp_path / "pipe", "is a pipe or a device; save what comes from it to a file"),
        (tmp_path / ("n" * 300), "can't be read \\(File name too long\\)"),
    ):
        for read in (form_of, read_tensors, read_state_dict):
            with pytest.raises(WeightsError, match=message):
                read(path)


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip whose members have just these names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo()
            entry.filename = name
            archive.writestr(entry, data)
    return path


@pytest.mark.parametrize(
    ("names", "held", "wanted"),
    [
        (
            ("ffhq512-128.pkl", "README.txt"),
            "ffhq512-128.pkl, README.txt",
            "ffhq512-128.pkl",
        ),
        (("NET.PKL", "a.txt"), "NET.PKL, a.txt", "NET.PKL"),
        (("net.pkl", "__MACOSX/._net.pkl"), "net.pkl", "net.pkl"),
        (("a\\net.bin", "w.npy"), "a/net.bin, w.npy", "a/net.bin"),
        (("net.zip",), "net.zip", "net.zip"),
        (("README.txt",), "README.txt", "the weight file"),
    ],
)
def test_an_archive_of_other_files_says_what_to_unpack(
    tmp_path: Path, names: Sequence[str], held: str, wanted: str
) -> None:
    path = zipped(tmp_path / "net.zip", dict.fromkeys(names, b"x"))
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert str(caught.value) == (
        f"{path}: is a zip archive of other files ({held}), not one of "
        f"torch.save; nothing in it was run: unpack it and give {wanted}"
    )


def test_a_file_of_torch_save_that_was_packed_again_with_backslashes(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt") as archive:
        members = {name.replace("/", "\\"): archive.read(name) for name in archive.namelist()}
    path = zipped(tmp_path / "again.pt", members)
    assert torch.equal(read_state_dict(path)["a"], torch.ones(2))


@pytest.mark.parametrize("data", [b"Please log in", b"PK\x05\x06" + bytes(18)])
def test_only_networks_are_to_be_converted(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"; fetch or write it again$"):
        read_tensors(tmp_path / "a.safetensors")


def many_tensors(count: int) -> bytes:
    entries = ",".join(
        f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(count)
    )
    header = f'{{"__metadata__":{{"{METADATA_KEY}":"{{}}"}},{entries}}}'.encode()
    return struct.pack("<Q", len(header)) + header


def many_members(count: int) -> bytes:
    """A zip whose directory says that it has so many members."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"a"
    assert len(entry) == 47
    directory = entry * count
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 30, 0)
    return b"PK\x03\x04" + bytes(26) + directory + end


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (many_tensors(30_000), "30000 tensors, expected at most 20000"),
        (many_tensors(400_000), "a header of 2[0-9]{7} bytes, expected at most"),
        (many_members(500_000), "more members than any weight file has"),
    ],
    ids=["tensors", "header", "members"],
)
def test_parts_are_counted_before_they_are_made(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(data)
    found = outcome(read_state_dict, path)
    assert isinstance(found.error, WeightsError) and re.search(message, str(found.error))
    assert found.memory < 100 << 20


def test_an_archive_may_have_as_many_members_as_a_network_has_tensors(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({f"a.{i}": torch.ones(1) for i in range(5_000)}, buffer)
    (tmp_path / "net.pt").write_bytes(buffer.getvalue())
    assert len(read_state_dict(tmp_path / "net.pt")) == 5_000
