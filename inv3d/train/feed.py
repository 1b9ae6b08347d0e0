"""Batches in their order, of one source or another, those of files read ahead."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch

from inv3d.core.errors import ConfigError, InputError, InvError, first_line
from inv3d.core.training import Batch
from inv3d.core.training_options import TrainingConfig
from inv3d.train.draws import drawer
from inv3d.train.sources import Source, row_seeds
from inv3d.train.team import Team

Place = tuple[int, int]


class Feed:
    """What each step of a process sees: a pure function of seed, step and process.

    A step takes all its pictures from one source, drawn by weight.

    Args:
        sources: one or more.
        seed: of the training.
        training: options.
        team: of processes, who share a step's pictures.
        device: where batches go.

    Raises:
        ConfigError: where the pictures of a step can't be shared evenly.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        seed: int,
        training: TrainingConfig,
        team: Team,
        device: torch.device,
    ) -> None:
        self.parts = training.accumulate
        if training.batch % (team.size * self.parts):
            raise ConfigError(
                f"option 'training.batch': {training.batch} pictures a step can't be shared "
                f"evenly by {team.size} processes in {self.parts} parts; give a multiple of "
                f"{team.size * self.parts}"
            )
        self.each = training.batch // (team.size * self.parts)
        self.sources, self.seed, self.team = list(sources), seed, team
        self.steps, self.device = training.steps, device
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._ahead: dict[Place, Future[Batch]] = {}

    def source(self, step: int) -> Source:
        """Return the source of a step; the same in all processes."""
        if len(self.sources) == 1:
            return self.sources[0]
        weights = torch.tensor([source.weight for source in self.sources], dtype=torch.float64)
        draw = drawer(self.seed, "source", step)
        return self.sources[int(torch.multinomial(weights, 1, generator=draw))]

    def batch(self, step: int, part: int) -> Batch:
        """Return this process's pictures of a part of a step, on the device.

        Raises:
            InputError: naming the picture that can't be read, or what else is wrong with it.
        """
        waiting = self._ahead.pop((step, part), None)
        following = (step, part + 1) if part + 1 < self.parts else (step + 1, 0)
        if following[0] < self.steps and self.source(following[0]).waits:
            self._ahead[following] = self._reader.submit(self._read, following)
        made = self._read((step, part)) if waiting is None else _result(waiting)
        return on_device(made, self.device)

    def _read(self, place: Place) -> Batch:
        step, part = place
        first = (part * self.team.size + self.team.rank) * self.each
        seeds = row_seeds(self.seed, step, range(first, first + self.each))
        return self.source(step).batch(seeds, step)

    def close(self) -> None:
        """Wait for no more pictures."""
        self._reader.shutdown(wait=True, cancel_futures=True)


def _result(waiting: Future[Batch]) -> Batch:
    try:
        return waiting.result()
    except InvError:
        raise
    except Exception as error:
        raise InputError(
            f"reading pictures failed ({type(error).__name__}: {first_line(error)}); see that "
            "they're still there, then go on with --resume"
        ) from error


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on a device."""
    ws = None if batch.ws is None else batch.ws.to(device)
    return replace(batch, capture=batch.capture.to(device), ws=ws)
