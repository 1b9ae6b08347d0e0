"""Learning-rate and noise schedules of the StyleGAN2 projector family.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", section 5 and appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(lr: float) -> Schedule:
    """Return a schedule that never changes."""
    return lambda step: lr


def warmed(lr: float, steps: int, *, rampup: float = 0.0, rampdown: float = 0.0) -> Schedule:
    """Return a linear ramp up, a plateau and a cosine ramp down, with a rate at every step.

    Args:
        lr: learning rate of the plateau.
        steps: length of the run.
        rampup: share of the run that ramps up, 0 for none.
        rampdown: share of the run that ramps down, 0 for none.
    """
    up, down = rampup * steps, rampdown * steps

    def at(step: int) -> float:
        rate = lr * min(1.0, (step + 1) / up) if up else lr
        return (
            rate * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (steps - step) / down)))
            if down
            else rate
        )

    return at


def delayed(schedule: Schedule, begin: int) -> Schedule:
    """Return a schedule that is at its step 0 at step `begin`; before that it's read at steps < 0.

    A ramp is below 0 there, so that a group with such a rate must begin at that step, too.
    """
    return lambda step: schedule(step - begin)


def ramped(lr: float, steps: int, *, rampup: float = 0.05, rampdown: float = 0.25) -> Schedule:
    """Return a linear ramp up, a plateau and a cosine ramp down; step 0 has rate 0.

    Args:
        lr: learning rate of the plateau.
        steps: length of the run.
        rampup: share of the run that ramps up, 0 for none.
        rampdown: share of the run that ramps down, 0 for none.

    Example:
        >>> import inv3d
        >>> rate = inv3d.ramped(0.1, 100)
        >>> [round(rate(step), 3) for step in (0, 2, 5, 50, 90)]
        [0.0, 0.04, 0.1, 0.1, 0.035]
    """

    def at(step: int) -> float:
        t = step / steps
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / rampdown)) if rampdown else 1.0
        return lr * down * (min(1.0, t / rampup) if rampup else 1.0)

    return at


def latent_noise(scale: float, steps: int, *, length: float = 0.75) -> Schedule:
    """Return the standard deviation of the noise added to a latent: scale * (1 - t/length)^2.

    Args:
        scale: at step 0, usually 0.05 times the spread of W.
        steps: length of the run.
        length: share of the run after which there's no noise.
    """
    return lambda step: scale * max(0.0, 1.0 - step / steps / length) ** 2
