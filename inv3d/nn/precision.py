"""Precision of convolutions, where reducing it is safe; each generator has its own.

Two mechanisms: 16 bits are a type, chosen by autocast around the forward pass and kept by the
graph. TF32 is a setting of the process, which cuDNN reads whenever a convolution runs, backwards
too. Here it has a generator's value only while that generator's convolutions run. All others, such
as those of losses, run with the process's own value, which torch sets to TF32 unless told
otherwise. Matrix products have a setting of their own, which is left alone (exact unless told
otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from inv3d.nn.choices import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Where torch keeps the settings: since 2.9 under another name, and those of convolutions apart.
_MATRICES: Any = torch.backends.cuda.matmul
_HOME: Any = getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)
_NAME, _ROUNDED, _EXACT = (
    ("fp32_precision", "tf32", "ieee")
    if hasattr(_HOME, "fp32_precision")
    else ("allow_tf32", True, False)
)
# What the backward passes of convolutions that run now found, to be put back.
_found: list[Any] = []


def run_in(
    precision: Precision, network: Callable[..., Tensor], x: Tensor, *others: Any, **options: Any
) -> Tensor:
    """Call a network with its convolutions in a precision; the result is float32 again.

    Mapping, sampling of planes, volume rendering and optimiser never see a reduced precision:
    depths and sums over many samples need all their digits. Nor does the decoder, but that tf32
    rounds the factors of its products where Triton's programs render (`raymarch`). Parameters and
    their gradients stay in float32. What a loss computes with is no generator's business.

    On CUDA, fp32 forbids cuDNN to round factors to TF32 (10 bits of mantissa) and tf32 lets it, in
    this call and in the backward pass through its result, whatever the process allows. Elsewhere
    both compute in float32. Second derivatives run with the process's setting.

    Args:
        precision: of the convolutions.
        network: returns one tensor.
        x: its first argument, which tells the device.
        others: further arguments.
        options: named arguments.
    """
    if precision in _TYPES:
        with torch.autocast(x.device.type, _TYPES[precision]):
            return network(x, *others, **options).float()
    if not _rounding_matters(x):
        return network(x, *others, **options)
    value = _ROUNDED if precision == "tf32" else _EXACT
    with _rounding(value):
        made = network(x, *others, **options)
    for node in _convolutions(made, (x, *others, *options.values())):
        _round_in(node, value)
    return made


@contextmanager
def rounding(precision: Precision) -> Iterator[None]:
    """Let the convolutions and matrix products of a block round as a precision says, on CUDA.

    What else computes in the process is concerned too; `run_in` isn't, which decides for itself.
    Within it torch may refuse to read the settings by their old names.
    """
    value = _ROUNDED if precision == "tf32" else _EXACT
    before = getattr(_MATRICES, _NAME)
    setattr(_MATRICES, _NAME, value)
    try:
        with _rounding(value):
            yield
    finally:
        setattr(_MATRICES, _NAME, before)


def is_exact() -> bool:
    """Whether neither convolutions nor matrix products that run now on CUDA may round to TF32."""
    return all(getattr(home, _NAME) != _ROUNDED for home in (_HOME, _MATRICES))


def _rounding_matters(x: Tensor) -> bool:
    return x.is_cuda


@contextmanager
def _rounding(value: Any) -> Iterator[None]:
    _put_back()
    before = getattr(_HOME, _NAME)
    setattr(_HOME, _NAME, value)
    try:
        yield
    finally:
        setattr(_HOME, _NAME, before)


def _round_in(node: Node, value: Any) -> None:
    """Let a node of the graph run with a value of the setting."""

    def enter(_: Any) -> None:
        _found.append(getattr(_HOME, _NAME))
        setattr(_HOME, _NAME, value)

    def leave(*_: Any) -> None:
        setattr(_HOME, _NAME, _found.pop())

    node.register_prehook(enter)
    node.register_hook(leave)


def _put_back() -> None:
    """Undo what a node left that failed, for want of memory for instance, and never called back."""
    if _found and torch._C._current_graph_task_id() == -1:  # no backward pass is under way
        setattr(_HOME, _NAME, _found[0])
        _found.clear()


def _convolutions(made: Tensor, given: Iterable[Any]) -> Iterator[Node]:
    """Yield the convolutions in the graph between some arguments and what was made of them."""
    passed = {value.grad_fn for value in given if isinstance(value, Tensor)} | {None}
    waiting = [made.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in passed:
            continue
        passed.add(node)
        if "Conv" in node.name():
            yield node
        waiting += [before for before, _ in node.next_functions]
