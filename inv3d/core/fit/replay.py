"""Passes over the views that come again with other numbers: recorded once, then replayed.

On a GPU a small network computes faster than Python can tell it what to do. A CUDA graph holds all
that a pass tells the device, so that the next one like it is told by a single call. The pass must
do the same every time but for the numbers in its leaves: what was different, or drew random
numbers, is computed as ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from inv3d.core.errors import first_line

# Passes that are remembered to see whether they come again, and recordings that are kept.
_REMEMBERED = 64
_RECORDED = 16

Sums = dict[str, Tensor]
# work, tensors that collect its gradients -> what does it again, and its results; that overwrites
# these and the gradients
Recorder = Callable[[Callable[[], Sums], Sequence[Tensor]], tuple[Callable[[], None], Sums]]


class Work(Protocol):
    """A pass that may come again."""

    def key(self) -> Hashable | None:
        """Equal for passes that differ by the numbers in their leaves alone; None if unknown."""

    def own(self) -> Work:
        """Return the same with leaves that are copies."""

    def leaves(self) -> Sequence[Tensor]:
        """Tensors whose numbers change from pass to pass, and which collect gradients."""

    def shared(self) -> Sequence[Tensor]:
        """Other tensors that may collect gradients, the same in every pass."""

    def draws(self) -> Tensor | None:
        """State of the random numbers that it may draw."""

    def gather(self) -> Sums:
        """Let gradients arrive at leaves and shared tensors; return scalars on the device."""


class Same:
    """An object as a key, by what it is and not by what it holds."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


class Replays:
    """The passes of a stage: each is computed once, recorded the second time, then replayed.

    Args:
        record: how; CUDA graphs if None.

    Attributes:
        fault: why a pass couldn't be recorded, in a line; None where none was tried in vain.
    """

    def __init__(self, record: Recorder | None = None) -> None:
        self._record = record
        # what is done with the next pass of a key
        self._ways: OrderedDict[Hashable, Callable[[Work], Sums]] = OrderedDict()
        self._recorded = 0
        self.fault: str | None = None

    def gather(self, work: Work) -> Sums:
        """Do what `work.gather` does."""
        key = work.key()
        if key is None:
            return work.gather()
        if key not in self._ways:
            return self._first(key, work)
        self._ways.move_to_end(key)
        return self._ways[key](work)

    def clear(self) -> None:
        """Forget all passes, and free what their recordings hold."""
        self._ways.clear()
        self._recorded = 0

    def _first(self, key: Hashable, work: Work) -> Sums:
        before = work.draws()
        sums = work.gather()
        after = work.draws()
        steady = before is None or after is None or torch.equal(before, after)
        self._ways[key] = partial(self._second, key) if steady else _compute
        if len(self._ways) > _REMEMBERED:
            self._ways.popitem(last=False)
        return sums

    def _second(self, key: Hashable, work: Work) -> Sums:
        recording = self._recording(work) if self._recorded < _RECORDED else None
        self._recorded += recording is not None
        self._ways[key] = _compute if recording is None else recording.replay
        return self._ways[key](work)

    def _recording(self, work: Work) -> _Recording | None:
        """Record a pass; None where something in it waits for the device, or there's no room."""
        if self._record is None:
            self._record = CudaGraphs()
        own = work.own()
        before = [tensor.grad for tensor in own.shared()]
        try:
            return _Recording.of(own, self._record)
        except RuntimeError as error:
            self.fault = first_line(error)
            return None
        finally:
            for tensor, gradient in zip(own.shared(), before, strict=True):
                tensor.grad = gradient


def _compute(work: Work) -> Sums:
    return work.gather()


@dataclass(frozen=True)
class _Recording:
    """A pass that was recorded.

    Attributes:
        work: with leaves of its own, where the next numbers are put.
        again: does it again.
        sums: its results; each replay overwrites them, and all gradients.
        leaves: gradients of the leaves.
        shared: gradients of the shared tensors.
    """

    work: Work
    again: Callable[[], None]
    sums: Mapping[str, Tensor]
    leaves: Sequence[Tensor | None]
    shared: Sequence[Tensor | None]

    @staticmethod
    def of(work: Work, record: Recorder) -> _Recording:
        leaves, shared = work.leaves(), work.shared()
        again, sums = record(work.gather, [*leaves, *shared])
        return _Recording(work, again, sums, [t.grad for t in leaves], [t.grad for t in shared])

    def replay(self, work: Work) -> Sums:
        """Do it with the numbers of another pass, whose leaves collect the gradients."""
        with torch.no_grad():
            for tensor, value in zip(self.work.leaves(), work.leaves(), strict=True):
                tensor.copy_(value)
        self.again()
        for tensor, gradient in zip(work.leaves(), self.leaves, strict=True):
            tensor.grad = gradient
        for tensor, gradient in zip(work.shared(), self.shared, strict=True):
            if gradient is not None:
                tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient
        return {name: value.clone() for name, value in self.sums.items()}


class CudaGraphs:
    """Records on a CUDA device; all recordings share the memory of what they compute on the way."""

    def __init__(self) -> None:
        self._pool: Any = torch.cuda.graph_pool_handle()

    def __call__(
        self, work: Callable[[], Sums], tensors: Sequence[Tensor]
    ) -> tuple[Callable[[], None], Sums]:
        """Record, after a pass on another stream, as PyTorch wants it."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            _forget(tensors)
            work()
        torch.cuda.current_stream().wait_stream(stream)
        _forget(tensors)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            sums = work()
        return graph.replay, sums


def _forget(tensors: Sequence[Tensor]) -> None:
    """Let gradients be collected anew."""
    for tensor in tensors:
        tensor.grad = None
