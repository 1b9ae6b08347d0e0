import pytest
import torch
from torch.nn import functional as F

from inv3d.core.errors import ConfigError, InputError
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.options import SymmetryConfig
from inv3d.plugins.losses.symmetry import Symmetry
from tests.golden_cases import GoldenCase

CASE = GoldenCase("triplanenet_mirror").tensors


def target(**maps):
    return Target(CASE["mirror"], maps={"uncertainty": CASE["conf"][:, None], **maps})


def loss(**options):
    return Symmetry.create(SymmetryConfig(**options))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("form", "golden"), [("squared", "l2"), ("smooth_l1", "smoothl1")])
def test_golden(form, golden, normalise):
    symmetry = loss(form=form, normalise=normalise)
    values = symmetry(Rendering(image=CASE["render"]), symmetry.prepare(target()))
    expected = CASE[f"{golden}_norm{int(normalise)}"]
    assert values.shape == (2,) and torch.allclose(values.mean(), expected, rtol=1e-5)


def test_beta_is_that_of_smooth_l1():
    symmetry = loss(form="smooth_l1", beta=0.1)
    values = symmetry(Rendering(image=CASE["render"]), symmetry.prepare(target()))
    error = F.smooth_l1_loss(CASE["render"], CASE["mirror"], reduction="none", beta=0.1).mean(1)
    torch.testing.assert_close(values, (error / (CASE["conf"] + 1)).mean((1, 2)))


def test_uncertain_pixels_count_less_and_the_paper_divides_by_the_map_itself():
    images = torch.zeros(1, 3, 4, 4)
    sigma = torch.ones(1, 1, 4, 4)
    sigma[..., 2:] = 4.0
    rendering = Rendering(image=images + torch.tensor([0.0, 0.0, 1.0, 1.0]))
    symmetry = loss(offset=0.0)
    cache = symmetry.prepare(Target(images, maps={"uncertainty": sigma}))
    assert float(symmetry(rendering, cache)) == pytest.approx(0.5 / 4)
    other = Rendering(image=images + torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert float(symmetry(other, cache)) == pytest.approx(0.5)


@pytest.mark.parametrize("normalise", [False, True])
def test_zeros_of_the_map_cannot_divide(normalise):
    sigma = torch.ones(1, 1, 4, 4)
    sigma[..., 0, 0] = 0.0
    aim = Target(torch.zeros(1, 3, 4, 4), maps={"uncertainty": sigma})
    with pytest.raises(ConfigError, match="'offset' of loss symmetry: found 0, but the map 'unc"):
        loss(offset=0.0, normalise=normalise).prepare(aim)
    weight = loss(offset=0.5, normalise=normalise).prepare(aim)["weight"]
    assert bool(weight.isfinite().all())


def test_a_map_of_another_size_and_name_and_smaller_pictures():
    symmetry = loss(uncertainty="doubt", resolution=8)
    cache = symmetry.prepare(target(doubt=torch.ones(2, 1, 3, 3)))
    assert cache["image"].shape == (2, 3, 8, 8) and torch.allclose(
        cache["weight"], torch.tensor(0.5)
    )
    assert symmetry(Rendering(image=CASE["render"]), cache).shape == (2,)


def test_views_can_be_taken_one_by_one():
    objective = Objective({"symmetry": WeightedLoss(loss(), 2.0)}, target())
    whole, _ = objective.evaluate(Rendering(image=CASE["render"]), slice(0, 2))
    parts = [
        objective.evaluate(Rendering(image=CASE["render"][i : i + 1]), slice(i, i + 1))[0]
        for i in range(2)
    ]
    assert torch.allclose(whole, sum(parts))


def test_without_a_map_it_is_an_error():
    with pytest.raises(InputError, match="uncertainty"):
        loss().prepare(Target(CASE["mirror"]))
