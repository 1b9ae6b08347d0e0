"""What suites look at: a plugin with options, and what is made with it, each thing once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig, build_config
from inv3d.core.errors import WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress, Stage
from inv3d.core.generator import Generator
from inv3d.core.registry.record import PluginRecord, singular
from inv3d.core.weights.known import resolve_path
from inv3d.testing.suite import DoesntApply
from inv3d.testing.toy import ToyConfig, ToyGenerator

M = TypeVar("M", bound=nn.Module)
STEPS = 3


@dataclass
class Subject:
    """A plugin that is looked at.

    Attributes:
        record: what is known of it; its distribution is empty where a class was handed over.
        target: the class, or the module of hooks.
        options: nested plain values, where its defaults don't suit a test.
        weights: its weight file, where it reads one.
        generator: makes the generator that methods, editors and estimators are tried with; a
            fresh one at every call.
        edit: options of the edit that an editor is tried with.
        device: where everything runs.
        steps: of every stage at most.
        made: what several checks look at, by name; made once.
    """

    record: PluginRecord
    target: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    generator: Callable[[], Generator] = lambda: ToyGenerator(ToyConfig())
    edit: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    steps: int = STEPS
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The plugin in words, for messages."""
        return f"{singular(self.record.kind)} {self.record.name}"

    @property
    def config(self) -> PluginConfig:
        """Its options."""
        kind: type[PluginConfig] = self.target.Config
        return build_config(kind, self.options, self.owner)

    def make(self) -> Any:
        """Build the plugin anew, on the device.

        Raises:
            DoesntApply: where its weights aren't here.
        """
        return _placed(self.built(), self.device)

    def built(self) -> Any:
        """Return what `create` makes, as it makes it.

        Raises:
            DoesntApply: where its weights aren't here.
        """
        try:
            if self.record.kind != "generators":
                return self.target.create(self.config)
            path = resolve_path(self.weights, self.target.weights, self.owner)
            return self.target.create(self.config, path)
        except WeightsError as error:
            raise DoesntApply(f"needs weights ({error})") from error

    @cached_property
    def plugin(self) -> Any:
        """The plugin, built once."""
        return self.make()

    def stage(self) -> Generator:
        """A generator to try it with: frozen, in eval mode, on the device."""
        made: Generator = _placed(self.generator(), self.device)
        return made

    def context(self, seed: int = 0, **more: Any) -> Context:
        """Return a context in which every stage is short."""
        made = Context.create(self.device, seed, **more)
        return ShortContext(**{**vars(made), "longest": self.steps})


@dataclass(frozen=True)
class ShortContext(Context):
    """A context whose stages end after a few steps, however many the options ask for.

    Attributes:
        longest: steps of a stage at most.
    """

    longest: int = STEPS

    def run(self, stage: Stage) -> Any:
        """Run a shortened stage."""
        return super().run(replace(stage, steps=min(stage.steps, self.longest)))


def _placed(made: Any, device: torch.device) -> Any:
    if isinstance(made, nn.Module):
        return made.to(device).eval().requires_grad_(False)
    return made


def latents(generator: Generator, count: int, seed: int = 0) -> Tensor:
    """Return latents [count, num_ws, w_dim] of random heads."""
    from inv3d.core.generator import neutral_condition

    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.spec.z_dim, generator=rng)
    with torch.no_grad():
        ws = generator.map(
            z.to(generator.device, generator.dtype), neutral_condition(generator, count)
        )
    return ws.clone()


def cameras(generator: Generator, count: int) -> Camera:
    """Return cameras on an arc around the front, on the generator's device."""
    reach = torch.deg2rad(torch.tensor(min(20.0, generator.spec.camera.yaw_deg)))
    yaw = torch.linspace(-1, 1, count) * reach if count > 1 else torch.zeros(1)
    return generator.spec.camera.orbit(yaw).to(generator.device, generator.dtype)


def finite(name: str, tensor: Tensor) -> None:
    """See that all numbers are finite."""
    bad = int((~tensor.isfinite()).sum())
    assert bad == 0, f"{name} has {bad} of {tensor.numel()} numbers that aren't finite"


def shaped(name: str, tensor: Any, *shape: int | None) -> None:
    """See that a tensor has a shape; None stands for any size."""
    assert isinstance(tensor, Tensor), f"{name} is a {type(tensor).__name__}, expected a tensor"
    found = tuple(tensor.shape)
    fits = len(found) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, found, strict=True)
    )
    wanted = ["any" if size is None else str(size) for size in shape]
    assert fits, f"{name} is {list(found)}, expected [{', '.join(wanted)}]"


def near(name: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """See that two tensors agree, of the same shape, up to a difference."""
    shaped(name, found, *expected.shape)
    most = float((found - expected).abs().max()) if found.numel() else 0.0
    assert most <= tolerance, f"{name} differs by up to {most:.2g}, expected at most {tolerance:g}"


def taken(steps: Any, watch: Callable[[Progress], None] = lambda step: None) -> Any:
    """Take all steps of a method or a fit and return what comes at the end."""
    assert inspect.isgenerator(steps) or hasattr(steps, "__next__"), (
        f"returns a {type(steps).__name__}, expected a function that yields"
    )
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        assert isinstance(step, Progress), f"yields a {type(step).__name__}, expected a Progress"
        watch(step)
