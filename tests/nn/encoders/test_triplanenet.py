from __future__ import annotations

import pytest
import torch

from inv3d.core.errors import UnsupportedError
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.inversion import Inversion
from inv3d.core.scene import Scene
from inv3d.nn.encoders.options import BranchOptions, EncoderOptions
from inv3d.nn.encoders.plane_branch import differences
from inv3d.nn.encoders.triplanenet import FirstLook, TriPlaneNet
from inv3d.nn.resample import resize
from inv3d.plugins.generators.eg3d.generator import EG3D
from inv3d.plugins.generators.panohead.generator import PanoHead
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.golden_cases import relative_error
from tests.nn.encoders.networks import SMALL, TRUNK
from tests.tiny_generators import latents, tiny, views

KINDS = {"eg3d": EG3D, "panohead": PanoHead}


def _network(generator, **branch):
    torch.manual_seed(11)
    channels = generator.architecture.backbone_channels
    options = BranchOptions(trunk=TRUNK, **branch)
    network = TriPlaneNet(SMALL, options, generator.num_ws, generator.spec.w_dim, channels)
    return network.eval()


def _pictures(count):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(12)) * 2 - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [1, 2])
def test_offsets_fit_the_volume(kind, version):
    generator = tiny(KINDS[kind])
    network, camera = _network(generator, version=version), views(2, generator)
    average = torch.randn(1, generator.spec.w_dim)
    first, offset = network(generator, _pictures(2), camera, average)
    assert offset["planes"].shape == first.scene.parts["planes"].shape
    assert first.scene.ws.shape == (2, generator.num_ws, generator.spec.w_dim)
    assert (first.mirror_rendered is None) == (version == 1)
    front = generator.spec.camera.front()
    changed = generator.render((first.scene + offset)[:1], front).require("image")
    assert not torch.allclose(changed, generator.render(first.scene[:1], front).require("image"))


def test_each_step_is_what_the_paper_says():
    generator = tiny(EG3D)
    network, camera, images = _network(generator), views(2, generator), _pictures(2)
    first, offset = network(generator, images, camera, None)
    ws = network.psp_encoder(images)
    torch.testing.assert_close(first.scene.ws, ws)
    scene = generator.synthesize(ws)
    renders = [
        torch.cat([generator.render(scene[[i]], c[i]).require("image") for i in range(2)])
        for c in (camera, mirrored_camera(camera))
    ]
    seen = differences(resize(images, 16), *renders)
    planes = scene.parts["planes"].flatten(1, 2)
    expected = network.triplanenet_encoder(seen, planes)
    torch.testing.assert_close(offset["planes"].flatten(1, 2), expected, atol=1e-4, rtol=1e-3)


def test_the_second_branch_trains_itself_alone():
    generator = tiny(EG3D)
    network, camera, images = _network(generator), views(1, generator), _pictures(1)
    first, offset = network(generator, images, camera, None)
    offset["planes"].square().sum().backward()
    grads = {n.split(".")[0] for n, p in network.named_parameters() if p.grad is not None}
    assert grads == {"triplanenet_encoder"}
    first.rendered.sum().backward()
    grads = {n.split(".")[0] for n, p in network.named_parameters() if p.grad is not None}
    assert grads == {"triplanenet_encoder", "psp_encoder"}


def test_a_batch_is_its_pictures():
    generator = tiny(EG3D)
    network, camera, images = _network(generator), views(3, generator), _pictures(3)
    together = network(generator, images, camera, None)[1]["planes"]
    for i in range(3):
        alone = network(generator, images[i : i + 1], camera[i], None)[1]["planes"]
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("way", ["bf16", "channels_last"])
def test_faster_ways_give_nearly_the_same(way):
    generator = tiny(EG3D)
    network, camera, images = _network(generator), views(2, generator), _pictures(2)
    with torch.no_grad():
        ws = network.latents(images, None)
        first = network.look(generator, ws, camera)
        offset = network.offset(images, first)["planes"]
        if way == "bf16":
            network.precision = "bf16"
        else:
            network.to(memory_format=torch.channels_last)
        found = network.latents(images, None)
        changed = network.offset(images, first)["planes"]
    assert found.dtype == changed.dtype == torch.float32
    tolerance = 0.05 if way == "bf16" else 1e-4
    assert relative_error(found, ws) < tolerance
    assert relative_error(changed, offset) < tolerance
    assert way != "bf16" or not torch.equal(found, ws)


def test_offset_is_kept_with_the_latents():
    """Any camera sees the result without the network; an edit of the latents keeps the offset."""
    generator = tiny(EG3D)
    network, camera = _network(generator), views(1, generator)
    with torch.no_grad():
        first, offset = network(generator, _pictures(1), camera, None)
    found = Inversion(first.scene.ws, camera, "eg3d", generator.spec.fingerprint, offset=offset)
    other = views(2, generator)[1]
    scene = found.scene_for(generator, other)
    torch.testing.assert_close(scene.parts["planes"], (first.scene + offset).parts["planes"])
    edited_ws = first.scene.ws + 0.1 * latents(1, generator)
    edited = Inversion(edited_ws, camera, "eg3d", generator.spec.fingerprint, offset=offset)
    moved = edited.scene_for(generator, other).parts["planes"] - scene.parts["planes"]
    alone = generator.synthesize(edited_ws) - generator.synthesize(first.scene.ws)
    torch.testing.assert_close(moved, alone.parts["planes"], atol=1e-5, rtol=1e-4)


def test_generators_without_planes_are_refused():
    generator = ToyGenerator(ToyConfig())
    spec = generator.spec
    options = EncoderOptions.model_validate({**SMALL.model_dump(), "kind": "w"})
    network = TriPlaneNet(options, BranchOptions(trunk=TRUNK), spec.num_ws, spec.w_dim, 12).eval()
    with pytest.raises(UnsupportedError, match=r"have only centres, looks; take a generator of"):
        network(generator, _pictures(1), spec.camera.front(), None)


def test_planes_that_cannot_be_halved_four_times_are_refused():
    network = TriPlaneNet(SMALL, BranchOptions(trunk=TRUNK), 5, 10, 12)
    scene = Scene({"planes": torch.zeros(1, 3, 4, 24, 24)}, torch.zeros(1, 5, 10))
    first = FirstLook(scene, *torch.zeros(2, 1, 3, 32, 32))
    with pytest.raises(UnsupportedError, match="are 24x24; take a generator whose planes"):
        network.offset(torch.zeros(1, 3, 32, 32), first)
