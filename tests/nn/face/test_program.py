"""The embedded networks are those that LiteRT runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inv3d.core.errors import WeightsError
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.nn.face.program import FILE, load_program
from tests.golden_cases import GoldenCase

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def case() -> GoldenCase:
    return GoldenCase("face_networks")


def picture(case: GoldenCase, name: str, size: int) -> Tensor:
    """The stored noise, every value repeated."""
    small = case.given(name).permute(2, 0, 1)
    return small.repeat_interleave(size // 16, 1).repeat_interleave(size // 16, 2)[None]


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < TOLERANCE


def test_detector(case: GoldenCase) -> None:
    boxes, scores = load_program("detector")(picture(case, "detector", 128) * 2 - 1)
    close(boxes[0, ::8], case.expected("detector.boxes"))
    close(scores[0, ::8], case.expected("detector.scores"))


def test_landmarks(case: GoldenCase) -> None:
    points, presence = load_program("landmarks")(picture(case, "landmarks", 192))
    close(points.flatten(), case.expected("landmarks.points"))
    close(presence.flatten(), case.expected("landmarks.presence"))


def test_matte(case: GoldenCase) -> None:
    (cover,) = load_program("matte")(picture(case, "matte", 256))
    close(cover[0, 0, ::16, ::16], case.expected("matte.cover"))


def test_pictures_of_a_batch_are_independent() -> None:
    images = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    network = load_program("landmarks")
    both, one = network(images)[0], network(images[1:])[0]
    torch.testing.assert_close(both[1:], one, atol=1e-3, rtol=0)


def test_the_file_is_small() -> None:
    assert asset(FILE).stat().st_size < 4e6


def test_a_file_without_the_network_is_refused(tmp_path: Path) -> None:
    tensors, metadata = read_tensors(asset(FILE))
    path = tmp_path / "face.safetensors"
    write_tensors(path, tensors, {k: v for k, v in metadata.items() if k != "matte"})
    with pytest.raises(WeightsError, match=r"face\.safetensors: has no network 'matte'"):
        load_program("matte", path)
    less = {name: tensor for name, tensor in tensors.items() if name != "detector.w0"}
    write_tensors(path, less, metadata)
    with pytest.raises(WeightsError, match="'detector' that can be used"):
        load_program("detector", path)
