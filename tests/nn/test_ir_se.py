import json

import pytest
import torch

from inv3d.nn.ir_se import ArcFaceNetwork, network_of
from tests.golden_cases import FOLDER, GoldenCase, relative_error
from tests.golden_rules import rule_state


@pytest.fixture(scope="module")
def case():
    return GoldenCase("arcface_irse50")


@pytest.fixture(scope="module")
def network(case):
    with torch.device("meta"):
        net = ArcFaceNetwork()
    net.to_empty(device="cpu")
    keywords = case.facts["kwargs"]
    net.load_state_dict(rule_state(net, salt=keywords["salt"], gain=keywords["gain"]))
    return net.eval().requires_grad_(False)


def test_tensors_are_those_of_the_published_file():
    entries = json.loads((FOLDER / "keys_arcface_irse50.json").read_text())["entries"]
    with torch.device("meta"):
        state = ArcFaceNetwork().state_dict()
    assert [(n, list(t.shape)) for n, t in state.items()] == [
        (e["name"], e["shape"]) for e in entries
    ]


def test_rule_gives_the_listed_weights(case, network):
    state = list(network.state_dict().items())
    for check in case.facts["weight_checks"]:
        name, tensor = state[check["k"]]
        assert name == check["name"]
        flat = tensor.flatten().double()
        assert flat[: len(check["first"])].tolist() == pytest.approx(check["first"], abs=1e-7)
        assert float(flat[-1]) == pytest.approx(check["last"], abs=1e-7)
        assert float(flat.abs().mean()) == pytest.approx(check["mean_abs"], rel=1e-6)


def test_golden_taps_and_features(case, network):
    expected = case.tensors
    x = network.input_layer(expected["input"])
    steps = {"body2": 8, "body6": 4, "body20": 2, "body23": 1}
    for number, block in enumerate(network.body):
        x = block(x)
        if (step := steps.get(f"body{number}")) is not None:
            found = x[:, ::16, ::step, ::step]
            assert relative_error(found, expected[f"body{number}_sub"]) < 1e-4
    assert relative_error(network.output_layer(x), expected["before_l2"]) < 1e-4
    features = network(expected["input"])
    assert relative_error(features, expected["output"]) < 1e-4
    assert torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)


KINDS = [
    {},
    {"layers": 100, "squeeze_excite": False, "affine": False},
    {"layers": 152, "size": 224},
    {"layers": 50, "squeeze_excite": False},
    {"layers": 100, "affine": False},
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_told_by_its_tensors(kind):
    with torch.device("meta"):
        state = ArcFaceNetwork(**kind).state_dict()
        found = network_of(state)
    assert {n: t.shape for n, t in found.state_dict().items()} == {
        n: t.shape for n, t in state.items()
    }
    assert found.size == kind.get("size", 112)


def test_layers_of_the_kinds():
    """Convolutions and the last linear layer, as the numbers of layers count them."""
    for layers, squeeze_excite in ((50, True), (100, False), (152, False)):
        with torch.device("meta"):
            network = ArcFaceNetwork(layers, squeeze_excite=squeeze_excite)
        units = [unit.res_layer for unit in network.body]
        assert 2 * len(units) == {50: 48, 100: 98, 152: 100}[layers]
        widths = [unit[3].out_channels for unit in units]
        groups = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}[layers]
        assert [widths.count(64 << i) for i in range(4)] == list(groups)
        assert all((len(unit) == 6) == squeeze_excite for unit in units)


def test_a_larger_picture_and_no_gates():
    torch.manual_seed(0)
    network = ArcFaceNetwork(50, squeeze_excite=False, size=32, affine=False).eval()
    with torch.no_grad():
        features = network(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 512)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def test_what_has_no_tensors_of_its_own_is_taken_for_ir_se50():
    with torch.device("meta"):
        assert network_of({}).state_dict().keys() == ArcFaceNetwork().state_dict().keys()
