"""State dicts of others: nested, wrapped, of every form, and files that mean harm."""

from __future__ import annotations

import argparse
import io
import pickle
import random
import re
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import pytest
import torch
from torch import Tensor

from inv3d.core.errors import InvError, WeightsError
from inv3d.core.weights import torchfile
from inv3d.core.weights.state_dict import Checkpoint, open_checkpoint, read_state_dict
from inv3d.core.weights.tensors import write_tensors
from tests.children import outcome
from tests.hostile import Hostile, attacks, changed_zip, mutated
from tests.pickles import Call, Name, Raw, dump, stored

ENCODER = {
    "input_layer.0.weight": torch.arange(6.0).reshape(2, 3),
    "styles.0.bias": torch.tensor([1.5, -2.0]).half(),
    "styles.0.num_batches_tracked": torch.tensor(3),
}
DECODER = {"conv1.weight": torch.ones(4), "noises.noise_0": torch.zeros(1, 1)}
WHOLE = {
    **{f"encoder.{name}": tensor for name, tensor in ENCODER.items()},
    **{f"decoder.{name}": tensor for name, tensor in DECODER.items()},
}
AVERAGE = torch.linspace(-1, 1, 12).reshape(2, 6)
OPTIONS = {
    "n_styles": 14,
    "learning_rate": 1e-4,
    "input_nc": None,
    "start_from_latent_avg": True,
    "exp_dir": "out/run",
    "stages": [0, 1, (2, 3)],
    "lambdas": {"id": 0.1},
}
FORMS = ("zip", "legacy", "pickle")


def checkpoint(options: Any = None, **more: Any) -> dict[str, Any]:
    """A file of an inversion encoder: its whole generator is in it, too."""
    parts = {"state_dict": WHOLE, "latent_avg": AVERAGE, "opts": options or OPTIONS}
    return parts | more


def written(path: Path, tree: Any, form: str = "zip") -> Path:
    if form == "pickle":
        path.write_bytes(pickle.dumps(tree, 4))
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=form == "zip")
    return path


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


# --- files that are taken


@pytest.mark.parametrize("form", FORMS)
def test_a_part_of_a_checkpoint_and_what_lies_beside_it(tmp_path: Path, form: str) -> None:
    path = written(tmp_path / "encoder.pt", checkpoint(), form)
    same(read_state_dict(path, "state_dict", "encoder."), ENCODER)
    same(read_state_dict(path, "state_dict", "decoder."), DECODER)
    same(read_state_dict(path, "state_dict"), WHOLE)
    found = open_checkpoint(path)
    assert found.names == ("state_dict", "latent_avg", "opts")
    assert torch.equal(found.tensor("latent_avg"), AVERAGE)
    assert found.options("opts") == {**OPTIONS, "stages": [0, 1, [2, 3]]}


@pytest.mark.parametrize("form", FORMS)
def test_options_of_other_classes_are_their_plain_values(tmp_path: Path, form: str) -> None:
    named = argparse.Namespace(
        **OPTIONS,
        device=torch.device("cuda", 0),
        checkpoint_path=Path("/data/best.pt"),
        steps=np.int64(7),
        size=torch.Size([3, 4]),
        inner=argparse.Namespace(a=1),
        mean=torch.zeros(2),
    )
    path = written(tmp_path / "encoder.pt", checkpoint(named), form)
    assert open_checkpoint(path).options("opts") == {
        **OPTIONS,
        **{"stages": [0, 1, [2, 3]], "device": "cuda:0", "steps": 7, "size": [3, 4]},
        **{"inner": {"a": 1}, "mean": None, "checkpoint_path": "/data/best.pt"},
    }


@pytest.mark.parametrize("form", FORMS)
def test_bare_state_dicts_are_the_part_that_is_asked_for(tmp_path: Path, form: str) -> None:
    path = written(tmp_path / "net.pth", OrderedDict(WHOLE), form)
    same(read_state_dict(path), WHOLE)
    same(read_state_dict(path, "state_dict", "encoder."), ENCODER)


def test_a_copy_as_safetensors_can_be_given_too(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    write_tensors(path, WHOLE | {"latent_avg": AVERAGE}, {"opts": OPTIONS})
    same(read_state_dict(path, "state_dict", "encoder."), ENCODER)
    found = open_checkpoint(path)
    assert torch.equal(found.tensor("latent_avg"), AVERAGE)
    assert found.options("opts")["lambdas"] == {"id": 0.1}
    assert set(found.names) == {*WHOLE, "latent_avg", "opts"}


@pytest.mark.parametrize("form", FORMS)
def test_the_only_dict_of_tensors_is_meant(tmp_path: Path, form: str) -> None:
    more = {"epoch": 3, "optimizer": {"state": {0: {"avg": torch.ones(1)}}}, "empty": {}}
    for tree in ({"state_dict": WHOLE, **more}, {"model": WHOLE}, {"a": WHOLE, "b": WHOLE}):
        same(read_state_dict(written(tmp_path / "net.pt", tree, form)), WHOLE)
    for tree in ({"G": WHOLE, "D": ENCODER}, {"G": WHOLE, "avg": AVERAGE}, more):
        with pytest.raises(WeightsError, match="expected tensors by name"):
            read_state_dict(written(tmp_path / "net.pt", tree, form))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_what_wraps_a_network_is_taken_off(tmp_path: Path, wrapper: str) -> None:
    wrapped = {f"{wrapper}{name}": tensor for name, tensor in WHOLE.items()}
    inside = {f"encoder.{wrapper}{name}": tensor for name, tensor in ENCODER.items()}
    written(tmp_path / "outside.pt", {"state_dict": wrapped})
    written(tmp_path / "inside.pt", {"state_dict": inside | {"decoder.x": torch.ones(1)}})
    write_tensors(tmp_path / "bare.safetensors", wrapped, {})
    for path in sorted(tmp_path.iterdir()):
        same(read_state_dict(path, "state_dict", "encoder."), ENCODER)
    # a name that only some of them have belongs to the network
    written(tmp_path / "some.pt", {"module.a": torch.ones(1), "b": torch.ones(1)})
    assert set(read_state_dict(tmp_path / "some.pt")) == {"module.a", "b"}


def test_what_compiling_a_part_adds_is_taken_off(tmp_path: Path) -> None:
    wrapped = {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in WHOLE.items()}
    written(tmp_path / "net.pt", {"state_dict": wrapped | {"encoder.module.x": torch.ones(1)}})
    found = read_state_dict(tmp_path / "net.pt", "state_dict")
    same(found, WHOLE | {"encoder.module.x": torch.ones(1)})


def test_parts_may_lie_deeper(tmp_path: Path) -> None:
    tree = {"ema": {"net": {"state_dict": WHOLE}, "opts": OPTIONS, "avg": AVERAGE}, "a.b": ENCODER}
    path = written(tmp_path / "net.pt", tree)
    same(read_state_dict(path, "ema.net.state_dict"), WHOLE)
    same(read_state_dict(path, "a.b"), ENCODER)
    assert open_checkpoint(path).options("ema.opts")["n_styles"] == 14
    assert torch.equal(open_checkpoint(path).tensor("ema.avg"), AVERAGE)


def test_only_the_numbers_that_are_asked_for_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "encoder.pt", checkpoint())
    read: list[int] = []
    plain = torchfile._numbers
    monkeypatch.setattr(
        torchfile, "_numbers", lambda data, dtype: read.append(len(data)) or plain(data, dtype)
    )
    found = open_checkpoint(path)
    assert read == []
    found.state_dict("state_dict", "decoder.")
    assert sorted(read) == [4, 16]


@pytest.mark.parametrize("form", FORMS)
def test_tensors_that_were_expanded_have_all_their_numbers(tmp_path: Path, form: str) -> None:
    """torch.save keeps what Tensor.expand repeats once."""
    row = torch.arange(512.0)[None]
    tree = {"latent_avg": row.expand(14, -1), "square": torch.ones(()).expand(1, 1), "row": row}
    found = open_checkpoint(written(tmp_path / "net.pt", tree, form)).state_dict()
    same(found, tree)
    assert all(tensor.is_contiguous() for tensor in found.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 5), "stride": (0, 1)}, "at 0 in a storage of 4 numbers"),
        ({"shape": (2, 4), "stride": (0, 1), "offset": 1}, "at 1 in a storage of 4 numbers"),
        ({"shape": (3, 2), "stride": (1, 1)}, "in a storage of 4 numbers"),  # overlapping rows
        ({"shape": (1 << 25,), "stride": (0,)}, "in a storage of 4 numbers"),
    ],
)
def test_what_is_repeated_must_be_there(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(dump({"a": stored(torch.ones(4), **changes)}))
    with pytest.raises(WeightsError, match=message):
        read_state_dict(path)


def test_repeats_of_a_file_are_limited_together(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(
        dump({f"a{i}": stored(torch.ones(4), shape=(1 << 23,), stride=(0,)) for i in range(3)})
    )
    found = outcome(read_state_dict, path)
    assert re.search("repeats more than 64 MiB of its numbers", str(found.error))
    assert found.memory < 200 << 20


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_files_that_python_2_wrote(net: str) -> None:
    """The heads of the lpips package are such: texts and dicts have another form in them."""
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    same(read_state_dict(path), torch.load(path, map_location="cpu", weights_only=True))


def test_files_of_the_first_versions_of_torch(tmp_path: Path) -> None:
    """As torchvision's vgg16-397923af.pth: tensors with four facts."""
    path = written(tmp_path / "net.pth", {"a.weight": torch.arange(4.0)}, "legacy")
    data = path.read_bytes()
    new, hooks = b"_rebuild_tensor_v2\nq", b"\x89ccollections\nOrderedDict\n"
    assert data.count(new) == 1 and data.count(hooks) == 1
    start = data.index(hooks)
    end = data.index(b"tq", start)  # the tuple of the facts
    data = data[:start] + data[end:]
    path.write_bytes(data.replace(new, b"_rebuild_tensor\nq"))
    same(read_state_dict(path), {"a.weight": torch.arange(4.0)})
    assert torch.equal(torch.load(path, weights_only=True)["a.weight"], torch.arange(4.0))


# --- files that aren't what was asked for


@pytest.mark.parametrize(
    ("part", "prefix", "message"),
    [
        ("state_dicts", "", "has no 'state_dicts'; it holds state_dict, latent_avg, opts"),
        ("opts.net", "", r"has no 'opts\.net'; it holds state_dict, latent_avg, opts"),
        ("latent_avg.x", "", r"has no 'latent_avg\.x'; it holds state_dict, latent_avg, opts"),
        ("state_dict", "enc.", r"begins with 'enc\.'; its names are encoder\.input_layer\.0\.weig"),
        ("latent_avg", "", "'latent_avg' holds a tensor, expected a dict of tensors"),
        ("opts", "", "'opts' holds n_styles, a number, expected tensors by name"),
        (None, "", "holds state_dict, a dict, expected tensors by name"),
    ],
)
def test_parts_that_are_not_there_are_named(
    tmp_path: Path, part: str | None, prefix: str, message: str
) -> None:
    path = written(tmp_path / "encoder.pt", checkpoint())
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(path, part, prefix)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and text.isprintable()
    assert text.endswith("; give the file of the network that is asked for")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1], "holds a list, expected a dict of tensors"),
        ({}, "holds nothing, expected a dict of tensors"),
        (torch.ones(3), "holds a tensor, expected a dict of tensors"),
        (argparse.Namespace(a=1), "holds a Namespace object, expected a dict of tensors"),
        ({3: torch.ones(1)}, "holds 3, a tensor, expected tensors by name"),
        ({"a\x1b[2J": 5}, r"holds a\?\[2J, a number"),
        ({"a\x1b[2J": torch.ones(1)}, r"has a tensor of the name a\?\[2J"),
        ({"a" * 400: torch.ones(1)}, "has a tensor of the name aaa"),
        ({"a": torch.tensor([1.0, float("nan")])}, "a has numbers that aren't finite"),
        ({"a": torch.tensor([1.0, -float("inf")]).bfloat16()}, "a has numbers that aren't finite"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, tree: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(written(tmp_path / "net.pt", tree))
    assert str(caught.value).isprintable()


def test_numbers_that_are_not_finite_are_found_in_every_form(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.tensor([0.0, float("nan")])}
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    eighth = {"a": torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)}
    write_tensors(tmp_path / "b.safetensors", eighth, {})
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(WeightsError, match="has numbers that aren't finite"):
            read_state_dict(path)
    path = written(tmp_path / "c.pt", checkpoint(latent_avg=tensors["b"]))
    same(read_state_dict(path, "state_dict"), WHOLE)
    with pytest.raises(WeightsError, match="latent_avg has numbers that aren't finite"):
        open_checkpoint(path).tensor("latent_avg")


def test_facts_of_another_kind_are_refused(tmp_path: Path) -> None:
    found = open_checkpoint(written(tmp_path / "encoder.pt", checkpoint()))
    with pytest.raises(WeightsError, match="'opts' is a dict, expected a tensor"):
        found.tensor("opts")
    with pytest.raises(WeightsError, match="'latent_avg' is a tensor, expected options by name"):
        found.options("latent_avg")
    with pytest.raises(WeightsError, match="has no 'options'; it holds"):
        found.options("options")
    many = written(tmp_path / "many.pt", checkpoint({"a": [0] * 6000}))
    with pytest.raises(WeightsError, match="more settings than any network"):
        open_checkpoint(many).options("opts")


# --- files that mean harm


@pytest.mark.parametrize("attack", list(attacks(Path("x"))))
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["whole", "state_dict", "opts", "more"])
def test_nothing_is_run(tmp_path: Path, form: str, attack: str, place: str) -> None:
    canary = tmp_path / "canary"
    payload = attacks(canary)[attack]
    tree = payload if place == "whole" else checkpoint(**{place: payload})
    path = written(tmp_path / "net.pt", tree, form)
    with pytest.raises(WeightsError, match=r"net\.pt: .*; nothing in it was run: ") as caught:
        read_state_dict(path, "state_dict")
    assert str(caught.value).isprintable() and "weights_only" not in str(caught.value)
    assert not canary.exists()


def test_nothing_is_built(tmp_path: Path) -> None:
    """What a Namespace or a device would be made of isn't looked at by their classes."""
    shell = Hostile(print, "was called")
    for tree in ({"opts": argparse.Namespace(a=shell)}, {"opts": Hostile(torch.device, shell)}):
        with pytest.raises(WeightsError, match=r"names __builtin__\.print"):
            open_checkpoint(written(tmp_path / "net.pt", tree))


def legacy(tree: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def huge_storage(members: dict[str, bytes]) -> None:
    data = members["archive/data.pkl"]
    assert data.count(b"K\x06t") == 1
    huge = b"\x8a\x05" + (25 * 10**9).to_bytes(5, "little")
    members["archive/data.pkl"] = data.replace(b"K\x06t", huge + b"t")


def huge_member() -> bytes:
    """An archive whose directory says that its pickle has 4 GB."""
    data = bytearray(changed_zip({"a": torch.arange(6.0)}, lambda members: None))
    name = data.rindex(b"archive/data.pkl")
    data[name - 26 : name - 18] = struct.pack("<2I", 2**32 - 4, 2**32 - 4)
    return bytes(data)


def huge_bytes(size: int) -> Call:
    return Call(Name("builtins", "bytearray"), (size,))


HOSTILE: dict[str, tuple[bytes, str]] = {
    "huge storage": (changed_zip({"a": torch.arange(6.0)}, huge_storage), "25000000000 numbers"),
    "huge member": (huge_member(), "4294967292 bytes of it are one member"),
    "huge bytes": (dump({"a": huge_bytes(3 << 30)}), r"names builtins\.bytearray"),
    "huge shape": (dump({"a": stored(torch.ones(4), shape=(25 * 10**9,))}), "of 4 numbers"),
    "huge and empty": (
        dump({"a": stored(torch.ones(4), shape=(2**61, 2**61, 0), stride=(1, 1, 1))}),
        "which is larger than any",
    ),
    "huge text": (dump(Raw(b"X\xff\xff\xff\x7fabc")), "cut short"),
    "from nothing": (b"\x80\x02Na.", "more from the stack than there is"),
    "called with a number": (b"\x80\x02ccollections\nOrderedDict\nK\x01R.", "where arguments"),
    "made of a number": (dump({"a": Call(Name("collections", "OrderedDict"), (1,))}), "something"),
    "taken from nothing": (b"\x80\x02000.", "opcode POP"),
    "text of Python 2": (dump(Raw(b"T\x00\x20\x00\x00" + b"a" * 8192)), "opcode BINSTRING"),
    "cut zip": (changed_zip(checkpoint(), lambda members: None)[:-100], "cut short"),
    "cut legacy": (legacy(checkpoint())[:-10], "cut short"),
    "cut pickle": (pickle.dumps(OPTIONS)[:-10], "cut short"),
    "text": (b"Too many requests", r"not a weight file but text \('Too many requests'\)"),
    "empty": (b"", "an empty file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files(tmp_path: Path, name: str) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "net.pt"
    path.write_bytes(data)
    found = outcome(read_state_dict, path)
    assert isinstance(found.error, WeightsError) and re.search(message, str(found.error))
    assert str(found.error).isprintable() and str(found.error).startswith(f"{path}: ")
    assert found.memory < 200 << 20


# --- mutations


def asked(found: Checkpoint) -> None:
    """Ask for all that a method would."""
    found.state_dict("state_dict", "encoder.")
    if "latent_avg" in found.names:
        found.tensor("latent_avg")
    if "opts" in found.names:
        found.options("opts")


@pytest.mark.parametrize("form", [*FORMS, "safetensors"])
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where the canary of the mutations would be
    path = tmp_path / "intact"
    if form == "safetensors":
        write_tensors(path, WHOLE | {"latent_avg": AVERAGE}, {"opts": OPTIONS})
    else:
        written(path, checkpoint(argparse.Namespace(**OPTIONS)), form)
    data = path.read_bytes()
    asked(open_checkpoint(path))
    chance = random.Random(form)
    refused, slowest = 0, 0.0
    for _ in range(400):
        path.write_bytes(mutated(data, chance))
        started = time.process_time()
        try:
            asked(open_checkpoint(path))
        except InvError as error:
            refused += 1
            assert str(error).isprintable()
        slowest = max(slowest, time.process_time() - started)
    assert refused > 40
    assert not (tmp_path / "canary").exists()
