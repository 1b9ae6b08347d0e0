"""Short trainings of encoders for tiny generators, for the tests of methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.config import build_config
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.core.trained import FILE, Trained
from inv3d.testing.toy import toy_capture
from inv3d.train.feed import Feed
from inv3d.train.sources import Generated
from inv3d.train.team import Team
from inv3d.train.trainer import Taken, Trainer

CPU = torch.device("cpu")
TRUNK = {"width": 8, "units": [1, 1, 1, 1]}
ENCODER = {"trunk": TRUNK, "size": 32, "style_channels": 8}
LOSSES = {"mse": 1.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "psp": {"encoder": ENCODER},
    "e4e": {"encoder": {"kind": "e4e", **ENCODER}},
    "triplanenet": {"encoder": ENCODER, "branch": {"trunk": TRUNK}},
    "dualencoder": {"encoder": ENCODER, "branch": {"trunk": TRUNK}, "discriminator": 8},
}


class Training:
    """A trainer with its pictures.

    Attributes:
        trainer: of a method that was built.
        feed: of generated pictures.
        taken: steps.
    """

    def __init__(self, name: str, generator: Generator, options: Any = None, **more: Any) -> None:
        kind = registry().load("methods", name)
        config = build_config(kind.Config, {**OPTIONS[name], **(options or {})}, name)
        training = build_config(kind.Training, {"losses": LOSSES, "batch": 2, **more}, name)
        self.method = kind.create(config)
        context = Context.create(CPU, 1)
        generator.rng = context.state.generators["render"]
        self.trainer = Trainer(self.method, generator, training, context, Team(), 1)
        spec = generator.spec
        source = Generated(
            generator, lambda n, rng: self.method.cameras(spec, training, n, rng), 1, count=2
        )
        self.source = source
        self.feed = Feed([source], 1, training, Team(), CPU)
        self.taken: list[Taken] = []

    def steps(self, count: int) -> Training:
        """Take steps."""
        self.taken += [self.trainer.step(self.feed) for _ in range(count)]
        return self

    def losses(self, name: str) -> list[float]:
        """One loss of every step that had it."""
        return [taken.losses[name] for taken in self.taken if name in taken.losses]

    def save(self, folder: Path) -> Path:
        """Write what is kept; return the directory."""
        generator = self.trainer.lesson.generator
        Trained(
            self.method.name,
            type(generator).name,
            generator.spec.fingerprint,
            self.trainer.kept(),
            self.trainer.lesson.average,
            self.method.config.model_dump(mode="json"),
            steps=self.trainer.done,
        ).save(folder / FILE)
        return folder


def states(trainer: Trainer, *prefixes: str) -> list[dict[str, Tensor]]:
    """Copies of the parts of a network."""
    state = {n: t.clone() for n, t in trainer.network.state_dict().items()}
    return [{n: t for n, t in state.items() if n.startswith(prefix)} for prefix in prefixes]


def changed(before: Sequence[dict[str, Tensor]], after: Sequence[dict[str, Tensor]]) -> list[bool]:
    """Whether the parts differ."""
    return [
        any(not torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(before, after, strict=True)
    ]


def one_picture(generator: Generator) -> Capture:
    """The front view of a head."""
    return toy_capture(generator, 1, seed=5)
