"""What the report shows of the pseudo views."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.inverter import Diagnostic
from inv3d.plugins.methods.hfgi3d.pseudo import PseudoViews

# pseudo views that are shown, spread evenly along their path
_SHOWN = 5


def diagnostics_of(image: Tensor, known: Tensor | None, views: PseudoViews) -> list[Diagnostic]:
    """Return the rows of the report: warped views, masks, occluded parts, pseudo views.

    Args:
        image: [1, 3, H, W], the picture.
        known: [1, 1, H, W], the difference map, or None where there's none.
        views: N pseudo views.
    """
    count = len(views.camera)
    rows = torch.linspace(0, count, min(_SHOWN, count) + 1)[:-1].long()
    angles = zip(views.camera.yaw[rows], views.camera.pitch[rows], strict=True)
    labels = [
        f"yaw {float(yaw.rad2deg()):+.0f}, pitch {float(pitch.rad2deg()):+.0f} deg"
        for yaw, pitch in angles
    ]
    parts = {
        "Picture, warped": views.warped,
        "Mask of the warped picture": _grey(views.mask),
        "Occluded part": views.occluded,
        "Pseudo view": views.blended,
    }
    shown = [Diagnostic(title, part[rows].cpu(), labels) for title, part in parts.items()]
    if known is None:
        return shown
    pair = torch.cat([image, _grey(known)]).cpu()
    texts = ["picture", "white: fitted by the second latent"]
    return [Diagnostic("What the generator can make of the picture", pair, texts), *shown]


def _grey(mask: Tensor) -> Tensor:
    return (2 * mask - 1).expand(-1, 3, -1, -1)
