"""What counts as an item, what it's called, and what is refused before anything starts."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from inv3d.batch.items import Item, find_items
from inv3d.core.errors import InputError
from tests.captures import content, write, write_zip


def put(folder: Path, *names: str) -> Path:
    """Write files with nothing of worth in them."""
    return write(dict.fromkeys(names, b"x"), folder)


def names(source: Path) -> list[str]:
    return [item.name for item in find_items(source, source.parent / "unpacked")]


def refusal(source: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_items(source, source.parent / "unpacked")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    return str(caught.value)


def test_folders_zips_pictures_and_clips_of_a_folder_are_items(tmp_path: Path) -> None:
    source = put(
        tmp_path / "all",
        *("head10/a.png", "head9/dataset.json", "b.zip", "c.JPG", "d.mov", "e.heic"),
        *("notes.txt", ".hidden/a.png", "__MACOSX/x"),
    )
    assert names(source) == ["b", "c", "d", "e", "head9", "head10"]


def test_a_list_names_paths_relative_to_itself(tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text("# two\nheads/a.zip\n\nother = heads/a.v2\nsample:static\n")
    assert find_items(source, tmp_path) == [
        Item("a", str(tmp_path / "heads/a.zip")),
        Item("other", str(tmp_path / "heads/a.v2")),
        Item("static", "sample:static"),
    ]


def test_a_zip_is_unpacked_once(tmp_path: Path) -> None:
    files = {f"set/{head}/{name}": data for head in "ab" for name, data in content(2).items()}
    source = write_zip(files, tmp_path / "set.zip")
    found = find_items(source, tmp_path / "captures")
    assert [item.name for item in found] == ["a", "b"]
    picture = Path(found[0].input) / "view0.png"
    assert picture.read_bytes() == files["set/a/view0.png"]
    before = picture.stat().st_ino
    picture.with_name("view1.png").unlink()
    assert find_items(source, tmp_path / "captures") == found
    assert picture.stat().st_ino == before and picture.with_name("view1.png").is_file()


@pytest.mark.parametrize(
    ("before", "after", "items", "pictures"),
    [
        (("a/1.png", "a/2.png", "b/1.png"), ("a/1.png", "c/1.png"), ["a", "c"], ["1.png"]),
        (("old/a/1.png", "old/b/1.png"), ("new/a/2.png", "new/b/2.png"), ["a", "b"], ["2.png"]),
    ],
)
def test_what_is_no_longer_in_a_zip_is_no_item(
    tmp_path: Path,
    before: tuple[str, ...],
    after: tuple[str, ...],
    items: list[str],
    pictures: list[str],
) -> None:
    source, captures = tmp_path / "set.zip", put(tmp_path / "captures", "mine/a.png")
    find_items(write_zip(dict.fromkeys(before, b"x"), source), captures)
    found = find_items(write_zip(dict.fromkeys(after, b"x"), source), captures)
    assert [item.name for item in found] == items
    assert os.listdir(found[0].input) == pictures
    assert (captures / "mine/a.png").is_file()


def test_a_zip_that_points_outside_or_is_damaged_is_refused(tmp_path: Path) -> None:
    assert "points outside" in refusal(write_zip({"../a.png": b"x"}, tmp_path / "out.zip"))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK nothing")
    assert "can't be unpacked" in refusal(damaged)
    source = write_zip({"a/1.png": bytes(range(256)) * 20}, tmp_path / "member.zip")
    packed = bytearray(source.read_bytes())
    begin = packed.index(b"a/1.png") + len("a/1.png")
    packed[begin : begin + 3] = (byte ^ 0xFF for byte in packed[begin : begin + 3])
    source.write_bytes(packed)
    assert "member.zip: can't be unpacked (Error -3" in refusal(source)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "nothing to invert" in refusal(tmp_path / "empty.zip")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "nothing to invert"),
        (("readme.txt",), "nothing to invert"),
        (("dataset.json", "a.png"), "is a capture itself (it has dataset.json)"),
        (("run.json", "orbit.mp4"), "is a run (it has run.json), whose pictures would be items"),
        (("a.png", "a.jpg"), "a.png have one name"),
        (("Head/x", "head/x"), "differ in capitals, or in the encoding of accents, only"),
        (("x" * 240 + ".png",), "has a name of 240 bytes, and a run directory may have 200"),
    ],
)
def test_a_folder_that_is_no_batch_is_refused(
    tmp_path: Path, files: tuple[str, ...], said: str
) -> None:
    (tmp_path / "all").mkdir()
    assert said in refusal(put(tmp_path / "all", *files))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("a\nb\n./a", "is there twice; leave one out"),
        ("a\nlink", "a and {}/link are the same; leave one out"),
        ("a\n../x = a", "'../x' can't be the name of a folder"),
        ("a\nb\x1b[1m = a", "line 2: 'b\\x1b[1m' can't be the name of a folder"),
        ("a/é\nb/e\u0301\na", "in the encoding of accents, only"),
        ("a\nhead =", "line 2: 'head =' is half a line; expected PATH, or NAME = PATH"),
        ("= a", "line 1: '= a' is half a line"),
        ("nowhere/x\ny = nowhere/z", "none of its 2 paths is there, such as {}/nowhere/x"),
    ],
)
def test_a_list_that_cant_be_meant_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    said = said.replace("{}", str(tmp_path))
    (tmp_path / "list.txt").write_text(lines, encoding="utf-8")
    assert said in refusal(tmp_path / "list.txt")


def test_a_place_that_is_none_or_a_single_capture_is_refused(tmp_path: Path) -> None:
    assert "no such folder, list or zip" in refusal(tmp_path / "nowhere")
    picture = put(tmp_path, "a.png") / "a.png"
    assert "for a single capture take '3dinv run --input'" in refusal(picture)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    assert "write it as UTF-8" in refusal(tmp_path / "bad.txt")


def test_lists_of_other_editors_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    text = "\ufeffa\r\n\r\nmy head\t=\ta=b.png \r\n"
    (tmp_path / "list.txt").write_bytes(text.encode())
    found = [(i.name, i.input) for i in find_items(tmp_path / "list.txt", tmp_path / "out")]
    assert found == [("a", str(tmp_path / "a")), ("my head", str(tmp_path / "a=b.png"))]


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_name_that_isnt_text_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).touch()
    assert r"the name '\udcff' isn't UTF-8; rename it" in refusal(tmp_path)


def test_what_a_batch_writes_is_no_item_of_it(tmp_path: Path) -> None:
    source = put(tmp_path / "all", "head/a.png", "out/runs/head/run.json", "old/batch.jsonl")
    found = find_items(source, source / "out/captures", source / "out")
    assert [item.name for item in found] == ["head"]
    with pytest.raises(InputError, match="is --out too, whose files would be items then"):
        find_items(source, source / "captures", source)
