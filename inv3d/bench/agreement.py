"""Whether both ways come to the same outputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.bench.ways import Pair, Values
from inv3d.nn.choices import Precision

_TINY = 1e-30
# an error that can't be told, such as of numbers that aren't finite
APART = 1e30


@dataclass(frozen=True)
class Tolerance:
    """Largest errors that are still the same result; see `Agreement`."""

    loss: float
    output: float
    gradient: float


# In single precision the side of a kink (leaky ReLU, l1) on which a number lies is up to rounding,
# and so are sums that nearly cancel. Those of reduced precisions say that a result isn't nonsense,
# no more.
TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(1e-5, 1e-4, 1e-3),
    "tf32": Tolerance(1e-3, 1e-2, 3e-2),
    "bf16": Tolerance(2e-2, 1e-1, 3e-1),
    "fp16": Tolerance(3e-3, 2e-2, 1e-1),
}
# in double precision, of every tensor by itself
EXACT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """How far the two ways are apart.

    Attributes:
        loss: largest difference of a loss, relative; 0 where there are none. An error that can't be
            told is 1e30, here and below.
        output: root mean square of an output's differences over that of the output, of the worst
            one; 0 where there are none.
        gradient: the same of the whole gradient, all tensors together; 0 where there's none.
        largest: largest difference of any number of the gradient over its largest number.
        tensor: the same for each tensor on its own, of the worst one.
        worst: whose gradient that is.
    """

    loss: float = 0.0
    output: float = 0.0
    gradient: float = 0.0
    largest: float = 0.0
    tensor: float = 0.0
    worst: str = ""

    def within(self, tolerance: Tolerance) -> bool:
        """Whether losses, outputs and gradient are within a tolerance."""
        return (
            self.loss <= tolerance.loss
            and self.output <= tolerance.output
            and self.gradient <= tolerance.gradient
        )

    @property
    def exact(self) -> bool:
        """Whether losses and outputs agree, and each tensor's gradient for itself."""
        return self.within(TOLERANCES["fp32"]) and self.tensor <= EXACT_TOLERANCE


def compare(pair: Pair) -> Agreement:
    """Go each way once and compare every loss, every output and every gradient."""
    found, gradients = pair.ours.call(), pair.ours.gradients()
    pair.forget()
    expected, others = pair.reference.call(), pair.reference.gradients()
    pair.forget()
    if gradients.keys() != others.keys() or found.keys() != expected.keys():
        return Agreement(APART, APART, APART, APART, APART, "other tensors or losses")
    losses, outputs = _losses(found, expected), _outputs(found, expected)
    if not others:
        return Agreement(loss=losses, output=outputs)
    return _with_gradients(losses, outputs, gradients, others)


def _losses(found: Values, expected: Values) -> float:
    errors = [
        abs(float(found[n]) - value) / max(abs(value), 1e-12)
        for n, value in expected.items()
        if not isinstance(value, Tensor)
    ]
    return _worst(errors)


def _outputs(found: Values, expected: Values) -> float:
    errors = []
    for name, value in expected.items():
        if isinstance(value, Tensor):
            other = found[name]
            assert isinstance(other, Tensor)
            errors.append(_norm(other.reshape(value.shape) - value) / max(_norm(value), _TINY))
    return _worst(errors)


def _with_gradients(
    loss: float, output: float, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Agreement:
    apart = {n: found[n].reshape(value.shape) - value for n, value in expected.items()}
    differences = {n: _largest(value) for n, value in apart.items()}
    sizes = {n: max(_largest(value), _TINY) for n, value in expected.items()}
    tensors = {n: _number(differences[n] / sizes[n]) for n in expected}
    worst = max(tensors, key=lambda name: tensors[name])
    distance = math.hypot(*map(_norm, apart.values()))
    length = max(math.hypot(*map(_norm, expected.values())), _TINY)
    return Agreement(
        loss,
        output,
        _number(distance / length),
        _number(max(differences.values()) / max(sizes.values())),
        tensors[worst],
        worst,
    )


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.double()))


def _largest(value: Tensor) -> float:
    return float(value.abs().max())


def _worst(errors: list[float]) -> float:
    return max(map(_number, errors), default=0.0)


def _number(error: float) -> float:
    return error if math.isfinite(error) else APART
