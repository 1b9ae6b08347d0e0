"""How far a fit of the mean face is off, told by what the landmarks differ from that face.

A face with a flat nose and one with a long one move differently in the picture when they turn by
the same angle: what a person differs from the mean face shows as yaws that are up to a sixth too
large or too small, in all of the person's views. That difference is seen in the landmarks, too, and
how the one goes with the other was measured on rendered heads whose cameras are known. So was how
the square that is cut out goes with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inv3d.nn.face.landmarks import COUNT

DIRECTIONS = 20
# radians that count as one, and from which on yaws aren't told apart
YAW, PITCH, _FARTHEST = 0.7, 0.2, 1.3
# a face isn't taken to differ more than so many standard deviations of the rendered heads
_MOST = 3.0
_POWERS = 7
# yaw, pitch; the square's roll, size and place
CHANGES = 6


class Correction(nn.Module):
    """Tells how angles of a fit, and the square that goes with them, have to be changed.

    Attributes:
        middle: [S, P * 3] what S kinds of differences are on the average.
        directions: [S, K, P * 3] the directions in which they vary most, of unit variance.
        factors: [F, 6] of the features, which make the changes.
    """

    middle: Tensor
    directions: Tensor
    factors: Tensor

    def __init__(self, kinds: int) -> None:
        """Make one that changes nothing.

        Args:
            kinds: of differences that it's told.
        """
        super().__init__()
        self.register_buffer("middle", torch.zeros(kinds, COUNT * 3))
        self.register_buffer("directions", torch.zeros(kinds, DIRECTIONS, COUNT * 3))
        count = _POWERS + 3 * kinds * DIRECTIONS
        self.register_buffer("factors", torch.zeros(count, CHANGES))

    def forward(self, yaw: Tensor, pitch: Tensor, apart: Tensor) -> Tensor:
        """Return changes of yaw and pitch, radians, and of the square as `Square.moved` has them.

        Args:
            yaw: [N] radians, as the fit has them.
            pitch: [N] likewise.
            apart: [N, S, P, 3] what the landmarks differ from the mean face in its own axes.

        Returns:
            [N, 6].
        """
        changes: Tensor = self.features(yaw, pitch, apart) @ self.factors
        return changes

    def features(self, yaw: Tensor, pitch: Tensor, apart: Tensor) -> Tensor:
        """Return what the changes are linear in, [N, F]."""
        places = torch.einsum("nsx,skx->nsk", apart.flatten(2) - self.middle, self.directions)
        places = places.flatten(1).clamp(-_MOST, _MOST)
        t = (yaw.clamp(-_FARTHEST, _FARTHEST) / YAW)[:, None]
        q = (pitch / PITCH)[:, None]
        powers = [torch.ones_like(t), t, t**2, t**3, t**5, q, q * t**2]
        return torch.cat([*powers, places, places * t, places * t**2], 1)


def differences(mean: Tensor, points: Tensor, rotations: Tensor) -> Tensor:
    """Return what points [N, P, 3] differ from the mean face [P, 3], turned back, of its size.

    Args:
        mean: the mean face.
        points: pixels, depth in the same unit.
        rotations: [N, 3, 3] from face axes to the camera's.
    """
    base = mean - mean.mean(0)
    back = (points - points.mean(1, keepdim=True)) @ rotations
    size = (back * base).sum((1, 2)) / base.square().sum()
    return back / size[:, None, None] - base
