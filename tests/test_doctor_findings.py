"""What the doctor says of machines that lack something."""

from __future__ import annotations

import importlib.metadata
import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inv3d import doctor
from inv3d.core.errors import PluginError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.weight_index import list_known_weights
from inv3d.core.weights.known import WeightFile
from inv3d.doctor import Finding


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.cache_clear()
    yield
    registry.cache_clear()


def only(findings: Any) -> Finding:
    (found,) = findings
    return found


def test_this_machine_is_examined_and_every_line_that_isnt_ok_has_a_fix() -> None:
    found = {finding.check: finding for finding in doctor.examine()}
    assert {finding.state for finding in found.values()} <= {"ok", "warning", "missing"}
    assert [f for f in found.values() if (f.state == "ok") != (f.fix == "")] == []
    assert [f for f in found.values() if not f.found or "\n" in f.found + f.fix] == []
    assert found["embedded generator"].state == "ok"
    assert "minihead loads and renders on " in found["embedded generator"].found
    assert {"Python", "3dinv", "PyTorch", "CPU", "memory", "video", "plugins"} < set(found)


@pytest.mark.parametrize(
    ("built", "driver", "said", "fix"),
    [
        (False, True, [], "install a PyTorch that is built for CUDA"),
        (True, True, ["driver too old\nmore"], "update the NVIDIA driver"),
        (True, False, [], "none needed; "),
        (False, False, [], "none needed; "),
    ],
)
def test_why_there_is_no_cuda_device(built: bool, driver: bool, said: list[str], fix: str) -> None:
    found = doctor._no_cuda(built, driver, said)
    assert found.state == "warning"
    assert found.found == "none; everything runs on the CPU" + (" (driver too old)" if said else "")
    assert found.fix.startswith(fix)


def test_a_device_that_cant_compute_is_a_warning() -> None:
    facts = types.SimpleNamespace(name="Old Card", major=3, minor=5)

    def ones(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available\nfor this device")

    cuda = types.SimpleNamespace(get_device_properties=lambda _: facts)
    found = doctor._device(types.SimpleNamespace(cuda=cuda, ones=ones), 1)
    assert (found.check, found.state) == ("CUDA device 1", "warning")
    assert found.found == "Old Card (compute capability 3.5): no kernel image is available"
    assert "--device cpu" in found.fix


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, (8 << 30, 2 << 30)),
        ("max", (8 << 30, 2 << 30)),
        (str(3 << 30), (3 << 30, None)),
        (str(1 << 62), (8 << 30, 2 << 30)),
    ],
)
def test_memory_is_what_the_machine_and_its_container_allow(
    tmp_path: Path, limit: str | None, expected: tuple[int, int | None]
) -> None:
    (tmp_path / "proc").mkdir()
    lines = (f"MemTotal: {8 << 20} kB", f"MemAvailable: {2 << 20} kB", "odd line")
    (tmp_path / "proc" / "meminfo").write_text("\n".join(lines))
    if limit is not None:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit + "\n")
    assert doctor.memory(tmp_path) == expected


def test_no_h264_and_no_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inv3d.io.video.CODECS", ("mpeg4",))
    worse = only(doctor.video())
    assert worse.state == "warning" and "encodes mpeg4 only" in worse.found
    monkeypatch.setitem(sys.modules, "av", None)
    none = only(doctor.video())
    assert none.state == "missing" and "MP4 needs PyAV" in none.found
    assert none.fix == "pip install -U av"


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["numpy>=1", "pytest>=8; extra == 'a'", 'no-such-thing<2; extra == "b"',
             "pytest; extra == 'b'", "3dinv[a]; extra == 'b'"]  # fmt: skip
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: texts)
    a, b = doctor.extras()
    assert a == Finding("extra a", "ok", "installed")
    assert (b.check, b.state, b.found) == ("extra b", "missing", "without no-such-thing")
    assert b.fix == f"only where it's needed: pip install {doctor.installed_from('b')}"


CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("origin", "given"),
    [
        (None, '"3dinv[b]"'),
        ("not JSON", '"3dinv[b]"'),
        (
            f'{{"url": "{CHECKOUT.as_uri()}", "dir_info": {{"editable": true}}}}',
            f'-e "{CHECKOUT}[b]"',
        ),
        (
            f'{{"url": "{CHECKOUT.as_uri()}", "dir_info": {{}}}}',
            f'"3dinv[b] @ {CHECKOUT.as_uri()}"',
        ),
        ('{"url": "file:///gone/3dinv", "dir_info": {}}', '".[b]" in a checkout of 3dinv'),
        (
            '{"url": "https://example.org/3dinv.git", "vcs_info": {"vcs": "git"}}',
            '"3dinv[b] @ git+https://example.org/3dinv.git"',
        ),
    ],
)
def test_it_is_installed_again_from_where_it_came(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, given: str
) -> None:
    made = types.SimpleNamespace(read_text=lambda _: origin)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: made)
    assert doctor.installed_from("b") == given


def test_a_file_without_an_address_isnt_fetched() -> None:
    bare = WeightFile("a.pt", purpose="p", licence="l", page="https://example.org/a")
    there = replace(bare, name="b.pt", url="https://example.org/b.pt")
    said = doctor._way_to([bare])
    assert said == f"get it from https://example.org/a and put it at {bare.destination}"
    assert doctor._way_to([bare, there]) == "3dinv weights fetch b.pt"


def test_broken_plugins_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_PLUGINS", "methods:gone=no_such_module:M")
    whole, gone = doctor.plugins()
    assert whole.found.endswith(" work") and whole.state == "ok"
    assert gone.state == "warning"
    assert gone.found.startswith("method gone: import of no_such_module:M: ModuleNotFoundError")
    assert gone.fix == "update INV3D_PLUGINS, or leave it out: INV3D_DISABLE=gone"


def test_weights_that_are_here_and_those_that_look_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path))
    (tmp_path / "afhqcats512-128.pkl").write_bytes(pickle.dumps({}))
    (tmp_path / "vgg16-397923af.pth").write_bytes(pickle.dumps({}))
    found = {finding.check: finding for finding in doctor.weights()}
    assert found["weights folder"].found.startswith(f"{tmp_path}, ")
    assert found["weights: eg3d"] == Finding("weights: eg3d", "ok", "afhqcats512-128.pkl")
    assert found["weights: lpips"].state == "warning"
    assert found["weights: lpips"].found == "vgg16-397923af.pth (other size)"
    assert found["weights: arcface"].state == "missing"
    assert found["weights: arcface"].fix == (
        "only to use it: 3dinv weights fetch model_ir_se50.pth"
    )
    fetched = {known.file.name for known in list_known_weights() if known.file.url}
    for name in ("eg3d", "panohead", "arcface", "lpips", "stylegan_vgg"):
        said = found[f"weights: {name}"].fix
        assert "fetch" not in said or said.split()[-1] in fetched
    assert "get it from https://" in found["weights: panohead"].fix


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "model_ir_se50.pth: an empty file"),
        (b"\0" * 99, "model_ir_se50.pth: a damaged file that begins with zeros alone"),
        (b"<!DOCTYPE html>", "model_ir_se50.pth: a web page, not the file itself"),
        (
            b"PK\3\4" + b"\1" * 99,
            "model_ir_se50.pth: is a zip archive that is damaged",
        ),
        (b"\x40" + bytes(7) + b"{" * 9, "model_ir_se50.pth: not a readable safetensors file"),
    ],
)
def test_damaged_weights_are_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, said: str
) -> None:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path))
    (tmp_path / "model_ir_se50.pth").write_bytes(content)
    found = next(f for f in doctor.weights() if f.check == "weights: arcface")
    assert found.state == "warning" and said in found.found
    assert found.fix == ("delete it, or make it readable; 3dinv weights fetch model_ir_se50.pth")


def test_a_device_that_fails_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def render(device: str) -> float:
        if device != "cpu":
            raise RuntimeError("no kernel image")
        return 0.5

    monkeypatch.setattr("inv3d.core.device.resolve_device", lambda _: "cuda:0")
    monkeypatch.setattr(doctor, "_render", render)
    found = only(doctor.embedded_generator())
    assert (found.state, found.fatal) == ("warning", False)
    assert found.found == ("minihead loads and renders on cpu in 0.5 s; on cuda:0: no kernel image")


def test_a_check_that_fails_itself_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def plugins() -> Iterator[Finding]:
        raise PluginError("INV3D_PLUGINS: 'x': expected ...")
        yield

    found = only(doctor._guarded(plugins))
    assert (found.check, found.state, found.fatal) == ("plugins", "missing", False)
    assert found.found == "INV3D_PLUGINS: 'x': expected ..."
