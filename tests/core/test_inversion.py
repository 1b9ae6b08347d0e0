"""The result format, and what a generator remembers of its tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inv3d.core.errors import RunError, WeightsError
from inv3d.core.inversion import FILE, Inversion, Snapshot
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
        method="wplus",
        generator="toy",
        fingerprint=generator.spec.fingerprint,
        config={"latent": {"steps": 3}},
    )


def test_tuned_run_loads_back_to_the_same_pixels(tmp_path: Path) -> None:
    generator = _generator()
    snapshot = Snapshot(generator)
    _perturb(generator)
    snapshot.settle()
    inversion = replace(
        _inversion(generator, 3),
        generator_delta=snapshot.delta(),
        scene_offset={"centres": torch.full((1, 8, 3), 0.01), "looks": torch.zeros(1, 8, 5)},
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
    assert loaded.config == {"latent": {"steps": 3}}
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
    moved = replace(inversion, scene_offset=offset).scene_for(generator, camera)
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
    with pytest.raises(RunError, match="format 99, expected 1"):
        Inversion.load(tmp_path)


def test_damaged_file(tmp_path: Path) -> None:
    _inversion(_generator()).save(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        Inversion.load(tmp_path)
