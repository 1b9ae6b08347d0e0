"""A few of many views a step: spread over the angles, each as often as the others."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from inv3d.core.fit.turns import Turns
from inv3d.testing.toy import ToyConfig, ToyGenerator

PRIOR = ToyGenerator(ToyConfig()).spec.camera


def _turns(count: int, views: int | None) -> Turns:
    return Turns.by_angle(PRIOR.orbit(torch.linspace(1.0, -1.0, count)), views)


def test_three_of_nine_are_interleaved_by_angle() -> None:
    turns = _turns(9, 3)
    assert [turns.at(step) for step in range(4)] == [[8, 5, 2], [7, 4, 1], [6, 3, 0], [8, 5, 2]]
    assert (turns.round, turns.factor) == (3, 3.0)


@pytest.mark.parametrize("views", [None, 9, 20])
def test_all_views_come_in_their_own_order(views: int | None) -> None:
    turns = _turns(9, views)
    assert turns.at(0) == turns.at(7) == list(range(9))
    assert (turns.round, turns.factor) == (1, 1.0)


@pytest.mark.parametrize("count", range(2, 13))
@pytest.mark.parametrize("views", range(1, 6))
def test_within_a_round_every_view_comes_equally_often(count: int, views: int) -> None:
    turns = _turns(count, views)
    taken = [turns.at(step) for step in range(turns.round)]
    assert all(len(set(one)) == len(one) == min(views, count) for one in taken)
    each = Counter(view for one in taken for view in one)
    assert set(each.values()) == {turns.round * turns.each // count} and len(each) == count
    assert [turns.at(step + turns.round) for step in range(turns.round)] == taken


@pytest.mark.parametrize(("count", "views"), [(9, 3), (10, 3), (7, 3), (12, 5), (9, 2)])
def test_every_step_sees_a_wide_spread(count: int, views: int) -> None:
    """Of the circle of places by angle, no step leaves out more than its share and a bit."""
    turns = _turns(count, views)
    for step in range(turns.round):
        places = sorted(turns.order.index(view) for view in turns.at(step))
        gaps = [b - a for a, b in zip(places, [*places[1:], places[0] + count], strict=True)]
        assert max(gaps) <= math.ceil(count / views)
