"""The kinds of PanoHead networks: where their cameras stood and what they need.

No identity loss is among the defaults: identity networks know faces, not the back of a head, and
expect a narrower crop.
"""

from __future__ import annotations

from typing import Literal

from inv3d.core.alignment import Alignment
from inv3d.core.camera import CameraPrior
from inv3d.nn.eg3d.published import Variant

VariantName = Literal["head", "plain"]

# A turn around the head looks at the middle of the world. The published command line gives the
# pivot (0, 0, 0.2) of FFHQ, which stands in the architecture's avg_camera_pivot.
CAMERA = CameraPrior(2.7, 4.2647, (0.0, 0.0, 0.0), yaw_deg=180.0, pitch_deg=25.0)

# The numbers of its crop aren't published; its pictures show whole heads, and this is a mean face
# of a head that fills the picture from crown to collar as they do.
ALIGNMENT = Alignment(
    CAMERA,
    right_eye=(-0.0625, 0.0138, 0.1554),
    left_eye=(0.0625, 0.0138, 0.1554),
    nose=(0.0, -0.0653, 0.2286),
    mouth_right=(-0.0499, -0.1173, 0.1631),
    mouth_left=(0.0499, -0.1173, 0.1631),
    resolution=512,
)

VARIANTS: dict[str, Variant] = {
    "head": Variant(domain="human heads", camera=CAMERA, alignment=ALIGNMENT),
    "plain": Variant(
        domain="human heads",
        camera=CAMERA,
        alignment=ALIGNMENT,
        options={
            "plane_depth": 1,
            "background": False,
            "torgb_raw": False,
            "decoder_activation": "sigmoid",
        },
    ),
}
