"""The estimator `landmarks`: cameras of pictures in a generator's coordinates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.core.errors import InputError, UnsupportedError
from inv3d.core.estimator import load_estimator
from inv3d.core.framing import check_framing
from inv3d.core.generator import Generator, load_generator
from inv3d.core.poses import roll
from inv3d.plugins.estimators.landmarks import LandmarkEstimator
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.faces import heads


@pytest.fixture(scope="module")
def estimator() -> LandmarkEstimator:
    made = load_estimator("landmarks")
    assert isinstance(made, LandmarkEstimator)
    return made


@pytest.fixture(scope="module")
def minihead() -> Generator:
    return load_generator("minihead")


def test_cameras_are_near_the_true_ones(estimator: LandmarkEstimator, minihead: Generator) -> None:
    rows = [2, 4, 5, 6, 8]
    capture = heads()[rows]
    camera = estimator.estimate(capture.images, minihead)
    true = capture.camera
    assert float((camera.yaw - true.yaw).abs().rad2deg().max()) < 6
    assert float((camera.pitch - true.pitch).abs().rad2deg().max()) < 8
    torch.testing.assert_close(camera.radius, torch.full((5,), 2.7), atol=1e-4, rtol=0)
    torch.testing.assert_close(camera.intrinsics, true.intrinsics, atol=1e-4, rtol=0)
    assert check_framing(camera, minihead.spec, capture.names, "here") == []


def test_a_turned_picture_has_a_turned_camera(
    estimator: LandmarkEstimator, minihead: Generator
) -> None:
    image = heads().images[5]
    picture = Image.fromarray(((image + 1) * 127.5).byte().permute(1, 2, 0).numpy())
    turned = picture.rotate(-15, Image.Resampling.BICUBIC, fillcolor="white")  # clockwise
    levels = torch.from_numpy(np.array(turned)).permute(2, 0, 1)[None] / 127.5 - 1
    camera = estimator.estimate(torch.cat([image[None], levels]), minihead)
    angles = roll(camera).rad2deg()
    assert float(angles[1] - angles[0]) == pytest.approx(15, abs=3)
    assert float((camera.yaw[1] - camera.yaw[0]).rad2deg().abs()) < 4


def test_the_correction_can_be_left_out(minihead: Generator) -> None:
    raw = load_estimator("landmarks", {"correct": False})
    image = heads().images[8:9]
    corrected = load_estimator("landmarks").estimate(image, minihead)
    assert abs(float(raw.estimate(image, minihead).yaw)) < abs(float(corrected.yaw))


def test_what_cannot_be_estimated(estimator: LandmarkEstimator, minihead: Generator) -> None:
    with pytest.raises(InputError, match="no face in picture 2"):
        estimator.estimate(torch.stack([heads().images[5], torch.ones(3, 128, 128)]), minihead)
    with pytest.raises(UnsupportedError, match="doesn't say where faces are"):
        estimator.estimate(heads().images[5:6], ToyGenerator(ToyConfig()))
