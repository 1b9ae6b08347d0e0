import json

import pytest
import torch

from inv3d.nn.ir_se import IRSE50
from tests.golden_cases import FOLDER, GoldenCase, relative_error
from tests.golden_rules import rule_state


@pytest.fixture(scope="module")
def case():
    return GoldenCase("arcface_irse50")


@pytest.fixture(scope="module")
def network(case):
    with torch.device("meta"):
        net = IRSE50()
    net.to_empty(device="cpu")
    keywords = case.facts["kwargs"]
    net.load_state_dict(rule_state(net, salt=keywords["salt"], gain=keywords["gain"]))
    return net.eval().requires_grad_(False)


def test_tensors_are_those_of_the_published_file():
    entries = json.loads((FOLDER / "keys_arcface_irse50.json").read_text())["entries"]
    with torch.device("meta"):
        state = IRSE50().state_dict()
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
