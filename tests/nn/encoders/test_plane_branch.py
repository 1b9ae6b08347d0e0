from __future__ import annotations

import json

import pytest
import torch

from inv3d.nn.encoders.options import BranchOptions, TrunkOptions
from inv3d.nn.encoders.plane_branch import PlaneBranch, differences
from tests.golden_cases import FOLDER, GoldenCase, relative_error
from tests.nn.encoders.networks import TRUNK, by_rule, listed

CASES = {
    "v1": BranchOptions(version=1),
    "v2": BranchOptions(),
    "v2_pixelshuffle": BranchOptions(pixel_shuffle=True),
}


@pytest.mark.parametrize("name", CASES)
def test_tensors_of_the_published_files(name):
    entries = json.loads((FOLDER / "keys_triplanenet.json").read_text())
    assert listed(PlaneBranch, CASES[name], 96) == [
        (key, shape) for key, shape, *_ in entries[f"triplanenet_encoder_{name}"]
    ]


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    case = GoldenCase(f"triplanenet_{name}")
    network = by_rule(PlaneBranch, case.facts, CASES[name], 96)
    planes = case.tensors.get("triplanes")
    with torch.no_grad():
        found = network(case.tensors["input"], planes)
    _, spread, largest = case.facts["offset_mean_std_absmax"]
    assert float(found.std()) == pytest.approx(spread, rel=1e-5)
    assert float(found.abs().max()) == pytest.approx(largest, rel=1e-5)
    found = found if planes is None else planes + found
    assert relative_error(found[:, ::4, ::2, ::2], case.tensors["output_sub"]) < 1e-5


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pixel_shuffle", [False, True])
@pytest.mark.parametrize("units", [(1, 2, 2, 2), (1, 1, 1, 1)])
def test_small_networks_of_every_kind(version, pixel_shuffle, units):
    torch.manual_seed(5)
    trunk = TrunkOptions(width=8, units=units)
    options = BranchOptions(version=version, pixel_shuffle=pixel_shuffle, trunk=trunk)
    network = PlaneBranch(options, 36)  # a tri-grid of 4 features and 3 slices
    pictures, planes = torch.randn(2, options.inputs, 32, 32), torch.randn(2, 36, 32, 32)
    offset = network(pictures, planes)
    assert offset.shape == planes.shape
    offset.square().mean().backward()
    assert all(bool(p.grad.any()) for n, p in network.named_parameters() if "bias" not in n)
    other = network(pictures, planes + 1)
    assert torch.equal(offset, other) == (version == 1)


def test_branch_sees_renders_and_what_they_lack():
    images, rendered, mirrored = (torch.randn(2, 3, 8, 8, requires_grad=True) for _ in range(3))
    seen = differences(images, rendered, mirrored)
    assert seen.shape == (2, 9, 8, 8) and not seen.requires_grad
    torch.testing.assert_close(seen[:, :3] + seen[:, 3:6], images)
    torch.testing.assert_close((seen[:, 6:] + mirrored).flip(-1), images)
    assert torch.equal(differences(images, rendered), seen[:, :6])


def test_batches_are_not_mixed_in_evaluation():
    torch.manual_seed(6)
    network = PlaneBranch(BranchOptions(trunk=TRUNK), 12).eval()
    pictures, planes = torch.randn(3, 9, 16, 16), torch.randn(3, 12, 16, 16)
    together = network(pictures, planes)
    alone = torch.cat([network(a[None], b[None]) for a, b in zip(pictures, planes, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
