"""A weighted sum of losses over views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.errors import PluginError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import OutputName, Rendering

Picture = Literal["image", "raw"]


class LossTerm(BaseModel):
    """A loss in a method's options: its weight, what it looks at, and any options of its own.

    A term's name is that of its loss, unless `loss` names another: `{"mse": 1, "raw": {"loss":
    "mse", "of": "raw"}}` has one loss twice.

    Attributes:
        weight: None keeps the weight that the loss has without this entry, 1 if it has none.
        loss: name of the plugin; the term's own name if None.
        of: the final image, or the raw one before super-resolution.
        where: name of a map (the target's masks are "mask") by which both pictures are multiplied
            before they're compared; the whole picture if None.

    Example:
        >>> import inv3d
        >>> term = inv3d.LossTerm.model_validate({"loss": "mse", "of": "raw", "resolution": 64})
        >>> term.loss, term.of, term.options
        ('mse', 'raw', {'resolution': 64})
    """

    # of the loss itself
    model_config = ConfigDict(extra="allow", frozen=True)
    weight: float | None = None
    loss: str | None = None
    of: Picture = "image"
    where: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the loss itself."""
        return dict(self.model_extra or {})

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


class Term:
    """One loss with what it prepared of the targets."""

    def __init__(self, name: str, weighted: WeightedLoss, target: Target) -> None:
        self.name = name
        self.weighted = weighted
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
        count = views.stop - views.start
        if not isinstance(value, Tensor) or tuple(value.shape) != (count,):
            found = (
                f"shape {tuple(value.shape)}"
                if isinstance(value, Tensor)
                else f"a {type(value).__name__}"
            )
            raise PluginError(
                f"loss '{self.name}': returned {found} for {count} views, expected a tensor of "
                f"shape ({count},), one number a view; report it to the loss's author"
            )
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

    @property
    def outputs(self) -> tuple[OutputName, ...]:
        """What has to be rendered for the losses."""
        return tuple(dict.fromkeys(n for term in self.terms.values() for n in term.weighted.needs))

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
