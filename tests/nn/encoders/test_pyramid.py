from __future__ import annotations

import json

import pytest
import torch

from inv3d.nn.encoders.e4e import Encoder4Editing
from inv3d.nn.encoders.options import EncoderOptions, TrunkOptions
from inv3d.nn.encoders.psp import GradualStyleEncoder
from tests.golden_cases import FOLDER, GoldenCase, relative_error
from tests.nn.encoders.networks import SMALL, by_rule, listed

WIDE = EncoderOptions(trunk=TrunkOptions(width=16), style_channels=16)


def test_psp_has_the_tensors_of_the_published_file():
    entries = json.loads((FOLDER / "keys_triplanenet.json").read_text())["psp_encoder"]
    assert listed(GradualStyleEncoder, EncoderOptions(), 14, 512) == [
        (name, shape) for name, shape, *_ in entries
    ]


def test_e4e_has_the_tensors_of_the_published_file():
    entries = json.loads((FOLDER / "keys_e4e_encoder.json").read_text())["entries"]
    assert listed(Encoder4Editing, EncoderOptions(kind="e4e"), 18, 512) == [
        (e["name"].removeprefix("encoder."), e["shape"]) for e in entries
    ]


def test_golden_psp_styles():
    """Its taps and statistics aren't compared: they are of another picture than its output."""
    case = GoldenCase("psp_encoder14")
    network = by_rule(GradualStyleEncoder, case.facts, EncoderOptions(), 14, 512)
    with torch.no_grad():
        found = network(case.tensors["input_u8"] / 127.5 - 1)
    assert relative_error(found, case.tensors["output"]) < 1e-5


def test_golden_e4e_styles():
    case = GoldenCase("e4e_encoder")
    options = EncoderOptions(kind="e4e")
    network = by_rule(Encoder4Editing, case.facts, options, 18, 512, prefix="encoder.")
    expected = case.tensors
    with torch.no_grad():
        found = network(expected["input"])
    assert relative_error(found, expected["all_styles"]) < 1e-5
    assert relative_error(found[:, 0], expected["output"]) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 14, 18, 20])
def test_any_number_of_latents(count):
    torch.manual_seed(1)
    network, images = GradualStyleEncoder(SMALL, count, 10).eval(), torch.randn(2, 3, 32, 32)
    codes = network(images)
    assert codes.shape == (2, count, 10)
    coarse, middle, fine = network.levels(images)
    maps = [coarse] * 3 + [middle] * 4 + [fine] * 13
    for number, block in enumerate(network.styles):
        torch.testing.assert_close(codes[:, number], block(maps[number]))


def test_sizes_follow_the_options():
    small = listed(GradualStyleEncoder, WIDE, 14, 32)
    shapes = dict(small)
    assert shapes["input_layer.0.weight"] == [16, 3, 3, 3]
    assert shapes["styles.0.convs.0.weight"] == [16, 128, 3, 3]
    assert shapes["styles.13.convs.10.weight"] == [16, 16, 3, 3]
    assert shapes["styles.13.linear.weight"] == [32, 16]
    assert shapes["latlayer2.weight"] == [128, 32, 1, 1]


def test_deltas_enter_one_after_another():
    torch.manual_seed(2)
    network = Encoder4Editing(SMALL.model_copy(update={"kind": "e4e"}), 9, 10).eval()
    images = torch.randn(2, 3, 32, 32)
    whole = network(images)
    for deltas in range(10):
        found = network(images, deltas=deltas)
        torch.testing.assert_close(found[:, : deltas + 1], whole[:, : deltas + 1])
        rest = found[:, deltas + 1 :]
        assert torch.equal(rest, found[:, :1].expand_as(rest))
    assert not torch.allclose(whole[:, 1], whole[:, 0])
