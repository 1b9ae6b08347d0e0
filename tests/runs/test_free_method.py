"""A method of somebody else, on the public face alone, through a whole run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import inv3d
from inv3d.core.registry.discovery import registry
from inv3d.rundir.directory import RunDirectory
from inv3d.runs.display import Told
from inv3d.runs.execute import resume

PLUGINS = "generators:toy=inv3d.testing.toy:ToyGenerator,methods:free=tests.free_method:Free"
STEPS = 8


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", PLUGINS)
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures without cameras."""
    folder = tmp_path_factory.mktemp("pictures")
    capture = inv3d.toy_capture(inv3d.ToyGenerator(inv3d.ToyConfig()), 4, seed=3)
    for name, frame in zip(capture.names, inv3d.colour_frames(capture.images), strict=True):
        inv3d.save_png(folder / name, frame)
    return folder


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it, so that nothing is put in order."""


def _kill(step: inv3d.Progress) -> None:
    if step.step == 4:
        raise Killed


def _quiet(step: inv3d.Progress) -> None:
    pass


def _invert(pictures: Path | str, **request: Any) -> inv3d.Inverted:
    request = {"on_step": _quiet, **request}
    options = {"steps": STEPS, **request.pop("options", {})}
    return inv3d.invert(pictures, method="free", generator="toy", options=options, **request)


def _same(first: inv3d.Inversion, second: inv3d.Inversion) -> bool:
    pairs = [(first.ws, second.ws), (first.cameras.labels(), second.cameras.labels())]
    pairs += [(first.offset[n], second.offset[n]) for n in first.offset]
    pairs += [(first.poses[n], second.poses[n]) for n in first.poses]
    return all(torch.equal(a, b) for a, b in pairs)


def test_every_group_moves_at_its_own_rate(pictures: Path) -> None:
    found = _invert(pictures).inversion
    assert set(found.poses) == {path.name for path in pictures.iterdir()}
    yaw = torch.cat([inv3d.Camera.from_labels(p[None]).yaw for p in found.poses.values()])
    moved = (yaw - torch.linspace(0.5, -0.5, 4)).abs()
    assert 0 < moved.min() and moved.max() <= 1.1 * STEPS * 0.01
    # the offset begins at step 3
    assert 0 < max(p.abs().max() for p in found.offset.values()) <= 1.1 * (STEPS - 3) * 1e-3
    later = _invert(pictures, options={"steps": 3}).inversion
    assert all(not part.any() for part in later.offset.values())


@pytest.mark.parametrize("chunk", [1, 3])
def test_views_a_few_at_a_time_give_the_same(pictures: Path, chunk: int) -> None:
    whole, part = _invert(pictures).inversion, _invert(pictures, view_chunk=chunk).inversion
    assert torch.allclose(whole.ws, part.ws, atol=1e-4)
    for name, pose in whole.poses.items():
        assert torch.allclose(pose, part.poses[name], atol=1e-4)


def test_killed_and_resumed_it_is_the_same_to_the_last_bit(pictures: Path, tmp_path: Path) -> None:
    whole = _invert(pictures, view_chunk=1, out=tmp_path / "whole", checkpoint_every=2)
    with pytest.raises(Killed):
        _invert(pictures, view_chunk=1, out=tmp_path / "killed", checkpoint_every=2, on_step=_kill)
    resume(RunDirectory.reopen(tmp_path / "killed"), Told(_quiet))
    assert _same(whole.inversion, inv3d.Inversion.load(tmp_path / "killed"))


def test_its_report_shows_its_pictures_and_measures_with_the_cameras_that_it_found(
    pictures: Path, tmp_path: Path
) -> None:
    found = _invert(pictures, views=3, out=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Without the offset" in page and "view 2" in page
    with Image.open(tmp_path / "run" / "previews" / "without_the_offset.png") as picture:
        assert picture.width > 3 * 32
    # the fourth picture has no camera, so it can't be measured
    assert found.metrics is not None
    assert found.metrics["views"] == {"all": 3, "chosen": 3, "held_out": 0}
    assert found.metrics["chosen"]["mse"] < 0.5
    history = json.loads((tmp_path / "run" / "run.json").read_text())["method"]
    assert history["name"] == "free"
    opened = inv3d.open_run(tmp_path / "run", "cpu")
    assert _same(opened.inversion, found.inversion)


def test_paths_may_be_texts(pictures: Path, tmp_path: Path) -> None:
    _invert(str(pictures), out=str(tmp_path / "first"), options={"steps": 1})
    with pytest.raises(inv3d.InvError, match="method free doesn't start from another result"):
        _invert(pictures, init=str(tmp_path / "first"), options={"steps": 1})
    with pytest.raises(inv3d.InvError, match=r"nowhere\.safetensors"):
        inv3d.invert(pictures, method="free", generator="eg3d", weights="nowhere.safetensors")
    with pytest.raises(inv3d.WeightsError, match=r"nowhere\.safetensors"):
        inv3d.load_generator("eg3d", weights="nowhere.safetensors")
