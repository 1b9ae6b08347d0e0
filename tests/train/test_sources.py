"""Pictures of a training: which are drawn, and what is wrong with data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.errors import ConfigError, InputError, PluginError
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.training_options import TrainingConfig
from inv3d.io.dataset import open_capture
from inv3d.report.pictures import colour_frames, save_png
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from inv3d.train.feed import Feed
from inv3d.train.latents import LATENTS, write_known_latents
from inv3d.train.prepare import TrainRequest, prepare_training, split_weight
from inv3d.train.sources import Generated, Pictures, mirrored, row_seeds
from inv3d.train.team import Team
from tests.toy_runs import write_capture

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    capture = toy_capture(ToyGenerator(ToyConfig()), 12)
    place = tmp_path_factory.mktemp("data") / "faces"
    place.mkdir()
    return write_capture(capture, place)


def _generated(**more: Any) -> Generated:
    generator = ToyGenerator(ToyConfig())
    prior = generator.spec.camera
    return Generated(generator, lambda n, rng: prior.orbit(torch.rand(n, generator=rng)), 3, **more)


def _prepared(*data: str, plugin: str = "toyenc", **training: Any) -> list[Any]:
    request = TrainRequest(plugin, "toy", data, {"training": {"batch": 4, **training}})
    return prepare_training(request, Team(), CPU).sources


def test_generated_pictures_are_a_function_of_their_seeds() -> None:
    first, second = _generated().batch([1, 2], 0), _generated().batch([2, 1], 5)
    assert torch.equal(first.capture.images, second.capture.images.flip(0))
    assert first.ws is not None and second.ws is not None
    assert torch.equal(first.ws, second.ws.flip(0)) and second.step == 5
    generator = ToyGenerator(ToyConfig())
    seen = generator.render(generator.synthesize(first.ws), first.capture.camera)
    assert torch.equal(seen.require("image"), first.capture.images)


def test_a_pool_holds_so_many_pictures_and_makes_each_once() -> None:
    pool = _generated(pool=3)
    batch = pool.batch(row_seeds(0, 0, range(20)), 0)
    assert len(batch.capture.images.flatten(1).unique(dim=0)) == 3
    again = _generated(pool=3).batch(row_seeds(0, 0, range(20)), 0)
    assert torch.equal(batch.capture.images, again.capture.images)
    assert batch.ws is not None and len(batch.ws.unique(dim=0)) == 3
    assert not torch.isin(pool.held_out().capture.camera.yaw, batch.capture.camera.yaw).any()


def test_files_are_drawn_apart_from_those_held_out(folder: Path) -> None:
    source = Pictures(open_capture(folder), 32, count=2, mirror=False)
    assert source.held_rows == [3, 9]
    names = Counter(source.batch(row_seeds(0, 0, range(60)), 0).capture.names)
    held = set(source.held_out().capture.names)
    assert len(held) == 2 and not held & set(names) and len(names) == 10


def test_files_are_mirrored_with_all_that_belongs_to_them(folder: Path) -> None:
    capture = open_capture(folder).load(32, [0, 1])
    turned = mirrored(capture, torch.tensor([True, False]))
    assert torch.equal(turned.images[0], capture.images[0].flip(-1))
    assert torch.equal(turned.images[1], capture.images[1])
    other = mirrored_camera(capture.camera)
    assert torch.allclose(turned.camera.cam2world[0], other.cam2world[0])
    assert torch.equal(turned.camera.cam2world[1], capture.camera.cam2world[1])
    assert turned.depths is not None and capture.depths is not None
    assert torch.equal(turned.depths[0], capture.depths[0].flip(-1))


def test_rebalancing_draws_rare_yaws_as_often_as_others(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    yaw = torch.tensor([0.02] * 9 + [0.9])
    camera = generator.spec.camera.orbit(yaw)
    capture = toy_capture(generator, 10).with_cameras(camera)
    files = open_capture(write_capture(capture, _made(tmp_path / "faces")))
    shares = {}
    for rebalance in (0.0, 1.0):
        source = Pictures(files, 32, count=1, mirror=False, rebalance=rebalance)
        drawn = source.batch(row_seeds(0, 0, range(200)), 0).capture.camera.yaw
        shares[rebalance] = float((drawn > 0.5).float().mean())
    assert shares[0.0] < 0.2 and 0.4 < shares[1.0] < 0.6


def test_latents_beside_pictures_are_learnt_from(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    place = write_capture(toy_capture(generator, 12), _made(tmp_path / "faces"))
    names = open_capture(place).names
    ws = torch.randn(12, 1, generator.spec.w_dim)
    # names tell which is whose, in whatever order
    mark = str(generator.spec.fingerprint)
    write_known_latents(place / LATENTS, ws.flip(0), names[::-1], mark)
    source = _prepared(str(place))[0]
    batch = source.batch(row_seeds(0, 0, range(40)), 0)
    for made in (batch, source.held_out()):
        rows = [names.index(name) for name in made.capture.names]
        assert made.ws is not None and made.ws.shape[1] == generator.spec.num_ws
        assert torch.equal(made.ws[:, 0], ws[rows, 0]) and torch.equal(made.ws[:, -1], ws[rows, 0])
    # a mirror image would be another head
    plain = open_capture(place).load(32, [names.index(name) for name in batch.capture.names])
    assert torch.equal(batch.capture.images, plain.images)
    assert _prepared(str(place), plugin="toylatent")


def test_latents_that_will_not_do_are_one_line(tmp_path: Path) -> None:
    spec = ToyGenerator(ToyConfig()).spec
    place = write_capture(toy_capture(ToyGenerator(ToyConfig()), 12), _made(tmp_path / "faces"))
    names, mark = open_capture(place).names, str(spec.fingerprint)
    ws = torch.zeros(12, 1, spec.w_dim)
    for given, theirs, found, message in (
        (
            ws,
            names,
            "else",
            r"latents\.safetensors: latents of a .*the fingerprint else, but",
        ),
        (ws[:11], names[:11], mark, rf"no latent of {names[11]} \(1 of 12"),
        (ws[:, 0], names, mark, r"'ws' with shape \(12, .*for 12 names, expected \[N, 1 or"),
        (ws[:, :, 1:], names, mark, r"'ws' with shape"),
        (ws[:3], names, mark, r"'ws' with shape"),
        (ws * torch.nan, names, mark, r"aren't finite"),
    ):
        write_known_latents(place / LATENTS, given, theirs, found)
        with pytest.raises(InputError, match=message):
            _prepared(str(place))
    (place / LATENTS).write_bytes(b"no")
    with pytest.raises(InputError, match=rf"{place / LATENTS}: .*safetensors"):
        _prepared(str(place))


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_sources_are_mixed_by_weight_and_processes_share_a_step(folder: Path) -> None:
    sources = _prepared(f"{folder}=3", "generated")
    training = TrainingConfig(batch=4, steps=200)
    alone = Feed(sources, 7, training, Team(), CPU)
    halves = [Feed(sources, 7, training, Team(rank, 2), CPU) for rank in (0, 1)]
    share = sum(alone.source(step) is sources[0] for step in range(200)) / 200
    assert 0.65 < share < 0.85
    for step in range(6):
        whole = alone.batch(step, 0)
        parts = [feed.batch(step, 0) for feed in halves]
        joined = torch.cat([part.capture.images for part in parts])
        assert torch.equal(whole.capture.images, joined)
        assert (whole.ws is None) == (alone.source(step) is sources[0])
    for feed in (alone, *halves):
        feed.close()


def test_sources_have_short_names_where_those_tell_them_apart(folder: Path, tmp_path: Path) -> None:
    assert [source.name for source in _prepared(str(folder), "generated")] == ["faces", "generated"]
    other = write_capture(toy_capture(ToyGenerator(ToyConfig()), 12), _made(tmp_path / "faces"))
    names = [source.name for source in _prepared(str(folder), str(other))]
    assert names == [str(folder), str(other)]


def test_a_step_must_be_shared_evenly() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch.*give a multiple of 6"):
        Feed([_generated()], 0, TrainingConfig(batch=4, accumulate=2), Team(0, 3), CPU)


def test_a_picture_that_is_gone_is_one_line(folder: Path, tmp_path: Path) -> None:
    place = write_capture(toy_capture(ToyGenerator(ToyConfig()), 12), _made(tmp_path / "faces"))
    feed = Feed(_prepared(str(place)), 0, TrainingConfig(batch=4), Team(), CPU)
    feed.batch(0, 0)
    for picture in place.glob("*.png"):
        picture.unlink()
    with pytest.raises(InputError, match="can't be read"):
        for step in range(1, 4):
            feed.batch(step, 0)
    feed.close()


def test_data_that_will_not_do_is_one_line(folder: Path, tmp_path: Path) -> None:
    missing = r"--data .*nowhere: no such folder or zip; or give --data generated$"
    with pytest.raises(InputError, match=missing):
        _prepared(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"--data .*: no images found"):
        _prepared(str(_made(tmp_path / "empty")))
    bare = _made(tmp_path / "bare")
    for i, frame in enumerate(colour_frames(torch.zeros(12, 3, 8, 8))):
        save_png(bare / f"{i}.png", frame)
    with pytest.raises(InputError, match=r"bare: its pictures have no labels; add a dataset\.json"):
        _prepared(str(bare))
    with pytest.raises(InputError, match=r"12 pictures, of which 2 are held out.*a step takes 64"):
        _prepared(str(folder), batch=64)
    one = toy_capture(ToyGenerator(ToyConfig()), 1)
    single = write_capture(one, _made(tmp_path / "single"))
    with pytest.raises(InputError, match=r"1 pictures, of which 1 are held out.*give more"):
        _prepared(str(single), batch=1)
    with pytest.raises(InputError, match="learns from true latents"):
        _prepared(str(folder), plugin="toylatent")
    with pytest.raises(InputError, match="a weight of 0, expected a number above 0"):
        _prepared(f"{folder}=0")


def test_weights_stand_behind_paths() -> None:
    assert split_weight("generated=0.5") == ("generated", 0.5)
    assert split_weight("a=b/faces") == ("a=b/faces", 1.0)
    assert split_weight("a=b/faces=2") == ("a=b/faces", 2.0)
    for nothing in ("", "=2"):
        with pytest.raises(InputError, match=f"--data '{nothing}': names no pictures"):
            split_weight(nothing)


def test_a_path_that_ends_like_a_weight_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_weight("faces=2") == ("faces", 2.0)
    _made(tmp_path / "faces=2")
    assert split_weight("faces=2") == ("faces=2", 1.0)
    assert split_weight("faces=2=3") == ("faces=2", 3.0)


def test_a_source_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--data generated: given twice; .*--data generated=2"):
        _prepared("generated", "generated=3")


def test_only_what_has_networks_is_trained() -> None:
    with pytest.raises(PluginError, match=r"method wplus: has no networks to train.*toyenc"):
        _prepared("generated", plugin="wplus")
    with pytest.raises(
        PluginError, match="nothing that's trained is called 'toyenk'; did you mean 'toyenc'"
    ):
        _prepared("generated", plugin="toyenk")
    with pytest.raises(PluginError, match=r"'zzz'; known: dualencoder, e4e.*triplanenet") as caught:
        _prepared("generated", plugin="zzz")
    assert "wplus" not in str(caught.value)  # which isn't trained
    with pytest.raises(ConfigError, match=r"unknown option 'stepz' of training of toyenc"):
        _prepared("generated", stepz=1)
