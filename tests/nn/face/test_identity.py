"""The network that tells faces apart: equal to its original, and right about who is who."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inv3d.core.errors import WeightsError
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.nn.face.identity import FILE, FaceIdentity, face_square
from inv3d.nn.face.landmarks import COUNT, Landmarks
from inv3d.nn.face.reader import FaceReader
from inv3d.nn.face.square import Square, cut
from tests.faces import as_bytes, heads, photograph
from tests.golden_cases import GoldenCase


@lru_cache(maxsize=1)
def network() -> FaceIdentity:
    return FaceIdentity.load()


@lru_cache(maxsize=1)
def reader() -> FaceReader:
    return FaceReader()


def embedding(image: Image.Image) -> Tensor:
    picture = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    face = reader()(picture)
    assert face is not None
    square = face_square(face.found)
    found: Tensor = network()(cut(picture, square, 150, fill=None)[None] * 2 - 1)[0]
    return found


def test_equal_to_the_original() -> None:
    case = GoldenCase("faceid")
    found = network()(case.given("faces_u8").float() / 127.5 - 1)
    expected = case.expected("embeddings")
    assert float((found - expected).abs().max()) < 1e-3
    assert float((found - expected).norm(dim=1).max()) < 3e-3, "where 0.6 tells people apart"


def test_gradients_in_double_precision() -> None:
    exact = FaceIdentity.load().double()
    rng = torch.Generator().manual_seed(0)
    face = torch.rand(1, 3, 150, 150, generator=rng, dtype=torch.float64) * 2 - 1
    step = torch.randn(face.shape, generator=rng, dtype=torch.float64)
    pull = torch.randn(128, generator=rng, dtype=torch.float64)

    def value(faces: Tensor) -> Tensor:
        return (exact(faces)[0] * pull).sum()

    face.requires_grad_()
    (slope,) = torch.autograd.grad(value(face), face)
    expected = float((slope * step).sum())
    with torch.no_grad():
        change = float(value(face + 1e-7 * step) - value(face - 1e-7 * step)) / 2e-7
    assert change == pytest.approx(expected, rel=1e-4)


def test_people_are_told_apart_and_the_same_ones_are_not() -> None:
    first, second = (Image.open(photograph(n)) for n in ("astronaut.png", "grace_hopper.jpg"))
    others = embedding(second)
    one = embedding(first)
    for changed in (first.transpose(Image.Transpose.FLIP_LEFT_RIGHT), first.rotate(20),
                    first.resize((250, 250)), first.point(lambda level: level // 2)):  # fmt: skip
        same = embedding(changed)
        assert float((same - one).norm()) < 0.45
        assert float((same - others).norm()) > 0.6


def test_a_head_stays_itself_when_it_turns() -> None:
    views = [as_bytes(heads().images[row]).permute(1, 2, 0).numpy() for row in (2, 5, 8)]
    found = torch.stack([embedding(Image.fromarray(view)) for view in views])
    stranger = embedding(Image.open(photograph("astronaut.png")))
    assert float(torch.cdist(found, found).max()) < 0.55
    assert float((found - stranger).norm(dim=1).min()) > 0.6


@pytest.mark.parametrize("roll", [0.0, 0.4, -2.5])
def test_the_square_has_eyes_and_nose_in_their_places(roll: float) -> None:
    square = Square(80.0, 60.0, 40.0, roll)
    places = {263: (0.740, 0.309), 362: (0.597, 0.319), 33: (0.247, 0.309), 133: (0.389, 0.319),
              2: (0.493, 0.585)}  # fmt: skip
    points = torch.zeros(COUNT, 3, dtype=torch.float64)
    for index, uv in places.items():
        points[index, :2] = square.to_picture(torch.tensor(uv, dtype=torch.float64))
    found = face_square(Landmarks(points, 1.0))
    assert (found.x, found.y, found.side) == pytest.approx((80, 60, 40), abs=1e-3)
    assert math.cos(found.roll - roll) > 1 - 1e-9


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    tensors, metadata = read_tensors(asset(FILE))
    tensors.pop("fc.weight")
    write_tensors(tmp_path / "a.safetensors", tensors, metadata)
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        FaceIdentity.load(tmp_path / "a.safetensors")
