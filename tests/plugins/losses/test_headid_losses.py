import pytest
import torch
from torch.nn import functional as F

from inv3d.core.errors import WeightsError
from inv3d.core.loss import Target, load_loss
from inv3d.core.scene import Rendering
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.headid import HeadIDA, HeadIDB, build_headid, unit_channels
from inv3d.plugins.losses.headid import HeadFeatures, HeadID, HeadIDConfig


@pytest.fixture(scope="module", params=["a", "b"])
def config(request, tmp_path_factory):
    """Random weights of one network in a file."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = build_headid(request.param).state_dict()
    path = tmp_path_factory.mktemp("weights") / f"headid_{request.param}.safetensors"
    half = {n: v.half() if v.is_floating_point() else v for n, v in state.items()}
    write_tensors(path, half, {"network": request.param})
    return HeadIDConfig(network=request.param, weights=path)


def images(count=3, size=128, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=rng).mul(2).sub(1)


@pytest.mark.parametrize("kind", [HeadID, HeadFeatures])
def test_zero_for_the_same_and_positive_for_another(kind, config):
    loss = kind.create(config).eval()
    a, b = images(), images(seed=1)
    cache = loss.prepare(Target(a))
    assert loss(Rendering(image=a), cache) == pytest.approx(torch.zeros(3), abs=1e-5)
    image = b.clone().requires_grad_()
    values = loss(Rendering(image=image), cache)
    assert values.shape == (3,) and float(values.detach().min()) > 1e-4
    values.sum().backward()
    assert image.grad.isfinite().all() and float(image.grad.abs().max()) > 0
    part = loss(Rendering(image=b[1:]), loss.select(cache, slice(1, 3)))
    assert torch.allclose(part, values[1:], atol=1e-5)


def test_headid_is_one_minus_cosine(config):
    loss = HeadID.create(config).eval()
    a, b = images(), images(seed=1)
    first, second = loss.network(a), loss.network(b)
    assert torch.allclose(first.norm(dim=1), torch.ones(3), atol=1e-5)
    expected = 1 - F.cosine_similarity(first, second)
    assert torch.allclose(loss(Rendering(image=a), loss.prepare(Target(b))), expected, atol=1e-5)


@pytest.mark.parametrize("network", ["a", "b"])
def test_lookalikes_are_counted_on_the_scale_of_their_cosines(network):
    loss = load_loss("lookalikes", {"network": network})
    scale, last = loss.scale, len(loss.scale) - 1
    assert (scale.diff() >= 0).all() and scale[-1] <= 1.0001
    cosines = torch.stack([scale[0] - 0.1, scale[64], scale[128], (scale[200] + scale[201]) / 2])
    cosines = torch.cat([cosines, scale.new_ones(1)]).requires_grad_()
    loss.identity.forward = lambda rendering, cache: 1 - cosines
    found = loss(Rendering(image=None), None)
    expected = torch.tensor([1.0, 1 - 64 / last, 1 - 128 / last, 1 - 200.5 / last, 0.0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    found.sum().backward()
    assert cosines.grad.isfinite().all() and (cosines.grad <= 0).all() and cosines.grad.any()


def test_headfeat_is_the_sum_over_layers(config):
    loss = HeadFeatures.create(config).eval()
    a, b = images(1), images(1, seed=1)
    expected = 0.0
    for x, y in zip(loss.network.features(a), loss.network.features(b), strict=True):
        expected += float((unit_channels(x) - unit_channels(y)).square().sum(1).mean())
    found = loss(Rendering(image=a), loss.prepare(Target(b)))
    assert float(found[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [64, 96, 128, 512])
def test_any_image_size(size, config):
    loss = HeadID.create(config).eval()
    side = F.interpolate(images(1, 16), (size, size), mode="bilinear")
    assert loss.network(side).shape == (1, 128)
    assert loss.network.features(side)[0].shape[-1] == loss.network.size // 2


def test_unit_channels_fades_at_zero():
    layer = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit_channels(layer).sum().backward()
    assert layer.grad.isfinite().all()
    strong = unit_channels(torch.full((1, 4, 2, 2), 5.0))
    assert strong.square().sum(1) == pytest.approx(torch.ones(1, 2, 2), abs=1e-4)


def test_the_two_networks_share_no_layer_layout():
    a, b = (
        {n.rpartition(".")[0]: tuple(t.shape) for n, t in k().state_dict().items()}
        for k in (HeadIDA, HeadIDB)
    )
    assert not set(a.values()) & {s for s in b.values() if len(s) == 4}
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in HeadIDB().modules())
    for kind in (HeadIDA, HeadIDB):
        assert sum(t.numel() * 2 for t in kind().state_dict().values()) < 1.98e6


def test_weights_that_torch_saved(tmp_path, config):
    loss = HeadID.create(config)
    torch.save(loss.network.state_dict(), tmp_path / "net.pth")
    other = HeadID.create(HeadIDConfig(network=config.network, weights=tmp_path / "net.pth"))
    state = loss.network.state_dict()
    assert all(torch.equal(value, state[n]) for n, value in other.network.state_dict().items())


def test_weights_beside_other_things_and_behind_a_prefix(tmp_path, config):
    state = HeadID.create(config).network.state_dict()
    path = tmp_path / "net.pth"
    given = HeadIDConfig(network=config.network, weights=path)
    for tree in ({"state_dict": state, "epoch": 3}, {"model": state}):
        torch.save(tree, path)
        found = HeadID.create(given).network.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in found.items())
    torch.save({f"backbone.{name}": value for name, value in state.items()}, path)
    with pytest.raises(WeightsError, match=r"missing ones behind 'backbone\.': save them without"):
        HeadID.create(given)
    torch.save({"x": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match=f"; give the weights of headid-{config.network}"):
        HeadID.create(given)


def test_messages(tmp_path, config):
    other = "b" if config.network == "a" else "a"
    with pytest.raises(WeightsError, match=f"weights of headid-{config.network}, expected"):
        HeadID.create(HeadIDConfig(network=other, weights=config.weights))
    with pytest.raises(WeightsError, match="no such file"):
        HeadFeatures.create(HeadIDConfig(weights=tmp_path / "none.safetensors"))
    write_tensors(tmp_path / "part.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(WeightsError, match="another architecture"):
        HeadID.create(HeadIDConfig(weights=tmp_path / "part.safetensors"))
