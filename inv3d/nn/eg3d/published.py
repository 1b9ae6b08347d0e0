"""Generators whose weights are published elsewhere: families of networks, options, loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from inv3d.core.alignment import Alignment
from inv3d.core.camera import CameraPrior
from inv3d.core.config import merge
from inv3d.core.errors import WeightsError
from inv3d.core.generator import GeneratorSpec
from inv3d.core.weights.tensors import fingerprint, make_filled
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.eg3d.official.opening import open_weights
from inv3d.nn.eg3d.options import ComputeOptions
from inv3d.nn.eg3d.spec import spec_of
from inv3d.nn.stylegan2 import NoiseMode

PERCEPTUAL = {"lpips": 1.0, "mse": 0.1}
G = TypeVar("G", bound=TriplaneGenerator)


@dataclass(frozen=True)
class Variant:
    """One family of networks.

    Attributes:
        domain: what the images show.
        camera: where training cameras stood.
        options: architecture options that differ from the defaults of the plugin.
        losses: default losses by weight.
        metrics: losses that serve as metrics.
        alignment: where faces are in its pictures; None where they show no human faces.
    """

    domain: str
    camera: CameraPrior
    options: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=lambda: dict(PERCEPTUAL))
    metrics: dict[str, str] = field(default_factory=lambda: {"perceptual": "lpips"})
    alignment: Alignment | None = None


class PublishedOptions(ComputeOptions):
    """Which network, and how it computes.

    A plugin's Config stands on this and on an architecture, side by side: the two share no option.
    Options that aren't given are those of the variant. The architecture stored in a weight file
    stands between the two.

    Attributes:
        variants: the families by name.
    """

    variants: ClassVar[Mapping[str, Variant]] = {}

    variant: str
    random_weights: bool = Field(
        default=False, description="seeded random weights instead of a weight file, for benchmarks"
    )
    seed: int = Field(default=0, ge=0, description="of the random weights")
    noise_mode: NoiseMode = Field(
        default="const",
        description="noise that the backbone adds: its stored maps, none, or drawn anew for every "
        "synthesis (official argument noise_mode, random unless given)",
    )
    _given: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _variant_defaults(cls, options: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        name = options.get("variant", cls.model_fields["variant"].default)
        known = isinstance(name, str) and name in cls.variants
        config = make(merge(cls.variants[name].options if known else {}, options))
        config._given = dict(options)
        return config

    def apply(self, generator: TriplaneGenerator) -> None:
        """Let a generator compute as these options say."""
        super().apply(generator)
        generator.noise_mode = self.noise_mode

    def given(self, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Return the options that were given, without what the variant added, as nested values.

        Args:
            mode: which values, as in `model_dump`.
        """
        return _among(self.model_dump(mode=mode), self._given)


def _among(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of nested values what has the name of something given."""
    kept: dict[str, Any] = {}
    for name in (name for name in values if name in given):
        value, told = values[name], given[name]
        if isinstance(told, BaseModel):
            told = told.model_dump(exclude_unset=True)
        nested = isinstance(value, Mapping) and isinstance(told, Mapping)
        kept[name] = _among(value, told) if nested else value
    return kept


def load_published(
    kind: type[G], config: PublishedOptions, weights: Path | None, example: str
) -> G:
    """Build a generator with weights from a file, in eval mode, on the CPU.

    Args:
        kind: its class.
        config: its Config, which also holds all options of its architecture.
        weights: of any form that `open_weights` reads; None for random ones.
        example: a weight file that fits and where it lives, for messages.

    Raises:
        WeightsError: where no weights are given, or they belong to another architecture.
    """
    if weights is None:
        if not config.random_weights:
            raise WeightsError(
                f"{kind.name} has no embedded weights: give --weights PATH of an official network "
                f"such as {example} ('3dinv weights list' shows "
                "all), or --set generator.random_weights=true for benchmarks; generator minihead "
                "needs no file"
            )
        generator, camera = build(kind, config), config.variants[config.variant].camera
    else:
        opened = open_weights(Path(weights), kind.name, config.given().get("variant"))
        config = opened.resolved(type(config), config.given(), f"generator {kind.name}")
        generator = make_filled(lambda: build(kind, config), opened.tensors, weights)
        camera = opened.prior(config.variants[config.variant].camera)
    generator.config = config
    config.apply(generator)
    generator.spec = published_spec(generator, config, camera)
    return generator.eval().requires_grad_(False)


def build(kind: type[G], config: PublishedOptions) -> G:
    """Build the network of a configuration, with random weights.

    Args:
        kind: its class.
        config: its Config, which also holds all options of its architecture.
    """
    options = config.model_dump(include=set(kind.architecture_type.model_fields))
    return kind(kind.architecture_type.model_validate(options), config.seed)


def published_spec(
    generator: TriplaneGenerator, config: PublishedOptions, camera: CameraPrior
) -> GeneratorSpec:
    """State the facts about a network of a published family.

    Args:
        generator: with its weights.
        config: says the variant.
        camera: where training cameras stood.
    """
    variant = config.variants[config.variant]
    architecture = generator.architecture.model_dump(mode="json")
    return spec_of(
        generator,
        name=f"{generator.name}-{config.variant}",
        camera=camera,
        domain=variant.domain,
        fingerprint=fingerprint(architecture, generator.state_dict()),
        losses=variant.losses,
        metrics=variant.metrics,
    )
