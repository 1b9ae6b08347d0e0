"""Muon: steps that change every direction of a layer's weights equally far.

Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024). The moving average of
a weight matrix's gradient is replaced by the nearest matrix whose singular values are all about 1,
found by a few Newton-Schulz iterations: what the gradient hardly tells is learnt as soon as the
rest. Lengths are as in Liu et al., Muon is scalable for LLM training (2025): `rms` times the rate,
about Adam's, so that rates for Adam suit Muon too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from inv3d.core.fit.optimizers import MakeOptimizer

# of the odd polynomial a x + b x^3 + c x^5 that brings singular values near 1, by Jordan et al.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
# rows or columns below which a tensor is no matrix worth the name
_LEAST = 8


class Muon(Optimizer):
    """Muon for matrices, Adam for everything else.

    A tensor is a matrix of its first axis by all others, as kernels and maps are, where both have
    at least eight entries.

    Args:
        params: tensors, or groups of them.
        lr: learning rate.
        momentum: decay of the matrices' moving averages, which Nesterov's way looks ahead of.
        rms: root mean square of a matrix's step, in learning rates.
        axes: that a tensor has at least if it's a matrix; 3 leaves layers without places to Adam.
        betas: decay of Adam's two moments.
        eps: added to the root of Adam's second moment.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        momentum: float = 0.9,
        rms: float = 0.3,
        axes: int = 2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "rms": rms, "axes": axes, "betas": betas}
        super().__init__(params, {**defaults, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step; a closure, where one is given, evaluates the loss again."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                side = _side(parameter) if parameter.ndim >= group["axes"] else 0
                if side < _LEAST:
                    self._move_by_adam(parameter, group)
                else:
                    alike = (side, parameter.dtype, parameter.device)
                    matrices.setdefault(alike, []).append(parameter)
            for parameters in matrices.values():
                self._move_matrices(parameters, group)
        return loss

    def _move_matrices(self, parameters: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Move matrices of one smaller side, whose iterations are computed together.

        Each is looked at twice, so that nothing of its size is kept in between.
        """
        momentum = group["momentum"]
        for parameter in parameters:
            self._remember(parameter, momentum)
        ahead = (self._ahead(one, momentum) for one in parameters)
        factors = factors_of(torch.stack([x @ x.T for x in ahead]))
        for parameter, factor in zip(parameters, factors, strict=True):
            x = self._ahead(parameter, momentum)
            step = factor @ x if len(x) == len(parameter) else (factor @ x).T
            length = group["lr"] * group["rms"] * x.shape[1] ** 0.5
            parameter.add_(step.reshape(parameter.shape), alpha=-length)

    def _remember(self, parameter: Tensor, momentum: float) -> None:
        """Take the gradient into the moving average."""
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        state["average"].lerp_(parameter.grad, 1 - momentum)

    def _ahead(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return where the moving average goes next, as a matrix no higher than wide.

        16 bits are too few for the iterations.
        """
        assert parameter.grad is not None
        ahead = parameter.grad.lerp(self.state[parameter]["average"], momentum).flatten(1)
        wide = ahead if ahead.shape[0] <= ahead.shape[1] else ahead.T
        return wide.float() if wide.dtype.itemsize < 4 else wide

    def _move_by_adam(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        state["step"] += 1
        assert parameter.grad is not None
        first_decay, second_decay = group["betas"]
        first = state["first"].lerp_(parameter.grad, 1 - first_decay)
        second = state["second"].lerp_(parameter.grad.square(), 1 - second_decay)
        root = (second / (1 - second_decay ** state["step"])).sqrt_().add_(group["eps"])
        size = group["lr"] / (1 - first_decay ** state["step"])
        parameter.addcdiv_(first, root, value=-size)


def factors_of(grams: Tensor) -> Tensor:
    """Return what brings the singular values of matrices near 1 if it's multiplied by them.

    The iterations on a matrix x multiply it by functions of x x^T alone, so that square is all
    they need, and x itself takes part in two products.

    Args:
        grams: [K, R, R], x x^T of each matrix.

    Returns:
        [K, R, R]; times x it has singular values from 0.7 to 1.2 but for those that were below
        some thousandth of the matrix's length.
    """
    trace = grams.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    trace = trace.clamp_min(torch.finfo(grams.dtype).tiny)
    gram = grams / trace
    whole = torch.eye(grams.shape[-1], dtype=grams.dtype, device=grams.device)
    factor = made = _step_of(gram, whole)
    for _ in range(_ITERATIONS - 1):
        gram = made @ gram @ made
        made = _step_of(gram, whole)
        factor = made @ factor
    return trace.rsqrt() * factor


def _step_of(gram: Tensor, whole: Tensor) -> Tensor:
    """Return what an iteration multiplies by."""
    return (_A * whole).add(gram, alpha=_B).add_(gram @ gram, alpha=_C)


def _side(parameter: Tensor) -> int:
    """Return the smaller side of the matrix that a tensor is; 0 for what is none."""
    if parameter.ndim < 2 or not parameter.numel():
        return 0
    return min(len(parameter), parameter.numel() // len(parameter))


def muon(momentum: float = 0.9, rms: float = 0.3, axes: int = 3) -> MakeOptimizer:
    """Return a maker of Muon for the optimisation loop, with Adam's betas for what's no matrix.

    The layers of a generator that have no places, which make styles of latents, are a third of the
    work and change nothing: they're Adam's, unless said otherwise.

    Args:
        momentum: see `Muon`.
        rms: see `Muon`.
        axes: see `Muon`.
    """

    def make(variables: Sequence[Tensor], betas: tuple[float, float]) -> Optimizer:
        return Muon(list(variables), lr=0.0, momentum=momentum, rms=rms, axes=axes, betas=betas)

    return make
