"""What the generators share whose weights are published elsewhere: families, options, loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, ModelWrapValidatorHandler, model_validator

from inv3d.core.camera import CameraPrior
from inv3d.core.config import PluginConfig, merge
from inv3d.core.errors import WeightsError
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.weights.tensors import fingerprint, make_filled
from inv3d.nn.eg3d.architecture import Architecture
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.eg3d.official.opening import open_weights
from inv3d.nn.eg3d.options import UseOptions

PERCEPTUAL = {"lpips": 1.0, "mse": 0.1}


@dataclass(frozen=True)
class Variant:
    """One family of networks.

    Attributes:
        domain: what the images show.
        camera: where training cameras stood.
        options: architecture options that differ from the defaults of the plugin.
        losses: default losses by weight.
        metrics: losses that serve as metrics.
    """

    domain: str
    camera: CameraPrior
    options: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=lambda: dict(PERCEPTUAL))
    metrics: dict[str, str] = field(default_factory=lambda: {"perceptual": "lpips"})


class PublishedConfig(Architecture, UseOptions):
    """Architecture and use of a network.

    Options that aren't given are those of the variant. The architecture stored in a weight file
    stands between the two.
    """

    variants: ClassVar[Mapping[str, Variant]] = {}

    variant: str
    random_weights: bool = Field(
        default=False, description="seeded random weights instead of a weight file, for benchmarks"
    )
    seed: int = Field(default=0, ge=0, description="of the random weights")

    @model_validator(mode="wrap")
    @classmethod
    def _variant_defaults(cls, options: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        name = options.get("variant", cls.model_fields["variant"].default)
        if not isinstance(name, str) or name not in cls.variants:
            return make(options)
        config = make(merge(cls.variants[name].options, options))
        _keep_given(config, options)
        return config


def _keep_given(options: BaseModel, given: Mapping[str, Any]) -> None:
    """Let `model_fields_set` hold what was given, without what a variant added."""
    options.model_fields_set.intersection_update(given)
    for name in options.model_fields_set:
        nested = getattr(options, name)
        if isinstance(nested, BaseModel) and isinstance(given[name], Mapping):
            _keep_given(nested, given[name])


class PublishedGenerator(TriplaneGenerator, Generator):
    """A tri-plane generator behind the Generator contract, with weights from a file.

    Attributes:
        Config: a PublishedConfig.
        example: a weight file that fits and where it lives, for messages.

    Args:
        config: architecture and use.
    """

    config: PublishedConfig
    rays_option: ClassVar[str] = "neural_rendering_resolution"
    example: ClassVar[str] = ""

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__(config, seed=config.seed)
        self.config = config
        config.apply(self)
        self.camera = config.variants[config.variant].camera
        self.spec = self._spec("")

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Self:
        """Build the generator with its weights, in eval mode, on the CPU.

        Raises:
            WeightsError: where no weights are given, or they belong to another architecture.
        """
        assert isinstance(config, PublishedConfig)
        generator = cls._random(config) if weights is None else cls._load(config, Path(weights))
        generator.spec = generator._spec(generator._fingerprint())
        return generator.eval().requires_grad_(False)

    @classmethod
    def _random(cls, config: PublishedConfig) -> Self:
        if not config.random_weights:
            raise WeightsError(
                f"{cls.name} has no embedded weights: give --weights PATH of an official network "
                f"such as {cls.example} ('3dinv weights list' shows "
                "all), or --set generator.random_weights=true for benchmarks; generator minihead "
                "needs no file"
            )
        return cls(config)

    @classmethod
    def _load(cls, config: PublishedConfig, path: Path) -> Self:
        chosen = config.variant if "variant" in config.model_fields_set else None
        opened = open_weights(path, cls.name, chosen)
        resolved = opened.config(config, f"generator {cls.name}")
        generator = make_filled(lambda: cls(resolved), opened.tensors, path)
        generator.camera = opened.prior(generator.camera)
        return generator

    def _fingerprint(self) -> str:
        use = set(PublishedConfig.model_fields) - set(Architecture.model_fields)
        architecture = self.config.model_dump(mode="json", exclude=use)
        return fingerprint(architecture, self.state_dict())

    def _spec(self, digest: str) -> GeneratorSpec:
        config = self.config
        variant = config.variants[config.variant]
        return GeneratorSpec(
            name=f"{type(self).name}-{config.variant}",
            z_dim=config.z_dim,
            w_dim=config.w_dim,
            num_ws=self.num_ws,
            resolution=config.img_resolution,
            render_resolution=config.neural_rendering_resolution,
            camera=self.camera,
            depth_range=depth_range(config),
            box=config.rendering.box_warp,
            domain=variant.domain,
            fingerprint=digest,
            default_losses=variant.losses,
            metrics=variant.metrics,
        )


def depth_range(architecture: Architecture) -> tuple[float, float]:
    """Nearest and farthest rendered depth; with auto limits that of the box's corners."""
    r, radius = architecture.rendering, architecture.avg_camera_radius
    if r.ray_start == "auto" or r.ray_end == "auto":
        reach = r.box_warp * 3**0.5 / 2
        return max(0.0, radius - reach), radius + reach
    return r.ray_start, r.ray_end
