"""Labels: what is read, what is refused and how it's said."""

from __future__ import annotations

import io
import json
import math
import tracemalloc
import unicodedata
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inv3d.core.errors import InputError
from inv3d.io.labels import cameras, numbers, parse_dataset_json, parse_npy
from tests.captures import labels_of, ring

WHERE = "cap/dataset.json"
GOOD = labels_of(ring(3))
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
name = st.text(st.characters(categories=("L", "N")), min_size=1).map(
    lambda text: unicodedata.normalize("NFC", f"{text}.png")
)
tables = st.dictionaries(name, st.lists(finite, min_size=25, max_size=25), min_size=1, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables, st.booleans(), st.booleans())
def test_labels_are_read_as_list_or_object_numbers_or_texts(
    table: dict[str, list[float]], as_object: bool, as_text: bool
) -> None:
    rows = {n: [repr(v) for v in values] if as_text else values for n, values in table.items()}
    labels = rows if as_object else [[n, values] for n, values in rows.items()]
    assert parse_dataset_json(json.dumps({"labels": labels}).encode(), WHERE) == table


def test_cameras_round_trip_through_labels() -> None:
    camera, notices = cameras(dict(zip("abc", GOOD, strict=True)), WHERE)
    assert notices == {}
    assert camera.cam2world.dtype == torch.float32
    torch.testing.assert_close(camera.labels().double(), torch.tensor(GOOD, dtype=torch.float64))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "no labels found"),
        (b"{}", "no labels found"),
        (b'{"labels": null}', "no labels found"),
        (b'{"labels": []}', "no labels found"),
        (b'{"labels": ["a.png"]}', "labels[0]: 'a.png', expected [name, 25 numbers]"),
        (b'{"labels": [[1, [2]]]}', "labels[0]: [1, [2]], expected [name, 25 numbers]"),
        (b'{"labels": {"a.png": null}}', "label of a.png: None, expected 25 numbers"),
        (b'{"labels": {"a.png": "1 2 3"}}', "label of a.png: '1 2 3', expected 25 numbers"),
    ],
)
def test_broken_documents_are_refused(document: bytes, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_dataset_json(document, WHERE)
    assert said in str(error.value)
    assert str(error.value).startswith(WHERE)
    assert "\n" not in str(error.value)


def test_two_labels_of_one_image_are_refused() -> None:
    document = {"labels": [["a.png", GOOD[0]], ["./a.png", GOOD[1]]]}
    with pytest.raises(InputError, match=r"a\.png has two labels"):
        parse_dataset_json(json.dumps(document).encode(), WHERE)


@pytest.mark.parametrize("count", [0, 1, 16, 24, 26])
def test_a_label_has_25_numbers(count: int) -> None:
    with pytest.raises(InputError, match=rf"label: {count} numbers, expected 25 \(16 of cam2world"):
        numbers([0.0] * count, "label")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39, "nan", "-inf"])
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(InputError, match=r"label: number 3 is .*, expected a finite number"):
        numbers([0.0] * 3 + [value] + [0.0] * 21, "label")


@pytest.mark.parametrize("value", [None, True, "x", [], {}, 10**400])
def test_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(InputError, match=r"label: number 24 is .*, expected a number"):
        numbers([0.0] * 24 + [value], "label")


def changed(change: dict[int, float] | None = None, scale: float = 1.0) -> dict[str, list[float]]:
    label = list(GOOD[0])
    for row in range(3):
        for column in range(3):
            label[4 * row + column] *= scale
    for index, value in (change or {}).items():
        label[index] = value
    return {"a.png": label}


def test_a_scaled_rotation_is_refused_with_what_was_found() -> None:
    with pytest.raises(
        InputError, match=r"a\.png: cam2world isn't a rotation: determinant 1\.331 and axes of "
        r"length 1\.100, 1\.100, 1\.100",
    ):  # fmt: skip
        cameras(changed(scale=1.1), WHERE)


@pytest.mark.parametrize("scale", [1.02, 0.98, 1.05, 2.0])
def test_other_scales_are_refused_with_how_far_off_they_are(scale: float) -> None:
    off = rf"R\^T R is off by {abs(scale**2 - 1):.3f}; up to 0\.03 is mended"
    with pytest.raises(InputError, match=off):
        cameras(changed(scale=scale), WHERE)


def sheared(by: float, label: list[float]) -> list[float]:
    """A label whose R^T R is off by twice as much, as an affine fit of a face leaves it."""
    matrix = np.array(label[:16]).reshape(4, 4)
    shear = np.eye(3)
    shear[0, 1] = shear[1, 0] = by
    matrix[:3, :3] = matrix[:3, :3] @ shear
    return matrix.flatten().tolist() + label[16:]


@settings(deadline=None, max_examples=40)
@given(st.floats(0.0015, 0.0149), st.booleans())
def test_what_is_nearly_a_rotation_is_replaced_by_the_nearest(by: float, minus: bool) -> None:
    by = -by if minus else by
    labels = {"a.png": GOOD[0], "b.png": sheared(by, GOOD[1]), "c.png": sheared(by / 2, GOOD[2])}
    camera, notices = cameras(labels, WHERE)
    rotation = camera.rotation.double()
    assert float((rotation.mT @ rotation - torch.eye(3)).abs().max()) < 1e-6
    true = torch.tensor(GOOD, dtype=torch.float64)
    # the shear is symmetric, so that the nearest rotation is the one that was sheared
    torch.testing.assert_close(camera.labels().double(), true, atol=1e-6, rtol=0)
    (notice,) = notices.values()
    assert "labels have a matrix that isn't quite a rotation (R^T R is off by up to " in notice
    assert f"{2 * abs(by):.3f}, b.png); the nearest rotation was taken" in notice


def test_rounded_labels_are_taken_as_they_are() -> None:
    rounded = [round(number, 4) for number in GOOD[1]]
    camera, notices = cameras({"a.png": rounded}, WHERE)
    assert notices == {}
    assert torch.equal(camera.labels()[0], torch.tensor(rounded))


def test_noise_in_the_last_rows_is_dropped() -> None:
    camera, _ = cameras(changed({12: 1e-5, 15: 1.0001, 22: 1e-7, 24: 0.9999998}), WHERE)
    assert camera.cam2world[0, 3].tolist() == [0, 0, 0, 1]
    assert camera.intrinsics[0, 2].tolist() == [0, 0, 1]


def test_many_labels_are_checked_at_once() -> None:
    labels = {f"{i}.png": GOOD[i % 3] for i in range(20_000)}
    labels["bad.png"] = changed(scale=1.1)["a.png"]
    with pytest.raises(InputError, match=r"label of bad\.png: cam2world isn't a rotation"):
        cameras(labels, WHERE)


@pytest.mark.parametrize("name", ["a\n.png", "\x1b[31m.png", "\ud800.png"])
def test_names_are_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"expected \[name, 25 numbers\]$"):
        parse_dataset_json(json.dumps({"labels": [[name, GOOD[0]]]}).encode(), WHERE)


def test_a_mirrored_rotation_is_refused() -> None:
    label = list(GOOD[0])
    for row in range(3):
        label[4 * row] *= -1
    with pytest.raises(InputError, match=r"determinant -1\.000"):
        cameras({"a.png": label}, WHERE)


def test_a_transposed_matrix_is_refused() -> None:
    matrix = np.array(GOOD[0][:16]).reshape(4, 4).T
    with pytest.raises(InputError, match="last row of cam2world"):
        cameras({"a.png": matrix.flatten().tolist() + GOOD[0][16:]}, WHERE)


def test_opengl_axes_are_recognised() -> None:
    matrix = np.array(GOOD[0][:16]).reshape(4, 4) @ np.diag([1.0, -1.0, -1.0, 1.0])
    with pytest.raises(InputError, match="looks like OpenGL axes; flip y and z"):
        cameras({"a.png": matrix.flatten().tolist() + GOOD[0][16:]}, WHERE)


def test_intrinsics_in_pixels_are_recognised() -> None:
    pixels = {16: 1090.0, 18: 256.0, 20: 1090.0, 21: 256.0}
    with pytest.raises(InputError, match="looks like pixels; divide the intrinsics by the image"):
        cameras(changed(pixels), WHERE)


@pytest.mark.parametrize(
    "change", [{16: 0.0}, {20: -2.0}, {24: 0.0}, {22: 0.5}, {17: 2.0}, {19: 0.1}]
)
def test_impossible_intrinsics_are_refused(change: dict[int, float]) -> None:
    with pytest.raises(InputError, match="expected fx, 0, cx, 0, fy, cy, 0, 0, 1"):
        cameras(changed(change), WHERE)


def test_a_little_skew_is_taken() -> None:
    assert float(cameras(changed({17: 0.1}), WHERE)[0].intrinsics[0, 0, 1]) == pytest.approx(0.1)


def saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_npy_labels_of_any_number_type(dtype: type) -> None:
    array = parse_npy(saved(np.arange(25).astype(dtype)), "a.npy")
    assert array.dtype == np.float64
    assert array.tolist() == list(range(25))


@pytest.mark.parametrize(
    "content",
    [saved(np.zeros(25))[:-8], saved(np.array([{}] * 25)), saved(["a"] * 25),
     saved(np.zeros(25, complex))],
)  # fmt: skip
def test_npy_files_that_are_no_numbers_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.npy: not a readable \.npy array of numbers"):
        parse_npy(content, "a.npy")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"nonsense", "text ('nonsense')"),
        (b"PK\x03\x04rest", "a zip archive, as torch.save and numpy.savez write"),
        (b"\x80\x02rest", "a pickle, as of networks"),
    ],
)
def test_what_is_named_npy_but_is_none_is_named(content: bytes, what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_npy(content, "a.npy")
    assert str(caught.value) == (
        f"a.npy: not a .npy array of numbers but {what}; write it again with numpy.save"
    )


def test_the_header_of_a_npy_file_is_compared_with_its_length() -> None:
    content = saved(np.zeros(25, np.float32))
    text = b"'shape': (25,), }"
    huge = b"'shape': (10**9,), }".replace(b"10**9", b"9" * 9)
    assert text in content
    changed = content.replace(text + b" " * (len(huge) - len(text)), huge)
    assert len(changed) == len(content)
    tracemalloc.start()
    with pytest.raises(InputError, match="its header says 999999999 values"):
        parse_npy(changed, "a.npy")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    fortran = parse_npy(saved(np.asfortranarray(np.arange(6.0).reshape(2, 3))), "a.npy")
    assert fortran.tolist() == [[0, 1, 2], [3, 4, 5]]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mutation_of_a_dataset_gives_cameras_or_an_input_error(data: st.DataObject) -> None:
    text = json.dumps({"labels": [["a.png", GOOD[0]], ["b.png", GOOD[1]]]})
    kind = data.draw(st.sampled_from(["cut", "byte", "value", "entry", "any"]))
    if kind == "any":
        content = json.dumps(data.draw(json_values)).encode()
    elif kind == "cut":
        content = text[: data.draw(st.integers(0, len(text)))].encode()
    elif kind == "byte":
        place = data.draw(st.integers(0, len(text) - 1))
        content = text[:place].encode() + data.draw(st.binary(max_size=3)) + text[place:].encode()
    else:
        document = json.loads(text)
        place = data.draw(st.integers(0, 24))
        if kind == "value":
            document["labels"][0][1][place] = data.draw(json_values)
        else:
            document["labels"][data.draw(st.integers(0, 1))] = data.draw(json_values)
        content = json.dumps(document).encode()
    try:
        labels = parse_dataset_json(content, WHERE)
        assert len(cameras(labels, WHERE)[0]) == len(labels)
    except InputError as error:
        assert "\n" not in str(error)
