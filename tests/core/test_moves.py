"""Moving latents: layers, coordinates, what stays, how far is far."""

from __future__ import annotations

import warnings

import pytest
import torch
from pydantic import ValidationError

from inv3d.core.errors import ConfigError
from inv3d.core.moves import LayerRange, conditioned, coordinates, shifted, warn_of_distance
from tests.golden_cases import GoldenCase

AXIS = torch.tensor([0.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (0, 6)), ({"start": 2}, (2, 6)), ({"end": 6}, (0, 6)), ({"start": 5, "end": 6}, (5, 6))],
)
def test_layers_are_within_the_latents(options: dict[str, int], expected: tuple[int, int]) -> None:
    layers = LayerRange(**options).layers(torch.zeros(1, 6, 3), "editor x")
    assert (layers.start, layers.stop) == expected


@pytest.mark.parametrize("options", [{"end": 7}, {"start": 6}, {"start": 6, "end": 9}])
def test_layers_beyond_the_last_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"editor x: layers .* that have 6 \(num_ws\); give"):
        LayerRange(**options).layers(torch.zeros(1, 6, 3), "editor x")


@pytest.mark.parametrize("options", [{"start": 3, "end": 3}, {"start": 4, "end": 2}, {"start": -1}])
def test_ranges_without_a_layer_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        LayerRange(**options)


def test_a_shift_changes_its_layers_alone_and_no_given_latent() -> None:
    ws = torch.randn(2, 4, 3)
    before = ws.clone()
    moved = shifted(ws, 2 * AXIS, slice(1, 3))
    assert torch.equal(ws, before)
    assert torch.equal(moved[:, [0, 3]], ws[:, [0, 3]])
    assert torch.allclose(moved[:, 1:3] - ws[:, 1:3], (2 * AXIS).expand(2, 2, 3))


def test_coordinates_count_deviations_from_the_mean() -> None:
    w = torch.tensor([[1.0, 5.0, 1.0]])
    assert torch.equal(coordinates(w, torch.ones(3), AXIS, 2.0), torch.tensor([2.0]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_conditions_are_those_of_interfacegan(count: int) -> None:
    case = GoldenCase("interfacegan")
    keep = [case.tensors[f"cond{i + 1}"][0] for i in range(count)]
    found = conditioned(case.tensors["primal"][0], keep)
    assert torch.allclose(found, case.tensors[f"projected{count}"][0], atol=1e-6)
    assert all(abs(float(found @ one)) < 1e-6 for one in keep)


def test_conditions_may_depend_on_one_another() -> None:
    first = torch.tensor([1.0, 0.0, 0.0])
    found = conditioned(torch.tensor([1.0, 1.0, 0.0]), [first, 2 * first, first])
    assert torch.allclose(found, AXIS, atol=1e-6)


def test_without_conditions_it_is_the_unit_direction() -> None:
    assert torch.allclose(conditioned(3 * AXIS, []), AXIS)


def test_a_direction_that_would_vanish_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing of the direction is left"):
        conditioned(AXIS, [-AXIS])


def test_leaving_the_cloud_is_said_with_the_distance() -> None:
    ws = torch.zeros(1, 1, 3)
    with pytest.warns(UserWarning, match=r"component 7: the latent ends 6\.0 standard deviations"):
        warn_of_distance(ws, ws + 12 * AXIS, torch.zeros(3), AXIS, 2.0, "component 7")


@pytest.mark.parametrize(("before", "after"), [(0.0, 3.9), (9.0, 5.0)])
def test_staying_in_the_cloud_or_coming_back_is_not_worth_a_word(
    before: float, after: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_distance(
            (before * AXIS)[None, None], (after * AXIS)[None, None], torch.zeros(3), AXIS, 1.0, "x"
        )


def test_conditions_of_no_length_are_none() -> None:
    direction, zero = torch.eye(8)[0], torch.zeros(8)
    torch.testing.assert_close(conditioned(direction, [zero]), direction)
    both = conditioned(direction, [zero, torch.ones(8)])
    torch.testing.assert_close(both, conditioned(direction, [torch.ones(8)]))
