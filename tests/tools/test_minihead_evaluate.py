"""The model card's claim about the two embedded networks."""

from __future__ import annotations

from tools.minihead.evaluate import behind, load
from tools.minihead.heads import Heads
from tools.minihead.seeds import EVALUATION


def test_slices_keep_the_face_out_of_white_hair_seen_from_behind() -> None:
    heads, seeds = Heads(), EVALUATION[:4]
    assert behind(load("minihead360"), heads, seeds) > behind(load("minihead"), heads, seeds) + 0.3
