"""What a method is given besides generator and capture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError
from inv3d.core.fit.backward import Look, Source, backward, latent_source, unsteady
from inv3d.core.fit.loop import Progress, Stage, run_stage
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.fit.replay import CudaGraphs, Replays
from inv3d.core.fit.state import RunState
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made
from inv3d.core.loss import AnyLoss, Target, load_loss

_READ_EVERY_ON_CUDA = 10


@dataclass(frozen=True)
class Context:
    """Device, seed, losses and the state of the loop.

    Attributes:
        device: where everything runs.
        seed: of the run.
        state: of the optimisation loop: random numbers, checkpoint, chunk.
        init: an inversion to start from, or None.
        preset: that the method's options come from, or None.
        prefix: before the names of stages, where one method runs inside another.
        built: losses that were built, by name and options; one run builds each once.
    """

    device: torch.device
    seed: int
    state: RunState
    init: Inversion | None = None
    preset: str | None = None
    prefix: str = ""
    built: dict[str, AnyLoss] = field(default_factory=dict)

    @staticmethod
    def create(
        device: torch.device | str = "cpu",
        seed: int = 303,
        *,
        checkpoint: Path | None = None,
        every: int = 50,
        view_chunk: int | None = None,
        init: Inversion | None = None,
        preset: str | None = None,
        read_every: int | None = None,
        replay: bool | None = None,
    ) -> Context:
        """Return a fresh context.

        Args:
            device: where everything runs.
            seed: of all random numbers.
            checkpoint: file to write, or None.
            every: steps between checkpoints.
            view_chunk: views rendered at a time; all if None.
            init: an inversion to start from.
            preset: that the method's options come from.
            read_every: steps between two readings of the losses from the device; if None every
                step on the CPU, where it costs nothing, and every tenth elsewhere.
            replay: record passes that come again as CUDA graphs; if None, unless the environment
                variable INV3D_CUDA_GRAPHS is 0. On a CPU there are none.
        """
        device = torch.device(device)
        generators = {
            "cpu": torch.Generator().manual_seed(seed),
            "render": torch.Generator(device=device).manual_seed(seed),
        }
        state = RunState(generators, view_chunk, checkpoint=checkpoint, every=every)
        state.read_every = read_every or (1 if device.type == "cpu" else _READ_EVERY_ON_CUDA)
        replay = os.environ.get("INV3D_CUDA_GRAPHS") != "0" if replay is None else replay
        if replay and device.type == "cuda":
            state.replays = Replays(partial(CudaGraphs, device))
        return Context(device, seed, state, init, preset)

    def within(self, prefix: str) -> Context:
        """Return the context for a method that runs as a part of another."""
        return replace(self, prefix=f"{self.prefix}{prefix}/", init=None, preset=None)

    def option(self, name: str) -> str:
        """Return the whole name of an option of the calling method or part, for messages."""
        return f"{self.prefix.replace('/', '.')}{name}"

    def randn(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return standard normal numbers, the same on every device, of a tensor's type."""
        return torch.randn(*shape, generator=self.state.generators["cpu"]).to(like)

    def randint(self, high: int) -> int:
        """Return a random whole number from 0 to high - 1."""
        return int(torch.randint(high, (1,), generator=self.state.generators["cpu"]))

    def notice(self, text: str) -> None:
        """Leave a message for the user, once."""
        self.state.notice(text)

    def history(self, name: str, config: PluginConfig) -> tuple[Made, ...]:
        """Return the history of a result: that of `init`, and the method with its options."""
        parent = "" if self.init is None else self.init.digest()
        made = Made("method", name, self.preset, config.model_dump(mode="json"), parent)
        return (*(() if self.init is None else self.init.history), made)

    def run(self, stage: Stage) -> Iterator[Progress]:
        """Run a stage of the calling method; it resumes or skips by itself."""
        table = self.option(stage.table) if stage.table else ""
        return run_stage(replace(stage, name=self.prefix + stage.name, table=table), self.state)

    def losses(self, terms: Mapping[str, LossTerm]) -> dict[str, WeightedLoss]:
        """Build losses by name, each once a run; those of weight 0 are left out.

        Raises:
            ConfigError: where none is left.
            PluginError: where a name is unknown.
        """
        losses = {}
        for name, term in terms.items():
            weight = term.over(None).weight
            if weight:
                losses[name] = WeightedLoss(self.loss(name, term), weight, term.of, term.where)
                seen = self.state.weights.setdefault(name, [])
                seen += [weight] if weight not in seen else []
        if not losses:
            raise ConfigError("option 'losses': every weight is 0; give at least one loss a weight")
        return losses

    def objective(self, terms: Mapping[str, LossTerm], target: Target) -> Objective:
        """Build losses by name and let them prepare their targets."""
        return Objective(self.losses(terms), target)

    def loss(self, name: str, term: LossTerm | None = None) -> AnyLoss:
        """Build one loss by name, once a run: frozen, on the device, of the generator's type."""
        term = term or LossTerm()
        plugin = term.loss or name
        key = f"{plugin} {json.dumps(term.options, sort_keys=True, default=str)}"
        if key not in self.built:
            built = load_loss(plugin, term.options, device=self.device)
            self.built[key] = built.to(dtype=self.state.dtype)
        return self.built[key]

    def backward(
        self, generator: Generator, source: Source | Tensor, *looks: Look
    ) -> dict[str, Tensor]:
        """Add the gradient of all that looks make of some scenes, chunked by memory.

        Args:
            generator: that renders; its parameters get gradients where they require them.
            source: of the scenes, or their latents [B, num_ws, w_dim].
            looks: one or more; see `inv3d.core.fit.backward.backward`.

        Returns:
            Loss name -> sum over views, with "total"; detached, on the device.

        Raises:
            UnsupportedError: where a look needs an output that the generator doesn't make.
        """
        for look in looks:
            generator.require(look.outputs, "this method")
            for name, term in look.objective.terms.items() if look.objective else ():
                generator.require(term.weighted.needs, f"loss {name}")
        self.state.views = max(self.state.views, *(len(look.camera) for look in looks))
        self.state.rays_option = generator.rays_option
        if isinstance(source, Tensor):
            source = latent_source(generator, source)
        chunk, rng = self.state.view_chunk, self.state.generators["render"]
        replays = self.state.replays
        sums = backward(generator, source, looks, chunk=chunk, rng=rng, replays=replays)
        if replays is not None and (who := unsteady(generator, looks)):
            self.notice(
                "steps aren't recorded as CUDA graphs, but computed: "
                f"{', '.join(who)} isn't marked as replayable"
            )
        elif replays is not None and replays.fault is not None:
            self.notice(f"steps aren't recorded as CUDA graphs, but computed: {replays.fault}")
        return sums
