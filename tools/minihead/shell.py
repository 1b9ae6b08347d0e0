"""The grid of the hair shell: a closed surface around head and neck that hair lifts off the skin.

Rows run from the crown down: first along meridians around the middle of the skull, then down
along the neck. Columns are azimuths. Where a head has no hair, the shell lies under the skin.
Units: MakeHuman's decimetres in the resting head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COLUMNS = 112
SKULL_ROWS = 30
NECK_ROWS = 28
ROWS = SKULL_ROWS + NECK_ROWS
NEIGHBOURS = 6
CENTRE = (0.0, 7.45, 0.52)
LAST_POLAR = math.radians(97)
LOWEST = 5.0


def azimuths() -> Tensor:
    """[COLUMNS] radians, 0 in front, positive to the subject's left."""
    return (torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 * math.pi - math.pi


def shell_rays() -> tuple[Tensor, Tensor]:
    """Origins and unit directions, both [ROWS, COLUMNS, 3], that lead from inside to the skin."""
    azimuth = azimuths()
    flat = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], -1)
    polar = torch.linspace(0.0, LAST_POLAR, SKULL_ROWS)[:, None, None]
    up = torch.tensor([0.0, 1.0, 0.0])
    skull = flat * polar.sin() + up * polar.cos()
    height = torch.linspace(7.28, LOWEST, NECK_ROWS)
    slide = ((7.28 - height) / 1.1).clamp(0, 1)
    depth = CENTRE[2] + (0.25 - CENTRE[2]) * slide * slide * (3 - 2 * slide)
    axis = torch.stack([torch.zeros_like(height), height, depth], -1)
    origin = torch.cat(
        [torch.tensor(CENTRE).expand(SKULL_ROWS, COLUMNS, 3), axis[:, None].expand(-1, COLUMNS, 3)]
    )
    return origin, torch.cat([skull, flat.expand(NECK_ROWS, COLUMNS, 3)])


def shell_quads() -> Tensor:
    """[Q, 4] quads of the grid, columns wrapped, anticlockwise seen from outside."""
    cell = torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS)
    right = cell.roll(-1, 1)
    corners = [cell[:-1], cell[1:], right[1:], right[:-1]]
    return torch.stack([c.flatten() for c in corners], 1)
