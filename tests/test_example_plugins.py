"""The packages in examples/plugins, used: nothing takes tri-planes or our generators for granted.

They are built, installed and run by their own tests in scaffold/test_package.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from inv3d.cli import main
from inv3d.core.weights.fetch import OFFLINE
from tests.blank_plots import blank_plots
from tests.commands.run_cli import fails, registered
from tests.environment import ROOT
from tests.pickles import dump, module

torch.set_num_threads(1)
EXAMPLES = sorted((ROOT / "examples" / "plugins").glob("inv3d-*"))
PLUGINS = (
    "methods:planelift=inv3d_planelift:PlaneLift",
    "generators:gaussians=inv3d_gaussians:Gaussians",
    "generators:spherehead=inv3d_spherehead:SphereHead",
)
SMALL = {"size": 32, "count": 48}


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    """Let the registry know them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*map(str, EXAMPLES), *sys.path])
        patch.setenv(OFFLINE, "1")
        yield from registered(patch, *PLUGINS)


def called(*words: object) -> Result:
    with blank_plots():
        return CliRunner().invoke(main, list(map(str, words)))


def result(*words: object) -> Any:
    done = called(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of the generator of Gaussians, written by the example's own program."""
    import make_capture

    folder = tmp_path_factory.mktemp("gaussians") / "views"
    make_capture.main(folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def run(views: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The directory of a run, and its metrics."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ("--generator", "gaussians", "--method", "planelift", "--input", views, "--views", "3")
    steps = ("--hold-out", "1", "--set", "latent_steps=12", "--set", "steps=8", "--out", out)
    small = (f"--set=generator.{name}={value}" for name, value in SMALL.items())
    return out, result("run", *words, *steps, *small)["metrics"]


def test_a_generator_without_planes_has_metrics_report_video_and_mesh(
    run: tuple[Path, dict[str, Any]],
) -> None:
    out, metrics = run
    assert metrics["chosen"]["psnr"] > 20 and metrics["held_out"]["psnr"] > 18
    assert metrics["warnings"] == []
    for name in ("report.html", "orbit.mp4", "mesh.glb"):
        assert (out / name).is_file(), name
    assert result("eval", out)["chosen"]["psnr"] == pytest.approx(metrics["chosen"]["psnr"])


def test_it_renders_depth_and_exports_latents(
    run: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, _ = run
    for words in (("--depth", "-o", tmp_path / "depth.png"), ("-o", tmp_path / "side.png")):
        done = called("render", out, "--yaw-deg", 120, *words)
        assert done.exit_code == 0, done.stderr
    assert called("export", out, "-o", tmp_path / "latents.npz").exit_code == 0
    assert len(list(tmp_path.iterdir())) == 3


@pytest.fixture(scope="module")
def pickle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A network of PanoHead's relative in the official form, and its fingerprint."""
    from inv3d_spherehead import SphereHead, SphereHeadConfig

    generator = SphereHead.create(SphereHeadConfig(seed=4))
    path = tmp_path_factory.mktemp("pickles") / "net.pkl"
    path.write_bytes(dump({"G_ema": module("TriPlaneGenerator", generator.state_dict())}))
    return path, generator.spec.fingerprint


def test_a_pickle_of_another_network_is_told_by_the_names_of_its_tensors(
    pickle: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fingerprint = pickle
    found = result("info", "spherehead", "--weights", path)
    assert found["spec"]["fingerprint"] == fingerprint
    for name in ("panohead", "eg3d"):
        said = f"a network for the generator 'spherehead', not for '{name}'"
        fails(called("info", name, "--weights", path), 1, said)
    fails(called("convert", path, "-o", path.with_suffix(".safetensors")), 2, "'spherehead'")
    for _ in registered(monkeypatch, *PLUGINS[:1]):
        said = "generator 'spherehead' of inv3d-spherehead, which isn't installed; pip install"
        fails(called("info", "panohead", "--weights", path), 1, said)


def test_a_scene_of_two_parts_is_inverted_and_lifted(tmp_path: Path) -> None:
    """Offsets of planes and of a sphere; the whole turn is the generator's to say."""
    from inv3d_spherehead import SphereHead, SphereHeadConfig

    from inv3d import Context, load_method, toy_capture

    generator = SphereHead.create(SphereHeadConfig(rays=12))
    capture = toy_capture(generator, 3)
    method = load_method("planelift", {"latent_steps": 3, "steps": 3, "samples": 50})
    log: list[Any] = []
    found = method.invert(generator, capture, Context.create(), log.append)
    assert {name: tuple(part.shape[:2]) for name, part in found.offset.items()} == {
        "planes": (1, 3),
        "sphere": (1, 6),
    }
    assert log[-1].losses["total"] < log[0].losses["total"]
