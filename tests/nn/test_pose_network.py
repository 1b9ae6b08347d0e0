"""The pose network against the reference's, and at other sizes."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.geometry.rotations import POSE_NUMBERS
from inv3d.nn.pose_network import PoseNetwork
from inv3d.nn.pose_options import PoseNetworkOptions
from tests.golden_cases import GoldenCase, facts_of, relative_error
from tests.nn.encoders.networks import by_rule, listed

SMALL = {"size": 64, "blocks": (2, 2, 2, 2), "widths": (24, 48, 96, 192), "hidden": (192, 96)}


def test_golden_network() -> None:
    case = GoldenCase("poseopt_pose_estimator")
    network = by_rule(PoseNetwork, case.facts, PoseNetworkOptions())
    seen: dict[str, torch.Tensor] = {}
    for name in ("layer1", "layer2", "layer3", "layer4", "fc", "fc2", "fc3"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out)
        )
    assert relative_error(network(case.tensors["input"]), case.tensors["output"]) < 1e-4
    for name, found in seen.items():
        mean, _, largest = case.facts["mean_std_absmax"][name]
        assert float(found.mean()) == pytest.approx(mean, abs=1e-4 * largest), name
        assert float(found.abs().max()) == pytest.approx(largest, rel=1e-4), name


def test_names_and_shapes_are_those_of_the_published_files() -> None:
    expected = [(e["name"], e["shape"]) for e in facts_of("keys_poseopt_pose_estimator")["entries"]]
    assert listed(PoseNetwork, PoseNetworkOptions()) == expected


@pytest.mark.parametrize("form", POSE_NUMBERS)
def test_every_form_has_its_numbers_within_reach(form: str) -> None:
    network = PoseNetwork(PoseNetworkOptions.model_validate({**SMALL, "form": form})).eval()
    for side in (32, 64, 150):
        numbers = network.numbers(torch.rand(2, 3, side, side) * 2 - 1)
        assert numbers.shape == (2, POSE_NUMBERS[form]) and bool((numbers.abs() <= 1).all())


def test_pictures_are_normalised_as_torchvision_does() -> None:
    network = PoseNetwork(PoseNetworkOptions.model_validate(SMALL)).eval()
    grey = torch.zeros(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(network.numbers(grey), network((grey + 0.5 - mean) / deviation))
