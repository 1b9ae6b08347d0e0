"""The warping loss against the reference's, with features of any loss by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError
from inv3d.core.loss import Loss, Target, WarpLoss, load_loss
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import Rendering
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from tests.golden_cases import GoldenCase

CASE = GoldenCase("poseopt_warp")
KWARGS = CASE.facts["kwargs"]
INTRINSICS = torch.tensor(KWARGS["intrinsics"]).view(1, 3, 3)
CANONICAL = Camera(torch.tensor(KWARGS["canonical_cam2world"])[None], INTRINSICS)


class Quarter(Loss[PluginConfig, Tensor]):
    """Its features are the picture at a quarter of its size, as in the golden case."""

    name = "quarter"
    api = "1.0"
    Config = PluginConfig

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return {"2": F.avg_pool2d(images, 4), "3": F.avg_pool2d(images, 8)}

    def prepare(self, target: Target) -> Tensor:
        return target.images

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        return cache.mean((1, 2, 3))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", f"losses:quarter={__name__}:Quarter")
    registry.cache_clear()
    yield
    registry.cache_clear()


def warping(**options: Any) -> WarpLoss[Any, Tensor]:
    loss = load_loss("warping", options)
    assert isinstance(loss, WarpLoss)
    return loss


@pytest.mark.parametrize("n", [0, 1, 2])
def test_golden_loss_and_gradients(n: int) -> None:
    case = {key: value.clone() for key, value in CASE.tensors.items()}
    loss = warping(features="quarter", layer="2")
    extrinsic = case[f"{n}.extrinsic"].requires_grad_()
    depth = case[f"{n}.depth"].requires_grad_()
    cache = loss.prepare(Target(case[f"{n}.target_image"][None]))
    camera = Camera(extrinsic[None], INTRINSICS)
    canonical = case[f"{n}.canonical_image"][None]
    value = loss.carried(camera, depth[None, None], canonical, CANONICAL, cache)
    assert value.shape == (1,)
    torch.testing.assert_close(value[0], case[f"{n}.loss"], atol=1e-5, rtol=1e-4)
    value.sum().backward()
    for found, name in ((extrinsic.grad, "grad_extrinsic"), (depth.grad, "grad_depth")):
        assert found is not None
        expected = case[f"{n}.{name}"]
        atol = 1e-3 * float(expected.abs().max())
        torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def seen(yaw: float, **more: Any) -> tuple[Camera, Tensor, Tensor]:
    """A camera of the toy, and the depth and picture that it sees."""
    generator = ToyGenerator(ToyConfig())
    camera = generator.spec.camera.orbit(torch.tensor([yaw]))
    with torch.no_grad():
        scene = generator.synthesize(toy_latents(generator, 1))
        there = generator.render(scene, camera, outputs=("image", "depth"))
    return camera, there.require("depth"), there.require("image")


@pytest.mark.parametrize(
    "options", [{}, {"near": False}, {"layer": "2"}, {"features": "quarter", "layer": "3"}]
)
def test_the_true_camera_differs_least(options: dict[str, Any]) -> None:
    loss = warping(**options)
    front, _, canonical = seen(0.0)
    _, _, target = seen(0.25)
    cache = loss.prepare(Target(target))
    values = {}
    for yaw in (-0.25, 0.25, 0.75):
        camera, depth, _ = seen(yaw)
        values[yaw] = float(loss.carried(camera, depth, canonical, front, cache))
    assert min(values, key=values.__getitem__) == 0.25


def test_features_may_be_as_their_network_makes_them() -> None:
    images = toy_capture(ToyGenerator(ToyConfig()), 2).images
    unit, made = (warping(unit=unit).prepare(Target(images)) for unit in (True, False))
    lengths = unit.square().sum(1)
    assert float(lengths.max()) <= 1 < float(made.square().sum(1).max())
    network = load_loss("headfeat").network
    torch.testing.assert_close(made, network.features(images)[1])


def test_pictures_of_the_same_view_are_compared_as_they_are() -> None:
    loss = warping()
    images = toy_capture(ToyGenerator(ToyConfig()), 3).images
    cache = loss.prepare(Target(images))
    assert loss(Rendering(image=images), cache).tolist() == [0, 0, 0]
    assert bool((loss(Rendering(image=images.flip(-1)), cache) > 0).all())


def test_depth_of_nothing_near_counts_as_agreement() -> None:
    loss = warping()
    front, _, canonical = seen(0.0)
    flat = torch.full((1, 1, 16, 16), 2.5)
    cache = loss.prepare(Target(-canonical))
    assert float(loss.carried(front, flat, canonical, front, cache)) == 0
    everywhere = warping(near=False)
    assert float(everywhere.carried(front, flat, canonical, front, cache)) > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": "mse"}, "loss mse tells no features"),
        ({"features": "quarter", "unit": False}, "quarter tells features of unit length alone"),
        ({"layer": "7"}, "has no layer '7'; known: 0, 1, 2, 3, 4"),
        ({"options": {"nett": "a"}}, "nett"),
    ],
)
def test_errors_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        warping(**options).prepare(Target(torch.zeros(1, 3, 32, 32)))
    assert "\n" not in str(caught.value)
