"""Networks, optimisers and one step of a training."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.errors import (
    ContractError,
    DivergedError,
    InputError,
    RunError,
    first_line,
    plain_text,
)
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import TOTAL, Metrics
from inv3d.core.fit.pack import pack, unpack
from inv3d.core.generator import Generator
from inv3d.core.trained import begin_with
from inv3d.core.training import Batch, Check, Lesson, Trainable
from inv3d.core.training_options import TrainingConfig
from inv3d.core.weights.tensors import is_finite, under_prefix
from inv3d.train.draws import seed_of
from inv3d.train.feed import Feed
from inv3d.train.norms import share_norms
from inv3d.train.team import LeftAlone, Team

FORMAT = 1
_NETWORK, _AVERAGE = "network/", "average/"
# the running average of the weights forgets the first ones sooner
_EARLY = 10
AnyTrainable = Trainable[Any]


@dataclass(frozen=True)
class Taken:
    """One step.

    Attributes:
        losses: optimiser/name -> value, of the first optimiser name alone; means over all pictures.
        rate: learning rate of each optimiser.
        stop: whether any process was asked to stop.
    """

    losses: dict[str, float]
    rate: dict[str, float]
    stop: bool


class Trainer:
    """All that changes in a training, and what changes it.

    Args:
        plugin: what is trained.
        generator: frozen, on the device.
        training: options.
        context: of the training.
        team: of processes.
        seed: of all random numbers.
        begun: whether a checkpoint will be restored, so that it doesn't matter what weights the
            networks begin with.
    """

    def __init__(
        self,
        plugin: AnyTrainable,
        generator: Generator,
        training: TrainingConfig,
        context: Context,
        team: Team,
        seed: int,
        begun: bool = False,
    ) -> None:
        self.plugin, self.training, self.team, self.seed = plugin, training, team, seed
        self.device = context.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "weights") >> 32)
            network = plugin.build(generator)
            if not begun:
                self._begin(network, generator)
        self.network = network.to(self.device).train()
        self.average: nn.Module | None = None
        if training.average:
            self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        share_norms(self.network, team)
        self.optimizers: Mapping[str, Optimizer] = plugin.optimizers(self.network, training)
        self.plateau = {
            name: [group["lr"] for group in optimizer.param_groups]
            for name, optimizer in self.optimizers.items()
        }
        centre = plugin.latent_average(generator).to(self.device)
        self.lesson: Lesson[Any] = Lesson(self.network, generator, training, context, centre)
        self.done = 0

    def _begin(self, network: nn.Module, generator: Generator) -> None:
        """Give fresh networks the weights that the options name."""
        plugin, training = self.plugin, self.training
        if training.begin is None:
            plugin.begin(network, generator, training, torch.Generator().manual_seed(self.seed))
            return
        kept, config = plugin.kept(network), plugin.config  # type: ignore[attr-defined]
        begin_with(training.begin, plugin.name, config, kept, generator)

    def rehearse(self, feed: Feed) -> None:
        """Compute the losses of the next step and forget them.

        Whatever is missing for them, a loss's weights or a picture, is found before a directory is
        made or an old training replaced.
        """
        before = self._buffers()
        self._seed(0)
        for name, metrics in self.plugin.losses(self.lesson, feed.batch(self.done, 0)).items():
            self._check_named(name, metrics)
        self._put_buffers(before)

    def step(self, feed: Feed) -> Taken:
        """Take one step: all gradients first, then the steps of the optimisers that are due.

        Raises:
            DivergedError: where a loss or gradient isn't finite; nothing has changed then.
            InputError: where a picture can't be read; the same.
            LeftAlone: where another process has ended; the same.
        """
        before = self._buffers()
        gradients: dict[str, list[Tensor | None]] = {}
        losses: dict[str, Tensor] = {}
        try:
            for part in range(self.training.accumulate):
                self._seed(part)
                made = self.plugin.losses(self.lesson, feed.batch(self.done, part))
                self._add(made, gradients, losses)
            stop = torch.tensor(float(self.lesson.context.state.stop_requested), device=self.device)
            changes = [g for some in gradients.values() for g in some if g is not None]
            self.team.average([*changes, *losses.values(), stop])
        except (InputError, LeftAlone):
            self._put_buffers(before)
            raise
        # all at once: each number that's read alone makes the device wait
        read = torch.stack(list(losses.values())).tolist() if losses else []
        values = dict(zip(losses, read, strict=True))
        if fault := _fault(values, changes):
            self._put_buffers(before)
            raise DivergedError(f"step {self.done}: {fault} isn't finite")
        rates = {name: self._move(name, some) for name, some in gradients.items()}
        self.done += 1
        self._follow()
        return Taken(values, rates, bool(stop > 0))

    def check_finite(self) -> None:
        """Refuse weights that a step has made infinite.

        Raises:
            DivergedError: naming one of them.
        """
        for name, tensor in self.network.state_dict().items():
            if not is_finite(tensor):
                raise DivergedError(f"step {self.done - 1}: weight '{name}' isn't finite after it")

    def _seed(self, part: int) -> None:
        """Let all random numbers depend on seed, step, process and part alone."""
        place = seed_of(self.seed, "draws", self.done, self.team.rank, part)
        for name, rng in self.lesson.context.state.generators.items():
            rng.manual_seed(seed_of(place, name))
        # of modules that draw from torch itself, such as dropout
        torch.manual_seed(place >> 1)

    def _add(
        self,
        made: Mapping[str, Metrics],
        gradients: dict[str, list[Tensor | None]],
        losses: dict[str, Tensor],
    ) -> None:
        """Add the gradients and losses of a part, each optimiser's to its own parameters."""
        parts = self.training.accumulate
        for place, (name, metrics) in enumerate(made.items()):
            self._check_named(name, metrics)
            mine = _parameters(self.optimizers[name])
            found = torch.autograd.grad(
                metrics[TOTAL] / parts,
                mine,
                retain_graph=place + 1 < len(made),
                allow_unused=True,
            )
            old = gradients.get(name, [None] * len(mine))
            gradients[name] = [_sum(a, b) for a, b in zip(old, found, strict=True)]
            prefix = f"{name}/" if place else ""
            for loss, value in metrics.items():
                key, share = prefix + loss, value.detach().float() / parts
                losses[key] = losses[key] + share if key in losses else share.clone()

    def _check_named(self, name: str, metrics: Metrics) -> None:
        if name in self.optimizers and TOTAL in metrics and metrics[TOTAL].requires_grad:
            return
        raise ContractError(
            f"{self.plugin.name}: its losses() named '{name}' with {', '.join(metrics) or 'none'}, "
            f"expected one of its optimisers ({', '.join(self.optimizers)}) with a '{TOTAL}' that "
            "has a gradient; report it to the plugin's author"
        )

    def _move(self, name: str, gradients: list[Tensor | None]) -> float:
        optimizer, factor = self.optimizers[name], self.training.rate(self.done)
        for group, plateau in zip(optimizer.param_groups, self.plateau[name], strict=True):
            group["lr"] = plateau * factor
        for parameter, gradient in zip(_parameters(optimizer), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(optimizer.param_groups[0]["lr"])

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the running average follow the weights."""
        if self.average is None:
            return
        decay = min(self.training.average, self.done / (self.done + _EARLY))
        now = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(now[name], 1 - decay)
            else:
                value.copy_(now[name])

    def _buffers(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.named_buffers()}

    @torch.no_grad()
    def _put_buffers(self, before: Mapping[str, Tensor]) -> None:
        for name, value in self.network.named_buffers():
            value.copy_(before[name])

    @property
    def result(self) -> nn.Module:
        """The networks as they're kept: averaged, where an average is taken."""
        return self.network if self.average is None else self.average

    def check(self, batch: Batch) -> Check:
        """Return how well the kept networks do on held-out pictures."""
        self._seed(0)
        network = self.result.eval()
        try:
            return self.plugin.check(replace(self.lesson, network=network), batch)
        finally:
            self.network.train()

    def kept(self) -> dict[str, Tensor]:
        """Return the state dict of what is kept in the end."""
        state = self.plugin.kept(self.result).state_dict()
        if self.training.keep == "fp32":
            return dict(state)
        return {name: _halved(tensor) for name, tensor in state.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and plain values of a checkpoint."""
        tensors = {f"{_NETWORK}{n}": t for n, t in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"{_AVERAGE}{n}": t for n, t in self.average.state_dict().items()}
        packed: dict[str, Any] = {}
        for name, optimizer in self.optimizers.items():
            own: dict[str, Tensor] = {}
            packed[name] = pack(optimizer.state_dict(), own, f"optimizer/{name}/")
            tensors |= own
        kinds = {name: type(optimizer).__name__ for name, optimizer in self.optimizers.items()}
        position = {"format": FORMAT, "done": self.done, "optimizers": packed, "kinds": kinds}
        return tensors, position

    def restore(
        self, tensors: Mapping[str, Tensor], position: Mapping[str, Any], where: Any
    ) -> None:
        """Go back to a checkpoint.

        Raises:
            RunError: where it isn't one of this training, or of other optimisers.
        """
        try:
            if position["format"] != FORMAT:
                raise ValueError(f"format {position['format']}, expected {FORMAT}")
            self._check_kinds(position.get("kinds", {}), where)
            self.network.load_state_dict(under_prefix(tensors, _NETWORK))
            if self.average is not None:
                averaged = under_prefix(tensors, _AVERAGE)
                # an average that is new begins with the weights as they are
                self.average.load_state_dict(averaged or self.network.state_dict())
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(unpack(position["optimizers"][name], tensors))
            self.done = position["done"] + 0
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise RunError(
                f"{where}: isn't a checkpoint of this training ({plain_text(first_line(error))}); "
                "start it again with --overwrite"
            ) from error

    def _check_kinds(self, kinds: Mapping[str, str], where: Any) -> None:
        for name, kind in kinds.items():
            now = type(self.optimizers[name]).__name__ if name in self.optimizers else "none"
            if now != kind:
                raise RunError(
                    f"{where}: '{name}' was trained by {kind}, which can't become {now} on the "
                    "way; leave the optimiser as it was, or begin another training with "
                    f"--set training.begin={Path(where).parent}"
                )


def _halved(tensor: Tensor) -> Tensor:
    """Return floating-point numbers in half the room, but as they are where one is too large."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if is_finite(half) else tensor


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return first if second is None else second
    return first + second


def _fault(losses: Mapping[str, float], gradients: list[Tensor]) -> str:
    """Name what isn't finite, empty if nothing."""
    for name, value in losses.items():
        if not math.isfinite(value):
            return f"loss '{name}' ({value})"
    if not gradients:  # no optimiser is due
        return ""
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
    return "" if bool(norms.sum().isfinite()) else "a gradient"
