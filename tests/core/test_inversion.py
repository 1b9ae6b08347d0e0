"""The result format, and what a generator remembers of its tuning."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError, RunError, WeightsError
from inv3d.core.inversion import FILE, Inversion, Made, Snapshot
from inv3d.core.weights.tensors import read_tensors, write_tensors
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_latents


def _generator() -> ToyGenerator:
    return ToyGenerator(ToyConfig())


def _perturb(generator: ToyGenerator, size: float = 0.01) -> None:
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for value in generator.state_dict().values():
            value += size * torch.randn(value.shape, generator=rng)


def _inversion(generator: ToyGenerator, latents: int = 1) -> Inversion:
    yaw = torch.linspace(0.8, -0.8, latents) if latents > 1 else torch.zeros(1)
    return Inversion(
        ws=toy_latents(generator, latents, motion=1.0),
        cameras=generator.spec.camera.orbit(yaw),
        generator="toy",
        fingerprint=generator.spec.fingerprint,
        history=(Made("method", "wplus", "fast", {"latent": {"steps": 3}}),),
    )


def test_tuned_run_loads_back_to_the_same_pixels(tmp_path: Path) -> None:
    generator = _generator()
    snapshot = Snapshot(generator)
    _perturb(generator)
    snapshot.settle()
    inversion = replace(
        _inversion(generator, 3),
        generator_delta=snapshot.delta(),
        offset={"centres": torch.full((1, 8, 3), 0.01), "looks": torch.zeros(1, 8, 5)},
    )
    inversion.save(tmp_path)
    camera = generator.spec.camera.orbit(torch.linspace(1, -1, 5))
    with torch.no_grad():
        image = generator.render(inversion.scene_for(generator, camera), camera).require("image")

    loaded, fresh = Inversion.load(tmp_path), _generator()
    loaded.tune(fresh)
    with torch.no_grad():
        again = fresh.render(loaded.scene_for(fresh, camera), camera).require("image")
    assert torch.equal(image, again)
    assert loaded.history == inversion.history and loaded.method == "wplus"
    assert torch.equal(loaded.cameras.labels(), inversion.cameras.labels())
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_one_latent_is_one_scene_and_several_are_one_a_camera() -> None:
    generator = _generator()
    camera = generator.spec.camera.orbit(torch.linspace(1, -1, 5))
    assert len(_inversion(generator).scene_for(generator, camera)) == 1
    assert len(_inversion(generator, 3).scene_for(generator, camera)) == 5


def test_scene_offset_is_added() -> None:
    generator = _generator()
    inversion = _inversion(generator)
    offset = {"centres": torch.ones(1, 8, 3), "looks": torch.zeros(1, 8, 5)}
    camera = generator.spec.camera.front()
    plain = inversion.scene_for(generator, camera)
    moved = replace(inversion, offset=offset).scene_for(generator, camera)
    assert torch.allclose(moved.parts["centres"], plain.parts["centres"] + 1)


def test_delta_holds_only_what_changed_buffers_too() -> None:
    generator = _generator()
    snapshot = Snapshot(generator)
    assert snapshot.delta() == {}
    with torch.no_grad():
        generator.tint.weight[0, 0] += 1
        generator.noise_const[2, 3] += 0.5
    assert set(snapshot.delta()) == {"tint.weight", "noise_const"}


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e3])
def test_settled_weights_are_original_plus_delta_to_the_last_bit(size: float) -> None:
    generator = _generator()
    snapshot = Snapshot(generator)
    _perturb(generator, size)
    snapshot.settle()
    delta, state = snapshot.delta(), generator.state_dict()
    for name, then in snapshot.original.items():
        assert torch.equal(state[name], then + delta.get(name, torch.zeros_like(then)))


def test_asking_for_the_delta_changes_nothing() -> None:
    generator = _generator()
    snapshot = Snapshot(generator)
    _perturb(generator)
    before = {n: v.clone() for n, v in generator.state_dict().items()}
    snapshot.delta()
    assert all(torch.equal(v, before[n]) for n, v in generator.state_dict().items())


def test_tuned_for_a_while_restores_to_the_last_bit() -> None:
    generator = _generator()
    inversion = replace(_inversion(generator), generator_delta={"tint.bias": torch.full((3,), 0.1)})
    before = {n: v.clone() for n, v in generator.state_dict().items()}
    with pytest.raises(KeyError), inversion.tuned(generator):
        assert torch.equal(generator.tint.bias, before["tint.bias"] + 0.1)
        raise KeyError
    assert all(torch.equal(v, before[n]) for n, v in generator.state_dict().items())


def test_another_generator_is_refused() -> None:
    inversion = _inversion(_generator())
    other = ToyGenerator(ToyConfig(seed=1))
    with pytest.raises(WeightsError, match=f"made with toy, {inversion.fingerprint}"):
        inversion.tune(other)


def test_delta_of_an_unknown_tensor_is_refused() -> None:
    generator = _generator()
    inversion = replace(_inversion(generator), generator_delta={"nose.weight": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"'nose\.weight', which generator toy doesn't have"):
        inversion.tune(generator)


def test_directory_without_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"no {FILE}; give the directory of a finished run"):
        Inversion.load(tmp_path)


def test_newer_format(tmp_path: Path) -> None:
    _inversion(_generator()).save(tmp_path)
    tensors, metadata = read_tensors(tmp_path / FILE)
    write_tensors(tmp_path / FILE, tensors, metadata | {"format": 99})
    with pytest.raises(RunError, match="format 99, expected 2"):
        Inversion.load(tmp_path)


def test_damaged_file(tmp_path: Path) -> None:
    _inversion(_generator()).save(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        Inversion.load(tmp_path)


# --- blending, offsets, found cameras


def _around(blend: str, count: int = 4) -> Inversion:
    """Latents of cameras at 135, 45, -45 and -135 degrees."""
    generator = _generator()
    yaw = torch.linspace(0.75, -0.75, count) * math.pi
    names = tuple(f"frame{i}.png" for i in range(count))
    ws = toy_latents(generator, count, motion=1.0)
    cameras = generator.spec.camera.orbit(yaw)
    return replace(_inversion(generator), ws=ws, cameras=cameras, blend=blend, frames=names)


def _at(*degrees: float) -> Camera:
    return _generator().spec.camera.orbit(torch.tensor(degrees).deg2rad())


def test_a_turn_has_no_seam_at_the_back() -> None:
    yaw = torch.arange(-180.0, 180.0, 0.5)
    turn, ends = _around("turn"), _around("yaw")
    closed = torch.cat([turn.ws_for(_at(*yaw)), turn.ws_for(_at(-180.0))])
    assert closed.diff(dim=0).abs().max() < 0.01 * turn.ws.abs().max()
    back = turn.ws_for(_at(180.0, -180.0))
    assert torch.allclose(back, (turn.ws[:1] + turn.ws[3:]) / 2, atol=1e-5)
    # the other way stops at the outermost cameras, which differ
    assert torch.equal(ends.ws_for(_at(170.0, -170.0)), ends.ws[[0, 3]])
    inside = _at(100.0, 45.0, 0.0, -134.0)
    assert torch.equal(turn.ws_for(inside), ends.ws_for(inside))


def test_frames_have_the_latent_of_their_name() -> None:
    video = _around("frame")
    camera = _at(0.0, 0.0)
    assert torch.equal(video.ws_for(camera, ("frame3.png", "frame0.png")), video.ws[[3, 0]])
    # a new view has that of the nearest camera, and so has a name that's unknown
    assert torch.equal(video.ws_for(_at(60.0, 100.0)), video.ws[[1, 0]])
    assert torch.equal(video.ws_for(_at(-50.0), ("other.png",)), video.ws[[2]])


def test_frames_need_names() -> None:
    with pytest.raises(ValueError, match="blend 'frame' needs the name of every latent's frame"):
        replace(_around("frame"), frames=())
    with pytest.raises(ValueError, match="4 latents with 4 cameras and 2 frame names"):
        replace(_around("frame"), frames=("a", "b"))


@pytest.mark.parametrize("blend", ["yaw", "turn", "frame"])
def test_offsets_of_every_latent_blend_as_the_latents_do(blend: str) -> None:
    generator = _generator()
    part = torch.arange(4.0)[:, None, None].expand(4, 8, 3)
    inversion = replace(_around(blend), offset={"centres": part})
    camera = _at(90.0, 45.0, -100.0)
    plain = replace(inversion, offset={}).scene_for(generator, camera)
    moved = inversion.scene_for(generator, camera)
    places = inversion.places(camera)
    assert torch.allclose(moved.parts["centres"] - plain.parts["centres"], places.blend(part))
    assert torch.equal(moved.parts["looks"], plain.parts["looks"])


def test_an_offset_of_a_part_that_is_not_there_is_refused() -> None:
    generator = _generator()
    inversion = replace(_inversion(generator), offset={"planes": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="no part 'planes'; its parts are centres, looks"):
        inversion.scene_for(generator, _at(0.0))
    with pytest.raises(ValueError, match="offset 'centres': 3 rows for 4 latents"):
        replace(_around("yaw"), offset={"centres": torch.zeros(3, 8, 3)})


def test_everything_is_saved(tmp_path: Path) -> None:
    pose = _at(20.0).labels()[0]
    whole = replace(
        _around("frame"),
        offset={"looks": torch.ones(4, 8, 5)},
        poses={"a b.png": pose, "\u00fc.png": pose + 1},
    )
    whole = replace(
        whole,
        history=(*whole.history, Made("editor", "smile", None, {"by": 1.5}, whole.digest())),
    )
    whole.save(tmp_path)
    found = Inversion.load(tmp_path)
    assert (found.blend, found.frames, found.history) == ("frame", whole.frames, whole.history)
    assert torch.equal(found.offset["looks"], whole.offset["looks"])
    assert list(found.poses) == ["a b.png", "\u00fc.png"]
    camera = found.camera_of("a b.png")
    assert camera is not None and torch.equal(camera.labels()[0], pose)
    assert found.camera_of("c.png") is None and found.method == "smile"
    assert found.digest() == whole.digest() != _around("frame").digest()


@pytest.mark.parametrize("change", [{"blend": "none"}, {"frames": 3}, {"history": [{"x": 1}]}])
def test_a_file_that_was_changed_is_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    _around("frame").save(tmp_path)
    tensors, metadata = read_tensors(tmp_path / FILE)
    write_tensors(tmp_path / FILE, tensors, metadata | change)
    with pytest.raises(WeightsError, match="isn't a whole inversion") as error:
        Inversion.load(tmp_path)
    assert "\n" not in str(error.value)


# --- tuning is applied once


def test_tuning_twice_is_refused() -> None:
    generator = _generator()
    inversion = replace(_inversion(generator), generator_delta={"tint.bias": torch.full((3,), 0.1)})
    inversion.tune(generator)
    once = generator.tint.bias.clone()
    with pytest.raises(InputError, match="generator toy: is tuned already"):
        inversion.tune(generator)
    with pytest.raises(InputError, match="is tuned already"), inversion.tuned(generator):
        pass
    assert torch.equal(generator.tint.bias, once)


def test_a_generator_that_a_method_tuned_counts_as_tuned_until_it_is_restored() -> None:
    generator = _generator()
    snapshot = Snapshot(generator)
    _perturb(generator)
    snapshot.settle()
    found = replace(_inversion(_generator()), generator_delta=snapshot.delta())
    with pytest.raises(InputError, match="is tuned already"):
        found.tune(generator)
    snapshot.restore()
    with found.tuned(generator):
        assert generator.tuned
    assert not generator.tuned
    found.tune(generator)
