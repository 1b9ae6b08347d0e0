from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn import functional as F

from inv3d.nn.encoders.adversarial import discriminator_loss, encoder_loss, gradient_penalty
from inv3d.nn.encoders.discriminator import MapDiscriminator
from inv3d.nn.encoders.latent_critic import LatentDiscriminator, LatentPool, spread
from inv3d.nn.encoders.options import DiscriminatorOptions
from tests.nn.encoders.networks import listed

NARROW = DiscriminatorOptions(width=8)


def test_layers_are_those_of_the_paper():
    shapes = dict(listed(MapDiscriminator, DiscriminatorOptions(), 288))
    convolutions = [shape for shape in shapes.values() if len(shape) == 4]
    widths = [288, 64, 128, 256, 512, 1]
    assert convolutions == [[b, a, 3, 3] for a, b in pairwise(widths)]
    norms = [shape for name, shape in shapes.items() if name.endswith("running_mean")]
    assert norms == [[128], [256], [512]]
    biases = [name for name in shapes if name.endswith("bias")]
    assert len(biases) == 3  # of the norms alone


def test_score_is_the_mean_of_the_last_map():
    torch.manual_seed(8)
    network, maps = MapDiscriminator(NARROW, 12).eval(), torch.randn(2, 12, 9, 9)
    x = maps
    for layer in network.layers[:-1]:
        x = layer(x)
        assert x.shape[-2:] == (9, 9)
    last = F.conv2d(x, network.layers[-1].weight)
    assert last.shape == (2, 1, 7, 7)
    torch.testing.assert_close(network(maps), last.mean((2, 3)))


def test_labels_are_the_right_way_round():
    """A discriminator that follows its loss takes encoded ones for made; an encoder undoes it."""
    torch.manual_seed(9)
    network = MapDiscriminator(NARROW, 6)
    real, made = torch.randn(4, 6, 8, 8) + 0.5, torch.randn(4, 6, 8, 8) - 0.5
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        discriminator_loss(network(real), network(made)).backward()
        optimizer.step()
    assert network(real).mean() > network(made).mean() + 0.5
    network.requires_grad_(False)
    moved = made.clone().requires_grad_()
    encoder_loss(network(moved)).backward()
    assert network(moved - 10 * moved.grad).mean() > network(made).mean()


def test_losses_of_scores_that_say_nothing():
    zero = torch.zeros(3, 1)
    torch.testing.assert_close(discriminator_loss(zero, zero), torch.tensor(4.0).log())
    torch.testing.assert_close(encoder_loss(zero), torch.tensor(2.0).log())


def test_gradient_penalty_of_a_linear_score():
    weight = torch.randn(5, 4, 4, requires_grad=True)
    real = torch.randn(3, 5, 4, 4, requires_grad=True)
    scores = (real * weight).sum((1, 2, 3))
    penalty = gradient_penalty(scores, real, gamma=10.0)
    torch.testing.assert_close(penalty, 5 * weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(weight.grad, 10 * weight.detach())


def test_latent_discriminator():
    assert listed(LatentDiscriminator, 16) == [
        ("mlp.0.weight", [16, 16]), ("mlp.0.bias", [16]),
        ("mlp.2.weight", [16, 16]), ("mlp.2.bias", [16]),
        ("mlp.4.weight", [16, 16]), ("mlp.4.bias", [16]),
        ("mlp.6.weight", [1, 16]), ("mlp.6.bias", [1]),
    ]  # fmt: skip
    network, w = LatentDiscriminator(16), torch.randn(2, 5, 16)
    scores = network(w)
    assert scores.shape == (2, 5, 1)
    torch.testing.assert_close(network(w[1]), scores[1])


def test_pool_fills_and_then_exchanges():
    rng = torch.Generator().manual_seed(0)
    pool = LatentPool(2, size=3)
    first = torch.arange(6.0).view(3, 2).requires_grad_()
    shown = pool.exchange(first, rng)
    assert torch.equal(shown, first) and not shown.requires_grad
    assert torch.equal(pool.stored, first)
    given = 10 + torch.arange(400.0).view(200, 2)
    shown = pool.exchange(given, rng)
    kept = (shown == given).all(1)
    assert 70 < int(kept.sum()) < 130
    together = {tuple(row.tolist()) for row in torch.cat([shown, pool.stored])}
    assert together == {tuple(row.tolist()) for row in torch.cat([first, given])}


def test_pool_is_part_of_the_state():
    pool, again = LatentPool(4, size=5), LatentPool(4, size=5)
    for _ in range(3):
        pool.exchange(torch.randn(3, 4), torch.Generator().manual_seed(1))
    again.load_state_dict(pool.state_dict())
    w = torch.randn(6, 4)
    shown = [one.exchange(w, torch.Generator().manual_seed(2)) for one in (pool, again)]
    assert torch.equal(*shown) and torch.equal(pool.stored, again.stored)


def test_spread_counts_the_latents_that_may_differ():
    ws = torch.zeros(2, 4, 3)
    ws[:, 1, 0], ws[:, 2, 1], ws[:, 3, 2] = 3.0, 4.0, 100.0
    assert float(spread(ws, 2)) == 7.0
    assert float(spread(ws + 5, 2)) == 7.0
    assert float(spread(ws, 0)) == 0.0
