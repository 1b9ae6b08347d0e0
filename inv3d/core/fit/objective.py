"""A weighted sum of losses over views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict
from torch import Tensor

from inv3d.core.errors import PluginError
from inv3d.core.loss import Cache, Loss, Target
from inv3d.core.scene import OutputName, Rendering


class LossTerm(BaseModel):
    """A loss in a method's options: its weight, and any options of the loss itself.

    Attributes:
        weight: None keeps the weight that the loss has without this entry, 1 if it has none.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    weight: float | None = None

    def over(self, below: LossTerm | None) -> LossTerm:
        """Return the entry with a weight, which may be that of the entry below it."""
        if self.weight is not None:
            return self
        inherited = below.weight if below is not None else None
        return self.model_copy(update={"weight": 1.0 if inherited is None else inherited})


def _term(value: object) -> object:
    return {"weight": value} if isinstance(value, int | float) else value


LossTerms = dict[str, Annotated[LossTerm, BeforeValidator(_term)]]


@dataclass(frozen=True)
class Term:
    """One loss with its weight and what it prepared of the targets."""

    loss: Loss
    weight: float
    cache: Cache


class Objective:
    """Sum over views of the weighted losses, as in eq. 3 of the multi-view inversion paper.

    Attributes:
        terms: name -> loss, weight and prepared targets.
        views: number of targets, N.
    """

    def __init__(self, losses: Mapping[str, tuple[Loss, float]], target: Target) -> None:
        self.views = len(target.images)
        with torch.no_grad():
            self.terms = {
                name: Term(loss, weight, loss.prepare(target))
                for name, (loss, weight) in losses.items()
            }

    @property
    def outputs(self) -> tuple[OutputName, ...]:
        """What has to be rendered for the losses."""
        return tuple(dict.fromkeys(n for term in self.terms.values() for n in term.loss.needs))

    def evaluate(self, rendering: Rendering, views: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum over some views, and each loss's detached sum over them.

        Args:
            rendering: of those views.
            views: which of the targets they are.

        Raises:
            PluginError: where a loss doesn't return one number a view.
        """
        count = views.stop - views.start
        weighted: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            value = term.loss(rendering, term.loss.select(term.cache, views))
            if tuple(value.shape) != (count,):
                raise PluginError(
                    f"loss '{name}': returned shape {tuple(value.shape)} for {count} views, "
                    f"expected ({count},), one number a view; report it to the loss's author"
                )
            parts[name] = value.detach().sum()
            weighted.append(term.weight * value.sum())
        return sum(weighted[1:], weighted[0]), parts
