"""minihead: the embedded generator of synthetic human heads, from all around.

The tri-grid network of PanoHead (An et al., CVPR 2023) in small, trained by tools/minihead on
renderings of MakeHuman-derived heads. docs/minihead.md is its model card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.camera import CameraPrior
from inv3d.core.config import PluginConfig, explain, merge
from inv3d.core.errors import WeightsError
from inv3d.core.plugin import Presets
from inv3d.core.weights.tensors import asset, fingerprint, load_state, read_tensors
from inv3d.nn.eg3d.architecture import TrigridArchitecture
from inv3d.nn.eg3d.spec import spec_of
from inv3d.nn.eg3d.trigrid import TrigridGenerator
from inv3d.plugins.generators.minihead_attributes import known_attributes
from inv3d.plugins.generators.minihead_options import MiniHeadConfig

LICENCE = "code and weights: Apache-2.0; trained on MakeHuman data (CC0)"
CAMERA = CameraPrior(2.7, 4.2647, (0.0, 0.0, 0.0), yaw_deg=180.0, pitch_deg=28.0)
RESOLUTION = 128
# where tools/face measured the eyes, the nose and the mouth of its heads
ALIGNMENT = Alignment(
    CAMERA,
    right_eye=(-0.0625, 0.0138, 0.1554),
    left_eye=(0.0625, 0.0138, 0.1554),
    nose=(0.0, -0.0653, 0.2286),
    mouth_right=(-0.0499, -0.1173, 0.1631),
    mouth_left=(0.0499, -0.1173, 0.1631),
    resolution=RESOLUTION,
    white=True,
)
LOSSES = {"l1": 1.0, "headfeat": 1.0, "headid": 0.1}
METRICS = {
    "perceptual": "headfeat?network=b",
    "identity": "headid?network=b",
    "lookalikes": "lookalikes?network=b",
}
# Its latents spread about one a dimension, several times as far as those of published EG3D
# networks, and it's small: fewer, larger steps do.
SEARCH = {"pull": 0.02, "steps": 150, "samples": 4000}
TUNING = {"steps": 100, "lr": 2e-3}
# Of many views: a line search over all of them for the latent, then a few a step, as good in a
# fraction of the time.
LINE_SEARCH = {**SEARCH, "optimizer": "lbfgs", "steps": 25}
RAMPS = {"rampup": 0.1, "rampdown": 0.3}
PRESETS: Presets = {"default": {}, "fast": {"render_resolution": 32, "samples": 12}}
# Encoders that see 64 pixels, of a few million numbers.
TRUNK = {"trunk": {"width": 16, "units": [2, 2, 3, 2]}, "size": 64}
E4E = {"kind": "e4e", **TRUNK, "style_channels": 64}
# this kind has no style channels, but the embedded networks say so many and others must agree
SINGLE = {"kind": "w", **TRUNK, "style_channels": 96}
# 1.6 million weights
POSE_NETWORK = {
    "size": 64,
    "blocks": (2, 2, 2, 2),
    "widths": (24, 48, 96, 192),
    "hidden": (192, 96),
}
BRANCH = {"trunk": {"width": 16, "units": [1, 2, 2, 1]}}
METHOD_OPTIONS: Presets = {
    "wplus": {"latent": SEARCH},
    "pti": {"latent": SEARCH, "tuning": TUNING},
    "multiview": {
        "views_per_step": 3,
        "latent": LINE_SEARCH,
        "tuning": {"steps": 90, "lr": 5e-3, **RAMPS},
    },
    "multilatent": {
        "views_per_step": 2,
        "distance": 0.3,
        "depth": 20.0,
        "depth_every": 4,
        "start": {"latent": {"optimizer": "lbfgs", "steps": 12}},
        "latent": {"steps": 4},
        "tuning": {"optimizer": "muon", "steps": 48, "lr": 5e-3, "rampup": 0.1, "rampdown": 0.4},
    },
    "hfgi3d": {
        "coarse": {"latent": SEARCH, "tuning": {"steps": 50, "lr": 2e-3}},
        "occluded": {"latent": SEARCH},
        "final": {"steps": 200, "lr": 1e-3},
    },
    "hybrid": {
        "latent": {"samples": 2000, "steps": 10, "lr": 0.1},
        "tuning": {"optimizer": "muon", "steps": 40, "lr": 7.5e-3, "rampup": 0.1, "rampdown": 0.25},
    },
    # its heads are lit from one side, and a mirror image has its light on the other
    "spi": {"latent": SEARCH, "tuning": TUNING, "prior": {"front": 1.6}},
    "poseopt": {"starts": {"steps": 30}, "latent": SEARCH, "tuning": TUNING},
    "psp": {"encoder": SINGLE},
    "e4e": {"encoder": E4E},
    "poseopt-estimator": {"network": POSE_NETWORK},
    "triplanenet": {"encoder": E4E, "branch": BRANCH},
    # two of each, so that latents for all layers would make a file of 16 MB
    "dualencoder": {
        "encoder": SINGLE,
        "branch": BRANCH,
        "discriminator": 16,
    },
}
# Trainings of minutes of a CPU: true latents teach faster than pictures, which teach what matters.
LEARN = {
    "batch": 8,
    "lr": 1e-3,
    "warmup": 50,
    "cooldown": 0.4,
    "average": 0.99,
    "latent": 1.0,
    "yaw_deg": 45,
    "pitch_deg": 20,
    "keep": "fp16",
}
LEARN_LATENTS = {**LEARN, "render_every": 8}
LEARN_BRANCH = {**LEARN, "batch": 4, "novel": 0.5}
TRAINING_OPTIONS: Presets = {
    "psp": {"steps": 5000, "pool": 2000, **LEARN_LATENTS},
    "e4e": {
        "steps": 8000,
        "pool": 2000,
        "progressive": 3000,
        "progressive_every": 200,
        **LEARN_LATENTS,
    },
    "poseopt-estimator": {
        "steps": 2000,
        "batch": 32,
        "pool": 2000,
        "lr": 2e-3,
        "warmup": 50,
        "cooldown": 0.5,
        "average": 0.99,
        "yaw_deg": 100,
        "pitch_deg": 25,
        "roll_deg": 5,
        "both_sides": True,
        "diagonal": 0.0,
        "keep": "fp16",
        "hold_out": 64,
    },
    "triplanenet": {
        "steps": 800,
        "first": "e4e",
        "first_until": 0,
        "second_from": 0,
        **LEARN_BRANCH,
    },
    "dualencoder": {"steps": 800, "first": "psp", **LEARN_BRANCH},
}


class MiniHead(TrigridGenerator):
    """A small tri-grid of human heads, in which front and back don't share texels; no download."""

    name: ClassVar[str] = "minihead"
    summary: ClassVar[str] = "embedded tri-grid generator of synthetic heads, 128 px, 360 degrees"
    licence: ClassVar[str] = LICENCE
    reference: ClassVar[str] = "architecture: An et al., CVPR 2023, arXiv 2303.13071"
    replayable = True
    Config: ClassVar[type[PluginConfig]] = MiniHeadConfig
    presets: ClassVar[Presets] = PRESETS
    method_options: ClassVar[Presets] = METHOD_OPTIONS
    training_options: ClassVar[Presets] = TRAINING_OPTIONS
    rays_option: ClassVar[str] = "render_resolution"

    @classmethod
    def alignment(cls, config: PluginConfig) -> Alignment:
        """Return where faces are in its pictures."""
        return ALIGNMENT

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Self:
        """Build the generator with the embedded weights, or others that tools/minihead made.

        Raises:
            WeightsError: where the file is missing, damaged or of another network.
        """
        assert isinstance(config, MiniHeadConfig)
        path = Path(weights or asset(f"{cls.name}.safetensors"))
        tensors, metadata = read_tensors(path)
        architecture = read_architecture(path, metadata, config)
        generator = cls(architecture)
        load_state(generator, tensors, path)
        generator.config = config
        config.apply(generator)
        generator.spec = spec_of(
            generator,
            name=cls.name,
            camera=CAMERA,
            domain="human heads",
            fingerprint=fingerprint(metadata["architecture"], tensors),
            losses=LOSSES,
            metrics=METRICS,
        )
        return generator.eval().requires_grad_(False)

    def attributes(self, z: Tensor) -> dict[str, Tensor]:
        """What the head of z looks like, see `known_attributes`."""
        return known_attributes(z)


def read_architecture(
    path: Path, metadata: Mapping[str, Any], config: MiniHeadConfig
) -> TrigridArchitecture:
    """Return the architecture that a file tells, with the rays and samples of a configuration.

    Raises:
        WeightsError: where the file is of another network or tells none.
    """
    stored, name = metadata.get("architecture"), metadata.get("name", "another program")
    if name != MiniHead.name or not isinstance(stored, Mapping):
        raise WeightsError(
            f"{path}: weights of '{name}', expected '{MiniHead.name}' and its architecture; give a "
            "file that tools/minihead wrote, or leave --weights out"
        )
    try:
        return TrigridArchitecture.model_validate(merge(stored, rendering(config)))
    except ValidationError as error:
        said = explain(error, TrigridArchitecture, MiniHead.name)
        raise WeightsError(f"{path}: {said}") from error


def rendering(config: MiniHeadConfig) -> dict[str, Any]:
    """Return the architecture options with the rays and samples of a configuration."""
    return {
        "neural_rendering_resolution": config.render_resolution,
        "rendering": {
            "depth_resolution": config.samples,
            "depth_resolution_importance": config.samples,
        },
    }
