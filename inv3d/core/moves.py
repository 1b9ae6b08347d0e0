"""Moving latents along directions of W: layers, coordinates, what must stay, how far is far."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError

# no further than this, in standard deviations, from the mean lie nearly all latents
CLOUD = 4.0
_SMALLEST = 1e-6


class LayerRange(PluginConfig):
    """Options of an edit that changes some layers of the latents."""

    start: int = Field(0, ge=0, description="first layer of the latents that is changed")
    end: int | None = Field(
        None, ge=1, description="layer before which the change ends; none is after the last one"
    )

    @model_validator(mode="after")
    def _some(self) -> LayerRange:
        if self.end is not None and self.end <= self.start:
            raise ValueError(
                f"end {self.end} isn't after start {self.start}, so that no layer is changed"
            )
        return self

    def layers(self, ws: Tensor, owner: str) -> slice:
        """Return the layers of ws [M, num_ws, w_dim].

        Args:
            ws: latents.
            owner: whose options these are, for the message.

        Raises:
            ConfigError: where the latents have fewer.
        """
        count = ws.shape[1]
        end = count if self.end is None else self.end
        if end > count or self.start >= count:
            raise ConfigError(
                f"{owner}: layers {self.start} to {end} of latents that have {count} (num_ws); "
                f"give start and end within 0 and {count}"
            )
        return slice(self.start, end)


def shifted(ws: Tensor, step: Tensor, layers: slice) -> Tensor:
    """Return latents that are moved, the given ones stay.

    Args:
        ws: [M, num_ws, w_dim].
        step: [w_dim], or [M, 1, w_dim] where each latent goes its own way.
        layers: that are moved.
    """
    moved = ws.clone()
    moved[:, layers] += step.to(ws)
    return moved


def coordinates(w: Tensor, mean: Tensor, direction: Tensor, deviation: float) -> Tensor:
    """Return how far latents lie along a unit direction, in standard deviations.

    Args:
        w: [..., w_dim].
        mean: [w_dim].
        direction: [w_dim], unit length.
        deviation: standard deviation of the latents along it.
    """
    places: Tensor = (w - mean.to(w)) @ direction.to(w) / deviation
    return places


def conditioned(direction: Tensor, keep: Sequence[Tensor] | Tensor) -> Tensor:
    """Return a unit direction made orthogonal to others, so that these attributes stay.

    Shen et al. (InterFaceGAN), section 3.3. Others that depend on one another are one condition.

    Args:
        direction: [w_dim].
        keep: [K, w_dim], or K vectors; K may be 0.

    Raises:
        ConfigError: where nothing of the direction is left.
    """
    unit: Tensor = direction / direction.norm()
    if not len(keep):
        return unit
    rows = torch.stack(list(keep)).to(unit)
    rows = rows[rows.norm(dim=1) > 0]  # a sparse component may have nothing left
    if not len(rows):
        return unit
    # the others' own plane, however they depend on one another
    _, sizes, basis = torch.linalg.svd(rows / rows.norm(dim=1, keepdim=True), full_matrices=False)
    basis = basis[sizes > _SMALLEST * sizes[0]]
    left: Tensor = unit - (unit @ basis.T) @ basis
    length = float(left.norm())
    if length < _SMALLEST:
        raise ConfigError(
            "option 'keep': nothing of the direction is left when the others stay; keep fewer"
        )
    return left / length


def warn_of_distance(
    before: Tensor, after: Tensor, mean: Tensor, direction: Tensor, deviation: float, what: str
) -> None:
    """Warn where a move has taken latents out of the cloud of those that the generator learned.

    Args:
        before, after: [M, layers, w_dim].
        mean: [w_dim].
        direction: [w_dim], unit length.
        deviation: standard deviation along it.
        what: that was moved, for the message.
    """
    first, last = (
        float(coordinates(w, mean, direction, deviation).abs().max()) for w in (before, after)
    )
    if last > CLOUD and last > first:
        warnings.warn(
            f"{what}: the latent ends {last:.1f} standard deviations from the mean, where the "
            f"generator has seen hardly any (beyond {CLOUD:g}); expect damage, or take a smaller "
            "strength",
            stacklevel=3,
        )
