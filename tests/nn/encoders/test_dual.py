from __future__ import annotations

import pytest
import torch

from inv3d.nn.encoders.adversarial import discriminator_loss, gradient_penalty
from inv3d.nn.encoders.discriminator import MapDiscriminator
from inv3d.nn.encoders.dual import DualEncoder, occluded_maps, seen_by
from inv3d.nn.encoders.options import BranchOptions, DiscriminatorOptions
from inv3d.nn.encoders.triplanenet import TriPlaneNet
from inv3d.plugins.generators.eg3d.generator import EG3D
from inv3d.plugins.generators.panohead.generator import PanoHead
from tests.nn.encoders.networks import SMALL, TRUNK
from tests.tiny_generators import latents, tiny, views

KINDS = {"eg3d": EG3D, "panohead": PanoHead}


@pytest.fixture(params=KINDS)
def generator(request):
    return tiny(KINDS[request.param])


def _encoders(generator, version=2):
    torch.manual_seed(15)
    sizes = (generator.num_ws, generator.spec.w_dim, generator.architecture.backbone_channels)
    options = BranchOptions(trunk=TRUNK, version=version)
    return DualEncoder(*(TriPlaneNet(SMALL, options, *sizes) for _ in range(2))).eval()


def _pictures(count):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(16)) * 2 - 1


@pytest.mark.parametrize("version", [1, 2])
def test_stitching(generator, version):
    network, camera, images = _encoders(generator, version), views(2, generator), _pictures(2)
    average = torch.randn(1, generator.spec.w_dim)
    with torch.no_grad():
        found = network(generator, images, camera, average)
        for encoder, scene in ((network.first, found.first), (network.second, found.second)):
            look, offset = encoder(generator, images, camera, average)
            alone = (look.scene + offset).parts["planes"]
            torch.testing.assert_close(scene.parts["planes"], alone, atol=1e-4, rtol=1e-3)
    planes = found.scene.parts["planes"]
    visible = found.visible.expand_as(planes).bool()
    assert 0.02 < float(found.visible.mean()) < 0.98
    assert torch.equal(planes[visible], found.first.parts["planes"][visible])
    torch.testing.assert_close(planes[~visible], found.second.parts["planes"][~visible])
    assert not torch.allclose(planes, found.first.parts["planes"])
    assert torch.equal(found.scene.ws, found.first.ws)
    assert set(found.scene.parts) == set(found.first.parts)


def test_what_cameras_see_does_not_depend_on_one_another(generator):
    scene, camera = generator.synthesize(latents(2, generator)), views(2, generator)
    together = seen_by(generator, scene, camera)
    for i in range(2):
        assert torch.equal(together[i : i + 1], seen_by(generator, scene[[i]], camera[i]))
    assert not torch.equal(together[0], together[1])


def test_discriminator_sees_occluded_cells_alone(generator):
    scene, camera = generator.synthesize(latents(2, generator)), views(2, generator)
    planes, visible = scene.parts["planes"], seen_by(generator, scene, camera)
    maps = occluded_maps(planes, visible)
    channels = generator.architecture.backbone_channels
    assert maps.shape == (2, channels, 16, 16)
    seen = visible.expand_as(planes).reshape_as(maps).bool()
    assert torch.equal(maps[~seen], planes.reshape_as(maps)[~seen]) and not maps[seen].any()
    network = MapDiscriminator(DiscriminatorOptions(width=8), channels)
    real = occluded_maps(generator.synthesize(latents(2, generator) * 2).parts["planes"], visible)
    real.requires_grad_()
    scores = network(real)
    loss = discriminator_loss(scores, network(maps)) + gradient_penalty(scores, real, 10.0)
    loss.backward()
    assert all(bool(p.grad.any()) for p in network.parameters())
