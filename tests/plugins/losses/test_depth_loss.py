import pytest
import torch

from inv3d.core.errors import InputError
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.depth import (
    DepthConsistency,
    DepthSmoothness,
    depth_error,
    depth_variation,
)
from inv3d.plugins.methods.multilatent.depth import DepthStore, own_view_consistency
from tests.golden_cases import GoldenCase


def golden_run(step_losses):
    """Compare a run over all steps with the golden values and gradients."""
    case = GoldenCase("multilatent_depth_loss").tensors
    steps, latents, *size = case["depth"].shape
    store = DepthStore(int(case["view_of_step"].max()) + 1, latents, size)
    for step in range(steps):
        depth = case["depth"][step, :, None].clone().requires_grad_()
        losses = step_losses(store, depth, int(case["view_of_step"][step]))
        losses.sum().backward()
        assert torch.allclose(losses.detach(), case["loss"][step], atol=1e-6)
        assert torch.allclose(depth.grad[:, 0], case["grad"][step], atol=1e-6)
    assert float(case["loss"].max()) > 0.01


def test_golden_whole_steps():
    golden_run(lambda store, depth, camera: store.losses(depth, camera))


def test_golden_one_latent_at_a_time():
    golden_run(
        lambda store, depth, camera: torch.stack(
            [store.loss(d, camera, i) for i, d in enumerate(depth)]
        )
    )


def test_golden_in_chunks():
    golden_run(
        lambda store, depth, camera: torch.cat(
            [store.losses(depth[:2], camera), store.losses(depth[2:], camera, first=2)]
        )
    )


def test_latents_that_were_never_seen_from_a_camera_do_not_count():
    rng = torch.Generator().manual_seed(0)
    maps = 3 + torch.rand(4, 1, 4, 4, generator=rng)
    store = DepthStore(1, 3, (4, 4))
    assert torch.equal(store.losses_of(maps[:2], 0, [2, 0]), torch.zeros(2))
    (found,) = store.losses_of(maps[2:3], 0, [2])
    assert torch.allclose(found, (maps[2] - maps[:2].mean(0)).square().mean())


def test_store_continues_from_its_buffers():
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 2, 1, 4, 4, generator=rng)
    first, second = DepthStore(2, 2, (4, 4)), DepthStore(2, 2, (4, 4))
    first.losses(maps[0], 1)
    for name, buffer in second.buffers().items():
        buffer.copy_(first.buffers()[name])
    assert torch.equal(first.losses(maps[1], 1), second.losses(maps[1], 1))
    assert torch.equal(second.losses(maps[2], 0), torch.zeros(2))


def test_eq_6_compares_each_latent_at_its_own_camera():
    rng = torch.Generator().manual_seed(0)
    depths = torch.rand(3, 3, 4, 4, generator=rng)
    found = own_view_consistency(depths)
    for i in range(3):
        expected = (depths[i, i] - depths[i].mean(0)).square().mean()
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-5)
    assert float(own_view_consistency(depths[:, :1].expand(3, 3, 4, 4)).max()) < 1e-12


def test_loss_against_reference_maps():
    rng = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 1, 4, 4, generator=rng) + 2
    depth = (reference + 0.1).requires_grad_()
    loss = DepthConsistency.create(DepthConsistency.Config())
    assert loss.needs == ("depth",)
    cache = loss.prepare(Target(torch.zeros(2, 3, 8, 8), depths=reference))
    values = loss(Rendering(depth=depth), cache)
    assert torch.allclose(values, torch.full((2,), 0.01), atol=1e-5)
    values.sum().backward()
    assert torch.allclose(depth.grad, torch.full_like(depth, 0.2 / 16), atol=1e-5)


def test_pixels_without_surface_are_left_out():
    reference = torch.zeros(1, 1, 2, 2)
    reference[..., 0] = 2.0
    assert float(depth_error(torch.full((1, 1, 2, 2), 3.0), reference)) == pytest.approx(0.5)


def test_references_take_the_size_of_the_rendering():
    reference = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    loss = DepthConsistency.create(DepthConsistency.Config())
    cache = loss.prepare(Target(torch.zeros(1, 3, 4, 4), depths=reference))
    same = loss(Rendering(depth=reference[..., 1::2, 1::2]), cache)
    assert same.shape == (1,) and float(same) == 0.0


def test_no_depth_is_refused():
    with pytest.raises(InputError, match="no depth maps"):
        DepthConsistency.create(DepthConsistency.Config()).prepare(Target(torch.zeros(1, 3, 2, 2)))


def test_golden_smoothness():
    case = GoldenCase("poseopt_depth_tv").tensors
    depth = case["depth"].clone().requires_grad_()
    loss = DepthSmoothness.create(DepthSmoothness.Config())
    cache = loss.prepare(Target(torch.zeros(1, 3, 4, 4)))
    value = loss(Rendering(depth=depth), cache)
    value.sum().backward()
    assert torch.allclose(value.detach(), case["value"], atol=1e-7)
    assert torch.allclose(depth.grad, case["grad"], atol=1e-7)


def test_smoothness_of_a_slope_and_of_several_views():
    slope = torch.arange(5.0).expand(1, 1, 4, 5)
    depth = torch.cat([slope, 2 * slope, torch.ones_like(slope)])
    assert depth_variation(depth).tolist() == [1.0, 4.0, 0.0]
    loss = DepthSmoothness.create(DepthSmoothness.Config())
    cache = loss.prepare(Target(torch.zeros(3, 3, 4, 4)))
    part = loss(Rendering(depth=depth[1:]), loss.select(cache, slice(1, 3)))
    assert part.tolist() == [4.0, 0.0]
