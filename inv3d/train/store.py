"""The directory of a training: record, log, checkpoint, networks, page. Never half a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inv3d.core.errors import RunError
from inv3d.core.files import finite, not_written, read_json, write_json, write_text
from inv3d.core.trained import FILE, Trained
from inv3d.core.weights.tensors import read_tensors, write_tensors
from inv3d.rundir.log import read_log
from inv3d.rundir.record import timestamp
from inv3d.train.prepare import PreparedTraining, TrainRequest
from inv3d.train.trainer import Trainer

RECORD = "train.json"
LOG = "steps.jsonl"
CHECKPOINT = "checkpoint.safetensors"
PAGE = "training.html"
_OURS = (RECORD, LOG, CHECKPOINT, PAGE, FILE)
# what a record always has
_HELD = {"request": dict, "generator": dict, "plugin": dict, "training": dict, "steps": int}
_HELD |= {"evaluations": list, "command": list, "warnings": list}


class TrainingDirectory:
    """A directory with all that a training leaves.

    Attributes:
        path: of the directory.
        record: contents of `train.json`.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record

    @staticmethod
    def create(path: Path, *, overwrite: bool) -> TrainingDirectory:
        """Make the directory; nothing is written into it yet, and a training that's there stays.

        Raises:
            RunError: where it exists and mustn't be overwritten, or can't be made.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if not (path / RECORD).is_file():
                raise RunError(f"{path}: exists and is no training; choose another place")
            if not overwrite:
                raise RunError(
                    f"{path}: a training is there; go on with '3dinv train --resume {path}', or "
                    "replace it with --overwrite"
                )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(path, error) from error
        return TrainingDirectory(path, {})

    @staticmethod
    def reopen(path: Path) -> TrainingDirectory:
        """Open the directory of a training that was begun.

        Raises:
            RunError: where there's none, or it has lost the checkpoint that it would go on from.
        """
        if not (path / RECORD).is_file():
            raise RunError(f"{path}: no {RECORD}; give the directory of a training")
        record = read_json(path / RECORD)
        whole = isinstance(record, dict) and all(
            isinstance(record.get(name), kind) for name, kind in _HELD.items()
        )
        if not whole:
            raise RunError(
                f"{path / RECORD}: isn't the record of a training, or not all of it; start it "
                "again with --overwrite"
            )
        found = TrainingDirectory(path, record)
        if record["steps"] and not found.begun:
            raise RunError(
                f"{path}: has taken {record['steps']} steps, but its {CHECKPOINT} is missing, "
                "without which it can't go on; put it back, or begin another training with "
                f"--set training.begin={path}"
            )
        return found

    def reread(self) -> None:
        """Read the record again, which another process may have changed meanwhile."""
        self.record = TrainingDirectory.reopen(self.path).record

    @property
    def request(self) -> TrainRequest:
        """What the training was asked for."""
        return TrainRequest.read(self.record["request"], self.path / RECORD)

    def begin(self, prepared: PreparedTraining, command: list[str]) -> None:
        """Write the first record, in place of a training that was there.

        Raises:
            RunError: where it can't be written.
        """
        try:
            for name in _OURS:
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise not_written(self.path, error) from error
        self.record = {
            "request": prepared.request.plain(),
            **prepared.facts,
            "status": "running",
            "steps": 0,
            "command": command,
            "started": timestamp(),
            "warnings": prepared.notices,
            "evaluations": [],
        }
        self.write()

    def write(self, **changes: Any) -> None:
        """Write the record with some changes; with the status an earlier error goes."""
        if "status" in changes:
            self.record.pop("error", None)
        self.record |= finite(changes)
        write_json(self.path / RECORD, self.record)

    @property
    def begun(self) -> bool:
        """Whether there's a checkpoint to go on from."""
        return (self.path / CHECKPOINT).is_file()

    def is_whole(self, steps: int) -> bool:
        """Whether networks and page of the last step are there, and the evaluation of it."""
        evaluations = self.record["evaluations"]
        seen = bool(evaluations) and evaluations[-1]["step"] == steps
        files = all((self.path / name).is_file() for name in (FILE, PAGE))
        return files and seen and self.record["steps"] == steps

    def save(self, trainer: Trainer, prepared: PreparedTraining) -> None:
        """Write the checkpoint, then the networks as they are.

        Raises:
            DivergedError: where a weight isn't finite.
            RunError: where they can't be written; what was there before stays.
        """
        trainer.check_finite()
        tensors, position = trainer.state()
        write_tensors(self.path / CHECKPOINT, tensors, position)
        self.keep(trainer, prepared)
        self.write(steps=trainer.done)

    def keep(self, trainer: Trainer, prepared: PreparedTraining) -> None:
        """Write the networks as they are, with the numbers of the last evaluation."""
        self._trained(trainer, prepared).save(self.path / FILE)

    def _trained(self, trainer: Trainer, prepared: PreparedTraining) -> Trained:
        """Return the networks with all that belongs to them."""
        generator = trainer.lesson.generator
        evaluations = self.record["evaluations"]
        return Trained(
            plugin=prepared.request.plugin,
            generator=prepared.request.generator,
            fingerprint=generator.spec.fingerprint,
            tensors=trainer.kept(),
            latent_avg=trainer.lesson.average,
            options=prepared.config.model_dump(mode="json"),
            training=trainer.training.model_dump(mode="json"),
            steps=trainer.done,
            facts={
                "command": " ".join(self.record["command"]),
                "data": list(prepared.request.data),
                "seed": prepared.request.seed,
                "evaluation": evaluations[-1] if evaluations else {},
            },
        )

    def restore_into(self, trainer: Trainer) -> None:
        """Put the checkpoint in place, if there's one."""
        path = self.path / CHECKPOINT
        if self.begun:
            trainer.restore(*read_tensors(path), path)

    def cut(self, done: int) -> None:
        """Cut log and evaluations to a number of steps."""
        rows = [row for row in self.rows() if row["step"] < done]
        write_text(self.path / LOG, "".join(json.dumps(row) + "\n" for row in rows))
        self.record["evaluations"] = [e for e in self.record["evaluations"] if e["step"] <= done]

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to the log."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite(dict(row))) + "\n")
        except OSError as error:
            raise not_written(self.path / LOG, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """Return the log."""
        return read_log(self.path / LOG)
