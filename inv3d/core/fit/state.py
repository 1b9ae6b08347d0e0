"""What a run's checkpoint holds, and how it's written and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.errors import RunError, WeightsError, first_line, plain_text
from inv3d.core.fit.replay import Replays
from inv3d.core.weights.tensors import read_tensors, under_prefix, write_tensors

FORMAT = 2
_FEWER_VIEWS = "out of device memory: rendering fewer views at a time; to avoid the retry use"


@dataclass
class RunState:
    """What the loop needs of its surroundings, and what a checkpoint must hold besides stages.

    Attributes:
        generators: name -> random number generator whose state is saved.
        view_chunk: views rendered at a time, halved when the device runs out of memory; None: all.
        views: the largest number of views rendered so far in one update.
        rays_option: option of the generator that lowers the rays a side, empty where it has none.
        checkpoint: file to write; None for none.
        every: steps between checkpoints.
        read_every: steps between two readings of the losses from the device; each makes the
            device's queue run empty.
        stop_requested: set from outside (Ctrl-C); the loop ends after the current step.
        notices: messages for the user.
        dtype: of the generator's tensors, which the losses' networks take on; None: their own.
        weights: loss name -> the weights that it was built with, for the report.
        replays: passes over views that a stage repeats; None where each is computed anew.
        taken: steps behind the run, over all stages.
        done: stage name -> its final variables, buffers and random states.
        restored: names of stages in `done` that this process hasn't come to yet.
        position: where the checkpoint stands, until the loop is there.
        tensors: of the stage in which the checkpoint stands, until the loop is there.
    """

    generators: dict[str, torch.Generator]
    view_chunk: int | None = None
    views: int = 1
    rays_option: str = ""
    checkpoint: Path | None = None
    every: int = 50
    read_every: int = 1
    stop_requested: bool = False
    notices: list[str] = field(default_factory=list)
    dtype: torch.dtype | None = None
    weights: dict[str, list[float]] = field(default_factory=dict)
    replays: Replays | None = None
    taken: int = 0
    done: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    position: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def notice(self, text: str) -> None:
        """Leave a message for the user, once."""
        if text not in self.notices:
            self.notices.append(text)

    def restore(self) -> int:
        """Read the checkpoint and return the number of steps that it has behind it.

        Raises:
            RunError: where there's none, it's damaged, or it isn't one of this format.
        """
        if self.checkpoint is None or not self.checkpoint.is_file():
            raise RunError(
                f"{self.checkpoint}: no checkpoint to continue from; "
                "start the run again with --overwrite"
            )
        try:
            tensors, position = read_tensors(self.checkpoint)
        except WeightsError as error:
            raise RunError(
                f"{self.checkpoint}: not a readable safetensors file, so that no run can go on "
                "from it; start again with --overwrite"
            ) from error
        if position.get("format") != FORMAT:
            raise RunError(
                f"{self.checkpoint}: checkpoint format {position.get('format')}, expected "
                f"{FORMAT}; start the run again with --overwrite"
            )
        with self.reading():
            self.position, self.restored = position, list(position["done"])
            self.done = {name: under_prefix(tensors, f"done/{name}/") for name in self.restored}
            self.tensors = under_prefix(tensors, "now/")
            self.taken, self.view_chunk = position["taken"] + 0, position["view_chunk"]
        return self.taken

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Put what is in the checkpoint to use; what can't be is an error of the file.

        Raises:
            RunError: where the block meets something else than a checkpoint holds.
        """
        try:
            yield
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else first_line(error)
            raise RunError(
                f"{self.checkpoint}: isn't a whole checkpoint ({plain_text(said)}); start the run "
                "again with --overwrite"
            ) from error

    def write(self, position: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write the checkpoint, if there's a file for it.

        Args:
            position: of the loop, plain values.
            tensors: of the current stage.
        """
        if self.checkpoint is None:
            return
        everything = {f"now/{key}": value for key, value in tensors.items()}
        for name, final in self.done.items():
            everything |= {f"done/{name}/{key}": value for key, value in final.items()}
        write_tensors(
            self.checkpoint,
            everything,
            {
                **position,
                "format": FORMAT,
                "done": list(self.done),
                "taken": self.taken,
                "view_chunk": self.view_chunk,
            },
        )

    def forget_passes(self) -> None:
        """Free what recorded passes hold."""
        if self.replays is not None:
            self.replays.clear()

    def stop_recording(self) -> bool:
        """Free what recorded passes hold, for good; whether there were any."""
        freed = self.replays is not None and self.replays.recorded
        if freed:
            self.replays = None
            self.notice(
                "out of device memory: steps are no longer recorded as CUDA graphs, but computed"
            )
        return freed

    def smaller_chunk(self) -> int | None:
        """Half of the views that are rendered at a time now; None if it's one."""
        chunk = min(self.view_chunk or self.views, self.views)
        return chunk // 2 if chunk > 1 else None

    def use_chunk(self, chunk: int) -> None:
        """Render so many views at a time from here on, and tell the user."""
        self.view_chunk = chunk
        notices = [n for n in self.notices if not n.startswith(_FEWER_VIEWS)]
        notices.append(f"{_FEWER_VIEWS} --view-chunk {chunk}, or fewer --views")
        self.notices[:] = notices
