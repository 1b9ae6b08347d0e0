"""The published families of EG3D networks: where their cameras stood and what they need."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from inv3d.core.alignment import Alignment
from inv3d.core.camera import CameraPrior
from inv3d.nn.eg3d.published import PERCEPTUAL, Variant

VariantName = Literal["ffhq", "ffhq-rebalanced", "lpff", "afhq", "shapenet"]

FACE_FOCAL = 4.2647

FACE_CAMERA = CameraPrior(2.7, FACE_FOCAL, (0.0, 0.0, 0.2), yaw_deg=50.0, pitch_deg=25.0)
# Its pictures are aligned by five points of a mean face that is 300 pixels a unit, of which the
# middle 700 pixels are kept; its labels put that face at (0, 0.006, 0.161), 0.254 world units a
# unit once cameras are brought to the radius 2.7. Five points of that face, so placed.
FACE_ALIGNMENT = Alignment(
    FACE_CAMERA,
    right_eye=(-0.079, 0.080, 0.194),
    left_eye=(0.079, 0.080, 0.194),
    nose=(0.0, -0.006, 0.301),
    mouth_right=(-0.064, -0.091, 0.217),
    mouth_left=(0.064, -0.091, 0.217),
    resolution=512,
)
FACES = Variant(
    domain="human faces",
    camera=FACE_CAMERA,
    alignment=FACE_ALIGNMENT,
    losses={**PERCEPTUAL, "arcface": 1.0},
    metrics={"perceptual": "lpips", "identity": "arcface"},
)

VARIANTS: dict[str, Variant] = {
    "ffhq": FACES,
    # another latent space: what was fitted to one of the two is wrong for the other
    "ffhq-rebalanced": FACES,
    # faces up to profile; its authors corrected the planes (issue 3 of LPFF-dataset)
    "lpff": replace(
        FACES,
        camera=replace(FACE_CAMERA, yaw_deg=90.0),
        alignment=replace(FACE_ALIGNMENT, camera=replace(FACE_CAMERA, yaw_deg=90.0)),
        options={"plane_axes": "corrected"},
    ),
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
