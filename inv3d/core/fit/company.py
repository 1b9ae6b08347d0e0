"""Several runs in one process that compute together what is alike in them.

Each run has a thread, of which only one is awake at a time: a run goes on until it has a pass over
its views to compute, and waits there until all others have come as far or have ended. Passes that
fit together are then computed as one, which keeps a device busier than many small ones. Everything
else of a run, random numbers, steps, checkpoints, is its own.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

Sums = dict[str, Tensor]
T = TypeVar("T")

_seat: ContextVar[_Seat | None] = ContextVar("inv3d_company", default=None)


class Joinable(Protocol):
    """A pass that may be computed together with others."""

    def likeness(self) -> Hashable | None:
        """Equal for passes that can be computed as one; None where it must be by itself."""

    def draws(self) -> Sequence[Tensor]:
        """States of the random numbers that it may draw."""

    def gather(self) -> Sums:
        """Let gradients arrive where the pass begins; return scalars on the device."""

    def gather_with(self, others: Sequence[Self]) -> list[Sums]:
        """Do for itself and for others what `gather` does for one; return the scalars of each."""

    def forget(self) -> None:
        """Drop what has arrived of gradients, so that they can be gathered anew."""


def gather(one: Joinable) -> Sums:
    """Do what `one.gather` does: together with others where the run has company."""
    seat = _seat.get()
    return one.gather() if seat is None else seat.company.gather(seat.number, one)


def present() -> bool:
    """Whether the run around shares its passes with others."""
    return _seat.get() is not None


@dataclass(frozen=True)
class _Seat:
    """The place of a run."""

    company: Company
    number: int


@dataclass
class _Answer(Generic[T]):
    """What came of something: a value, or an error."""

    value: T | None = None
    error: BaseException | None = None

    @staticmethod
    def of(call: Callable[[], T]) -> _Answer[T]:
        try:
            return _Answer(call())
        except BaseException as error:  # handed on to the thread that it belongs to
            return _Answer(error=error)

    def get(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Company:
    """Runs that share passes.

    Attributes:
        most: passes that are computed as one at most; halved where memory doesn't hold them.
        shared: how many passes were computed together with others so far.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.shared = 0
        # who holds it is awake
        self._awake = threading.Condition(threading.Lock())
        self._present: set[int] = set()
        self._waiting: dict[int, tuple[Joinable, Hashable | None]] = {}
        self._answers: dict[int, _Answer[Sums]] = {}
        # likeness -> whether such passes draw no random numbers
        self._steady: dict[Hashable, bool] = {}

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Do several works side by side and return what each returns.

        Raises:
            BaseException: the first one's that raised something, after all have ended.
        """
        answers: dict[int, _Answer[T]] = {}
        self._present = set(range(len(works)))

        def sit(number: int) -> None:
            _seat.set(_Seat(self, number))
            with self._awake:
                answers[number] = _Answer.of(works[number])
                self._leave(number)

        threads = []
        for number in self._present:
            context = contextvars.copy_context()
            threads.append(threading.Thread(target=context.run, args=(sit, number), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answers[number].get() for number in range(len(works))]

    def gather(self, number: int, one: Joinable) -> Sums:
        """Compute a run's pass when all others have come to one, or have ended."""
        self._waiting[number] = one, one.likeness()
        self._compute_if_all_wait()
        while number not in self._answers:
            self._awake.wait()
        return self._answers.pop(number).get()

    def _leave(self, number: int) -> None:
        self._present.discard(number)
        self._compute_if_all_wait()

    def _compute_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < len(self._present):
            return
        waiting, self._waiting = dict(sorted(self._waiting.items())), {}
        for numbers in self._groups({n: likeness for n, (_, likeness) in waiting.items()}):
            self._compute([waiting[number][0] for number in numbers], numbers)
        self._awake.notify_all()

    def _groups(self, waiting: dict[int, Hashable | None]) -> list[list[int]]:
        """Return the runs whose passes are computed as one, in their order."""
        groups: dict[Hashable, list[int]] = {}
        for number, likeness in waiting.items():
            # what draws random numbers draws its own
            alike = likeness is not None and self._steady.get(likeness, False)
            groups.setdefault((alike, likeness if alike else number), []).append(number)
        return [
            numbers[first : first + self.most]
            for numbers in groups.values()
            for first in range(0, len(numbers), self.most)
        ]

    def _compute(self, passes: list[Joinable], numbers: list[int]) -> None:
        if len(passes) == 1:
            self._answers[numbers[0]] = _Answer.of(lambda: self._alone(passes[0]))
            return
        try:
            sums = passes[0].gather_with(passes[1:])
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                self.most = max(1, len(passes) // 2)
            trouble = True
        else:
            trouble = False
            self.shared += len(passes)
            self._answers |= {n: _Answer(s) for n, s in zip(numbers, sums, strict=True)}
        # only here, outside the handler, has the traceback let go of the tensors
        if trouble:
            self._apart(passes, numbers)

    def _apart(self, passes: list[Joinable], numbers: list[int]) -> None:
        """Compute by themselves passes that failed together; each fails or not for itself."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for number, one in zip(numbers, passes, strict=True):
            one.forget()
            self._answers[number] = _Answer.of(one.gather)

    def _alone(self, one: Joinable) -> Sums:
        likeness = one.likeness()
        if likeness is None or likeness in self._steady:
            return one.gather()
        before = one.draws()
        sums = one.gather()
        same = zip(before, one.draws(), strict=True)
        self._steady[likeness] = all(torch.equal(a, b) for a, b in same)
        return sums
