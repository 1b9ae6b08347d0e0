"""The identity of faces in photographs, as a loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.loss import Target, load_loss
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.faceid import FaceID, FaceIDConfig, face_squares
from tests.faces import heads


@pytest.fixture(scope="module")
def loss() -> FaceID:
    return FaceID.create(FaceIDConfig())


def views(*rows: int) -> Tensor:
    return heads().images[list(rows)]


def test_distances(loss: FaceID) -> None:
    cache = loss.prepare(Target(views(4, 5)))
    same = loss(Rendering(image=views(4, 5)), cache)
    assert same.shape == (2,) and float(same.max()) < 1e-4
    softened = torch.nn.functional.avg_pool2d(views(4, 5), 5, 1, 2)
    other = torch.flip(views(4, 5), [0])
    blurred, turned = (loss(Rendering(image=image), cache) for image in (softened, other))
    assert 0.01 < float(blurred.min()) and float(blurred.max()) < 0.6
    assert float(turned.min()) > float(same.max())


def test_the_pull_is_towards_the_target(loss: FaceID) -> None:
    """Steps down the gradient bring the face nearer, in double precision as in single."""
    for dtype in (torch.float32, torch.float64):
        exact = loss.to(dtype)
        cache = exact.prepare(Target(views(5).to(dtype)))
        image = (0.6 * views(5)).to(dtype).requires_grad_()
        value = exact(Rendering(image=image), cache)
        (slope,) = torch.autograd.grad(value.sum(), image)
        assert slope.isfinite().all() and slope.dtype == dtype
        step = -1e-3 * slope / slope.abs().max()
        with torch.no_grad():
            after = exact(Rendering(image=image + step), cache)
        before = float(value.detach())
        change = float((slope * step).sum())
        assert change < 0 and float(after) - before == pytest.approx(change, rel=0.05)
    loss.to(torch.float32)


def test_equal_pictures_have_a_finite_slope(loss: FaceID) -> None:
    image = views(5).clone().requires_grad_()
    value = loss(Rendering(image=image), loss.prepare(Target(views(5))))
    (slope,) = torch.autograd.grad(value.sum(), image)
    assert slope.isfinite().all()


def test_faces_are_looked_for_in_the_targets() -> None:
    blank = torch.ones(1, 3, 128, 128)
    images = torch.cat([views(5), torch.roll(views(5), (10, -14), (2, 3)), blank])
    first, moved, usual = face_squares(images)
    assert ((moved - first) * 128).tolist()[:2] == pytest.approx([-14, 10], abs=2)
    assert usual.tolist()[:3] == pytest.approx(((first + moved) / 2).tolist()[:3])
    assert usual[3] == 0
    assert face_squares(blank)[0].tolist() == [0.5, 0.5, 0.6, 0.0]


def test_views_can_be_taken_apart(loss: FaceID) -> None:
    images = 0.7 * views(4, 5)
    cache = loss.prepare(Target(views(4, 5)))
    both = loss(Rendering(image=images), cache)
    for row in (0, 1):
        one = slice(row, row + 1)
        alone = loss(Rendering(image=images[one]), loss.select(cache, one))
        torch.testing.assert_close(alone, both[one], atol=1e-5, rtol=0)


def test_it_can_judge() -> None:
    judge = load_loss("faceid", {}, device=torch.device("cpu"), owner="metric faceid")
    assert set(judge.needs) == {"image"} and not judge.higher_is_better
