"""A weighted sum of losses over views."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.border import check_values
from inv3d.core.errors import ConfigError
from inv3d.core.fit.terms import Picture
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import OutputName, Rendering


@dataclass(frozen=True)
class WeightedLoss:
    """A loss that was built, its weight, and what it looks at; see `LossTerm`."""

    loss: Loss[Any, Any]
    weight: float
    of: Picture = "image"
    where: str | None = None

    def times(self, factor: float) -> WeightedLoss:
        """Return the same with another weight."""
        return replace(self, weight=self.weight * factor)

    @property
    def needs(self) -> tuple[OutputName, ...]:
        """The fields of a rendering that it reads."""
        return tuple(self.of if name == "image" else name for name in self.loss.needs)


Losses = Mapping[str, WeightedLoss]


def that_look(losses: Losses) -> Losses:
    """Return the losses that look at a rendering, without those of latents or noise maps alone.

    Raises:
        ConfigError: where none of them does.
    """
    looking = {name: one for name, one in losses.items() if one.loss.needs}
    if losses and not looking:
        raise ConfigError(
            f"option 'losses': none of {', '.join(losses)} looks at the picture; name one that "
            "does, such as --set losses.mse=1"
        )
    return looking


class Term:
    """One loss with what it prepared of the targets.

    Raises:
        ConfigError: where it's told which picture to look at, and looks at none.
    """

    def __init__(self, name: str, weighted: WeightedLoss, target: Target) -> None:
        for option, default in (("of", "image"), ("where", None)):
            if getattr(weighted, option) != default and "image" not in weighted.loss.needs:
                raise ConfigError(
                    f"option '{option}' of loss {name}: it looks at no picture; leave it out"
                )
        self.name = name
        self.weighted = weighted
        held = (one for one in weighted.loss.modules() if isinstance(one, Loss))
        self.replayable = all(one.replayable for one in held)
        self.weight = weighted.weight
        seen = target.raw() if weighted.of == "raw" else target
        self.map: Tensor | None = None
        if weighted.where is not None:
            whole = seen.map(weighted.where, f"option 'where' of loss {name}")
            self.map = F.interpolate(whole, seen.images.shape[-2:], mode="area")
            seen = replace(seen, images=seen.images * self.map)
        self.cache: Any = weighted.loss.prepare(seen)

    def __call__(self, rendering: Rendering, views: slice) -> Tensor:
        """Return the loss of each of some views.

        Raises:
            PluginError: where the loss doesn't return one number a view.
        """
        if self.weighted.of == "raw":
            rendering = replace(rendering, image=rendering.require("raw"))
        if self.map is not None:
            rendering = replace(rendering, image=rendering.require("image") * self.map[views])
        loss = self.weighted.loss
        value: Tensor = loss(rendering, loss.select(self.cache, views))
        check_values(self.name, value, views.stop - views.start)
        return value


class Objective:
    """Sum over views of the weighted losses, as in eq. 3 of the multi-view inversion paper.

    Attributes:
        terms: name -> a loss with its prepared targets.
        views: number of targets, N.
        weights: [N], how much each view counts, or None.
    """

    def __init__(self, losses: Losses, target: Target) -> None:
        self.views = len(target.images)
        self.weights = target.weights
        with torch.no_grad():
            self.terms = {name: Term(name, one, target) for name, one in losses.items()}

    @staticmethod
    def joined(parts: Mapping[str, Objective]) -> Objective:
        """Return objectives over the same views as one, whose losses share their renderings.

        Args:
            parts: name -> an objective; its losses are called NAME/LOSS.

        Raises:
            ValueError: where there are none, or their numbers of views or weights differ.
        """
        if not parts:
            raise ValueError("no objective to join: give at least one")
        first = next(iter(parts.values()))
        if any(p.views != first.views or p.weights is not first.weights for p in parts.values()):
            raise ValueError("objectives of other views or weights can't be joined")
        whole = copy.copy(first)
        whole.terms = {f"{n}/{loss}": t for n, p in parts.items() for loss, t in p.terms.items()}
        return whole

    @property
    def outputs(self) -> tuple[OutputName, ...]:
        """What has to be rendered for the losses."""
        return tuple(dict.fromkeys(n for term in self.terms.values() for n in term.weighted.needs))

    @property
    def unsteady(self) -> list[str]:
        """Losses that don't say that they're replayable, or hold another that doesn't."""
        return [name for name, term in self.terms.items() if not term.replayable]

    def evaluate(self, rendering: Rendering, views: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum over some views, and each loss's detached sum over them.

        Args:
            rendering: of those views.
            views: which of the targets they are.

        Raises:
            PluginError: where a loss doesn't return one number a view.
        """
        weighted: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            value = term(rendering, views)
            if self.weights is not None:
                value = value * self.weights[views]
            parts[name] = value.detach().sum()
            weighted.append(term.weight * value.sum())
        return sum(weighted[1:], weighted[0]), parts
