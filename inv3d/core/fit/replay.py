"""Passes over the views that come again with other numbers: recorded once, then replayed.

On a GPU a small network computes faster than Python can tell it what to do. A CUDA graph holds all
that a pass tells the device, so that the next one like it is told by a single call. The pass must
do the same every time but for the numbers in its leaves: what was different, or drew random
numbers, is computed as ever.
"""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    def draws(self) -> Sequence[Tensor]:
        """States of the random numbers that it may draw."""

    def gather(self) -> Sums:
        """Let gradients arrive at leaves and shared tensors; return scalars on the device."""


class Same:
    """An object as a key, by what it is and not by what it holds; it doesn't keep it alive."""

    def __init__(self, thing: Any) -> None:
        self._thing = weakref.ref(thing)
        self._hash = id(thing)

    def __eq__(self, other: object) -> bool:
        thing = self._thing()
        return isinstance(other, Same) and thing is not None and thing is other._thing()

    def __hash__(self) -> int:
        return self._hash


class Replays:
    """The passes of a stage: each is computed once, recorded the second time, then replayed.

    Args:
        recorder: makes what records the passes of a stage.

    Attributes:
        fault: why a pass couldn't be recorded, in a line; nothing more is, then. None where none
            was tried in vain.
    """

    def __init__(self, recorder: Callable[[], Recorder]) -> None:
        self._recorder = recorder
        self.fault: str | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all passes, and free what their recordings hold."""
        # what is done with the next pass of a key: those that came once, and those that came again
        self._once: OrderedDict[Hashable, Callable[[Work], Sums]] = OrderedDict()
        self._again: dict[Hashable, Callable[[Work], Sums]] = {}
        self._record: Recorder | None = None

    @property
    def recorded(self) -> bool:
        """Whether there are recordings, which take memory."""
        return any(way is not _compute for way in self._again.values())

    def gather(self, work: Work) -> Sums:
        """Do what `work.gather` does."""
        key = work.key()
        if key is None or self.fault is not None:
            return work.gather()
        way = self._again.get(key) or self._once.pop(key, None) or partial(self._first, key)
        return way(work)

    def _first(self, key: Hashable, work: Work) -> Sums:
        before = work.draws()
        sums = work.gather()
        steady = all(torch.equal(a, b) for a, b in zip(before, work.draws(), strict=True))
        if steady:
            self._once[key] = partial(self._second, key)
        if len(self._once) > _REMEMBERED:
            self._once.popitem(last=False)
        return sums

    def _second(self, key: Hashable, work: Work) -> Sums:
        recording = self._recording(work) if len(self._again) < _RECORDED else None
        self._again[key] = _compute if recording is None else recording.replay
        return self._again[key](work)

    def _recording(self, work: Work) -> _Recording | None:
        """Record a pass; None where something in it waits for the device, or there's no room."""
        if self._record is None:
            self._record = self._recorder()
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
        # copies, since the next replay overwrites them
        for tensor, gradient in zip(work.leaves(), self.leaves, strict=True):
            tensor.grad = None if gradient is None else gradient.clone()
        for tensor, gradient in zip(work.shared(), self.shared, strict=True):
            if gradient is not None:
                tensor.grad = gradient.clone() if tensor.grad is None else tensor.grad + gradient
        return {name: value.clone() for name, value in self.sums.items()}


class CudaGraphs:
    """Records on a CUDA device; recordings share the memory of what they compute on the way.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._pool: Any = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(
        self, work: Callable[[], Sums], tensors: Sequence[Tensor]
    ) -> tuple[Callable[[], None], Sums]:
        """Record, after a pass on the same stream, in which nothing may wait for the device.

        Raises:
            RuntimeError: where something does, or else can't be recorded.
        """
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            try:
                with torch.cuda.stream(self._stream), _nothing_waits():
                    _forget(tensors)
                    work()
                current.wait_stream(self._stream)
                _forget(tensors)
                return self._captured(work)
            finally:
                # a capture that fails leaves its own stream behind
                torch.cuda.set_stream(current)

    def _captured(self, work: Callable[[], Sums]) -> tuple[Callable[[], None], Sums]:
        graph, where = torch.cuda.CUDAGraph(), {"pool": self._pool, "stream": self._stream}
        with torch.cuda.graph(graph, **where, capture_error_mode="thread_local"):
            sums = work()
        return graph.replay, sums


@contextmanager
def _nothing_waits() -> Iterator[None]:
    """Let what would wait for the device be an error."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # it says that it doesn't notice everything
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _forget(tensors: Sequence[Tensor]) -> None:
    """Let gradients be collected anew."""
    for tensor in tensors:
        tensor.grad = None
