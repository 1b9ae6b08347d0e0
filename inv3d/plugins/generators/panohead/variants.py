"""The kinds of PanoHead networks: where their cameras stood and what they need.

No identity loss is among the defaults: identity networks know faces, not the back of a head, and
expect a narrower crop.
"""

from __future__ import annotations

from typing import Literal

from inv3d.core.camera import CameraPrior
from inv3d.nn.eg3d.published import Variant

VariantName = Literal["head", "plain"]

# A turn around the head looks at the middle of the world. The published command line gives the
# pivot (0, 0, 0.2) of FFHQ, which stands in the architecture's avg_camera_pivot.
CAMERA = CameraPrior(2.7, 4.2647, (0.0, 0.0, 0.0), yaw_deg=180.0, pitch_deg=25.0)

VARIANTS: dict[str, Variant] = {
    "head": Variant(domain="human heads", camera=CAMERA),
    "plain": Variant(
        domain="human heads",
        camera=CAMERA,
        options={
            "plane_depth": 1,
            "background": False,
            "torgb_raw": False,
            "decoder_activation": "sigmoid",
        },
    ),
}
