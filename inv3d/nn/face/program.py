"""A small network that is stored as a list of operations beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.errors import WeightsError
from inv3d.core.weights.tensors import asset, check_finite, read_tensors, under_prefix

FILE = "face.safetensors"
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
}


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        op: its name, a key of `OPERATIONS`.
        inputs: numbers of earlier results; 0 is the picture.
        output: number of its result.
        weights: names of its tensors.
        options: whatever else it needs.
    """

    op: str
    inputs: tuple[int, ...]
    output: int
    weights: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None


class Program(nn.Module):
    """Runs its steps in order and forgets every result after its last use."""

    def __init__(
        self, steps: Sequence[Step], outputs: Sequence[int], weights: Mapping[str, Tensor]
    ) -> None:
        """Take steps and weights.

        Args:
            steps: in the order in which they run.
            outputs: numbers of the results that are returned.
            weights: name -> tensor, as the steps name them.
        """
        super().__init__()
        self.steps = tuple(steps)
        self.outputs = tuple(outputs)
        for name, tensor in weights.items():
            self.register_buffer(name, tensor.float())
        last = {number: i for i, step in enumerate(steps) for number in step.inputs}
        self._spent = [
            [n for n, use in last.items() if use == i and n not in self.outputs]
            for i in range(len(self.steps))
        ]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for images [N, 3, H, W] of the network's own size and range."""
        results = {0: images}
        for step, spent in zip(self.steps, self._spent, strict=True):
            inputs = [results[number] for number in step.inputs]
            weights = [self.get_buffer(name) for name in step.weights]
            results[step.output] = OPERATIONS[step.op](inputs, weights, step.options or {})
            for number in spent:
                del results[number]
        return tuple(results[number] for number in self.outputs)


def _convolve(inputs: list[Tensor], weights: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    x, (kernel, bias) = inputs[0], weights
    if any(options["padding"]):
        x = F.pad(x, options["padding"])
    groups = x.shape[1] // kernel.shape[1]
    y = F.conv2d(x, kernel, bias, stride=options["stride"], groups=groups)
    return _ACTIVATIONS[options["activation"]](y)


def _enlarge(inputs: list[Tensor], weights: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    kernel, bias = weights
    return F.conv_transpose2d(inputs[0], kernel, bias, stride=options["stride"])


def _add(inputs: list[Tensor], _: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    return _ACTIVATIONS[options["activation"]](inputs[0] + inputs[1])


def _multiply(inputs: list[Tensor], _: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    return _ACTIVATIONS[options["activation"]](inputs[0] * inputs[1])


def _resize(inputs: list[Tensor], _: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    corners = options["corners"]
    return F.interpolate(
        inputs[0], size=tuple(options["size"]), mode="bilinear", align_corners=corners
    )


def _rows(inputs: list[Tensor], _: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    """[N, k * C, h, w] to [N, h * w * k, C]."""
    return inputs[0].permute(0, 2, 3, 1).reshape(len(inputs[0]), -1, options["width"])


Operation = Callable[[list[Tensor], list[Tensor], Mapping[str, Any]], Tensor]
OPERATIONS: dict[str, Operation] = {
    "conv": _convolve,
    "transposed": _enlarge,
    "add": _add,
    "multiply": _multiply,
    "resize": _resize,
    "rows": _rows,
    "join": lambda x, _, o: torch.cat(x, 1),
    "pad_channels": lambda x, _, o: F.pad(x[0], (0, 0, 0, 0, 0, o["count"])),
    "max_pool": lambda x, _, o: F.max_pool2d(x[0], o["size"], o["stride"]),
    "mean": lambda x, _, o: x[0].mean((2, 3), keepdim=True),
    "prelu": lambda x, w, _: F.prelu(x[0], w[0]),
    "relu": lambda x, _, o: F.relu(x[0]),
    "sigmoid": lambda x, _, o: torch.sigmoid(x[0]),
    "hardswish": lambda x, _, o: F.hardswish(x[0]),
}


def load_program(name: str, path: Path | None = None) -> Program:
    """Build one of the embedded networks: frozen, in eval mode, on the CPU.

    Args:
        name: "detector", "landmarks" or "matte".
        path: of a file that tools/face wrote; the embedded one if None.

    Raises:
        WeightsError: where the file is missing, damaged or without that network.
    """
    path = path or asset(FILE)
    tensors, metadata = read_tensors(path)
    weights = under_prefix(tensors, f"{name}.")
    check_finite(weights, path)
    try:
        stored = metadata[name]
        steps = [Step(op, tuple(i), o, tuple(w), opts) for op, i, o, w, opts in stored["steps"]]
        missing = [n for step in steps for n in step.weights if n not in weights]
        unknown = [step.op for step in steps if step.op not in OPERATIONS]
        if missing or unknown:
            raise ValueError((missing + unknown)[0])
        program = Program(steps, stored["outputs"], weights)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: has no network '{name}' that can be used ({error}); install 3dinv again, "
            "or write the file with tools/face"
        ) from error
    return program.eval().requires_grad_(False)
