"""Captures as they lie about in the wild: other names, other folders, other packers."""

from __future__ import annotations

import json
import os
import re
import threading
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.core.errors import InputError
from inv3d.io.cameras import read_cameras
from inv3d.io.dataset import open_capture
from inv3d.io.labels import parse_dataset_json
from inv3d.io.naming import Images
from tests.captures import (
    SIZE,
    content,
    encoded,
    labels_of,
    noise_image,
    png,
    ring,
    write,
    write_zip,
)
from tests.children import outcome


def labelled(names: list[str], **more: Any) -> bytes:
    labels = zip(names, labels_of(ring(len(names))), strict=True)
    return json.dumps({"labels": [list(pair) for pair in labels], **more}).encode()


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        open_capture(path).load(SIZE)
    assert "\n" not in str(error.value)
    return str(error.value)


def pictures(names: list[str], kind: str = "PNG") -> dict[str, bytes]:
    return {name: encoded(Image.fromarray(noise_image(i)), kind) for i, name in enumerate(names)}


def test_labels_say_png_and_images_are_jpg(tmp_path: Path) -> None:
    names = [f"view{i}.jpg" for i in range(4)]
    labels = {"dataset.json": content()["dataset.json"]}
    found = open_capture(write(pictures(names, "JPEG") | labels, tmp_path))
    assert found.names == tuple(names)
    torch.testing.assert_close(found.camera.cam2world, ring(4).cam2world.float())
    assert (
        "4 of 4 labels belong to images with another ending, as view0.png"
        in (found.notices["renamed"])
    )
    assert len(found.load(SIZE)) == 4


def test_several_images_that_a_label_could_mean(tmp_path: Path) -> None:
    files = pictures(["a.jpg", "a.webp"], "JPEG") | {"dataset.json": labelled(["a.png"])}
    assert "a.png: doesn't exist, but 2 images that could be meant, a." in refused(
        write(files, tmp_path)
    )


@pytest.mark.parametrize("labels", ["00000/", "sets\\\\00001/"])
def test_images_copied_out_of_the_folders_that_labels_name(tmp_path: Path, labels: str) -> None:
    names = [f"{labels.replace(chr(92) * 2, chr(92))}{i}.png" for i in range(5)]
    files = pictures(["1.jpg", "3.png"]) | {"dataset.json": labelled(names)}
    found = open_capture(write(files, tmp_path))
    assert found.names == ("1.jpg", "3.png")
    torch.testing.assert_close(found.camera.cam2world, ring(5).cam2world[[1, 3]].float())
    assert "2 of 5 labels belong to images in another folder" in found.notices["moved_images"]
    assert "3 of 5 labels have no image" in found.notices["lost"]


def test_an_image_that_labels_of_two_folders_could_mean(tmp_path: Path) -> None:
    names = ["a/0.png", "b/0.png", "a/1.png"]
    files = pictures(["0.png", "1.png"]) | {"dataset.json": labelled(names)}
    assert "0.png: 1 image without a label" in refused(write(files, tmp_path))


def test_names_that_fit_nowhere_are_told_beside_those_that_are_there(tmp_path: Path) -> None:
    files = pictures(["img1.png"]) | {"dataset.json": labelled(["1.png"])}
    assert "(the first image there is img1.png)" in refused(write(files, tmp_path))


def test_a_folder_of_masks_under_another_name(tmp_path: Path) -> None:
    files = content(3) | pictures([f"matte/view{i}.png" for i in range(3)])
    assert "call their folder masks/ or depth/" in refused(write(files, tmp_path))


def test_masks_under_other_names_are_named(tmp_path: Path) -> None:
    files = content(2) | pictures(["masks/view0_mask.png"])
    assert "view0.png: missing, though view0_mask.png is there; give" in refused(
        write(files, tmp_path)
    )


def test_an_object_with_a_name_twice(tmp_path: Path) -> None:
    row = json.dumps(labels_of(ring(1))[0])
    files = content(1) | {"dataset.json": f'{{"view0.png":{row},"view0.png":{row}}}'.encode()}
    assert "dataset.json: 'view0.png' stands there twice" in refused(write(files, tmp_path))


@pytest.mark.parametrize("shape", [(2, 1, 25), (1, 2, 25)])
def test_rows_of_labels_with_a_dimension_more(tmp_path: Path, shape: tuple[int, ...]) -> None:
    files = pictures(["0.png", "1.png"])
    np.save(write(files, tmp_path) / "labels.npy", np.array(labels_of(ring(2))).reshape(shape))
    found = open_capture(tmp_path).camera
    torch.testing.assert_close(found.labels(), ring(2).labels().float())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_members_of_one_name(tmp_path: Path) -> None:
    files = content(2)
    for twice, fine in ((files["view0.png"], True), (files["view1.png"], False)):
        path = write_zip(files, tmp_path / f"{fine}.zip")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("view0.png", twice)
        if fine:
            assert len(open_capture(path)) == 2
        else:
            assert "view0.png: there are two files of this name in it" in refused(path)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"Rar!\x1a\x07\x00", "a RAR archive; unpack it"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"", "an empty file"),
        (b"PK\x03\x04cut", "(File is not a zip file)"),
    ],
)
def test_files_named_zip_are_told_by_their_contents(
    tmp_path: Path, start: bytes, what: str
) -> None:
    (tmp_path / "a.zip").write_bytes(start)
    said = refused(tmp_path / "a.zip")
    assert "neither a folder nor a readable zip" in said and what in said


def depths(counts: int, **facts: Any) -> dict[str, bytes]:
    maps = png(np.full((SIZE, SIZE), counts, np.uint16))
    files = content(2) | {f"depth/view{i}.png": maps for i in range(2)}
    return files | ({"depth.json": json.dumps(facts).encode()} if facts else {})


@pytest.mark.parametrize(
    ("counts", "facts", "said"),
    [
        (2700, {}, "depth: isn't read without a depth.json beside it"),
        (0, {"scale": 1e-3, "kind": "ray"}, "depth/view0.png, 0 all over (2 of 2 depth maps)"),
        (2700, {"scale": 1.0, "kind": "ray"}, "2.7e+03 in the middle, though its camera is 2.7"),
        (2700, {"scale": 1e-6, "kind": "ray"}, "0.0027 in the middle, though its camera is 2.7"),
        (2700, {"scale": 1e-3, "kind": "ray"}, ""),
    ],
)
def test_what_is_odd_about_depth_maps(
    tmp_path: Path, counts: int, facts: dict[str, Any], said: str
) -> None:
    found = open_capture(write(depths(counts, **facts), tmp_path))
    found.load(SIZE)
    assert said in "\n".join(found.notices.values()) and bool(found.notices) == bool(said)


def test_an_image_has_one_label(tmp_path: Path) -> None:
    files = pictures(["a.jpg"], "JPEG") | {"dataset.json": labelled(["a.jpg", "a.png"])}
    found = open_capture(write(files, tmp_path))
    assert found.names == ("a.jpg",)
    assert "1 of 2 labels have no image (a.png)" in found.notices["lost"]


def test_two_labels_of_one_image(tmp_path: Path) -> None:
    files = pictures(["images/a.png"]) | {"dataset.json": labelled(["a.png", "images/a.png"])}
    assert "images/a.png: two labels name this image, a.png and images/a.png; leave" in refused(
        write(files, tmp_path)
    )


@pytest.mark.parametrize("name", ["label.json", "labels.json", "Dataset.json", "DATASET.JSON"])
def test_other_names_of_the_labels(tmp_path: Path, name: str) -> None:
    files = content()
    files[name] = files.pop("dataset.json")
    assert open_capture(write(files, tmp_path)).posed


def test_labels_without_a_key() -> None:
    pairs = dict(zip("ab", labels_of(ring(2)), strict=True))
    for document in (pairs, list(pairs.items())):
        assert parse_dataset_json(json.dumps(document).encode(), "a.json") == pairs


@pytest.mark.parametrize("beside", [{}, {"readme.txt": b"x"}, {"me.jpg": png(noise_image(9))}])
@pytest.mark.parametrize("packed", [False, True])
def test_the_labels_are_a_folder_deeper(
    tmp_path: Path, beside: dict[str, bytes], packed: bool
) -> None:
    files = {f"out/crops/{name}": data for name, data in content().items()}
    files |= {f"out/{name}": data for name, data in beside.items()}
    path = write_zip(files, tmp_path / "c.zip") if packed else write(files, tmp_path / "c")
    found = open_capture(path)
    assert found.names == tuple(f"view{i}.png" for i in range(4))
    assert len(found.load(SIZE)) == 4
    assert ("deeper" in found.notices) == bool(beside)


def test_the_labels_are_deeper_than_the_images(tmp_path: Path) -> None:
    files = content()
    files["meta/dataset.json"] = files.pop("dataset.json")
    found = open_capture(write(files, tmp_path))
    assert found.names == tuple(f"view{i}.png" for i in range(4)) and found.posed
    assert "read, though it's a folder deeper" in found.notices["deeper"]


def test_two_captures_in_one_folder(tmp_path: Path) -> None:
    files = {f"{head}/{name}": data for head in "ab" for name, data in content().items()}
    assert "2 folders with cameras" in refused(write(files, tmp_path))


def test_a_zip_with_backslashes(tmp_path: Path) -> None:
    files = {f"head/images/{n}" if n.endswith("png") else f"head/{n}": d
             for n, d in content().items()}  # fmt: skip
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo()
            info.filename = name.replace("/", "\\")
            archive.writestr(info, data)
    assert len(open_capture(path).load(SIZE)) == 4
    assert read_cameras(path)[1] == tuple(f"view{i}.png" for i in range(4))


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_with_accents_however_they_are_written(
    tmp_path: Path, forms: tuple[str, str]
) -> None:
    names = ["Zoë 1.png", "Zoë 2.png"]
    in_labels, on_disk = ([unicodedata.normalize(f, n) for n in names] for f in forms)
    files = pictures(on_disk) | {"dataset.json": labelled(in_labels)}
    masks = {f"masks/{name}": png(np.full((SIZE, SIZE), 255, np.uint8)) for name in on_disk}
    for path in (write(files | masks, tmp_path / "a"), write_zip(files, tmp_path / "c.zip")):
        found = open_capture(path)
        assert found.names == tuple(unicodedata.normalize("NFC", name) for name in names)
        assert len(found.load(SIZE)) == 2


def test_a_zip_that_does_not_say_that_its_names_are_utf_8(tmp_path: Path) -> None:
    path = write_zip(pictures(["Zoe~.png"]) | {"dataset.json": labelled(["Zoë.png"])},
                     tmp_path / "c.zip")  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"Zoe~.png", "Zoë.png".encode()))
    assert open_capture(path).names == ("Zoë.png",)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "Zoë.png") for form in ("NFC", "NFD")]
    path = write_zip(pictures(forms), tmp_path / "c.zip")
    assert "there are two files of this name" in refused(path)


def test_an_animation_counts_as_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "blue")]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = open_capture(write({"a.gif": gif, "dataset.json": labelled(["a.gif"])}, tmp_path))
    assert found.load(SIZE).images[0, :, 0, 0].tolist() == [1, -1, -1]
    assert (
        "a.gif: 2 frames, of which the first is taken (1 of 1 pictures)"
        in (found.notices["animated"])
    )


def test_a_single_picture_is_a_capture_without_cameras(tmp_path: Path) -> None:
    write(content(), tmp_path)
    found = open_capture(tmp_path / "view1.png")
    assert found.names == ("view1.png",) and not found.posed
    assert found.load(SIZE).source == str(tmp_path / "view1.png")
    (tmp_path / "view1.png").write_bytes(b"no")
    assert refused(tmp_path / "view1.png").startswith(f"{tmp_path / 'view1.png'}: can't be read")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip.mp4", "a video; make a capture of it (3dinv prepare clip.mp4"),
        ("dataset.json", "a single file; give the folder with its images"),
    ],
)
def test_files_that_are_no_capture(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"{}")
    assert message in refused(tmp_path / name)


def test_pictures_that_cant_be_read_yet_are_named(tmp_path: Path) -> None:
    write({"a.DNG": b"x", "b.mov": b"x"}, tmp_path)
    assert refused(tmp_path).endswith("; convert a.DNG and others like it")


def test_a_name_too_long_for_the_system(tmp_path: Path) -> None:
    assert "no such folder or zip" in refused(tmp_path / ("a" * 5000))


@pytest.mark.parametrize("name", ["folder", "c.zip", "cameras.json"])
def test_no_cameras_where_some_are_asked_for(tmp_path: Path, name: str) -> None:
    files = pictures(["a.png"])
    write_zip(files, tmp_path / "c.zip")
    write(files, tmp_path / "folder")
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(InputError, match=r"no cameras in it; expected|no labels found"):
        read_cameras(tmp_path / name)


def test_rows_of_an_array_are_cameras(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.array(labels_of(ring(3))))
    camera, names = read_cameras(tmp_path / "c.npy")
    assert names == ("0000", "0001", "0002")
    torch.testing.assert_close(camera.cam2world, ring(3).cam2world.float())


def test_cameras_are_told_by_their_contents(tmp_path: Path) -> None:
    """Whatever a file is called; arrays as those of latents are among them."""
    rows = np.array(labels_of(ring(3)))
    np.save(tmp_path / "a.npy", rows)
    (tmp_path / "a.npy").rename(tmp_path / "array.json")
    np.savez(tmp_path / "named.npz", c=rows)
    torch.save(torch.from_numpy(rows), tmp_path / "alone.pt")
    torch.save({"cs": torch.from_numpy(rows)}, tmp_path / "named.npy")
    write_zip(content(3), tmp_path / "capture.archive")
    for path in sorted(tmp_path.iterdir()):
        camera, _ = read_cameras(path)
        torch.testing.assert_close(camera.cam2world, ring(3).cam2world.float(), msg=path.name)


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".npy", "none.zip/a"])
def test_cameras_that_cant_be_read_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"^--camera {re.escape(str(tmp_path / name))}: can't be"):
        read_cameras(tmp_path / name)


def test_cameras_may_come_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = json.dumps({"labels": [["a.png", labels_of(ring(1))[0]]]})
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,), daemon=True)
    writer.start()
    assert read_cameras(tmp_path / "pipe")[1] == ("a.png",)


class Counted(str):
    """A name that counts how often it's looked up or put into a set."""

    hashed = 0

    def __hash__(self) -> int:
        Counted.hashed += 1
        return str.__hash__(self)


def test_the_work_grows_with_the_number_of_labels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def candidates(images: Images, name: str) -> tuple[Counted, Counted]:
        return Counted(name), Counted(f"images/{name}")

    count = 300
    names = [f"{i:04d}.png" for i in range(count)]
    files = dict.fromkeys(names, b"") | {"dataset.json": labelled(names)}
    write(files, tmp_path)
    monkeypatch.setattr(Images, "_candidates", candidates)
    monkeypatch.setattr(Counted, "hashed", 0)
    assert len(open_capture(tmp_path)) == count
    assert count < Counted.hashed < 20 * count


def few_of_many(folder: str) -> int:
    return len(open_capture(folder))


def test_memory_stays_flat_beside_the_labels_of_a_whole_set(tmp_path: Path) -> None:
    names = [f"{i:05d}.png" for i in range(20_000)]
    path = write(pictures(names[:2]) | {"dataset.json": labelled(names)}, tmp_path)
    found = outcome(few_of_many, str(path))
    assert found.value == 2
    assert found.memory < 10 * (path / "dataset.json").stat().st_size


@pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".webp", "WEBP"), (".bmp", "BMP")])
def test_masks_of_any_ending(tmp_path: Path, suffix: str, kind: str) -> None:
    files = content(2)
    for i in range(2):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[: SIZE // 2] = 255
        files[f"masks/view{i}{suffix}"] = encoded(Image.fromarray(mask), kind)
    masks = open_capture(write(files, tmp_path)).load(SIZE).masks
    assert masks is not None
    assert float(masks[:, :, : SIZE // 2].min()) > 0.9 and float(masks[:, :, -4:].max()) < 0.1


def test_a_name_with_a_line_break_is_told_in_one_line(tmp_path: Path) -> None:
    path = write_zip(content() | {"a\nb.png": png(noise_image(0))}, tmp_path / "a.zip")
    assert "a.zip/a?b.png: 1 image without a label" in refused(path)


def test_packed_captures_say_what_to_unpack(tmp_path: Path) -> None:
    inner = write_zip(content(), tmp_path / "inner.zip")
    outer = write_zip({"inner.zip": inner.read_bytes(), "a.mp4": b""}, tmp_path / "outer.zip")
    assert "no images found" in refused(outer) and "; unpack inner.zip" in refused(outer)
    locked = bytearray(inner.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := locked.find(signature, at + 1)) >= 0:
            locked[at + flags] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    said = refused(tmp_path / "locked.zip")
    assert said.endswith("can't be read (encrypted); pack it without a password")


def test_labels_as_rows_of_matrices(tmp_path: Path) -> None:
    flat = labels_of(ring(4))
    rows = [[row[i : i + 4] for i in range(0, 16, 4)] for row in flat]
    focal = [[row[16 + i : 19 + i] for i in range(0, 9, 3)] for row in flat]
    for label in (
        [[*matrix, *k] for matrix, k in zip(rows, focal, strict=True)],
        [[matrix, k] for matrix, k in zip(rows, focal, strict=True)],
    ):
        labels = {f"view{i}.png": label[i] for i in range(4)}
        files = content() | {"dataset.json": json.dumps({"labels": labels}).encode()}
        found = open_capture(write(files, tmp_path))
        torch.testing.assert_close(found.camera.cam2world, ring(4).cam2world.float())
    labels = {f"view{i}.png": rows[i] for i in range(4)}
    files = content() | {"dataset.json": json.dumps({"labels": labels}).encode()}
    assert "label of view0.png: 16 numbers, expected 25" in refused(write(files, tmp_path))


def test_a_transforms_json_without_frames_says_so(tmp_path: Path) -> None:
    files = {"a.png": png(noise_image(0)), "transforms.json": b'{"fl_x": 1}'}
    assert 'transforms.json: no frames in it; expected a list of them under "frames"' in refused(
        write(files, tmp_path)
    )
