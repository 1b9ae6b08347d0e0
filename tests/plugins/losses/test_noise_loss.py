import pytest
import torch

from inv3d.core.errors import ConfigError
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.noise import Noise, noise_regulariser
from tests.golden_cases import GoldenCase


def golden_maps():
    case = GoldenCase("projector_regularisers").tensors
    maps = {f"n{i}": case[f"noise.n{i}"].clone().requires_grad_() for i in range(4)}
    return case, maps


def test_golden_value_and_gradient():
    case, maps = golden_maps()
    value = noise_regulariser(maps)
    value.backward()
    assert float(value.detach()) == pytest.approx(float(case["noise_reg"]), rel=1e-5)
    for name, noise in maps.items():
        assert torch.allclose(noise.grad, case[f"grad.{name}"], atol=1e-6)


@pytest.mark.parametrize("chunks", [[(0, 5)], [(0, 2), (2, 5)]])
def test_views_share_one_regulariser(chunks):
    case, maps = golden_maps()
    target = Target(torch.zeros(5, 3, 2, 2), noise=maps)
    objective = Objective({"noise": WeightedLoss(Noise.create(Noise.Config()), 1.0)}, target)
    total = 0.0
    for start, stop in chunks:
        rendering = Rendering(ws=torch.zeros(stop - start, 2, 4))
        value, _ = objective.evaluate(rendering, slice(start, stop))
        value.backward()
        total += float(value.detach())
    assert total == pytest.approx(float(case["noise_reg"]), rel=1e-5)
    for name, noise in maps.items():
        assert torch.allclose(noise.grad, case[f"grad.{name}"], atol=1e-6)


@pytest.mark.parametrize("each", [1, 2, 3])
def test_views_in_turn_count_it_once_a_step(each):
    """Views that stand for all of them have weights."""
    case, maps = golden_maps()
    weights = torch.full((each,), 9 / each)
    target = Target(torch.zeros(each, 3, 2, 2), noise=maps, weights=weights)
    objective = Objective({"noise": WeightedLoss(Noise.create(Noise.Config()), 1.0)}, target)
    value, _ = objective.evaluate(Rendering(ws=torch.zeros(each, 2, 4)), slice(0, each))
    assert float(value.detach()) == pytest.approx(float(case["noise_reg"]), rel=1e-5)


def test_maps_stay_live():
    _, maps = golden_maps()
    loss = Noise.create(Noise.Config())
    with torch.no_grad():
        cache = loss.prepare(Target(torch.zeros(1, 3, 2, 2), noise=maps))
        for noise in maps.values():
            noise.zero_()
    assert float(loss(Rendering(ws=torch.zeros(1, 2, 4)), cache).detach()) == 0.0


def test_no_maps_are_refused():
    with pytest.raises(ConfigError, match="no noise maps"):
        Noise.create(Noise.Config()).prepare(Target(torch.zeros(1, 3, 2, 2)))


@pytest.mark.parametrize("shape", [(4, 4), (8, 8), (16, 12), (32, 8), (20, 20)])
def test_value_of_maps_of_any_shape(shape):
    rng = torch.Generator().manual_seed(4)
    noise = torch.randn(shape, generator=rng, dtype=torch.float64)
    level, expected = noise, 0.0
    while True:
        for axis in (0, 1):
            expected += float((level * torch.roll(level, 1, axis)).mean()) ** 2
        if len(level) <= 8:
            break
        rows, columns = (n // 2 for n in level.shape)
        cut = level[: 2 * rows, : 2 * columns]
        level = cut.reshape(rows, 2, columns, 2).mean((1, 3))
    assert float(noise_regulariser({"a": noise})) == pytest.approx(expected, rel=1e-12)
