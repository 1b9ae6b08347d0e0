"""Capture: the views of one head that are inverted, and how some of them are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError

Selection = Literal["angle", "index", "all"]
_SAME_ANGLE = 1e-4


@dataclass(frozen=True)
class Capture:
    """N views of one head.

    Attributes:
        images: [N, 3, H, W] in [-1, 1], at the generator's resolution.
        camera: N cameras.
        names: of the image files.
        masks: [N, 1, H, W] in [0, 1], or None.
        depths: [N, 1, h, w], true distance along the unit ray in world units, 0 where there's no
            surface, or None.
        source: where it came from, for reports.
    """

    images: Tensor
    camera: Camera
    names: tuple[str, ...]
    masks: Tensor | None = None
    depths: Tensor | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Sequence[int]) -> Capture:
        rows = torch.as_tensor(list(index), dtype=torch.long)
        return replace(
            self,
            images=self.images[rows],
            camera=self.camera[rows],
            names=tuple(self.names[i] for i in index),
            masks=None if self.masks is None else self.masks[rows],
            depths=None if self.depths is None else self.depths[rows],
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Capture:
        """Return the capture on another device, or in another floating-point type."""
        return replace(
            self,
            images=self.images.to(device, dtype),
            camera=self.camera.to(device, dtype),
            masks=None if self.masks is None else self.masks.to(device, dtype),
            depths=None if self.depths is None else self.depths.to(device, dtype),
        )

    def front(self) -> int:
        """Return the view nearest to yaw 0."""
        return int(self.camera.yaw.abs().argmin())

    def choose(self, views: int | None, selection: Selection) -> list[int]:
        """Choose views.

        Args:
            views: how many; all if None.
            selection: "angle" spreads them evenly over the yaw, "index" over the file order.

        Raises:
            InputError: where there aren't that many different views.
        """
        return choose_views(self.camera, views, selection, self.source)

    def check_angles(self) -> None:
        """Refuse views that look from the same angle, which multi-latent can't tell apart.

        Raises:
            InputError: naming two of them.
        """
        yaw, order = self.camera.yaw.sort()
        same = (yaw.diff() < _SAME_ANGLE).nonzero()
        if len(same):
            i = int(same[0])
            first, second = (self.names[int(order[k])] for k in (i, i + 1))
            raise InputError(
                f"{first} and {second}: both look from yaw {float(yaw[i].rad2deg()):.2f} deg; "
                "multi-latent needs a different angle for every view, leave one out"
            )


def choose_views(camera: Camera, views: int | None, selection: Selection, source: str) -> list[int]:
    """Choose among cameras, before any image is read; see `Capture.choose`."""
    if views is not None and views < 1:
        raise InputError(f"--views {views}: expected 1 or more")
    if selection == "all" or views is None:
        return list(range(len(camera)))
    if views > len(camera):
        raise InputError(
            f"--views {views}: the capture {source} has only {len(camera)} views; "
            "give a smaller number"
        )
    if selection == "index":
        steps = torch.linspace(0, len(camera) - 1, views) if views > 1 else [len(camera) // 2]
        return [round(float(step)) for step in steps]
    chosen = evenly_by_angle(camera.yaw, views)
    if len(set(chosen)) < views:
        raise InputError(
            f"--views {views}: only {len(set(chosen))} views of {source} differ enough "
            "in angle; give a smaller number or --select index"
        )
    return chosen


def evenly_by_angle(yaw: Tensor, count: int) -> list[int]:
    """Return the views nearest to evenly spaced yaws, from the largest to the smallest yaw.

    Multi-view inversion paper, section 3.1; one view is the one nearest to the front. A view may
    be chosen twice where angles are sparse.

    Args:
        yaw: [N] radians.
        count: how many.
    """
    if count == 1:
        return [int(yaw.abs().argmin())]
    wanted = torch.linspace(float(yaw.max()), float(yaw.min()), count, dtype=torch.float64)
    distance = (yaw.double()[None] - wanted[:, None]).abs()
    return [int(i) for i in distance.argmin(1)]
