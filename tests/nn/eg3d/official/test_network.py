"""Reading networks of others: the official file, other forms, and files that mean harm."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import random
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inv3d.core.errors import UsageError, WeightsError
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.eg3d.official import Network, read_network
from inv3d.nn.eg3d.official.entries import SIGN
from tests.children import outcome
from tests.golden_cases import FOLDER, GoldenCase
from tests.hostile import SYSTEM, attacks, changed_zip, mutated, with_odd_header
from tests.pickles import Call, Name, Raw, dump, module, save_module, stored, stream

TINY = FOLDER / "official_format_tiny.pkl"
TENSORS = {
    "backbone.fc0.weight": torch.arange(6.0).reshape(2, 3),
    "backbone.fc0.bias": torch.tensor([1.5, -2.0]).half(),
    "backbone.w_avg": torch.tensor(3),
    "noise": torch.ones(4),
}
SETTINGS = {"rendering_kwargs": {"box_warp": 1, "names": ["a"]}, "z_dim": 3}
MUTATIONS = int(os.environ.get("INV3D_FUZZ", "3000"))
MIB = 1 << 20
# seconds after which reading a file hangs
PATIENCE = 60.0


def small(**changes: Any) -> bytes:
    """A network pickle in the official form; values of its tree can be replaced."""
    tree = {"G": module("G", {"a.b": torch.zeros(1)}), "G_ema": module("G", TENSORS, **SETTINGS)}
    return dump({"training_set_kwargs": {"path": "x.zip"}, "D": None} | tree | changes)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def made(data: bytes, name: str = "net.pkl") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return made


Write = Callable[..., Path]


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


# --- files that are taken


def test_the_official_file() -> None:
    case = GoldenCase("official_format_tiny_expected")
    network = read_network(TINY)
    assert (network.form, network.entry, network.kind) == ("pickle", "G_ema", "TriPlaneGenerator")
    shapes = {key["name"]: (tuple(key["shape"]), key["dtype"]) for key in case.facts["keys"]}
    found = {n: (tuple(t.shape), str(t.dtype)[6:]) for n, t in network.tensors.items()}
    assert found == shapes and list(found) == list(shapes)
    spots = [name for name in case.tensors if name.startswith("out.tensor.")]
    assert len(spots) > 3
    for name in spots:
        assert torch.equal(network.tensors[name.removeprefix("out.tensor.")], case.tensors[name])
    facts = case.facts["G_ema"]
    assert network.settings["rendering_kwargs"] == facts["rendering_kwargs"]
    assert network.settings["init_kwargs"] == facts["init_kwargs"]
    assert network.settings["neural_rendering_resolution"] == facts["neural_rendering_resolution"]
    assert network.settings["plane_axes"] == case.facts["plane_axes"]
    assert network.settings["training_set"]["path"] == "dataset.zip"


def test_the_average_is_taken_unless_another_is_named(write: Write) -> None:
    path = write(small())
    network = read_network(path)
    same(network.tensors, TENSORS)
    assert network.settings["rendering_kwargs"] == SETTINGS["rendering_kwargs"]
    assert list(read_network(path, "G").tensors) == ["a.b"]
    with pytest.raises(UsageError, match="has no network 'Gema'; did you mean 'G_ema'"):
        read_network(path, "Gema")


def test_bare_state_dicts(write: Write, tmp_path: Path) -> None:
    beside = {"w": torch.ones(1, 2, 3), "c": torch.zeros(1, 25)}
    for tree in (TENSORS, {"G_ema": TENSORS}, {"G": TENSORS, **beside}, {"state_dict": TENSORS}):
        for zipped in (True, False):
            path = tmp_path / "net.pt"
            torch.save(tree, path, _use_new_zipfile_serialization=zipped)
            network = read_network(path)
            same(network.tensors, TENSORS)
            assert network.form == ("zip" if zipped else "legacy")
            assert set(network.beside) == (set(beside) if "w" in tree else set())


GENERATOR = {SIGN: torch.ones(2), "decoder.net.0.weight": torch.zeros(3, 2)}


def beside(prefix: str, *others: str) -> dict[str, Tensor]:
    """A state dict with the generator behind a prefix, and other networks."""
    return {
        **{f"{other}.weight": torch.full((1,), 7.0) for other in others},
        **{f"{prefix}.{name}": tensor for name, tensor in GENERATOR.items()},
    }


@pytest.mark.parametrize(
    ("tree", "entry"),
    [
        (beside("_orig_mod"), ""),
        (beside("module._orig_mod"), ""),
        ({"state_dict": beside("G_ema")}, "state_dict.G_ema"),
        ({"state_dict": beside("decoder", "encoder"), "opts": {"n": 14}}, "state_dict.decoder"),
        ({"opts": argparse.Namespace(n=14), "net": beside("decoder", "encoder")}, "net.decoder"),
        (beside("net.decoder.module", "net.encoder"), "net.decoder.module"),
        ({"state_dict": beside("G") | beside("G_ema", "D")}, "state_dict.G_ema"),
        ({"model": {"G": GENERATOR, "G_ema": GENERATOR}, "args": {"n": 14}}, "model.G_ema"),
        ({"D": {"b4.bias": torch.zeros(1)}, "model": {"G_ema": GENERATOR}}, "model.G_ema"),
        ({"model": {"net": beside("decoder", "encoder")}}, "model.net.decoder"),
        (beside("G._orig_mod", "D"), "G"),
    ],
)
def test_a_generator_is_found_within_a_larger_state_dict(
    tmp_path: Path, tree: dict[str, Any], entry: str
) -> None:
    torch.save(tree, tmp_path / "net.pt")
    network = read_network(tmp_path / "net.pt")
    assert network.entry == entry
    same(network.tensors, GENERATOR)
    for said in filter(None, (entry, entry.rpartition(".")[2])):
        assert read_network(tmp_path / "net.pt", said).entry == entry
    if all(isinstance(value, Tensor) for value in tree.values()):
        write_tensors(tmp_path / "net.safetensors", tree, {})
        same(read_network(tmp_path / "net.safetensors").tensors, GENERATOR)


@pytest.mark.parametrize(
    ("raw", "averaged"),
    [
        ("g", "g_ema"),
        ("model", "model_ema"),
        ("params", "params_ema"),
        ("generator", "ema_generator"),
        ("state_dict", "ema"),
        ("state_dict", "ema_state_dict"),
        ("model", "modelEMA"),
        ("model.net", "model.net_ema"),
    ],
)
@pytest.mark.parametrize("flat", [True, False])
def test_the_running_average_is_taken_whatever_it_is_called(
    tmp_path: Path, raw: str, averaged: str, flat: bool
) -> None:
    """Trainers call it differently; a network of other tensors isn't one, nor is a schema."""
    old = {name: tensor + 1 for name, tensor in GENERATOR.items()}
    tree: dict[str, Any] = {"d_ema": {"b4.bias": torch.zeros(1)}, "schema": old, raw: old}
    tree[averaged] = GENERATOR
    if flat:
        tree = {f"{part}.{name}": t for part, held in tree.items() for name, t in held.items()}
    torch.save(tree, tmp_path / "net.pt")
    network = read_network(tmp_path / "net.pt")
    assert network.entry == averaged
    same(network.tensors, GENERATOR)
    same(read_network(tmp_path / "net.pt", raw).tensors, old)


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_orig_mod.module"])
@pytest.mark.parametrize("wrapped", ["backbone", "backbone.synthesis", "decoder"])
@pytest.mark.parametrize("before", ["", "G_ema."])
def test_wrappers_of_single_modules_are_taken_off(
    tmp_path: Path, before: str, wrapped: str, wrapper: str
) -> None:
    names = {name: name.replace(f"{wrapped}.", f"{wrapped}.{wrapper}.") for name in GENERATOR}
    state = {f"{before}{names[name]}": tensor for name, tensor in GENERATOR.items()}
    torch.save({"state_dict": state}, tmp_path / "net.pt")
    same(read_network(tmp_path / "net.pt").tensors, GENERATOR)


def test_an_average_keeps_its_count_out_of_the_network(tmp_path: Path) -> None:
    state = beside("module") | {"n_averaged": torch.tensor(3)}
    torch.save(state, tmp_path / "net.pt")
    same(read_network(tmp_path / "net.pt").tensors, GENERATOR)


def test_names_that_would_be_one_stay(tmp_path: Path) -> None:
    state = GENERATOR | {"a.module.b": torch.zeros(1), "a.b": torch.ones(1)}
    torch.save(state, tmp_path / "net.pt")
    same(read_network(tmp_path / "net.pt").tensors, state)


def test_one_state_dict_under_many_names_costs_little(tmp_path: Path) -> None:
    shared = {f"{'a' * 200}.{i}": torch.empty(0) for i in range(3000)}
    many = dict.fromkeys(map(str, range(250)), shared)
    torch.save(dict.fromkeys(map(str, range(250)), many), tmp_path / "net.pt")
    found = outcome(read_network, tmp_path / "net.pt")
    assert found.memory < 100 << 20


def test_a_part_that_is_no_generator_is_not_there(tmp_path: Path) -> None:
    torch.save({"state_dict": beside("decoder", "encoder")}, tmp_path / "net.pt")
    with pytest.raises(UsageError, match=r"no network 'encode'; known: state_dict\.decoder"):
        read_network(tmp_path / "net.pt", "encode")
    torch.save(GENERATOR, tmp_path / "net.pt")
    with pytest.raises(UsageError, match="no network 'encoder'; leave --entry out"):
        read_network(tmp_path / "net.pt", "encoder")


def test_names_that_would_do_something_to_a_terminal(tmp_path: Path) -> None:
    strange = {"a.\x1b[2J": torch.zeros(1)}
    write_tensors(tmp_path / "net.safetensors", strange, {})
    torch.save(strange, tmp_path / "net.pt")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(WeightsError, match=r"a tensor of the name a\.\?\[2J"):
            read_network(path)


def test_our_own_files(tmp_path: Path) -> None:
    write_tensors(tmp_path / "net.safetensors", TENSORS, {"name": "eg3d"})
    network = read_network(tmp_path / "net.safetensors")
    same(network.tensors, TENSORS)
    assert network.metadata == {"name": "eg3d"}


def test_whole_modules_of_torch_save(tmp_path: Path) -> None:
    """As PTI saves its tuned generator: names of classes, and their source, are in the file."""
    tensors = {n: t for n, t in TENSORS.items() if t.is_floating_point()}
    save_module(tmp_path / "model.pt", "Generator", tensors, gain=np.float64(0.5), **SETTINGS)
    network = read_network(tmp_path / "model.pt")
    same(network.tensors, tensors)
    assert network.settings["gain"] == 0.5 and network.kind == "Generator"
    assert network.settings["rendering_kwargs"] == SETTINGS["rendering_kwargs"]


def test_modules_with_their_classes(tmp_path: Path) -> None:
    """Before 1.6 torch.save wrote the source of every class into the file."""
    made = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Softplus()))
    made.register_parameter("weight", nn.Parameter(torch.randn(3, 2)))
    made.register_buffer("scratch", torch.ones(2), persistent=False)
    for zipped in (True, False):
        torch.save({"G_ema": made}, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
        same(read_network(tmp_path / "m.pt").tensors, {"weight": made.weight.detach()})


# --- files that mean harm


NAMES = tuple(attacks(Path("x")))
FORMS = ("pickle", "entry", "zip", "legacy", "tar", "nested", "nested zip")


@pytest.mark.parametrize("attack", NAMES)
@pytest.mark.parametrize(
    "form", ["pickle", "entry", "zip", "legacy", "tar", "nested", "nested zip"]
)
def test_nothing_is_run(write: Write, tmp_path: Path, form: str, attack: str) -> None:
    canary = tmp_path / "canary"
    payload = attacks(canary)[attack]
    buffer = io.BytesIO()
    if form == "pickle":
        data = pickle.dumps(payload)
    elif form == "entry":
        data = small(augment_pipe=Raw(pickle.dumps(payload, 2)[2:-1]))
    elif form == "tar":
        data = tar_of(pickle.dumps(payload, 2))
    else:
        torch.save(payload, buffer, _use_new_zipfile_serialization="zip" in form)
        data = buffer.getvalue()
    if "nested" in form:
        data = small(G_ema=module("G", TENSORS | {"x": stored(torch.ones(1), data)}))
    with pytest.raises(WeightsError, match=r"net\.pkl") as caught:
        read_network(write(data))
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("attack", ["os.system", "builtins.eval", "numpy object array"])
def test_the_canary_works(tmp_path: Path, attack: str) -> None:
    pickle.loads(pickle.dumps(attacks(tmp_path / "canary")[attack]))
    assert (tmp_path / "canary").exists()


def tar_of(data: bytes) -> bytes:
    """The container of torch.save before 1.0."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_embedded_source_is_not_looked_at(write: Write, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    facts = module("G", TENSORS).arguments[0] | {"module_src": f"open({str(canary)!r}, 'w')"}
    call = Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (facts,))
    same(read_network(write(small(G_ema=call))).tensors, TENSORS)
    assert not canary.exists()


def more_numbers(members: dict[str, bytes]) -> None:
    data = members["archive/data.pkl"]
    assert b"K\x06t" in data
    huge = b"\x8a\x05" + (25 * 10**9).to_bytes(5, "little")
    members["archive/data.pkl"] = data.replace(b"K\x06t", huge + b"t")


def torchscript(members: dict[str, bytes]) -> None:
    members["archive/constants.pkl"] = b"\x80\x02)."
    members["archive/code/__torch__.py"] = b"open('canary', 'w')"


def legacy(named: str, keys: bytes) -> bytes:
    """A file of torch.save before 1.6 with a storage of that name, and opcodes for their list."""
    buffer = io.BytesIO()
    torch.save({"a.b": torch.arange(4.0)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    (key,) = re.findall(rb"\]q\x00(X[^.]+)q\x01a\.", data)
    data = data.replace(b"]q\x00" + key + b"q\x01a.", keys + b".")
    return data.replace(key, dump(named)[2:-1])


STREAM = stream(torch.arange(4.0))
HUGE = 25 * 10**9
PLAIN = {"a.weight": torch.arange(6.0), "a.bias": torch.zeros(2)}
DAMAGED = {
    "declared shape": (small(x=stored(torch.ones(4), shape=(HUGE,))), "in a storage of 4 numbers"),
    "expanded": (small(x=stored(torch.ones(4), shape=(HUGE,), stride=(0,))), "in a storage of 4"),
    "offset": (small(x=stored(torch.ones(4), offset=1)), "at 1 in a storage of 4 numbers"),
    "negative": (small(x=stored(torch.ones(4), offset=-1)), "aren't whole numbers"),
    "no number": (small(x=stored(torch.ones(4), shape=("4",))), "aren't whole numbers"),
    "declared storage": (
        small(x=stored(torch.ones(4), STREAM.replace(b"K\x04N", b"J\xff\xff\xff\x7fN"))),
        "a storage of 2147483647 numbers",
    ),
    "cut storage": (small(x=stored(torch.ones(4), STREAM[:-4])), "cut short"),
    "declared zip storage": (
        changed_zip(PLAIN, more_numbers),
        "of 25000000000 numbers, but 24 bytes",
    ),
    "declared bytes": (dump(Raw(b"\x8e" + (10**11).to_bytes(8, "little"))), "cut short"),
    "a storage named by a number": (legacy("5", b"]K\x05a"), "its list of storages isn't"),
    "a storage named by a list": (legacy("[5]", b"]](K\x05ea"), "its list of storages isn't"),
    "a storage named by depth": (
        legacy("x", b"]" * 9999 + b"a" * 9998),
        "its list of storages isn't",
    ),
    "packed zip": (changed_zip(PLAIN, lambda m: None, packed=True), "packed or encrypted"),
    "torchscript": (changed_zip(PLAIN, torchscript), "TorchScript archive, which holds code"),
    "a plain zip": (
        changed_zip(PLAIN, lambda m: m.pop("archive/data.pkl")),
        "not one of torch.save",
    ),
    "lost storage": (changed_zip(PLAIN, lambda m: m.pop("archive/data/0")), "but 0 bytes"),
    "half a zip": (changed_zip(PLAIN, lambda m: None)[:-200], "damaged or cut short"),
    "half a pickle": (small()[:-9], "cut short"),
    "half the official file": (TINY.read_bytes()[: 3 << 20], "cut short"),
    "no network": (dump({"weights": 1, "steps": 2}), "has no network; it holds weights, steps"),
    "a list": (dump([1]), "holds a list, no network.*: give a network pickle, a module or a"),
    "a tensor": (dump(stored(torch.ones(4))), "holds a tensor, no network"),
    "no weights": (small(G_ema=module("G", {})), "a G without weights"),
    "empty": (b"", "an empty file"),
    "text": (b"ffhq512-128.pkl\n", r"text \('ffhq512-128.pkl'\)"),
    "web page": (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    "gzip": (gzip.compress(small()), "a gzip archive"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a picture"),
    "tar": (tar_of(b""), "a tar archive"),
    "half of ours": (b'\x40\x00\x00\x00\x00\x00\x00\x00{"a":', "not a readable safetensors"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_and_wrong_files(write: Write, name: str) -> None:
    data, message = DAMAGED[name]
    found = outcome(read_network, write(data), patience=PATIENCE)
    assert isinstance(found.error, WeightsError)
    said = str(found.error)
    assert re.search(message, said) and "net.pkl" in said and "\n" not in said
    assert found.memory < 8 * MIB + 2 * len(data)


def nested_modules(depth: int) -> Raw:
    """Modules in modules, written without recursion."""
    head, tail = dump(module("G", {}))[2:-1].split(b"_modules", 1)
    start, end = tail.split(b"}(u", 1)
    before = head + b"_modules" + start + b"}(" + b"X\x01\x00\x00\x00a"
    return Raw(before * depth + b"N" + (b"u" + end) * depth)


def itself() -> Raw:
    """A list with a module (memo 238) that has itself as its parts x and y."""
    code = dump(module("G", {"a.b": torch.ones(1)}))[2:-1]
    place = code.index(b"}(", code.index(b"_modules")) + 1
    parts = b"".join(b"X\x01\x00\x00\x00" + name + b"h\xee" for name in (b"x", b"y"))
    return Raw(b"](" + code[:place] + b"q\xef" + code[place:] + b"q\xeeh\xef(" + parts + b"ue")


def laughs(levels: int) -> Raw:
    """Lists of nine times the list before."""
    lists = (b"](" + b"h%c" % n * 9 + b"eq%c" % (n + 1) for n in range(1, levels))
    return Raw(b"](]q\x01" + b"".join(lists) + b"e")


def many_calls(name: str, arguments: tuple[Any, ...]) -> bytes:
    """A thousand calls of a name with the same arguments."""
    both = dump(arguments)[2:-1] + b"q\xaac" + name.encode() + b"\nq\xab"
    return dump(Raw(both + b"](" + b"h\xabh\xaaR" * 1000 + b"e"))


COPY = Raw(b"h\xaa")
BOMBS = {
    "modules": (small(G_ema=nested_modules(3000)), "deeper or oftener"),
    "itself": (small(G=itself(), G_ema=Raw(b"h\xee")), "deeper or oftener"),
    "settings": (
        small(G_ema=module("G", TENSORS, x=Raw(b"(" * 9000 + b"t" * 9000))),
        "more settings",
    ),
    "laughs": (small(G_ema=module("G", TENSORS, x=laughs(40))), "more settings"),
    "opcodes": (dump(Raw(b"N" * 1_000_001)), "more opcodes"),
    "one storage, many tensors": (
        small(
            G_ema=module(
                "G",
                {"a": Raw(dump(stored(torch.ones(9000)))[2:-1] + b"q\xaa")}
                | {f"b{i}": COPY for i in range(250)},
            )
        ),
        "more numbers in tensors than bytes",
    ),
    "one text, many byte strings": (
        many_calls("_codecs\nencode", ("a" * (1 << 20), "latin1")),
        "more text",
    ),
    "one list, many sets": (
        many_calls("builtins\nset", ([f"{n:05}" for n in range(30_000)],)),
        "more text",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(write: Write, name: str) -> None:
    data, message = BOMBS[name]
    found = outcome(read_network, write(data), patience=PATIENCE)
    assert isinstance(found.error, WeightsError)
    assert re.search(message, str(found.error))
    assert found.memory < 100 * MIB


# --- mutations


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `SYSTEM` would make."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "canary"


def test_the_canary_of_the_mutations_works(canary: Path) -> None:
    pickle.loads(b"\x80\x02" + SYSTEM + b".")
    assert canary.exists()


def intact(form: str, folder: Path) -> bytes:
    """A small network in a form."""
    path = folder / "intact"
    if form == "pickle":
        path.write_bytes(small())
    elif form == "safetensors":
        write_tensors(path, PLAIN, {"name": "eg3d", "architecture": {"z_dim": 3}, "licence": "x"})
    else:
        torch.save({"G_ema": PLAIN}, path, _use_new_zipfile_serialization=form == "zip")
    return path.read_bytes()


def read_mutations(form: str, folder: Path, times: int) -> int:
    """Read a file that is damaged anew each time; return how often it was refused."""
    os.chdir(folder)
    data = intact(form, folder)
    path = folder / "net.pkl"
    chance = random.Random(form)
    refused = 0
    for _ in range(times):
        odd = form == "safetensors" and chance.randrange(2)
        path.write_bytes(with_odd_header(data, chance) if odd else mutated(data, chance))
        try:
            found: Network = read_network(path)
        except WeightsError as error:
            refused += 1
            assert str(error).isprintable()
        else:
            size = sum(t.numel() * t.element_size() for t in found.tensors.values())
            assert found.tensors and size <= 2 * len(data) + 4096
    return refused


@pytest.mark.parametrize("form", ["pickle", "zip", "legacy", "safetensors"])
def test_mutated_files_are_read_or_refused(tmp_path: Path, canary: Path, form: str) -> None:
    times = MUTATIONS // 3
    found = outcome(read_mutations, form, tmp_path, times, patience=PATIENCE + times / 10)
    if found.error:
        raise found.error
    assert found.value > times // 10
    assert not canary.exists()
    assert found.memory < 32 * MIB


def test_the_mutated_official_file(write: Write, canary: Path) -> None:
    """Damage among its opcodes; damage among its numbers can't be seen."""
    data = TINY.read_bytes()
    chance = random.Random(1)
    for _ in range(MUTATIONS // 1000):
        place = chance.randrange(len(data) - 40_000, len(data))
        part = mutated(data[place : place + 2000], chance)
        try:
            read_network(write(data[:place] + part + data[place + 2000 :]))
        except WeightsError as error:
            assert "\n" not in str(error)
    assert not canary.exists()
