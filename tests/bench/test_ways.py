"""Both ways through every stage compute the same, and a wrong result is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from inv3d.bench.agreement import TOLERANCES, Agreement, compare
from inv3d.bench.cases import Case, Choice, make_case
from inv3d.bench.measure import modes_of
from inv3d.bench.problem import Mode
from inv3d.bench.reference import ReferenceNetwork, Upsampling
from inv3d.bench.ways import STAGES, StageName, Way, make_pair
from inv3d.core.config import merge
from inv3d.core.errors import ConfigError
from tests.bench.tiny_case import EG3D, HEAD, grid_case, tiny_case

ALL = [(stage, mode) for stage in STAGES for mode in modes_of(stage)]
STEPS: list[Mode] = ["w+", "tuning"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads only get into each other's way where tensors are this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def agreement(
    case: Case,
    stage: StageName,
    mode: Mode,
    views: int = 3,
    upsampling: Upsampling = "transposed",
) -> Agreement:
    network = ReferenceNetwork(case.generator, upsampling)
    pair = make_pair(case, network, stage, mode, views)
    with pair.ready():
        return compare(pair)


def same(found: Agreement, mode: Mode) -> None:
    # losses are read back in single precision
    assert found.loss < 2e-7, found
    assert found.output < 1e-7, found
    assert found.tensor < 1e-7, found
    assert bool(found.worst) == (mode != "forward")


@pytest.mark.parametrize(("stage", "mode"), ALL)
@pytest.mark.parametrize("options", [EG3D, HEAD], ids=["eg3d", "minihead"])
@pytest.mark.parametrize(
    ("chunk", "upsampling"), [(None, "transposed"), (2, "zeros")], ids=["whole", "chunked"]
)
def test_both_ways_compute_the_same(
    options: dict[str, Any],
    stage: StageName,
    mode: Mode,
    chunk: int | None,
    upsampling: Upsampling,
) -> None:
    case = tiny_case(options, torch.float64, chunk)
    same(agreement(case, stage, mode, 3, upsampling), mode)


@pytest.mark.parametrize(("stage", "mode"), ALL)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "torgb_raw": False,
            "decoder_activation": "sigmoid",
            "rendering": {"crop": None},
            "constant_maps": True,
            "base_resolution": 8,
        },
        {"decoder_activation": "lrelu"},
    ],
    ids=["panohead", "minihead", "lrelu"],
)
def test_tri_grids_too(changes: dict[str, Any], stage: StageName, mode: Mode) -> None:
    same(agreement(grid_case(torch.float64, **changes), stage, mode), mode)


@pytest.mark.parametrize(("stage", "mode"), ALL)
def test_both_ways_agree_in_single_precision(stage: StageName, mode: Mode) -> None:
    found = agreement(tiny_case(), stage, mode, 2)
    assert found.within(TOLERANCES["fp32"]), found


@pytest.mark.parametrize("stage", ["backbone", "render", "superres"])
def test_the_embedded_generator_is_read(stage: StageName) -> None:
    case = make_case(Choice("mini", rays=16, options={"samples": 8}))
    found = agreement(case, stage, "forward", 1)
    assert found.within(TOLERANCES["fp32"]), found


@pytest.mark.parametrize("mode", STEPS)
def test_losses_with_networks_take_the_generators_type(mode: Mode) -> None:
    case = replace(tiny_case(HEAD, torch.float64), losses={"headfeat": 1.0, "headid": 0.1})
    same(agreement(case, "step", mode, 2), mode)


def test_larger_features_are_shrunk_alike() -> None:
    options = merge(EG3D, {"neural_rendering_resolution": 24, "superresolution": {"module": "8X"}})
    case = tiny_case(merge(options, {"img_resolution": 64}), torch.float64)
    assert agreement(case, "step", "tuning", 1).tensor < 1e-7


@pytest.mark.parametrize(("stage", "mode"), ALL)
def test_a_wrong_result_is_told(stage: StageName, mode: Mode) -> None:
    case = tiny_case()
    other = tiny_case()
    with torch.no_grad():
        for parameter in other.generator.parameters():
            parameter.mul_(1.02)
    pair = make_pair(case, ReferenceNetwork(case.generator), stage, mode, 2)
    strange = make_pair(other, ReferenceNetwork(other.generator), stage, mode, 2)
    variables = {**pair.variables, **{f"other {n}": v for n, v in strange.variables.items()}}
    mixed = replace(pair, reference=strange.reference, variables=variables)
    with mixed.ready():
        found = compare(mixed)
    assert not found.within(TOLERANCES["fp32"])


def test_a_gradient_alone_that_is_wrong_is_told() -> None:
    case = tiny_case(dtype=torch.float64)
    pair = make_pair(case, ReferenceNetwork(case.generator), "step", "tuning", 2)
    name = "superresolution.block1.conv1.bias"

    def gradients() -> dict[str, torch.Tensor]:
        return {n: g * (1.001 if n == name else 1) for n, g in pair.ours.gradients().items()}

    with pair.ready():
        found = compare(replace(pair, ours=Way(pair.ours.call, gradients)))
    assert found.worst == name and not found.exact
    assert found.tensor == pytest.approx(1e-3, rel=1e-3)


def test_missing_outputs_and_numbers_are_told() -> None:
    case = tiny_case()
    pair = make_pair(case, ReferenceNetwork(case.generator), "backbone", "forward", 1)
    for values in ({}, {"planes": pair.ours.call()["planes"] * float("nan")}):  # type: ignore[operator]
        wrong = replace(pair, ours=Way(lambda values=values: values, dict))  # type: ignore[misc]
        assert compare(wrong).output == 1e30


def test_the_network_is_left_as_it_was() -> None:
    case = tiny_case()
    for stage, mode in ALL:
        agreement(case, stage, mode, 1)
    for parameter in case.generator.parameters():
        assert parameter.grad is None and not parameter.requires_grad


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            lambda: tiny_case(merge(EG3D, {"rendering": {"ray_start": "auto", "ray_end": "auto"}})),
            "ray_start=auto",
        ),
        (lambda: grid_case(torch.float32, background=True), "background"),
    ],
    ids=["auto", "background"],
)
def test_options_of_the_product_alone_are_refused(case: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ReferenceNetwork(case().generator)
