"""What a method is given besides generator and capture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.config import build_config
from inv3d.core.errors import ConfigError
from inv3d.core.fit.backward import backward_joint, backward_views
from inv3d.core.fit.loop import Progress, RunState, Stage, run_stage
from inv3d.core.fit.objective import LossTerm, Objective
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.loss import Loss, Target
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import OutputName, Rendering
from inv3d.core.weights.known import WeightFile


@dataclass(frozen=True)
class Context:
    """Device, seed, losses and the state of the loop.

    Attributes:
        device: where everything runs.
        seed: of the run.
        state: of the optimisation loop: random numbers, checkpoint, chunk.
        init: an inversion to start from, or None.
        prefix: before the names of stages, where one method runs inside another.
    """

    device: torch.device
    seed: int
    state: RunState
    init: Inversion | None = None
    prefix: str = ""

    @staticmethod
    def create(
        device: torch.device | str = "cpu",
        seed: int = 303,
        *,
        checkpoint: Path | None = None,
        every: int = 50,
        view_chunk: int | None = None,
        init: Inversion | None = None,
    ) -> Context:
        """Return a fresh context; `checkpoint` is the file to write every so many steps."""
        device = torch.device(device)
        generators = {
            "cpu": torch.Generator().manual_seed(seed),
            "render": torch.Generator(device=device).manual_seed(seed),
        }
        state = RunState(generators, view_chunk, checkpoint=checkpoint, every=every)
        return Context(device, seed, state, init)

    def within(self, prefix: str) -> Context:
        """Return the context for a method that runs as a part of another."""
        return replace(self, prefix=f"{self.prefix}{prefix}/", init=None)

    def randn(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return standard normal numbers, the same on every device, of a tensor's type."""
        return torch.randn(*shape, generator=self.state.generators["cpu"]).to(like)

    def randint(self, high: int) -> int:
        """Return a random whole number from 0 to high - 1."""
        return int(torch.randint(high, (1,), generator=self.state.generators["cpu"]))

    def notice(self, text: str) -> None:
        """Leave a message for the user, once."""
        if text not in self.state.notices:
            self.state.notices.append(text)

    def check_fit(self, file: WeightFile, generator: Generator) -> None:
        """Warn the user where weights were made for another variant than this generator."""
        if text := file.misfit(generator.spec.name):
            self.notice(text)

    def run(self, stage: Stage) -> Iterator[Progress]:
        """Run a stage of the calling method; it resumes or skips by itself."""
        return run_stage(replace(stage, name=self.prefix + stage.name), self.state)

    def losses(self, terms: Mapping[str, LossTerm]) -> dict[str, tuple[Loss, float]]:
        """Build losses by name; those of weight 0 are left out.

        Raises:
            ConfigError: where none is left.
            PluginError: where a name is unknown.
        """
        weights = {name: term.over(None).weight for name, term in terms.items()}
        losses = {n: (self.loss(n, terms[n]), weight) for n, weight in weights.items() if weight}
        if not losses:
            raise ConfigError("option 'losses': every weight is 0; give at least one loss a weight")
        return losses

    def objective(self, terms: Mapping[str, LossTerm], target: Target) -> Objective:
        """Build losses by name and let them prepare their targets."""
        return Objective(self.losses(terms), target)

    def loss(self, name: str, term: LossTerm | None = None) -> Loss:
        """Build one loss by name, frozen, on the device."""
        options = dict((term.model_extra if term else None) or {})
        kind: type[Loss] = registry().load("losses", name)
        loss = kind.create(build_config(kind.Config, options, f"loss {name}"))
        return loss.to(self.device).eval().requires_grad_(False)

    def backward(
        self,
        generator: Generator,
        ws: Tensor,
        camera: Camera,
        objective: Objective,
        *,
        latent: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Add the gradient over all views, chunked by memory; see `backward_views`."""
        self._note(generator, camera)
        chunk = self.state.view_chunk
        return backward_views(generator, ws, camera, objective, chunk, latent=latent)

    def backward_joint(
        self,
        generator: Generator,
        ws: Tensor,
        camera: Camera,
        function: Callable[[Rendering], Tensor],
        outputs: Sequence[OutputName],
    ) -> Tensor:
        """Add the gradient of a function of all views together; see `backward_joint`."""
        self._note(generator, camera)
        chunk, rng = self.state.view_chunk, self.state.generators["render"]
        return backward_joint(generator, ws, camera, function, outputs, chunk, rng=rng)

    def _note(self, generator: Generator, camera: Camera) -> None:
        """Tell the loop what it has to know where memory runs out."""
        self.state.views = max(self.state.views, len(camera))
        self.state.rays_option = generator.rays_option
