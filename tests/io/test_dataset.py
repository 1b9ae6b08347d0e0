"""Captures in folders and zips, and everything that can be wrong with them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inv3d.core.errors import InputError
from inv3d.io import capturefiles, dataset
from inv3d.io.dataset import open_capture
from inv3d.io.files import natural
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.captures import SIZE, content, files_of, labels_of, noise_image, png, ring, write
from tests.captures import write_zip as zipped


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def refused(path: Path, said: str) -> None:
    """Opening and loading it gives one line that says so."""
    with pytest.raises(InputError) as error:
        open_capture(path).load(SIZE)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in names}


def relabelled(change: Any, views: int = 4) -> dict[str, bytes]:
    """The files with the labels changed in place by a function."""
    files = content(views)
    labels = dict(json.loads(files["dataset.json"])["labels"])
    change(labels)
    return files | {"dataset.json": json.dumps({"labels": labels}).encode()}


@pytest.mark.parametrize("packed", [False, True])
def test_folder_and_zip_give_the_same_capture(tmp_path: Path, packed: bool) -> None:
    files = content()
    path = zipped(files, tmp_path / "c.zip") if packed else write(files, tmp_path / "c")
    capture = open_capture(path).load(SIZE)
    assert capture.names == ("view0.png", "view1.png", "view2.png", "view3.png")
    assert capture.images.shape == (4, 3, SIZE, SIZE)
    assert capture.source == str(path)
    torch.testing.assert_close(capture.camera.cam2world, ring(4).cam2world.float())
    assert capture.masks is None
    assert capture.depths is None


def test_a_capture_with_masks_and_depth_round_trips(tmp_path: Path) -> None:
    made = toy_capture(ToyGenerator(ToyConfig()), 3)
    capture = open_capture(write(files_of(made), tmp_path / "toy")).load(32)
    assert float((capture.images - made.images).abs().max()) < 1 / 127
    assert capture.masks is not None and made.masks is not None
    assert float((capture.masks - made.masks).abs().max()) < 1 / 254
    assert capture.depths is not None and made.depths is not None
    assert float((capture.depths - made.depths).abs().max()) < 6e-5


def test_images_are_in_natural_order(tmp_path: Path) -> None:
    names = ["f10.png", "f2.png", "f1.png"]
    labels = dict(zip(names, labels_of(ring(3)), strict=True))
    files = {name: png(noise_image(i)) for i, name in enumerate(names)}
    files["dataset.json"] = json.dumps({"labels": labels}).encode()
    found = open_capture(write(files, tmp_path))
    assert found.names == ("f1.png", "f2.png", "f10.png")
    torch.testing.assert_close(found.camera.cam2world, ring(3).cam2world[[2, 1, 0]].float())


def test_natural_order_never_fails() -> None:
    names = ["a10", "a2", "²", "a1b", "10", "2", "", "a"]
    assert sorted(names, key=natural) == ["", "2", "10", "a", "a1b", "a2", "a10", "²"]


def test_only_the_rows_asked_for_are_read(tmp_path: Path) -> None:
    files = content() | {"view1.png": b"broken"}
    found = open_capture(write(files, tmp_path))
    capture = found.load(SIZE, [3, 0])
    assert capture.names == ("view3.png", "view0.png")
    np.testing.assert_allclose(
        ((capture.images[0] + 1) * 127.5).permute(1, 2, 0).numpy(), noise_image(3), atol=1e-3
    )


@pytest.mark.parametrize("top", ["photos/", "head/"])
def test_a_capture_one_folder_down(tmp_path: Path, top: str) -> None:
    files = {top + name: data for name, data in content().items()}
    files["__MACOSX/._view0.png"] = b"junk"
    files[".DS_Store"] = b"junk"
    assert len(open_capture(zipped(files, tmp_path / "c.zip")).load(SIZE)) == 4


def test_images_in_a_folder_of_that_name(tmp_path: Path) -> None:
    files = {n if n.endswith("json") else f"images/{n}": d for n, d in content().items()}
    assert open_capture(write(files, tmp_path)).load(SIZE).names[0] == "view0.png"


def test_npy_beside_every_image(tmp_path: Path) -> None:
    files = without(content(), "dataset.json")
    for i, label in enumerate(labels_of(ring(4))):
        files[f"view{i}.npy"] = npy(np.array(label).reshape((25, 1) if i else (1, 25)))
    capture = open_capture(write(files, tmp_path / "a")).load(SIZE)
    torch.testing.assert_close(capture.camera.cam2world, ring(4).cam2world.float())
    refused(write(without(files, "view2.npy"), tmp_path / "b"), "expected view2.npy beside it")
    short = files | {"view2.npy": npy(np.zeros(24))}
    refused(write(short, tmp_path / "c"), "view2.npy: 24 numbers, expected 25")


def test_one_npy_with_a_row_for_each_image(tmp_path: Path) -> None:
    files = without(content(), "dataset.json")
    rows = np.array(labels_of(ring(4)))
    capture = open_capture(write(files | {"labels.npy": npy(rows)}, tmp_path / "a")).load(SIZE)
    torch.testing.assert_close(capture.camera.cam2world, ring(4).cam2world.float())
    refused(write(files | {"labels.npy": npy(rows[:3])}, tmp_path / "b"), "shape (3, 25), expected")
    refused(write(files | {"labels.npy": npy(rows[:, :24])}, tmp_path / "c"), "24 numbers")


def test_notices_name_the_first_picture_of_a_sort(tmp_path: Path) -> None:
    wide = png(np.zeros((SIZE, 2 * SIZE, 3), np.uint8))
    found = open_capture(write(content() | {"view1.png": wide, "view2.png": wide}, tmp_path))
    found.load(2 * SIZE)
    assert sorted(found.notices) == ["cropped", "enlarged"]
    assert "view1.png: 32x16 pixels, cropped" in found.notices["cropped"]
    assert found.notices["cropped"].count("(2 of 4 pictures)") == 1
    assert "view0.png: 16 pixels, enlarged to 32 (4 of 4 pictures)" in found.notices["enlarged"]


def test_much_memory_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturefiles, "_MUCH_MEMORY", 1000)
    found = open_capture(write(content(), tmp_path))
    found.load(SIZE)
    assert "--hold-out N" in found.notices["memory"]


def test_missing_input(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "nothing: no such folder or zip")


def test_unknown_sample() -> None:
    with pytest.raises(InputError, match="choose sample:dynamic or sample:static"):
        open_capture("sample:dynamo")


def test_a_zip_that_is_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    path.write_bytes(b"PK\x03\x04 not really")
    refused(path, "neither a folder nor a readable zip")


@pytest.mark.parametrize(
    ("factor", "sort", "said"),
    [
        (1, "bits", "taken for 8 (4 of 4 pictures)"),
        (16, "dim", "so that it's dark (4 of 4 pictures); where they have 12 bits, save them"),
    ],
)
def test_pictures_of_16_bits_with_small_numbers_are_said_once(
    tmp_path: Path, factor: int, sort: str, said: str
) -> None:
    grey = {
        f"view{i}.png": png(noise_image(i)[..., 0].astype(np.uint16) * factor) for i in range(4)
    }
    files = open_capture(write(content() | grey, tmp_path))
    files.load(SIZE)
    assert list(files.notices) == [sort]
    assert "view0.png: 16 bits with no number above" in files.notices[sort]
    assert said in files.notices[sort]


def test_a_zip_that_was_cut_short(tmp_path: Path) -> None:
    path = zipped(content(), tmp_path / "c.zip")
    path.write_bytes(path.read_bytes()[:-200])
    refused(path, "its end is missing, or it's damaged; copy it again")


def test_a_zip_for_a_later_program(tmp_path: Path) -> None:
    path = zipped(content(), tmp_path / "c.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 99  # the version that it needs
    path.write_bytes(data)
    refused(path, "neither a folder nor a readable zip (zip file version 9.9)")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_any_packing(tmp_path: Path, method: int) -> None:
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content().items():
            archive.writestr(name, data)
    whole = bytearray(path.read_bytes())
    whole[60:80] = b"\xff" * 20
    path.write_bytes(whole)
    refused(path, "can't be read (")


def test_a_member_that_unpacks_to_more_than_any_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inv3d.io.files._LARGEST_MEMBER", 1 << 20)
    bomb = content() | {"view0.png": bytes(3 << 20)}
    refused(zipped(bomb, tmp_path / "c.zip"), "view0.png: can't be read (unpacks to 3 MiB, more")


def test_folders_that_are_links_are_followed(tmp_path: Path) -> None:
    """A link that leads back is no reason to read for ever."""
    mask = png(np.full((SIZE, SIZE), 255, np.uint8))
    write({f"view{i}.png": mask for i in range(4)}, tmp_path / "elsewhere")
    capture = write(content(), tmp_path / "capture")
    (capture / "masks").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(capture)
    (capture / "itself").symlink_to(capture)
    found = open_capture(capture).load(SIZE)
    assert len(found) == 4 and found.masks is not None


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "no images found (.avif, .bmp, .gif, .heic, .heif, .jpeg, .jpg, .png")


def test_no_labels_at_all(tmp_path: Path) -> None:
    files = open_capture(write(without(content(), "dataset.json"), tmp_path))
    assert not files.posed and files.load(32).cameras is None
    with pytest.raises(InputError, match="its pictures have no cameras; add them as labels"):
        _ = files.camera


def test_a_broken_dataset_json(tmp_path: Path) -> None:
    files = content() | {"dataset.json": b'{"labels": ['}
    refused(write(files, tmp_path), "dataset.json: not valid JSON")


@pytest.mark.parametrize("count", [24, 26])
def test_a_label_of_another_length(tmp_path: Path, count: int) -> None:
    files = relabelled(lambda labels: labels.update({"view2.png": [0.0] * count}))
    refused(write(files, tmp_path), f"label of view2.png: {count} numbers, expected 25")


def test_an_image_without_a_label(tmp_path: Path) -> None:
    files = relabelled(lambda labels: labels.pop("view2.png"))
    refused(write(files, tmp_path), "view2.png: 1 image without a label")


def test_a_label_without_an_image(tmp_path: Path) -> None:
    files = without(content(), "view1.png", "view2.png")
    found = open_capture(write(files, tmp_path / "a"))
    assert found.names == ("view0.png", "view3.png")
    torch.testing.assert_close(found.camera.cam2world, ring(4).cam2world[[0, 3]].float())
    assert "dataset.json: 2 of 4 labels have no image (view1.png)" in found.notices["lost"]
    none = without(content(), *(f"view{i}.png" for i in range(4))) | {"a.png": png(noise_image(0))}
    refused(write(none, tmp_path / "b"), "4 labels without an image")


@pytest.mark.parametrize("data", [b"", b"nonsense", png(noise_image(0))[:100]])
def test_an_unreadable_image_is_named(tmp_path: Path, data: bytes) -> None:
    refused(write(content() | {"view2.png": data}, tmp_path), "view2.png: ")


@pytest.mark.parametrize("name", ["../view0.png", "/etc/view0.png", "a/../../b.png", "C:/a.png"])
def test_names_that_point_outside_are_refused(tmp_path: Path, name: str) -> None:
    inside = relabelled(lambda labels: labels.update({name: labels.pop("view0.png")}))
    refused(write(inside, tmp_path / "folder"), "points outside the capture")
    path = zipped(content() | {name: png(noise_image(0))}, tmp_path / "c.zip")
    refused(path, "points outside the capture")
    assert [p.name for p in tmp_path.rglob("view0.png")] == ["view0.png"]


def test_a_damaged_member_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content().items():
            archive.writestr(name, data)
    data = path.read_bytes()
    start = data.index(png(noise_image(1))) + 60
    path.write_bytes(data[:start] + b"\x00" * 20 + data[start + 20 :])
    refused(path, "view1.png: can't be read (Bad CRC-32")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(content(), tmp_path)

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    refused(tmp_path, "dataset.json: can't be read (Permission denied)")


def test_masks_for_some_images_only(tmp_path: Path) -> None:
    mask = png(np.full((SIZE, SIZE), 255, np.uint8))
    files = content() | {f"masks/view{i}.png": mask for i in range(3)}
    refused(write(files, tmp_path), "masks/view3.png: missing; give one for every image or remove")


def test_masks_of_jpegs_may_be_pngs(tmp_path: Path) -> None:
    mask = png(np.full((SIZE, SIZE), 255, np.uint8))
    files = {name.replace("png", "jpg"): data for name, data in content().items()}
    files["dataset.json"] = content()["dataset.json"].replace(b"png", b"jpg")
    files |= {f"masks/view{i}.png": mask for i in range(4)}
    masks = open_capture(write(files, tmp_path)).load(SIZE).masks
    assert masks is not None
    assert masks.shape == (4, 1, SIZE, SIZE)


@pytest.mark.parametrize(
    "facts",
    [b"", b"[]", b"{}", b'{"scale": 1e-4, "kind": "z"}', b'{"scale": 0, "kind": "ray"}',
     b'{"scale": NaN, "kind": "ray"}', b'{"scale": [], "kind": "ray"}'],
)  # fmt: skip
def test_a_depth_json_that_says_nothing_useful(tmp_path: Path, facts: bytes) -> None:
    refused(write(content() | {"depth.json": facts}, tmp_path), "depth.json: expected")


@pytest.mark.parametrize("folder", ["masks", "depth"])
def test_what_lies_beside_an_image_has_its_shape(tmp_path: Path, folder: str) -> None:
    kind = np.uint8 if folder == "masks" else np.uint16
    files = {f"{folder}/view{i}.png": png(np.full((16, 10), 200, kind)) for i in range(4)}
    facts = {"depth.json": b'{"scale": 1e-2, "kind": "ray"}'}
    said = f"{folder}/view0.png: 10x16 pixels, its image has {SIZE}x{SIZE}; give "
    refused(write(content() | files | facts, tmp_path), said)


def test_depth_maps_of_different_sizes(tmp_path: Path) -> None:
    depths = {
        f"depth/view{i}.png": png(np.ones((8 + i // 3, 8 + i // 3), np.uint16)) for i in range(4)
    }
    facts = {"depth.json": b'{"scale": 1e-4, "kind": "ray"}'}
    refused(write(content() | depths | facts, tmp_path), "view3.png: 9 pixels a side, the others")


@pytest.mark.parametrize("name", dataset.SAMPLES)
def test_the_embedded_samples_load(name: str) -> None:
    found = open_capture(f"sample:{name}")
    capture = found.load(128, [0, len(found) // 2])
    assert capture.masks is not None
    assert capture.depths is not None
    assert not found.notices
    assert 30 < len(found) < 100
