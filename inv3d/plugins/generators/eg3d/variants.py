"""The published families of EG3D networks: where their cameras stood and what they need."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from inv3d.core.interfaces import CameraPrior

VariantName = Literal["ffhq", "ffhq-rebalanced", "lpff", "afhq", "shapenet"]

FACE_FOCAL = 4.2647
PERCEPTUAL = {"lpips": 1.0, "mse": 0.1}


@dataclass(frozen=True)
class Variant:
    """One family.

    Attributes:
        domain: what the images show.
        camera: where training cameras stood.
        options: architecture options that differ from those of FFHQ at 512 pixels.
        losses: default losses by weight.
        metrics: losses that serve as metrics.
    """

    domain: str
    camera: CameraPrior
    options: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=lambda: dict(PERCEPTUAL))
    metrics: dict[str, str] = field(default_factory=lambda: {"perceptual": "lpips"})


FACES = Variant(
    domain="human faces",
    camera=CameraPrior(2.7, FACE_FOCAL, (0.0, 0.0, 0.2), yaw_deg=50.0, pitch_deg=25.0),
    losses={**PERCEPTUAL, "arcface": 1.0},
    metrics={"perceptual": "lpips", "identity": "arcface"},
)

VARIANTS: dict[VariantName, Variant] = {
    "ffhq": FACES,
    # the same faces, large poses repeated
    "ffhq-rebalanced": FACES,
    # faces up to profile
    "lpff": replace(FACES, camera=replace(FACES.camera, yaw_deg=90.0)),
    "afhq": Variant(
        domain="cat faces",
        camera=CameraPrior(2.7, FACE_FOCAL, (0.0, 0.0, -0.06), yaw_deg=50.0, pitch_deg=25.0),
        options={"avg_camera_pivot": (0.0, 0.0, -0.06)},
    ),
    "shapenet": Variant(
        domain="cars",
        camera=CameraPrior(1.7, 1.7074, (0.0, 0.0, 0.0), yaw_deg=180.0, pitch_deg=90.0),
        options={
            "img_resolution": 128,
            "neural_rendering_resolution": 64,
            "c_gen_conditioning_zero": True,
            "avg_camera_radius": 1.7,
            "avg_camera_pivot": (0.0, 0.0, 0.0),
            "rendering": {
                "ray_start": 0.1,
                "ray_end": 2.6,
                "box_warp": 1.6,
                "white_back": True,
                "depth_resolution": 64,
                "depth_resolution_importance": 64,
            },
            "superresolution": {"module": "2X"},
        },
    ),
}
