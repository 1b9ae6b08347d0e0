"""Losses in options, as users write them; nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Picture = Literal["image", "raw"]
# what a stage leaves: where the last step led, or from where a step saw the lowest total loss
Keep = Literal["last", "best"]


class LossTerm(BaseModel):
    """A loss in a method's options: its weight, what it looks at, and any options of its own.

    A term's name is that of its loss, unless `loss` names another: `{"mse": 1, "raw": {"loss":
    "mse", "of": "raw"}}` has one loss twice.

    Attributes:
        weight: 0 or more; None keeps the weight that the loss has without this entry, 1 if it has
            none.
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
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    weight: float | None = Field(default=None, ge=0)
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
