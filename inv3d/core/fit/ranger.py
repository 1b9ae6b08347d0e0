"""Ranger, the optimiser of pSp, e4e and TriPlaneNet: three published ideas in a row.

Rectified Adam (Liu et al., 2020) takes plain momentum steps until the second moment is known well
enough; Lookahead (Zhang et al., 2019) goes back part of the way every few steps; gradient
centralisation (Yong et al., 2020) takes the mean out of every output's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from inv3d.core.fit.optimizers import MakeOptimizer


class Ranger(Optimizer):
    """Rectified Adam with Lookahead and gradient centralisation.

    Args:
        params: tensors, or groups of them.
        lr: learning rate.
        alpha: how far the slow weights follow, 0 to 1.
        k: steps between two of theirs.
        threshold: length of the moving average from which on steps are adaptive.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: taken off the weights themselves, times the learning rate.
        centralise: "all" gradients with more than one axis, of "convolutions" (more than three)
            only, or "none".
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        alpha: float = 0.5,
        k: int = 6,
        threshold: float = 5.0,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        centralise: str = "all",
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "k": k,
            "threshold": threshold,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "axes": {"all": 1, "convolutions": 3, "none": math.inf}[centralise],
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step; a closure, where one is given, evaluates the loss again."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
            state["slow"] = parameter.clone()
        state["step"] += 1
        assert parameter.grad is not None
        gradient = _centred(parameter.grad, group["axes"])
        decays = group["betas"]
        first = state["first"].lerp_(gradient, 1 - decays[0])
        second = state["second"].mul_(decays[1]).addcmul_(gradient, gradient, value=1 - decays[1])
        size, adaptive = rectified(state["step"], decays, group["threshold"])
        if group["weight_decay"]:
            parameter.mul_(1 - group["weight_decay"] * group["lr"])
        if adaptive:
            parameter.addcdiv_(first, second.sqrt().add_(group["eps"]), value=-size * group["lr"])
        else:
            parameter.add_(first, alpha=-size * group["lr"])
        if state["step"] % group["k"] == 0:
            parameter.copy_(state["slow"].lerp_(parameter, group["alpha"]))


def rectified(step: int, betas: Sequence[float], threshold: float) -> tuple[float, bool]:
    """Return the size of a step, from 1, before the learning rate, and whether it's adaptive.

    Args:
        step: its number.
        betas: decay of the two moments.
        threshold: length of the second one's moving average from which on it's trusted.
    """
    correction = 1 - betas[0] ** step
    longest = 2 / (1 - betas[1]) - 1
    power: float = betas[1] ** step
    length = longest - 2 * step * power / (1 - power)
    if length <= threshold:
        return 1 / correction, False
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return math.sqrt((1 - power) * ratio) / correction, True


def _centred(gradient: Tensor, axes: float) -> Tensor:
    """Take the mean over all but the first axis out of gradients with more than `axes` axes."""
    if gradient.ndim <= axes:
        return gradient
    return gradient - gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True)


def ranger(betas: tuple[float, float] = (0.95, 0.999), **more: Any) -> MakeOptimizer:
    """Return a maker of Ranger for the optimisation loop.

    Args:
        betas: of Ranger, which aren't Adam's.
        more: other options of `Ranger`.
    """

    def make(variables: Sequence[Tensor], adam_betas: tuple[float, float]) -> Optimizer:
        return Ranger(list(variables), lr=0.0, betas=betas, **more)

    return make
