from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from inv3d.nn.encoders.encode import encode, make_encoder
from inv3d.nn.encoders.last_layer import WEncoder, WPlusEncoder
from inv3d.nn.encoders.options import EncoderOptions, TrunkOptions
from inv3d.nn.resample import resize
from tests.nn.encoders.networks import SMALL, listed


def test_w_encoder_reads_the_mean_of_the_last_map():
    torch.manual_seed(3)
    network, images = WEncoder(SMALL, 10).eval(), torch.randn(2, 3, 48, 48)
    last = network.body(network.input_layer(images))
    assert last.shape == (2, 64, 3, 3)
    weight, bias = network.linear.weight / 8, network.linear.bias  # of 64 channels
    expected = last.mean((2, 3)) @ weight.T + bias
    torch.testing.assert_close(network(images), expected[:, None])


def test_tensors_of_the_last_layers():
    shapes = dict(listed(WEncoder, EncoderOptions(kind="w"), 512))
    assert shapes["linear.weight"] == [512, 512] and shapes["linear.bias"] == [512]
    assert {name.split(".")[0] for name in shapes} == {"input_layer", "linear", "body"}
    more = dict(listed(WPlusEncoder, EncoderOptions(kind="wplus"), 14, 512))
    assert more["output_layer_2.0.running_var"] == [512]
    assert more["output_layer_2.3.weight"] == [512, 512 * 49]
    assert more["linear.weight"] == [512 * 14, 512]


@pytest.mark.parametrize("kind", ["psp", "e4e", "w", "wplus"])
def test_every_kind_makes_all_latents_of_a_generator(kind):
    torch.manual_seed(4)
    options = EncoderOptions.model_validate({**SMALL.model_dump(), "kind": kind})
    network = make_encoder(options, 5, 10).eval()
    images, average = torch.randn(2, 3, 64, 64), torch.randn(5, 10)
    found = encode(network, images, options, 5, average)
    assert found.shape == (2, 5, 10)
    torch.testing.assert_close(found - average, encode(network, images, options, 5, None))
    seen = encode(network, resize(images, 32), options, 5, average)
    torch.testing.assert_close(found, seen)
    single = encode(network, images, options, 5, average[:1])
    torch.testing.assert_close(single - average[:1], found - average)


def test_colours_are_those_that_an_encoder_was_trained_with():
    network, images = WEncoder(SMALL, 10).eval(), torch.rand(2, 3, 32, 32) * 2 - 1
    options = SMALL.model_copy(update={"kind": "w", "colours": "imagenet"})
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    expected = network(((images + 1) / 2 - mean) / deviation)
    torch.testing.assert_close(encode(network, images, options, 1, None), expected)


def test_mode_ir_has_no_gates():
    plain = TrunkOptions(squeeze_excite=False)
    with_gates = dict(listed(WEncoder, EncoderOptions(kind="w"), 512))
    without = dict(listed(WEncoder, EncoderOptions(kind="w", trunk=plain), 512))
    gone = set(with_gates) - set(without)
    assert len(gone) == 48 and all(".res_layer.5.fc" in name for name in gone)


@pytest.mark.parametrize(("units", "count"), [((3, 13, 30, 3), 49), ((3, 8, 36, 3), 50)])
def test_deeper_trunks(units, count):
    options = EncoderOptions(kind="psp", trunk=TrunkOptions(width=8, units=units), size=32)
    names = {name.split(".")[1] for name, _ in listed(make_encoder, options, 3, 10)
             if name.startswith("body.")}  # fmt: skip
    assert len(names) == count
    assert make_encoder(options, 3, 10)(torch.randn(2, 3, 32, 32)).shape == (2, 3, 10)


@pytest.mark.parametrize(
    "options", [{"size": 96}, {"size": 16}, {"trunk": {"units": (1, 0, 1, 1)}}, {"kind": "z"}]
)
def test_sizes_that_no_encoder_has(options):
    with pytest.raises(ValidationError):
        EncoderOptions.model_validate(options)
