"""Pictures of high dynamic range as ordinary ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Transfer = Literal["pq", "hlg"]
# numbers of transfer characteristics in video streams (ITU-T H.273)
TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}

# nits of white paper, and of the brightest pixel that HLG is graded for (ITU-R BT.2408)
_PAPER, _HLG_PEAK = 203.0, 1000.0
# PQ (SMPTE ST 2084)
_M1, _M2, _C1, _C2, _C3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
# HLG (ITU-R BT.2100)
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020_TO_SRGB = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
# where highlights begin to be pressed together
_KNEE = 0.8


def to_srgb(levels: NDArray[np.uint16], transfer: Transfer) -> NDArray[np.uint8]:
    """Convert a picture of BT.2020 colours to 8-bit sRGB, paper white to white.

    Args:
        levels: [H, W, 3], 0 to 65535.
        transfer: how they're encoded.
    """
    signal = np.asarray(levels / 65535, np.float32)
    light = (_pq(signal) if transfer == "pq" else _hlg(signal)) / _PAPER
    light = np.maximum(light @ _BT2020_TO_SRGB.T, 0)
    over = (light - _KNEE) / (1 - _KNEE)
    light = np.where(over > 0, _KNEE + (1 - _KNEE) * np.tanh(over), light)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray((encoded * 255).round().clip(0, 255), np.uint8)


def _pq(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nits of PQ."""
    power = signal ** (1 / _M2)
    ratio = np.maximum(power - _C1, 0) / (_C2 - _C3 * power)
    return np.asarray(10000 * ratio ** (1 / _M1), np.float32)


def _hlg(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nits of HLG on a display of 1000 nits."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    luma = np.maximum(scene @ _LUMA, 0)[..., None]
    return np.asarray(_HLG_PEAK * luma**0.2 * scene, np.float32)
