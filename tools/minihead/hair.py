"""Where hair grows and how far the hair shell lifts off the skin.

Fields live in the resting head (decimetres): azimuth around the skull's axis and height. Positive
inside the hair, so that zero is the hairline.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tools.minihead.params import Params, ramp
from tools.minihead.shell import CENTRE, NECK_ROWS, ROWS, SKULL_ROWS, shell_rays

# Height of the natural hairline at |azimuth| in degrees: forehead, temple, sideburn, over the ear,
# nape.
LINE_AZIMUTH = (0, 20, 35, 46, 55, 62, 69, 78, 85, 104, 114, 128, 150, 180)
LINE_HEIGHT = (8.0, 8.0, 7.95, 7.8, 7.52, 7.22, 7.06, 7.08, 7.36, 7.36, 7.1, 6.86, 6.7, 6.64)
TIP_RADIUS = 0.13


def around(rest: Tensor) -> tuple[Tensor, Tensor]:
    """Azimuth (radians) and height of resting points [..., 3] about the skull's axis."""
    return torch.atan2(rest[..., 0], rest[..., 2] - CENTRE[2]), rest[..., 1]


def natural_line(azimuth: Tensor) -> Tensor:
    """Height [P] of the average hairline at `azimuth` [P]."""
    degrees = azimuth.abs().cpu().numpy() * 180 / math.pi
    line = np.interp(degrees, LINE_AZIMUTH, LINE_HEIGHT)
    return torch.tensor(line, dtype=azimuth.dtype, device=azimuth.device)


def bump(azimuth: Tensor, centre_deg: float, width_deg: float) -> Tensor:
    """A bell over |azimuth| of the given centre and width."""
    return torch.exp(-(((azimuth.abs() * 180 / math.pi - centre_deg) / width_deg) ** 2))


class HairField:
    """Signed hair field over fixed resting points."""

    def __init__(self, rest: Tensor) -> None:
        self.azimuth, self.height = around(rest)
        self.line = natural_line(self.azimuth)
        self.front = bump(self.azimuth, 0, 38)
        self.temple = bump(self.azimuth, 40, 16)

    def __call__(self, p: Params) -> Tensor:
        """[B, P], decimetres from the hairline, positive in the hair."""
        line = (
            self.line
            + p["fringe"][:, None] * self.front
            + p["recede"][:, None] * (self.temple + 0.7 * self.front)
            + 0.02 * torch.cos(7 * self.azimuth + p["phase"][:, None])
        )
        part = 0.12 * p["parting"][:, None] * torch.sign(self.azimuth)
        beside = (self.azimuth.abs() - p["edge"][:, None] - part) * 0.8
        hanging = torch.minimum(self.height - p["tip"][:, None], beside)
        return torch.maximum(self.height - line, hanging)


class HairShell:
    """Resting positions of the shell's vertices for a batch of hair styles."""

    def __init__(self, radius: Tensor) -> None:
        """Args: radius [ROWS, COLUMNS], distance of the resting skin along `shell_rays`."""
        origin, direction = shell_rays()
        origin, direction = origin.to(radius), direction.to(radius)
        skin = origin + direction * radius[..., None]
        self.direction = direction.view(-1, 3)
        self.rest = skin.view(-1, 3)
        self.field = HairField(self.rest)
        self.across = (self.rest[:, 0] / 0.8).clamp(-1, 1)
        fall = ((skin[SKULL_ROWS - 1] - origin[SKULL_ROWS:]) * direction[SKULL_ROWS:]).sum(-1)
        row = torch.arange(ROWS, device=radius.device)
        above = 0.06 * ramp(row[SKULL_ROWS:, None].float(), SKULL_ROWS + 8.0, SKULL_ROWS + 16.0)
        lying = (radius[SKULL_ROWS:] + above).clamp(max=0.95)  # on the back and the shoulders
        gap = torch.zeros_like(radius)
        gap[SKULL_ROWS:] = (torch.maximum(fall, lying) - radius[SKULL_ROWS:]).clamp(min=0)
        self.gap = gap.flatten()  # how far hair that falls straight down hangs off the neck
        self.calm = ramp(row.float(), 1.0, 9.0)[:, None].expand(radius.shape).flatten()
        down = ((row - SKULL_ROWS) / NECK_ROWS).clamp(min=0)
        self.down = down[:, None].expand(radius.shape).flatten()

    def lift(self, p: Params) -> tuple[Tensor, Tensor]:
        """Hair field and height of the hair's surface above the resting skin, both [B, S]."""
        field = self.field(p)
        azimuth, height = self.field.azimuth, self.field.height
        grown = 1 - torch.exp(-field.clamp(min=0) / TIP_RADIUS)
        top = ramp(height, 7.5, 8.1)
        lean = 1 + 0.22 * p["parting"][:, None] * self.across * top
        sides = torch.maximum(p["sides"], p["long"])[:, None]
        profile = torch.lerp(0.35 + 0.65 * sides, torch.ones_like(lean), top) * lean
        tufts = torch.sin(9 * azimuth + 2.6 * height + p["phase"][:, None]) + torch.sin(
            -13 * azimuth + 5.5 * height + 2 * p["phase"][:, None]
        )
        curls = torch.sin(17 * azimuth + 3 * torch.sin(4.4 * height)) * torch.sin(15 * height)
        rough = 1 + self.calm * (0.06 * tufts + 0.3 * p["wave"][:, None] * curls)
        thick = p["volume"][:, None] * profile * rough
        hang = p["long"][:, None] * self.gap * (1 - 0.25 * self.down)
        bald = p["bald"][:, None]
        lift = grown * (thick + hang) * (1 - bald) - 0.15 * bald
        under = torch.maximum(0.6 * field - 0.015, -0.2 - 0.22 * self.down)
        return field, torch.where(field > 0, lift - 0.015, under)
