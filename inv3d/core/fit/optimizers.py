"""The optimisers of stages: any of torch's, Adam unless said otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

# parameters and Adam's betas -> an optimiser; the loop sets its learning rate before every step
MakeOptimizer = Callable[[Sequence[Tensor], tuple[float, float]], Optimizer]


def adam(variables: Sequence[Tensor], betas: tuple[float, float]) -> Optimizer:
    """Return Adam (Kingma and Ba, 2015)."""
    return torch.optim.Adam(list(variables), lr=0.0, betas=betas, fused=True)


def lbfgs(history: int = 10, evaluations: int = 20) -> MakeOptimizer:
    """Return a maker of L-BFGS with strong Wolfe line search; a step is one iteration of it.

    Args:
        history: updates that are remembered.
        evaluations: of the function in a step, at most.
    """

    def make(variables: Sequence[Tensor], betas: tuple[float, float]) -> Optimizer:
        return torch.optim.LBFGS(
            list(variables),
            lr=1.0,
            max_iter=1,
            max_eval=evaluations,
            history_size=history,
            line_search_fn="strong_wolfe",
        )

    return make


def evaluates(optimizer: Optimizer) -> bool:
    """Whether a step evaluates the function itself, as line searches do."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
