"""Files in the layouts of the published ones, with networks that are smaller."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
import torch

from inv3d.core.errors import MismatchError, WeightsError
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.encoders.confidence import ConfidenceNetwork
from inv3d.nn.encoders.encode import make_encoder
from inv3d.nn.encoders.options import BranchOptions, ConfidenceOptions, EncoderOptions, TrunkOptions
from inv3d.nn.encoders.plane_branch import PlaneBranch
from inv3d.nn.encoders.published import (
    read_average,
    read_confidence,
    read_encoder,
    read_triplanenet,
    start_trunk,
)
from inv3d.nn.encoders.triplanenet import TriPlaneNet
from inv3d.nn.ir_se import ArcFaceNetwork
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.nn.encoders.networks import SMALL, TRUNK, empty

W_DIM = 10


def _options(kind):
    return EncoderOptions.model_validate({**SMALL.model_dump(), "kind": kind})


def _prefixed(prefix, network):
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.fixture
def images():
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(13))


@pytest.mark.parametrize("kind", ["psp", "e4e", "w", "wplus"])
@pytest.mark.parametrize("rows", [None, 1, 5])
def test_encoders_load_by_name(tmp_path, images, kind, rows):
    network = make_encoder(_options(kind), 5, W_DIM).eval()
    contents = {
        "state_dict": {**_prefixed("encoder.", network), "decoder.style.1.weight": torch.ones(3)},
        "opts": {"start_from_latent_avg": rows is not None, "device": "cuda:0"},
    }
    if rows:
        contents["latent_avg"] = torch.randn(rows, W_DIM)
    torch.save(contents, tmp_path / "net.pt")
    found = read_encoder(tmp_path / "net.pt", _options(kind), w_dim=W_DIM)
    assert torch.equal(found.network(images), network(images)) and not found.network.training
    assert found.num_ws == (1 if kind == "w" else 5)
    assert found.counts_from_average == (rows is not None)
    if rows is None:
        assert found.average is None
    else:
        assert torch.equal(found.average, contents["latent_avg"])


def test_bare_file_of_data_parallel_training(tmp_path, images):
    network = make_encoder(_options("e4e"), 4, W_DIM).eval()
    torch.save(_prefixed("module.encoder.", network), tmp_path / "e4e.pt")
    found = read_encoder(tmp_path / "e4e.pt", _options("e4e"), w_dim=W_DIM)
    assert torch.equal(found.network(images), network(images))
    assert found.num_ws == 4 and found.average is None and found.counts_from_average


def test_entries_that_are_none_count_as_missing(tmp_path):
    """As a training writes them that has no average, or whose options were taken out."""
    contents = {"state_dict": _prefixed("encoder.", make_encoder(_options("psp"), 3, W_DIM))}
    torch.save(contents | {"latent_avg": None, "opts": None}, tmp_path / "net.pt")
    found = read_encoder(tmp_path / "net.pt", _options("psp"), w_dim=W_DIM)
    assert found.average is None and found.counts_from_average


def test_options_of_a_namespace(tmp_path):
    network = make_encoder(_options("psp"), 3, W_DIM)
    opts = argparse.Namespace(start_from_latent_avg=False, n_styles=3)
    torch.save({"state_dict": _prefixed("encoder.", network), "opts": opts}, tmp_path / "net.pt")
    found = read_encoder(tmp_path / "net.pt", _options("psp"), w_dim=W_DIM)
    assert not found.counts_from_average


def test_copy_as_safetensors(tmp_path, images):
    network = make_encoder(_options("psp"), 3, W_DIM).eval()
    tensors = _prefixed("encoder.", network) | {"latent_avg": torch.randn(3, W_DIM)}
    write_tensors(tmp_path / "net.safetensors", tensors, {})
    found = read_encoder(tmp_path / "net.safetensors", _options("psp"), w_dim=W_DIM)
    assert torch.equal(found.network(images), network(images))
    assert torch.equal(found.average, tensors["latent_avg"])


def test_encoder_of_another_generator(tmp_path):
    spec = ToyGenerator(ToyConfig()).spec
    for kind, num_ws in (("psp", spec.num_ws), ("psp", spec.num_ws + 1), ("w", 1)):
        network = make_encoder(_options(kind), num_ws, spec.w_dim)
        torch.save(_prefixed("encoder.", network), tmp_path / "net.pt")
        found = read_encoder(tmp_path / "net.pt", _options(kind), w_dim=spec.w_dim)
        if num_ws <= spec.num_ws:
            found.check(spec)
            with pytest.raises(
                WeightsError, match=rf"generator toy takes \d+ of {spec.w_dim + 1};"
            ):
                found.check(replace(spec, w_dim=spec.w_dim + 1))
        else:
            with pytest.raises(WeightsError, match=rf"net\.pt: an encoder of {num_ws} latents of"):
                found.check(spec)


@pytest.mark.parametrize("shape", [(3, 4), (2, W_DIM), (1, 1, 3, W_DIM), ()])
def test_average_that_does_not_fit(tmp_path, shape):
    network = make_encoder(_options("psp"), 3, W_DIM)
    contents = {"state_dict": _prefixed("encoder.", network), "latent_avg": torch.ones(shape)}
    torch.save(contents, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"net\.pt: latent_avg has (the shape|2 rows)") as caught:
        read_encoder(tmp_path / "net.pt", _options("psp"), w_dim=W_DIM)
    assert "\n" not in str(caught.value)


def test_encoder_of_another_kind(tmp_path):
    network = make_encoder(_options("w"), 3, W_DIM)
    torch.save({"state_dict": _prefixed("encoder.", network)}, tmp_path / "net.pt")
    with pytest.raises(MismatchError, match=r"net\.pt: weights of another architecture"):
        read_encoder(tmp_path / "net.pt", _options("psp"), w_dim=W_DIM)
    with pytest.raises(WeightsError, match="no tensor whose name begins with 'psp_encoder"):
        read_encoder(tmp_path / "net.pt", _options("w"), "psp_encoder.", w_dim=W_DIM)


@pytest.mark.parametrize(
    ("said", "kind", "method"),
    [
        ("GradualStyleEncoder", "psp", "psp --set encoder.kind=psp"),
        ("Encoder4Editing", "e4e", "e4e"),
        ("BackboneEncoderUsingLastLayerIntoW", "w", "psp --set encoder.kind=w"),
        ("BackboneEncoderUsingLastLayerIntoWPlus", "wplus", "psp --set encoder.kind=wplus"),
    ],
)
def test_the_kind_that_a_file_says_it_is(tmp_path, said, kind, method):
    """The tensors of pSp and e4e are the same, what they mean isn't."""
    network = make_encoder(_options(kind), 3, W_DIM)
    contents = {"state_dict": _prefixed("encoder.", network), "opts": {"encoder_type": said}}
    torch.save(contents, tmp_path / "net.pt")
    assert read_encoder(tmp_path / "net.pt", _options(kind), w_dim=W_DIM).w_dim == W_DIM
    for other in {"psp", "e4e", "w", "wplus"} - {kind}:
        with pytest.raises(WeightsError, match=rf"kind '{kind}' \({said}\).*--method {method}$"):
            read_encoder(tmp_path / "net.pt", _options(other), w_dim=W_DIM)


@pytest.mark.parametrize("broken", [torch.tensor(1.0), torch.ones(3)])
def test_tensors_without_the_axes_that_sizes_are_read_from(tmp_path, broken):
    network = TriPlaneNet(SMALL, BranchOptions(trunk=TRUNK), 4, W_DIM, 12)
    names = ("input_layer.0.weight", "up1.conv.double_conv.1.bias")
    for name in (f"triplanenet_encoder.{name}" for name in names):
        torch.save({"state_dict": network.state_dict() | {name: broken}}, tmp_path / "net.pt")
        with pytest.raises(WeightsError, match=r"net\.pt"):
            read_triplanenet(tmp_path / "net.pt", SMALL, TRUNK, plane_channels=12, w_dim=W_DIM)
    state = _prefixed("encoder.", make_encoder(_options("wplus"), 3, W_DIM))
    torch.save({"state_dict": state | {"encoder.linear.bias": broken}}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"net\.pt"):
        read_encoder(tmp_path / "net.pt", _options("wplus"), w_dim=W_DIM)
    trunk = {n: t for n, t in network.triplanenet_encoder.state_dict().items() if "body" in n}
    torch.save(trunk | {"input_layer.0.weight": broken}, tmp_path / "trunk.pt")
    with pytest.raises(WeightsError, match=r"trunk\.pt"):
        start_trunk(network.triplanenet_encoder, tmp_path / "trunk.pt", torch.Generator())


@pytest.mark.parametrize(("version", "shuffle"), [(1, True), (2, False), (2, True)])
def test_triplanenet_of_every_version(tmp_path, images, version, shuffle):
    branch = BranchOptions(version=version, pixel_shuffle=shuffle, trunk=TRUNK)
    network = TriPlaneNet(SMALL, branch, 4, W_DIM, 12).eval()
    contents = {
        "state_dict": {**network.state_dict(), "decoder.backbone.w": torch.ones(2)},
        "opts": {"use_pixelshuffle": shuffle},
        "step": 600_000,
        "best_val_loss": None,
        "psp_optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4}]},
    }
    torch.save(contents, tmp_path / "net.pt")
    found = read_triplanenet(tmp_path / "net.pt", SMALL, TRUNK, plane_channels=12, w_dim=W_DIM)
    assert found.num_ws == 4 and found.average is None and found.counts_from_average
    again = found.network
    assert isinstance(again, TriPlaneNet) and again.version == version
    assert torch.equal(again.psp_encoder(images), network.psp_encoder(images))
    seen, planes = torch.randn(1, branch.inputs, 32, 32), torch.randn(1, 12, 32, 32)
    expected = network.triplanenet_encoder(seen, planes)
    assert torch.equal(again.triplanenet_encoder(seen, planes), expected)
    with pytest.raises(MismatchError, match=r"net\.pt: weights of another architecture"):
        read_triplanenet(tmp_path / "net.pt", SMALL, TRUNK, plane_channels=24, w_dim=W_DIM)


def test_half_a_triplanenet(tmp_path):
    network = make_encoder(SMALL, 4, W_DIM)
    torch.save({"state_dict": _prefixed("psp_encoder.", network)}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="begins with 'triplanenet_encoder"):
        read_triplanenet(tmp_path / "net.pt", SMALL, TRUNK, plane_channels=12, w_dim=W_DIM)
    damaged = _prefixed("psp_encoder.", network) | {"triplanenet_encoder.up1": torch.ones(3)}
    torch.save({"state_dict": damaged}, tmp_path / "net.pt")
    with pytest.raises(MismatchError, match="first: triplanenet_encoder"):
        read_triplanenet(tmp_path / "net.pt", SMALL, TRUNK, plane_channels=12, w_dim=W_DIM)


def test_average_in_the_file_of_the_generator(tmp_path):
    average = torch.randn(512)
    contents = {"G_ema": {"w": torch.ones(2)}, "init_kwargs": {"z_dim": 512}, "latent_avg": average}
    torch.save(contents, tmp_path / "ffhq512-128.pth")
    assert torch.equal(read_average(tmp_path / "ffhq512-128.pth"), average[None])
    with pytest.raises(WeightsError, match=r"latent_avg has the shape \(512,\), expected \[128\]"):
        read_average(tmp_path / "ffhq512-128.pth", w_dim=128)
    del contents["latent_avg"]
    torch.save(contents, tmp_path / "ffhq512-128.pth")
    with pytest.raises(WeightsError, match="has no 'latent_avg'"):
        read_average(tmp_path / "ffhq512-128.pth")


def test_confidence_network_among_others(tmp_path):
    options = ConfidenceOptions(width=8, code=6)
    network = ConfidenceNetwork(options)
    contents = {
        "netD": {"w": torch.ones(2)},
        "netC": network.state_dict(),
        "optimizerC": {"state": {}, "param_groups": [{"lr": 1e-4}]},
        "epoch": 30,
    }
    torch.save(contents, tmp_path / "checkpoint030.pth")
    found = read_confidence(tmp_path / "checkpoint030.pth", options)
    faces = torch.randn(1, 3, 64, 64)
    assert torch.equal(found(faces)[0], network(faces)[0])
    assert not any(p.requires_grad for p in found.parameters())


@pytest.fixture(scope="module")
def face_network(tmp_path_factory):
    torch.manual_seed(14)
    path = tmp_path_factory.mktemp("weights") / "model_ir_se50.pth"
    torch.save(ArcFaceNetwork().state_dict(), path)
    return path


def test_trunk_starts_from_the_face_network(face_network):
    given = torch.load(face_network, weights_only=True)
    branch = empty(PlaneBranch, BranchOptions(), 3).to_empty(device="cpu")
    with torch.no_grad():
        for tensor in branch.state_dict().values():
            tensor.fill_(7)
    start_trunk(branch, face_network, torch.Generator().manual_seed(0))
    found = branch.state_dict()
    first = "input_layer.0.weight"
    assert torch.equal(found[first][:, :3], given[first])
    noise = found[first][:, 3:]
    assert noise.shape == (64, 6, 3, 3)
    assert abs(float(noise.std()) - 1) < 0.05 and abs(float(noise.mean())) < 0.05
    shared = [n for n in given if n.startswith(("body.", "input_layer."))]
    assert len(shared) == 397 - 12 and set(shared) < set(found)
    assert all(torch.equal(found[n], given[n]) for n in shared if n != first)
    assert all(found[n].eq(7).all() for n in found if n not in shared)


def test_another_trunk_does_not_start_from_it(face_network):
    for trunk in (TrunkOptions(width=8), TrunkOptions(squeeze_excite=False)):
        network = make_encoder(EncoderOptions(kind="w", trunk=trunk), 1, W_DIM)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with pytest.raises(MismatchError, match=r"model_ir_se50\.pth: weights of another"):
            start_trunk(network, face_network, torch.Generator())
        assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
