"""Pose-Opt's estimator: its losses, its files, and a few steps of a training on the toy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inv3d.core.config import build_config
from inv3d.core.errors import WeightsError
from inv3d.core.estimator import find_estimator, load_estimator
from inv3d.core.fit.context import Context
from inv3d.core.generator import load_generator
from inv3d.core.geometry.rotations import (
    POSE_FORMS,
    POSE_NUMBERS,
    PoseForm,
    rotation_of_angles,
)
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.trained import Trained
from inv3d.core.training import Batch, Lesson
from inv3d.nn.pose_network import PoseNetwork
from inv3d.nn.pose_options import PoseNetworkOptions
from inv3d.plugins.estimators.poseopt import (
    PoseEstimator,
    angles_deg,
    diagonal_term,
    mirrored,
    rotation_error,
    told,
)
from inv3d.plugins.estimators.poseopt_options import PoseEstimatorConfig, PoseTraining
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from tests.commands.run_cli import registered

TINY = {"size": 32, "blocks": (1, 1, 1, 1), "widths": (8, 12, 16, 24), "hidden": (24, 16)}
VIEWS = toy_capture(ToyGenerator(ToyConfig()), 4)
GENERATOR = ToyGenerator(ToyConfig())


def network_of(form: str, seed: int = 1) -> PoseNetwork:
    torch.manual_seed(seed)
    return PoseNetwork(PoseNetworkOptions.model_validate({**TINY, "form": form})).eval()


def estimator(form: str = "quaternion", **options: Any) -> PoseEstimator:
    given = {"network": {**TINY, "form": form}, **options}
    return PoseEstimator.create(build_config(PoseEstimatorConfig, given, "it"))


def lesson(made: PoseEstimator, **training: Any) -> Lesson[PoseTraining]:
    torch.manual_seed(0)
    network = made.build(GENERATOR)
    context, average = Context.create(), torch.zeros(1, 8)
    return Lesson(network, GENERATOR, PoseTraining(**training), context, average)


def trained(folder: Path, generator: ToyGenerator = GENERATOR, form: str = "quaternion") -> Path:
    """Write a file as a training does; return its folder."""
    options = {"network": {**TINY, "form": form}}
    state = network_of(form).state_dict()
    fingerprint = generator.spec.fingerprint
    kept = Trained("poseopt-estimator", "toy", fingerprint, state, options=options)
    kept.save(folder / "trained.safetensors")
    return folder


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from registered(monkeypatch)


# --- losses


@pytest.mark.parametrize("form", POSE_FORMS)
def test_losses_are_those_of_the_reference(form: PoseForm) -> None:
    made = estimator(form)
    given = lesson(made, batch=4)
    losses = made.losses(given, Batch(VIEWS, None, 0))["network"]
    assert isinstance(given.network, PoseNetwork)
    found = told(given.network, VIEWS.images, GENERATOR.spec)
    angle = angles_deg(found, VIEWS.camera).deg2rad().mean()
    position = (found.position - VIEWS.camera.position).square().mean()
    torch.testing.assert_close(losses["rotation"], angle)
    diagonal = (1 / (found.rotation[:, 0, 0].abs() - 1).square()).mean()
    expected = angle + 10 / 4 * position + 1e-10 * diagonal
    torch.testing.assert_close(losses["total"], expected)
    # four pictures of a step of eight, which two processes share
    shared = made.losses(lesson(made, batch=8), Batch(VIEWS, None, 0))["network"]
    torch.testing.assert_close(shared["total"], expected - 10 / 8 * position)


def test_losses_of_the_paper() -> None:
    made = estimator("quaternion")
    options = {"rotation_form": "frobenius", "position_form": "distance", "diagonal": 0.0}
    given = lesson(made, batch=4, **options)
    losses = made.losses(given, Batch(VIEWS, None, 0))["network"]
    assert isinstance(given.network, PoseNetwork)
    found = told(given.network, VIEWS.images, GENERATOR.spec)
    turn = torch.linalg.inv(VIEWS.camera.rotation) @ found.rotation - torch.eye(3)
    rotation = turn.square().sum((1, 2)).sqrt().mean()
    distance = (found.position - VIEWS.camera.position).square().sum(1).sqrt().mean()
    torch.testing.assert_close(losses["rotation"], rotation)
    torch.testing.assert_close(losses["total"], rotation + 10 / 4 * distance)
    # the norm of a turn by an angle
    angles = torch.tensor([0.0, 0.3, 2.0])
    turned = rotation_of_angles(angles, torch.zeros(3))
    error = rotation_error(turned, turned[:1], "frobenius")
    torch.testing.assert_close(error, 8**0.5 * (angles / 2).sin())
    torch.testing.assert_close(rotation_error(turned, turned[:1], "geodesic"), angles)
    same = turned[:1].clone().requires_grad_()
    rotation_error(same, turned[:1], "frobenius").sum().backward()
    assert same.grad is not None and bool(same.grad.isfinite().all())


def test_the_diagonal_term_cannot_undo_a_training() -> None:
    front = GENERATOR.spec.camera.orbit(torch.tensor([0.0, 0.5])).rotation.requires_grad_()
    value = diagonal_term(front)
    assert 0 < float(value.detach()) <= 1e6
    value.backward()
    assert front.grad is not None and float(front.grad.abs().max()) * 1e-10 < 1


@pytest.mark.parametrize("step", [0, 1])
def test_every_second_picture_is_mirrored_in_turn(step: int) -> None:
    images, camera = mirrored(VIEWS.images, VIEWS.camera, step)
    other = mirrored_camera(VIEWS.camera)
    for row in range(4):
        turned = row % 2 == step
        expected = VIEWS.images[row].flip(-1) if turned else VIEWS.images[row]
        labels = (other if turned else VIEWS.camera).labels()[row]
        assert torch.equal(images[row], expected)
        assert torch.equal(camera.labels()[row], labels)


def test_cameras_of_a_training_lie_within_its_ranges() -> None:
    rng, made = torch.Generator().manual_seed(0), estimator()
    options: dict[str, Any] = {"yaw_deg": 40, "pitch_deg": 10}
    upright = made.cameras(GENERATOR.spec, PoseTraining(**options), 200, rng)
    assert 35 < float(upright.yaw.rad2deg().abs().max()) <= 40.01
    assert 8 < float(upright.pitch.rad2deg().abs().max()) <= 10.01
    rolled = made.cameras(GENERATOR.spec, PoseTraining(**options, roll_deg=20), 200, rng)
    torch.testing.assert_close(rolled.radius, torch.full((200,), 2.7))
    assert float(rolled.pitch.rad2deg().abs().max()) > 15  # a turn about z lifts side views
    whole = made.cameras(GENERATOR.spec, PoseTraining(), 200, rng)
    assert 80 < float(whole.yaw.rad2deg().abs().max()) <= 90.01  # the prior's


@pytest.mark.parametrize("form", POSE_FORMS)
def test_it_begins_at_the_front_and_learns(form: PoseForm) -> None:
    made = estimator(form)
    given = lesson(made, lr=5e-3)
    made.begin(given.network, given.generator, given.training, torch.Generator())
    batch = Batch(VIEWS, None, 0)
    start = made.check(given, batch).values["angle_deg"]
    front = angles_deg(GENERATOR.spec.camera.front(), VIEWS.camera)
    torch.testing.assert_close(start, front, atol=20, rtol=0)
    (optimizer,) = made.optimizers(given.network, given.training).values()
    for _ in range(40):
        optimizer.zero_grad()
        made.losses(given, batch)["network"]["total"].backward()
        optimizer.step()
    assert made.check(given, batch).values["angle_deg"].mean() < 0.4 * start.mean()


# --- files


@pytest.mark.usefixtures("toys")
def test_a_file_of_a_training_is_found_and_keeps_its_sizes(tmp_path: Path) -> None:
    folder = trained(tmp_path, form="sixd")
    made = load_estimator("poseopt-estimator", {"weights": str(folder)}, generator=GENERATOR)
    camera = made.estimate(VIEWS.images, GENERATOR)
    assert dict(made.named_parameters())
    assert not any(p.requires_grad for p in made.parameters())
    torch.testing.assert_close(camera.radius, torch.full((4,), 2.7))
    assert torch.equal(camera.intrinsics, VIEWS.camera.intrinsics)
    expected = told(network_of("sixd"), VIEWS.images, GENERATOR.spec)
    torch.testing.assert_close(camera.cam2world, expected.cam2world)


@pytest.mark.usefixtures("toys")
def test_one_in_the_folder_for_weights_is_found_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path))
    source = trained(tmp_path) / "trained.safetensors"
    source.rename(tmp_path / "poseopt-estimator-toy.safetensors")
    assert find_estimator(GENERATOR, "it").name == "poseopt-estimator"


@pytest.mark.usefixtures("toys")
def test_one_of_another_generator_is_refused_by_its_fingerprint(tmp_path: Path) -> None:
    other = ToyGenerator(ToyConfig(seed=5))
    folder = trained(tmp_path, other)
    with pytest.raises(WeightsError, match="was trained for generator toy") as caught:
        load_estimator("poseopt-estimator", {"weights": str(folder)}, generator=GENERATOR)
    for each in (GENERATOR, other):
        assert each.spec.fingerprint in str(caught.value)
    assert "3dinv train poseopt-estimator" in str(caught.value)


@pytest.mark.usefixtures("toys")
def test_without_networks_it_says_how_to_train_them() -> None:
    with pytest.raises(WeightsError, match="3dinv train poseopt-estimator --generator toy"):
        load_estimator("poseopt-estimator", generator=GENERATOR)
    with pytest.raises(WeightsError, match="no trained networks"):
        load_estimator("poseopt-estimator").estimate(VIEWS.images, GENERATOR)


@pytest.mark.parametrize("form", POSE_FORMS)
def test_a_published_file_tells_its_form_by_its_last_layer(tmp_path: Path, form: PoseForm) -> None:
    network = network_of(form, seed=2)
    assert network.fc3.out_features == POSE_NUMBERS[form]
    path = tmp_path / "pose.pth"
    torch.save(network.state_dict(), path)
    made = estimator("quaternion", weights=path)
    made.get_ready(GENERATOR)
    expected = told(network, VIEWS.images, GENERATOR.spec)
    found = made.estimate(VIEWS.images, GENERATOR)
    torch.testing.assert_close(found.cam2world, expected.cam2world)


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"fc3.weight": torch.zeros(3, 16)}, path)
    with pytest.raises(WeightsError, match="tells 3 numbers, expected 2, 4 or 6"):
        estimator(weights=path).get_ready(GENERATOR)
    save_file({"x": torch.zeros(1)}, tmp_path / "y.safetensors")
    with pytest.raises(WeightsError):
        estimator(weights=tmp_path / "y.safetensors").get_ready(GENERATOR)


def test_gradients_reach_the_networks_weights(tmp_path: Path) -> None:
    made = estimator(weights=trained(tmp_path))
    made.get_ready(GENERATOR)
    made.estimate(VIEWS.images[:1], GENERATOR).cam2world.sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_a_camera_of_another_prior_stands_on_its_sphere(tmp_path: Path) -> None:
    made = estimator(weights=trained(tmp_path))
    made.get_ready(GENERATOR)
    other = ToyGenerator(ToyConfig())
    prior = replace(other.spec.camera, radius=1.5, focal=1.2, pivot=(0.0, 0.0, 0.1))
    other.spec = replace(other.spec, camera=prior)
    camera = made.estimate(VIEWS.images, other)
    torch.testing.assert_close(camera.radius, torch.full((4,), 1.5))
    uv, z = camera.project(torch.tensor([[0.0, 0.0, 0.1]]))
    torch.testing.assert_close(uv, torch.full_like(uv, 0.5), atol=1e-5, rtol=0)
    assert bool((z > 0).all()) and float(camera.intrinsics[0, 0, 0]) == pytest.approx(1.2)


def test_the_embedded_one_knows_heads_of_its_generator() -> None:
    generator = load_generator("minihead", {"render_resolution": 32, "samples": 12})
    made = find_estimator(generator, "it")
    assert made.name == "poseopt-estimator"
    yaw = torch.tensor([-0.8, 0.0, 0.8])
    camera = generator.spec.camera.orbit(yaw, 0.1)
    scene = generator.synthesize(toy_latents(generator, 1, seed=77))
    images = generator.render(scene, camera).require("image").clamp(-1, 1)
    assert float(angles_deg(made.estimate(images, generator), camera).max()) < 12
