from __future__ import annotations

import json

import torch
from torch.nn import functional as F

from inv3d.nn.encoders.confidence import ConfidenceNetwork, mirror_uncertainty
from inv3d.nn.encoders.options import ConfidenceOptions
from tests.golden_cases import FOLDER, GoldenCase, relative_error
from tests.nn.encoders.networks import by_rule, listed


def test_tensors_of_the_published_file():
    entries = json.loads((FOLDER / "keys_unsup3d_confnet.json").read_text())["entries"]
    assert listed(ConfidenceNetwork, ConfidenceOptions()) == [
        (e["name"], e["shape"]) for e in entries
    ]


def test_golden():
    case = GoldenCase("unsup3d_confnet")
    network = by_rule(ConfidenceNetwork, case.facts, ConfidenceOptions())
    expected = case.tensors
    scales, coarse = network(expected["input"])
    assert relative_error(scales, expected["conf"]) < 1e-5
    assert relative_error(coarse, expected["conf_small"]) < 1e-5
    large = F.interpolate(scales[:, 1:], size=256, mode="bilinear")
    assert relative_error(large[..., ::8, ::8], expected["conf_flip_256_sub"]) < 1e-5


def test_uncertainty_lies_over_the_mirrored_picture():
    """A picture enlarged to 256 and made small again is the same: the golden case serves too."""
    case = GoldenCase("unsup3d_confnet")
    network = by_rule(ConfidenceNetwork, case.facts, ConfidenceOptions())
    large = case.tensors["input"].repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = mirror_uncertainty(network, large, 256)
    assert found.shape == (1, 256, 256) and found.min() > 0
    expected = case.tensors["conf_flip_256_sub"][:, 0]
    assert relative_error(found.flip(-1)[:, ::8, ::8], expected) < 1e-5


def test_small_networks():
    torch.manual_seed(7)
    network = ConfidenceNetwork(ConfidenceOptions(width=8, code=20))
    images = torch.randn(2, 3, 64, 64)
    scales, coarse = network(images)
    assert scales.shape == (2, 2, 64, 64) and coarse.shape == (2, 2, 16, 16)
    assert mirror_uncertainty(network, torch.randn(2, 3, 96, 96), 48).shape == (2, 48, 48)


def test_other_channels():
    torch.manual_seed(7)
    network = ConfidenceNetwork(ConfidenceOptions(width=8, code=20, inputs=1, outputs=4))
    images = torch.randn(1, 1, 64, 64)
    scales, coarse = network(images)
    assert scales.shape == (1, 4, 64, 64) and coarse.shape == (1, 4, 16, 16)
