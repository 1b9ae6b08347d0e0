"""Options of every training, apart from its contract: checked before torch is imported."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from inv3d.core.config import PluginConfig, found_again

# what a training has with any data and any machine, beside what its paper says
_OF_THE_PLACE = frozenset(
    {"accumulate", "precision", "keep", "mirror", "rebalance", "yaw_deg", "pitch_deg", "truncation"}
    | {"pool", "hold_out"}
)


class TrainingConfig(PluginConfig):
    """Options of every training; a plugin adds its own.

    Attributes:
        at_begin: those that count at the first step alone, and can't change later.
    """

    at_begin: ClassVar[frozenset[str]] = frozenset({"begin", "hold_out"})

    steps: int = Field(default=100_000, ge=1, description="training steps")
    begin: Path | None = Field(
        default=None,
        description="earlier training of the same plugin whose networks this one begins with: a "
        "directory or file, for these weights of the generator or others; what other options begin "
        "with is left out then",
    )
    batch: int = Field(
        default=4, ge=1, description="pictures a step, those of all processes together"
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="parts that a process sees its pictures in, one after another, for less "
        "memory; normalisation over pictures is then over those of a part",
    )
    lr: float = Field(default=1e-4, gt=0, le=1e6, description="learning rate of the plateau")
    warmup: int = Field(default=0, ge=0, description="first steps, with a rising rate")
    cooldown: float = Field(
        default=0.0, ge=0, le=1, description="share of the steps at the end with a falling rate"
    )
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay a step of the running average of the weights, which is then kept "
        "instead of the last weights; 0 keeps the last",
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="of the convolutions that are trained"
    )
    keep: Literal["fp32", "fp16"] = Field(
        default="fp32",
        description="numbers of the networks that are kept; fp16 takes half the room",
    )
    mirror: bool = Field(
        default=True, description="show every second picture from files mirrored, camera included"
    )
    rebalance: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far pictures from files are drawn evenly over yaws instead of as they "
        "come: 0 not at all, 1 fully",
    )
    yaw_deg: float | None = Field(
        default=None,
        ge=0,
        le=180,
        description="half range of the yaw of generated pictures, degrees; the generator's own "
        "where none is given",
    )
    pitch_deg: float | None = Field(
        default=None,
        ge=0,
        lt=90,
        description="half range of their pitch, degrees; the generator's own where none is given",
    )
    truncation: float = Field(
        default=1.0, gt=0, le=1, description="truncation of the latents of generated pictures"
    )
    pool: int = Field(
        default=0,
        ge=0,
        description="generated pictures that are kept in memory and drawn again and again; 0 makes "
        "new ones at every step",
    )
    hold_out: int = Field(
        default=8, ge=1, description="pictures that only evaluations see, of each source"
    )

    _begin_found_again = field_validator("begin")(found_again)

    @classmethod
    def plainly(cls, **given: Any) -> dict[str, Any]:
        """Return all defaults, for a preset that wins over what suits a generator.

        Args:
            given: options that the preset has otherwise, or that have no default of the source's.
        """
        return cls().model_dump(exclude=set(_OF_THE_PLACE)) | given

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step: up, plateau, half a cosine down."""
        up = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        down = self.cooldown * self.steps
        left = min(1.0, (self.steps - step) / down) if down else 1.0
        return up * (0.5 - 0.5 * math.cos(math.pi * left))
