"""Losses on the device, and fetching many of them at once: each fetch empties its queue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Unread:
    """What an update returned, still on the device.

    Attributes:
        prefix: before the names of its losses.
        metrics: name -> scalar.
        norm: of the gradient, or None where there's none.
    """

    prefix: str
    metrics: Mapping[str, Tensor]
    norm: Tensor | None


@dataclass(frozen=True)
class Reading:
    """The same as plain numbers.

    Attributes:
        losses: name -> value.
        norm: of the gradient, 0 where there's none.
    """

    losses: dict[str, float]
    norm: float

    def fault(self) -> str | None:
        """Name the first number that isn't finite, or None."""
        for name, value in self.losses.items():
            if not math.isfinite(value):
                return f"loss '{name}' ({value})"
        return None if math.isfinite(self.norm) else "gradient"


def gradient_norm(variables: Mapping[str, Tensor], device: torch.device) -> Tensor | None:
    """Return a number on a device that is finite if all gradients are; None without gradients."""
    gradients = [v.grad for v in variables.values() if v.grad is not None]
    if not gradients:
        return None
    norms = [norm.to(device, torch.float32) for norm in torch._foreach_norm(gradients)]
    return torch.stack(norms).sum()


def read(unread: Sequence[Unread]) -> list[Reading]:
    """Fetch everything in one copy."""
    scalars = [value for one in unread for value in one.metrics.values()]
    scalars += [one.norm for one in unread if one.norm is not None]
    flat = [value.detach().float().reshape(()) for value in scalars]
    numbers = iter(torch.stack(flat).tolist() if flat else ())
    losses = [{name: next(numbers) for name in one.metrics} for one in unread]
    norms = [0.0 if one.norm is None else next(numbers) for one in unread]
    return [Reading(values, norm) for values, norm in zip(losses, norms, strict=True)]
