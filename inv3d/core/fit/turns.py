"""Which of many views a step takes, where it doesn't take all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inv3d.core.camera import Camera


@dataclass(frozen=True)
class Turns:
    """A few of N views at every step, in turn, so that a step costs less.

    Each step takes views that are spread over all angles, each time the same number of them, and
    within a round each view comes equally often. What a step sums over its views must count
    `factor` times, so that it stands for the sum over all.

    Attributes:
        order: the N views by angle.
        each: V, how many a step takes.

    Example:
        >>> import inv3d, torch
        >>> prior = inv3d.ToyGenerator(inv3d.ToyConfig()).spec.camera
        >>> turns = inv3d.Turns.by_angle(prior.orbit(torch.linspace(-1, 1, 9)), 3)
        >>> [turns.at(step) for step in range(3)], turns.round, turns.factor
        ([[0, 3, 6], [1, 4, 7], [2, 5, 8]], 3, 3.0)
    """

    order: tuple[int, ...]
    each: int

    @staticmethod
    def by_angle(camera: Camera, views: int | None = None) -> Turns:
        """Return the turns of cameras.

        Args:
            camera: N.
            views: a step; all N if None, or more than there are.
        """
        order = tuple(int(i) for i in camera.yaw.argsort(stable=True))
        return Turns(order, min(views or len(order), len(order)))

    @property
    def round(self) -> int:
        """How many steps see every view equally often; 1 where each sees all."""
        return len(self.order) // math.gcd(len(self.order), self.each)

    @property
    def factor(self) -> float:
        """How many views of all N each view of a step stands for."""
        return len(self.order) / self.each

    def at(self, step: int) -> list[int]:
        """Return the views of a step; in their own order where it takes all."""
        count, first = len(self.order), step % self.round
        if self.each == count:
            return list(range(count))
        return [self.order[(first + i * count // self.each) % count] for i in range(self.each)]
