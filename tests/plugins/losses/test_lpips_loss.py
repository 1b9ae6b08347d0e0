import warnings
from dataclasses import replace

import lpips
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from inv3d.core.errors import ConfigError, UnsupportedError, WeightsError
from inv3d.core.files import file_digest
from inv3d.core.loss import Target, load_loss
from inv3d.core.scene import Rendering
from inv3d.core.weights import fetch
from inv3d.core.weights.known import weights_dir
from inv3d.plugins.losses.lpips import BACKBONES, LPIPS, LPIPSConfig
from inv3d.plugins.losses.options import LEAST_SIDES


def package_network(net):
    """The package's own network with random weights of the true shapes."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(5)
        return lpips.LPIPS(pretrained=True, pnet_rand=True, net=net, verbose=False).eval()


def torchvision_state(network):
    state = {"features." + n.partition(".")[2]: v for n, v in network.net.state_dict().items()}
    return state | {"classifier.1.weight": torch.zeros(2, 2)}


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory):
    network = package_network("squeeze")
    path = tmp_path_factory.mktemp("weights") / "squeeze.pth"
    torch.save(torchvision_state(network), path)
    return network, path


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Empty caches and no network."""

    def refuse(url, path, **options):
        raise WeightsError(f"{url}: no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("INV3D_OFFLINE", "")
    monkeypatch.setattr(fetch, "download", refuse)
    return tmp_path / "hub" / "checkpoints"


def pair(size=64, count=2):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(2, count, 3, size, size, generator=rng).mul(2).sub(1)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
@pytest.mark.parametrize("resize", [0, 256])
def test_the_smallest_pictures_are_named(net, resize):
    loss = LPIPS(LPIPSConfig(net=net, resize=resize), package_network(net))
    least = LEAST_SIDES[net]
    assert loss.prepare(Target(torch.zeros(1, 3, least, least)))
    message = f"found pictures of {least - 1} pixels a side, but net={net} takes {least} and more"
    with pytest.raises(UnsupportedError, match=message):
        loss.prepare(Target(torch.zeros(1, 3, least, least - 1)))


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_equals_the_package(net, tmp_path, offline):
    network = package_network(net)
    path = tmp_path / "backbone.pth"
    torch.save(torchvision_state(network), path)
    loss = LPIPS.create(LPIPSConfig(net=net, weights=path)).requires_grad_(False)
    a, b = pair()
    with torch.no_grad():
        expected = network(a, b)[:, 0, 0, 0]
    found = loss(Rendering(image=a), loss.prepare(Target(b)))
    assert found.shape == (2,) and float(expected.min()) > 1e-3
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_large_images_may_be_resized_bilinearly(squeeze):
    _, path = squeeze
    loss = LPIPS.create(LPIPSConfig(net="squeeze", weights=path, resize=32, resize_by="bilinear"))
    full = LPIPS.create(LPIPSConfig(net="squeeze", weights=path, resize=0))
    images = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # each pixel of 32 lies between two of 80, by its distance from them
    at = (torch.arange(32) + 0.5) * 2.5 - 0.5
    low, part = at.floor().long(), (at - at.floor())
    rows = images[..., low, :] * (1 - part)[:, None] + images[..., low + 1, :] * part[:, None]
    small = rows[..., low] * (1 - part) + rows[..., low + 1] * part
    for name, layer in loss.activations(images).items():
        torch.testing.assert_close(layer, full.activations(small)[name], atol=1e-4, rtol=1e-4)


def test_large_images_are_area_resized(squeeze):
    network, path = squeeze
    loss = LPIPS.create(LPIPSConfig(net="squeeze", weights=path, resize=32))
    full = LPIPS.create(LPIPSConfig(net="squeeze", weights=path, resize=0))
    a, b = pair()
    with torch.no_grad():
        small = network(F.avg_pool2d(a, 2), F.avg_pool2d(b, 2))[:, 0, 0, 0]
        large = network(a, b)[:, 0, 0, 0]
        found = [x(Rendering(image=a), x.prepare(Target(b))) for x in (loss, full)]
    assert torch.allclose(found[0], small, rtol=1e-5)
    assert torch.allclose(found[1], large, rtol=1e-5)


def test_gradient_and_chunks(squeeze):
    loss = LPIPS.create(LPIPSConfig(net="squeeze", weights=squeeze[1])).requires_grad_(False)
    a, b = pair(count=3)
    cache = loss.prepare(Target(b))
    image = a.clone().requires_grad_()
    whole = loss(Rendering(image=image), cache)
    whole.sum().backward()
    assert image.grad.isfinite().all() and float(image.grad.abs().max()) > 0
    part = loss(Rendering(image=a[1:2]), loss.select(cache, slice(1, 2)))
    assert torch.allclose(whole[1:2], part, rtol=1e-4)


def test_gradient_is_finite_where_all_features_are_zero(squeeze, tmp_path):
    state = {n: torch.zeros_like(v) for n, v in torchvision_state(squeeze[0]).items()}
    path = tmp_path / "zeros.safetensors"
    save_file(state, path)
    loss = LPIPS.create(LPIPSConfig(net="squeeze", weights=path)).requires_grad_(False)
    image = pair()[0].requires_grad_()
    loss(Rendering(image=image), loss.prepare(Target(pair()[1]))).sum().backward()
    assert image.grad.isfinite().all()


def test_cache_of_torch_is_used(squeeze, offline, monkeypatch):
    file = replace(BACKBONES["squeeze"], size=None, sha256=file_digest(squeeze[1]))
    monkeypatch.setitem(BACKBONES, "squeeze", file)
    offline.mkdir(parents=True)
    (offline / "squeezenet1_1-b8a52dc0.pth").write_bytes(squeeze[1].read_bytes())
    found = LPIPS.create(LPIPSConfig(net="squeeze"))
    state = torchvision_state(squeeze[0])
    assert torch.equal(found.network.net.slice1[0].weight, state["features.0.weight"])


@pytest.mark.parametrize(
    ("net", "file"),
    [("vgg", "vgg16-397923af.pth"), ("alex", "alexnet-owt-7be5be79.pth")],
)
def test_offline_message_says_everything(net, file, offline):
    with pytest.raises(WeightsError) as caught:
        LPIPS.create(LPIPSConfig(net=net))
    text = str(caught.value)
    assert "\n" not in text and "no route to host" in text
    assert f"https://download.pytorch.org/models/{file}" in text
    assert str(weights_dir() / file) in text
    assert "losses.lpips.weights=" in text and "headfeat" in text
    assert not (weights_dir() / file).exists()


def test_a_downloaded_backbone_is_used(squeeze, offline, monkeypatch):
    def download(url, path, *, size, sha256, report):
        assert url.endswith("/squeezenet1_1-b8a52dc0.pth") and len(sha256) == 64 and size == 4958839
        path.parent.mkdir(parents=True)
        path.write_bytes(squeeze[1].read_bytes())

    monkeypatch.setattr(fetch, "download", download)
    found = LPIPS.create(LPIPSConfig(net="squeeze"))
    state = torchvision_state(squeeze[0])
    assert torch.equal(found.network.net.slice1[0].weight, state["features.0.weight"])


def test_published_checksums_begin_as_torchvisions_names_say():
    for file in LPIPS.weights:
        assert file.sha256.startswith(file.name.removesuffix(".pth").rpartition("-")[2])
        assert file.url.endswith(f"/{file.name}")


def test_weights_of_another_backbone(squeeze):
    with pytest.raises(WeightsError, match=r"features\.0\.weight.*\(64, 3, 3, 3\).*\(64, 3, 11"):
        LPIPS.create(LPIPSConfig(net="alex", weights=squeeze[1]))


@pytest.mark.parametrize("number", [float("nan"), 1e300])
def test_numbers_that_no_network_has_are_refused(squeeze, tmp_path, number):
    state = torchvision_state(squeeze[0])
    state["features.0.bias"] = state["features.0.bias"].double() + number
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth: .*has numbers that aren't finite"):
        LPIPS.create(LPIPSConfig(net="squeeze", weights=tmp_path / "odd.pth"))


def test_a_file_of_another_kind_of_network(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"begins with 'features\.'; its names are conv1\.weig"):
        LPIPS.create(LPIPSConfig(weights=tmp_path / "other.pth"))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        LPIPS.create(LPIPSConfig(weights=tmp_path / "none.pth"))
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"broken\.pth: not a weight file"):
        LPIPS.create(LPIPSConfig(weights=tmp_path / "broken.pth"))


def test_building_leaves_the_global_random_numbers_alone(squeeze):
    before = torch.get_rng_state()
    LPIPS.create(LPIPSConfig(net="squeeze", weights=squeeze[1]))
    assert torch.equal(before, torch.get_rng_state())


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "evil.pth"
    torch.save({"features.0.weight": Evil()}, path)
    with pytest.raises(WeightsError):
        LPIPS.create(LPIPSConfig(weights=path))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("net", "least"), [("vgg", 16), ("alex", 31), ("squeeze", 17)])
def test_the_least_size_is_one_that_the_backbone_takes(net, least, tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save(torchvision_state(package_network(net)), path)
    options = {"net": net, "weights": str(path)}
    layers = load_loss("lpips", {**options, "resize": least}).features(pair(48)[0])
    assert all(layer.numel() for layer in layers.values())
    with pytest.raises(ConfigError, match=f"resize {least - 1}: .* {least} or more, or 0"):
        load_loss("lpips", {**options, "resize": least - 1})


def test_another_file_of_the_name_is_refused(squeeze, offline):
    weights_dir().mkdir()
    (weights_dir() / "squeezenet1_1-b8a52dc0.pth").write_bytes(squeeze[1].read_bytes())
    with pytest.raises(WeightsError, match=r"squeezenet1_1.* bytes, expected 4958839.*fetch"):
        LPIPS.create(LPIPSConfig(net="squeeze"))
