"""The plugin: EG3D's network behind the Generator contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from inv3d.core.config import PluginConfig
from inv3d.core.errors import WeightsError
from inv3d.core.interfaces import CameraPrior, Generator, GeneratorSpec
from inv3d.core.weights import fingerprint, make_filled
from inv3d.nn.architecture import Architecture
from inv3d.nn.official.opening import open_weights
from inv3d.nn.triplane_generator import TriplaneGenerator
from inv3d.plugins.generators.eg3d.config import EG3DConfig
from inv3d.plugins.generators.eg3d.variants import VARIANTS

OFFICIAL_PAGE = "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/eg3d"


class EG3D(TriplaneGenerator, Generator):
    """EG3D: one scene, three planes, any number of cameras.

    Args:
        config: architecture and use.
    """

    name: ClassVar[str] = "eg3d"
    summary: ClassVar[str] = "EG3D tri-plane GAN (FFHQ, AFHQ, ShapeNet) with official weights"
    licence: ClassVar[str] = "code: Apache-2.0; official weights: NVIDIA, non-commercial"
    reference: ClassVar[str] = "Chan et al., CVPR 2022, arXiv 2112.07945"
    Config: ClassVar[type[PluginConfig]] = EG3DConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "ffhq512": {"variant": "ffhq"},
        "afhq512": {"variant": "afhq"},
        "shapenet128": {"variant": "shapenet"},
    }

    def __init__(self, config: EG3DConfig) -> None:
        super().__init__(config, seed=config.seed)
        self.config = config
        self.sampling = config.sampling
        self.memory_budget = config.memory_budget_mb << 20
        self.checkpoint = config.checkpoint
        self.camera = VARIANTS[config.variant].camera
        self.spec = make_spec(config, self.num_ws, "", self.camera)

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> EG3D:
        """Build the generator with its weights, in eval mode, on the CPU.

        Raises:
            WeightsError: where no weights are given, or they belong to another architecture.
        """
        assert isinstance(config, EG3DConfig)
        if weights is None:
            generator = cls._random(config)
        else:
            generator = cls._load(config, Path(weights))
        architecture = generator.config.model_dump(
            mode="json", include=set(Architecture.model_fields)
        )
        digest = fingerprint(architecture, generator.state_dict())
        generator.spec = make_spec(generator.config, generator.num_ws, digest, generator.camera)
        return generator.eval().requires_grad_(False)

    @classmethod
    def _random(cls, config: EG3DConfig) -> EG3D:
        if not config.random_weights:
            raise WeightsError(
                "eg3d has no embedded weights: give --weights PATH of an official network such as "
                f"ffhqrebalanced512-128.pkl ({OFFICIAL_PAGE}), or random_weights=true for "
                "benchmarks"
            )
        return cls(config)

    @classmethod
    def _load(cls, config: EG3DConfig, path: Path) -> EG3D:
        chosen = config.variant if "variant" in config.model_fields_set else None
        opened = open_weights(path, cls.name, chosen)
        resolved = opened.config(config, "generator eg3d")
        generator = make_filled(lambda: cls(resolved), opened.tensors, path)
        generator.camera = opened.prior(VARIANTS[resolved.variant].camera)
        return generator


def make_spec(
    config: EG3DConfig, num_ws: int, fingerprint: str, camera: CameraPrior
) -> GeneratorSpec:
    """Return the facts about a network."""
    variant = VARIANTS[config.variant]
    return GeneratorSpec(
        name=f"eg3d-{config.variant}",
        z_dim=config.z_dim,
        w_dim=config.w_dim,
        num_ws=num_ws,
        resolution=config.img_resolution,
        render_resolution=config.neural_rendering_resolution,
        camera=camera,
        depth_range=depth_range(config),
        box=config.rendering.box_warp,
        domain=variant.domain,
        fingerprint=fingerprint,
        default_losses=variant.losses,
        metrics=variant.metrics,
    )


def depth_range(config: EG3DConfig) -> tuple[float, float]:
    """Nearest and farthest rendered depth; with auto limits that of the box's corners."""
    r = config.rendering
    if r.ray_start == "auto" or r.ray_end == "auto":
        reach = r.box_warp * 3**0.5 / 2
        return max(0.0, config.avg_camera_radius - reach), config.avg_camera_radius + reach
    return r.ray_start, r.ray_end
