"""Latents of others: every form, and files that can't be latents."""

from __future__ import annotations

import argparse
import io
import pickle
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inv3d.core.camera import orbit
from inv3d.core.errors import InputError, InvError
from inv3d.core.weights.tensors import write_tensors
from inv3d.io.latents import (
    CAMERAS,
    LATENTS,
    holds,
    read_labels,
    read_latents,
    write_latents,
)
from tests.children import outcome

WS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
LABELS = orbit(torch.tensor([0.5, -0.1]), radius=2.0, focal=3.0).labels().numpy()


def test_every_form(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ws=WS[:, None], cs=LABELS[:, None], more=np.ones(3))
    np.savez_compressed(tmp_path / "b.npz", ws=WS, cs=LABELS)
    torch.save({"ws": torch.from_numpy(WS), "cs": torch.from_numpy(LABELS)}, tmp_path / "c.pt")
    for path in sorted(tmp_path.iterdir()):
        found = read_latents(path)
        assert np.array_equal(found.ws.numpy(), WS), path
        assert found.cameras is not None
        np.testing.assert_allclose(found.cameras.labels().numpy(), LABELS)
    np.save(tmp_path / "d.npy", WS)
    torch.save(torch.from_numpy(WS), tmp_path / "e.pt")
    for path in (tmp_path / "d.npy", tmp_path / "e.pt"):
        assert np.array_equal(read_latents(path).ws.numpy(), WS)
        assert read_latents(path).cameras is None


def test_a_file_is_told_by_its_contents(tmp_path: Path) -> None:
    """Some projects save with torch.save under a name that ends in .npy."""
    ws, labels = torch.from_numpy(WS), torch.from_numpy(LABELS)
    for data in (saved(ws), saved(ws, as_zip=False), array(WS), archive(w=array(WS))):
        for name in ("a.npy", "a.npz", "a.pt", "a.pth", "a"):
            (tmp_path / name).write_bytes(data)
            assert np.array_equal(read_latents(tmp_path / name).ws.numpy(), WS)
    for data in (saved(labels), array(LABELS), archive(c=array(LABELS))):
        (tmp_path / "c.npy").write_bytes(data)
        np.testing.assert_allclose(read_labels(tmp_path / "c.npy").labels().numpy(), LABELS)


def test_one_row_that_was_expanded_to_several(tmp_path: Path) -> None:
    rows = torch.randn(1, 1, 512).expand(-1, 14, -1)
    for value in (rows, {"w": rows}):
        torch.save(value, tmp_path / "e.pt")
        assert torch.equal(read_latents(tmp_path / "e.pt").ws, rows)


def test_an_array_that_numpy_named_itself(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.ones((1, 14, 32), np.float32))
    assert read_latents(tmp_path / "a.npz").ws.shape == (1, 14, 32)
    np.savez(tmp_path / "two.npz", np.ones((1, 14, 32)), np.ones((1, 25)))
    with pytest.raises(InputError, match="it holds arr_0, arr_1"):
        read_latents(tmp_path / "two.npz")
    torch.save([torch.ones(3), torch.ones(3)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="it holds no tensor, and no names"):
        read_latents(tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("shape", "read"), [((4,), (1, 1, 4)), ((3, 4), (1, 3, 4)), ((2, 1, 3, 4), (2, 3, 4))]
)
def test_shapes(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", w=np.ones(shape, dtype=np.float64))
    found = read_latents(tmp_path / "a.npz").ws
    assert tuple(found.shape) == read and found.dtype == torch.float32


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<f2", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_in_pickles_are_read_as_data(tmp_path: Path, kind: str, order: Any) -> None:
    value = np.array(WS.astype(kind), order=order)
    written = {f"{n}.pkl": pickle.dumps({"w": value}, protocol=n) for n in (2, 3, 4, 5)}
    for name, data in (written | {"new.pt": saved(value), "old.pt": saved(value, False)}).items():
        (tmp_path / name).write_bytes(data)
        found = read_latents(tmp_path / name).ws
        np.testing.assert_allclose(found.numpy(), WS, rtol=1e-3)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    cameras = orbit(torch.tensor([0.5, -0.1]), radius=2.0, focal=3.0)
    write_latents(tmp_path / "a.npz", torch.from_numpy(WS), cameras)
    found = read_latents(tmp_path / "a.npz")
    assert np.array_equal(found.ws.numpy(), WS) and found.cameras is not None
    torch.testing.assert_close(found.cameras.labels(), cameras.labels())
    with np.load(tmp_path / "a.npz") as file:
        assert file["ws"].shape == (2, 1, 3, 4) and file["cs"].shape == (2, 1, 25)
        assert np.array_equal(file["w"], WS[1:])  # the more frontal one
        assert file["c"].shape == (1, 25)


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def encrypted(data: bytes) -> bytes:
    """An archive that says so of its only member, in both places."""
    changed = bytearray(data)
    changed[6] |= 1
    changed[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def saved(value: Any, as_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=as_zip)
    return buffer.getvalue()


def array(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


def huge() -> bytes:
    """An array of a header that says 100 GB."""
    header, wanted = b"(2, 3, 4), }     ", b"(25000000000,), }"
    assert header in array(WS) and len(header) == len(wanted)
    return array(WS).replace(header, wanted)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npz", archive(x=array(WS), y=array(WS)), "no latents named 'w' or 'ws'; it holds x, y"),
        ("a.npz", archive(w=array(WS))[:-40], "a zip archive that is damaged or cut short"),
        ("a.npz", encrypted(archive(w=array(WS))), "not a readable .npz file .*encrypted"),
        ("a.npz", zipped({"x\x1b[2J": b""}), r"it holds x\?\[2J"),
        ("a.zip", zipped({"net.pkl": b""}), "an archive of other files .*see whether net.pkl has"),
        ("a.npz", archive(w=array(WS)[:-4]), "cut short"),
        ("a.npz", archive(w=array(np.array([{}], dtype=object))), "Python objects, such as a dict"),
        ("a.npz", archive(w=huge()), "25000000000 values"),
        ("a.npz", archive(w=b"text"), "not a readable array"),
        ("a.npz", archive(w=array(WS).replace(b"}", b" ")), "not a readable array"),
        ("a.npz", archive(w=array(WS).replace(b"'shape'", b"(((((((")), "not a readable array"),
        ("a.npz", archive(w=array(np.full((2, 3), np.nan))), "aren't finite"),
        ("a.npz", archive(w=array(np.ones((2, 2, 3, 4)))), r"latents of shape \(2, 2, 3, 4\)"),
        ("a.npz", archive(w=array(WS), c=array(LABELS[:1])), "cameras of shape"),
        ("a.npz", archive(w=array(WS), c=array(LABELS * np.nan)), "of latent 0: number 0 is nan"),
        ("a.npz", archive(w=array(WS), c=array(LABELS * 0)), "latent 0: cam2world isn't a rotatio"),
        ("a.npy", array(WS.astype(int)), "type int64, expected floating-point numbers"),
        ("a.npz", b"text", r"holds no latents but text \('text'\); expected .npz, .npy, .pt"),
        ("a.npy", b"", "holds no latents but an empty file"),
        ("a.txt", b"1 2 3", r"holds no latents but text \('1 2 3'\)"),
        ("a.pt", b"\x80\x02.", "more from the stack"),
        ("a.pt", saved(WS.astype(int)), "of the type 'i8', expected floating-point .* numpy.savez"),
        ("a.pt", saved({"w": WS, "x": np.array(["a"])}), "type 'U1'.*: write the numbers alone"),
        ("a.pt", pickle.dumps(WS)[:-40], "damaged or cut short"),
        ("a.pt", pickle.dumps(WS).replace(b"\x4b\x04", b"\x4b\x05", 1), "isn't described as NumPy"),
        ("a.pt", saved({"x": torch.ones(1)}), "no latents named 'w' or 'ws'; it holds x"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    found = outcome(read_latents, tmp_path / name)
    assert isinstance(found.error, InvError)
    said = str(found.error)
    assert re.search(message, said) and name in said and "\n" not in said
    assert found.memory < 64 << 20


def test_objects_in_arrays_are_never_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (canary,)

    evil = array(np.array([Hostile()], dtype=object))
    (tmp_path / "a.npz").write_bytes(archive(w=evil))
    (tmp_path / "a.npy").write_bytes(evil)
    torch.save({"w": torch.ones(1), "x": Hostile()}, tmp_path / "a.pt")
    for path in sorted(tmp_path.glob("a.*")):
        with pytest.raises(InvError):
            read_latents(path)
    assert not canary.exists()


def test_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", LABELS[:1])
    np.testing.assert_allclose(read_labels(tmp_path / "c.npy").labels().numpy(), LABELS[:1])
    np.save(tmp_path / "c.npy", LABELS[:, :24])
    with pytest.raises(InputError, match="expected 25 numbers a camera"):
        read_labels(tmp_path / "c.npy")
    np.save(tmp_path / "c.npy", LABELS * 0)
    with pytest.raises(InputError, match="cam2world isn't a rotation"):
        read_labels(tmp_path / "c.npy")
    np.savez(tmp_path / "c.npz", w=WS)
    with pytest.raises(InputError, match="no cameras named 'c' or 'cs'; it holds w; save them"):
        read_labels(tmp_path / "c.npz")
    with pytest.raises(InputError, match="no such file; give the path of a file of latents"):
        read_labels(tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("value", "latents", "cameras"),
    [
        (torch.ones(2, 3), True, True),
        ({"ws": torch.ones(2, 3)}, True, False),
        ({"c": torch.ones(1, 25)}, False, True),
        ({"w": torch.ones(2, 3), "c": torch.ones(1, 25)}, True, True),
        ({"w": torch.ones(2, 3), "G": {"a.b": torch.ones(1)}}, False, False),
        ({"a.b": torch.ones(1)}, False, False),
        ([torch.ones(2, 3)], False, False),
    ],
)
def test_files_that_hold_latents_or_cameras_alone(
    tmp_path: Path, value: Any, latents: bool, cameras: bool
) -> None:
    (tmp_path / "a.bin").write_bytes(saved(value))
    assert (holds(tmp_path / "a.bin", LATENTS), holds(tmp_path / "a.bin", CAMERAS)) == (
        latents,
        cameras,
    )


@pytest.mark.parametrize(
    ("more", "alone"),
    [
        ({"step": 500, "loss": [0.1], "name": "x", "opts": argparse.Namespace(a=1)}, True),
        ({"yaw": torch.ones(3), "optimizer": {"state": {0: {"avg": torch.ones(1)}}}}, True),
        ({"a.weight": torch.ones(1)}, False),
        ({"networks": {"G": {"a.weight": torch.ones(1)}}}, False),
    ],
)
def test_what_lies_beside_latents(tmp_path: Path, more: dict[str, Any], alone: bool) -> None:
    torch.save({"w": torch.ones(2, 3), "c": torch.ones(1, 25), **more}, tmp_path / "a")
    assert holds(tmp_path / "a", LATENTS) == holds(tmp_path / "a", CAMERAS) == alone


def test_archives_with_other_files_hold_no_latents(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(archive(w=array(WS), yaw=array(WS)))
    assert holds(path, LATENTS) and not holds(path, CAMERAS)
    path.write_bytes(zipped({"w.npy": array(WS), "0001.png": b""}))
    assert not holds(path, LATENTS)


def test_dicts_that_are_named_countless_times_are_looked_at_once(tmp_path: Path) -> None:
    inner = dict.fromkeys(map(str, range(20_000)), 1)
    outer = {str(i): dict.fromkeys(map(str, range(100)), inner) for i in range(100)}
    torch.save({"w": torch.ones(2, 3), "more": inner, **outer}, tmp_path / "a")
    before = time.process_time()
    assert holds(tmp_path / "a", LATENTS)
    assert time.process_time() - before < 10


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"w": [torch.ones(3)]}, "latents expected, but 'w' is a list; save it as a tensor or"),
        ({"ws": 5, "c": torch.ones(25)}, "latents expected, but 'ws' is a number"),
        (
            {"latents": torch.ones(2, 3), "c": torch.ones(25)},
            "no latents named 'w' or 'ws'; it holds latents, c; save them under one of",
        ),
        ((torch.ones(2, 3), 1), "it holds no tensor, and no names but a tuple; save them under"),
        ({}, "it holds no tensor, and no names; save them under"),
    ],
)
def test_latents_in_another_form_are_named(tmp_path: Path, value: Any, message: str) -> None:
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(InputError, match=message):
        read_latents(tmp_path / "a.pt")


def test_latents_as_safetensors_are_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2, 3)}, {})
    with pytest.raises(InputError, match="no latents but a safetensors file; expected"):
        read_latents(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["none.pt", "n" * 300, "."])
def test_what_cant_be_read_holds_nothing(tmp_path: Path, name: str) -> None:
    assert not holds(tmp_path / name, LATENTS)
