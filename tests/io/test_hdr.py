"""Curves of high dynamic range."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from inv3d.io.hdr import Transfer, to_srgb


def levels(signal: float) -> np.ndarray:
    return np.full((1, 1, 3), round(signal * 65535), np.uint16)


# 203 nits, the white of paper, by ITU-R BT.2408: 58 % of PQ, 75 % of HLG
@pytest.mark.parametrize(("transfer", "paper"), [("pq", 0.58), ("hlg", 0.75)])
def test_paper_is_nearly_white_and_black_black(transfer: Transfer, paper: float) -> None:
    assert 225 < int(to_srgb(levels(paper), transfer).min()) <= 250
    assert int(to_srgb(levels(0.0), transfer).max()) <= 1
    assert int(to_srgb(levels(1.0), transfer).min()) >= 254


def test_brighter_stays_brighter_and_grey_grey() -> None:
    for transfer in ("pq", "hlg"):
        shown = [to_srgb(levels(s), transfer)[0, 0].astype(int) for s in np.linspace(0, 0.7, 15)]
        assert all(np.ptp(colour) <= 1 for colour in shown)
        assert all(b.min() >= a.min() for a, b in pairwise(shown))
