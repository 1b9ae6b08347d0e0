import pickle
import warnings
import zipfile
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from inv3d.core.errors import WeightsError
from inv3d.core.files import file_digest
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.core.weights.tensors import write_tensors
from inv3d.plugins.losses import stylegan_vgg
from inv3d.plugins.losses.stylegan_vgg import StyleGANVGG, StyleGANVGGConfig


class Features(nn.Module):
    """The published file's signature; like it, it's free to change its input in place."""

    def forward(
        self, img: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        if resize_images or not return_lpips:
            raise ValueError("wrong flags")
        if img.shape[-1] > 256:
            raise ValueError("not resized")
        img.sub_(100.0)
        return (img / 50.0).sin().flatten(1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("script") / "vgg16.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Features()).save(str(target))
    return target


def expected_features(images):
    return ((images * 127.5 + 127.5 - 100.0) / 50.0).sin().flatten(1)


def pair(size):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, size, size, generator=rng).mul(2).sub(1)


def test_value_gradient_and_untouched_input(path):
    loss = StyleGANVGG.create(StyleGANVGGConfig(weights=path)).eval().requires_grad_(False)
    a, b = pair(16)
    image, kept = a.clone().requires_grad_(), a.clone()
    cache = loss.prepare(Target(b))
    found = loss(Rendering(image=image), cache)
    expected = (expected_features(a) - expected_features(b)).square().sum(1)
    assert torch.allclose(found, expected, rtol=1e-4)
    found.sum().backward()
    assert torch.equal(image.detach(), kept) and float(image.grad.abs().max()) > 0
    part = loss(Rendering(image=a[1:]), loss.select(cache, slice(1, 2)))
    assert torch.allclose(part, expected[1:], rtol=1e-4)


def test_larger_images_are_area_resized_to_256(path):
    loss = StyleGANVGG.create(StyleGANVGGConfig(weights=path))
    a, b = pair(512)
    found = loss(Rendering(image=a), loss.prepare(Target(b)))
    small = [expected_features(F.avg_pool2d(x, 2)) for x in (a, b)]
    assert torch.allclose(found, (small[0] - small[1]).square().sum(1), rtol=1e-4)


def test_messages(tmp_path):
    with pytest.raises(WeightsError, match=r"fetch vgg16\.pt.*losses\.stylegan_vgg\.weights=PATH"):
        StyleGANVGG.create(StyleGANVGGConfig())
    with pytest.raises(WeightsError, match="no such file"):
        StyleGANVGG.create(StyleGANVGGConfig(weights=tmp_path / "none.pt"))
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a TorchScript file") as caught:
        StyleGANVGG.create(StyleGANVGGConfig(weights=tmp_path / "broken.pt"))
    assert "\n" not in str(caught.value)


def test_files_of_other_kinds_are_named(tmp_path, path):
    others = {
        "saved.pt": "tensors or objects, as torch.save writes them; fetch vgg16.pt from https",
        "net.pkl": "a pickle, as of networks",
        "page.html": "a web page, not the file itself",
        "half.pt": "a damaged one|a file that is a zip archive that is damaged or cut short",
        "other.zip": r"a zip archive of other files \(README\)",
        "net.safetensors": "a safetensors file",
    }
    torch.save({"a": torch.ones(1)}, tmp_path / "saved.pt")
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "page.html").write_text("<html>")
    (tmp_path / "half.pt").write_bytes(path.read_bytes()[:-100])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as made:
        made.writestr("README", "x")
    write_tensors(tmp_path / "net.safetensors", {"a": torch.ones(1)}, {})
    for name, said in others.items():
        with pytest.raises(WeightsError, match=f"not a TorchScript file but ({said})") as caught:
            StyleGANVGG.create(StyleGANVGGConfig(weights=tmp_path / name))
        assert "\n" not in str(caught.value) and "PytorchStreamReader" not in str(caught.value)


def test_code_in_the_folder_for_weights_is_run_only_if_it_is_the_published(
    path, monkeypatch, tmp_path
):
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path))
    (tmp_path / "vgg16.pt").write_bytes(path.read_bytes())
    with pytest.raises(
        WeightsError, match=r"vgg16\.pt: SHA-256 is [0-9a-f]{64}, expected b437eb09"
    ):
        StyleGANVGG.create(StyleGANVGGConfig())
    known = replace(stylegan_vgg.WEIGHTS, sha256=file_digest(path))
    monkeypatch.setattr(stylegan_vgg, "WEIGHTS", known)
    assert StyleGANVGG.create(StyleGANVGGConfig()).features(pair(16)[0]).shape == (2, 768)
