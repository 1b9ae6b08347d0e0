import pytest
import torch

from inv3d.core.errors import ConfigError
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.latent import WDist, WNorm

KINDS = [WNorm, WDist]


@pytest.mark.parametrize("kind", KINDS)
def test_mean_square_once_a_view(kind):
    rng = torch.Generator().manual_seed(0)
    ws = torch.randn(4, 5, 8, generator=rng)
    anchor = torch.randn(5, 8, generator=rng)
    loss = kind.create(kind.Config())
    cache = loss.prepare(Target(torch.zeros(4, 3, 2, 2), anchor=anchor))
    values = loss(Rendering(ws=ws), cache)
    assert torch.allclose(values, torch.stack([(w - anchor).square().mean() for w in ws]))
    row = loss.prepare(Target(torch.zeros(4, 3, 2, 2), anchor=anchor[:1]))
    assert torch.allclose(loss(Rendering(ws=ws), row)[0], (ws[0] - anchor[:1]).square().mean())


def test_sum_over_views_in_chunks():
    ws = torch.ones(1, 5, 8).expand(6, 5, 8)
    target = Target(torch.zeros(6, 3, 2, 2), anchor=torch.zeros(1, 8))
    objective = Objective({"w_norm": WeightedLoss(WNorm.create(WNorm.Config()), 2.0)}, target)
    assert objective.outputs == ()
    totals = [
        objective.evaluate(Rendering(ws=ws[views]), views)[0]
        for views in (slice(0, 4), slice(4, 6))
    ]
    assert float(sum(totals)) == pytest.approx(12.0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_anchor_is_refused(kind):
    with pytest.raises(ConfigError, match=f"losses.{kind.name}=0"):
        kind.create(kind.Config()).prepare(Target(torch.zeros(1, 3, 2, 2)))
