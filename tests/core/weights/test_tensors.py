"""Weight files: round trips, damage, other architectures, fingerprints."""

from __future__ import annotations

import pickle
import stat
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from inv3d.core.errors import MismatchError, RunError, WeightsError
from inv3d.core.weights.tensors import (
    asset,
    fault,
    fingerprint,
    load_state,
    read_tensors,
    write_tensors,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.ones(2).half()}


def test_tensors_and_metadata_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS | {"t": TENSORS["a"].T}, {"name": "x", "n": [1, 2]})
    tensors, metadata = read_tensors(path)
    assert metadata == {"name": "x", "n": [1, 2]}
    assert torch.equal(tensors["t"], TENSORS["a"].T)
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value)
        assert tensors[name].dtype == value.dtype
    assert stat.S_IMODE(path.stat().st_mode) & 0o044, "others may read it"


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    path, tied = tmp_path / "w.safetensors", torch.arange(6.0)
    tensors = {"a": tied, "b": tied, "part": tied[2:4], "none": torch.empty(0)}
    write_tensors(path, tensors | {"nothing": torch.empty(0)}, {})
    found, _ = read_tensors(path)
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_a_file_without_metadata_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert read_tensors(tmp_path / "w.safetensors")[1] == {}


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_damaged_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"w\.safetensors: not a readable safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("[]", "its metadata is a JSON list, expected an object"),
        ('"text"', "its metadata is a JSON str, expected an object"),
        ("null", "its metadata is a JSON NoneType, expected an object"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "recursion"),
        ('{"a":' * 40 + "1" + "}" * 40, "more than 32 deep"),
        ('{"a":[' * 20 + "]}" * 20, "more than 32 deep"),
    ],
)
def test_metadata_that_is_no_table_is_refused(tmp_path: Path, metadata: str, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(TENSORS, path, {"inv3d": metadata})
    with pytest.raises(WeightsError, match=message) as caught:
        read_tensors(path)
    assert str(caught.value).startswith(f"{path}: not a readable safetensors file (")
    assert "\n" not in str(caught.value)


def test_pickles_are_refused(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "but an empty file; fetch or write it again"),
        (b"\n\n<!doctype html>", "but a web page, not the file itself; the download needs"),
        (b"\x80\x04K\x01.", "but a pickle, as of networks; give the generator that a network"),
    ],
)
def test_other_files_are_told_by_their_contents(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"not a readable safetensors file {said}"):
        read_tensors(path)


def test_archives_are_told_by_their_members(tmp_path: Path) -> None:
    path = tmp_path / "net.zip"
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match=r"a zip archive, .*; give the generator that a network"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net.pkl", b"network")
    with pytest.raises(WeightsError, match=r"of other files \(net\.pkl\).*: unpack it and give"):
        read_tensors(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match="a zip archive that is damaged or cut short"):
        read_tensors(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"w\.safetensors: no such file; give the path"):
        read_tensors(tmp_path / "w.safetensors")


def test_a_place_that_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="can't be written"):
        write_tensors(tmp_path / "file" / "w.safetensors", TENSORS, {})


def test_weights_of_another_architecture_are_named() -> None:
    module = nn.Linear(3, 2)
    with pytest.raises(WeightsError) as error:
        load_state(module, {"weight": torch.ones(2, 4), "extra": torch.ones(1)}, "w.safetensors")
    assert str(error.value) == (
        "w.safetensors: weights of another architecture: 1 tensors missing (first: bias); "
        "1 left over (first: extra); 1 of another shape (first: weight is (2, 4), expected "
        "(2, 3)); choose the generator or variant that these weights belong to"
    )


def test_a_prefix_before_all_that_is_missing_is_named() -> None:
    given = {f"backbone.{name}": tensor for name, tensor in nn.Linear(3, 2).state_dict().items()}
    with pytest.raises(MismatchError, match=r"the missing ones behind 'backbone\.': save"):
        load_state(nn.Linear(3, 2), given, "w.pt")
    with pytest.raises(MismatchError, match="choose the generator"):
        load_state(nn.Linear(3, 2), {**given, "more": torch.ones(1)}, "w.pt")


def test_weights_take_the_type_of_the_module() -> None:
    module = nn.Linear(3, 2)
    load_state(module, {"weight": torch.ones(2, 3).half(), "bias": torch.zeros(2).double()}, "w")
    assert module.weight.dtype == module.bias.dtype == torch.float32
    assert module.weight.sum() == 6


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.tensor([[1.0, float("nan"), 2.0]]), "weight has numbers that aren't finite"),
        (torch.tensor([[1.0, -float("inf"), 2.0]]).half(), "weight has numbers that aren't finite"),
        (torch.tensor([[1.0, 1e300, 2.0]]).double(), "weight has numbers that aren't finite"),
        (torch.tensor([[1, 2, 3]]), "weight is of the type int64, expected floating-point"),
        (torch.tensor([[True, True, False]]), "weight is of the type bool, expected floating-"),
        (torch.tensor([[1j, 2, 3]]), "weight is of the type complex64, expected floating-point"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_named(weight: torch.Tensor, message: str) -> None:
    module = nn.Linear(3, 1)
    before = module.weight.clone()
    with pytest.raises(WeightsError, match=rf"^w\.pt: {message}"):
        load_state(module, {"weight": weight, "bias": torch.zeros(1)}, "w.pt")
    assert torch.equal(module.weight, before)


def test_fingerprints_tell_weights_and_architectures_apart() -> None:
    base = fingerprint({"n": 1}, TENSORS)
    assert base == fingerprint({"n": 1}, {n: v.clone() for n, v in reversed(TENSORS.items())})
    others = [
        fingerprint({"n": 2}, TENSORS),
        fingerprint({"n": 1}, TENSORS | {"b": torch.tensor(4)}),
        fingerprint({"n": 1}, TENSORS | {"a": TENSORS["a"].reshape(3, 2)}),
        fingerprint({"n": 1}, TENSORS | {"a": TENSORS["a"].double()}),
        fingerprint({"n": 1}, {**TENSORS, "d": torch.zeros(0)}),
    ]
    assert len({base, *others}) == 6
    assert len(base) == 16


def test_assets_lie_in_the_package() -> None:
    assert asset("x.safetensors").parent.name == "assets"
    assert (asset("x").parent.parent / "py.typed").is_file()


def test_a_pickle_without_its_end_has_a_fault(tmp_path: Path) -> None:
    whole = pickle.dumps({"G_ema": list(range(300))})
    path = tmp_path / "network.pkl"
    path.write_bytes(whole)
    assert fault(path) == ""
    path.write_bytes(whole[:-20])
    assert fault(path).startswith(f"{path}: is cut short")
    torch.save({"a": torch.ones(9)}, path, _use_new_zipfile_serialization=False)
    assert fault(path) == "", "numbers stand at the end of what older versions of torch saved"
