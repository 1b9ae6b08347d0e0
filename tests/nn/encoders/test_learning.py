"""The parts learn together what each of them is for, in seconds."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from inv3d.core.fit.ranger import Ranger
from inv3d.nn.encoders.options import BranchOptions
from inv3d.nn.encoders.triplanenet import TriPlaneNet
from inv3d.plugins.generators.eg3d.generator import EG3D
from tests.nn.encoders.networks import SMALL, TRUNK
from tests.tiny_generators import latents, tiny, views


@pytest.fixture(scope="module")
def generator():
    return tiny(EG3D).requires_grad_(False)


@pytest.fixture(scope="module")
def heads(generator):
    """Pictures of four heads whose planes no latent makes, from four sides."""
    scene, camera = generator.synthesize(latents(4, generator)), views(4, generator)
    rng = torch.Generator().manual_seed(18)
    planes = scene.parts["planes"]
    changed = scene + {"planes": 0.5 * torch.randn(planes.shape, generator=rng)}
    return generator.render(changed, camera).require("image"), camera


def test_each_branch_learns_what_it_is_for(generator, heads):
    """First the latents, with a mirror image that isn't trusted; then what they can't say."""
    images, camera = heads
    torch.manual_seed(19)
    sizes = (generator.num_ws, generator.spec.w_dim, generator.architecture.backbone_channels)
    network = TriPlaneNet(SMALL, BranchOptions(trunk=TRUNK), *sizes)
    doubt = torch.ones_like(images[:, 0])
    first_losses, second_losses = [], []
    optimizer = Ranger(network.psp_encoder.parameters(), 1e-2)
    for _ in range(14):
        first = network.look(generator, network.latents(images, None), camera)
        loss = F.mse_loss(first.rendered, images)
        first_losses.append(float(loss.detach()))
        away = (first.mirror_rendered - images.flip(-1)).square().mean(1)
        mirrored = (away / (doubt + 1)).mean()
        _take(optimizer, loss + 0.1 * mirrored)
    with torch.no_grad():
        first = network.look(generator, network.latents(images, None), camera)
    optimizer = Ranger(network.triplanenet_encoder.parameters(), 3e-2)
    for _ in range(24):
        scene = first.scene + network.offset(images, first)
        seen = generator.render(scene, camera).require("image")
        second_losses.append(float(F.mse_loss(seen, images).detach()))
        _take(optimizer, F.smooth_l1_loss(seen, images))
    assert first_losses[-1] < 0.6 * first_losses[0]
    assert second_losses[-1] < 0.85 * float(F.mse_loss(first.rendered, images))


def _take(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
