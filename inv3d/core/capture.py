"""Capture: the views of one head that are inverted, and how some of them are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from inv3d.core.camera import Camera, rows_at
from inv3d.core.errors import InputError

Selection = Literal["angle", "index", "all"]
# gaps between yaws, degrees: always closed; never closed; what stands out among others
_CLOSED_DEG, _WIDEST_DEG, _OUTSTANDING = 45.0 + 1e-3, 120.0 + 1e-3, 1.5


@dataclass(frozen=True)
class Capture:
    """N views of one head.

    Attributes:
        images: [N, 3, H, W] in [-1, 1], at the generator's resolution.
        cameras: N cameras, or None where they aren't known.
        names: of the image files.
        masks: [N, 1, H, W] in [0, 1], or None.
        depths: [N, 1, h, w], true distance along the unit ray in world units, 0 where there's no
            surface, or None.
        extras: name -> [N, ...], whatever else is known of the views, such as face classes or
            landmarks.
        source: where it came from, for reports.
    """

    images: Tensor
    cameras: Camera | None
    names: tuple[str, ...]
    masks: Tensor | None = None
    depths: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    source: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def posed(self) -> bool:
        """Whether the cameras are known."""
        return self.cameras is not None

    @property
    def camera(self) -> Camera:
        """The N cameras.

        Raises:
            InputError: where they aren't known.
        """
        if self.cameras is None:
            raise no_cameras(self.source)
        return self.cameras

    def with_cameras(self, cameras: Camera) -> Capture:
        """Return the same views with cameras, N of them."""
        return replace(self, cameras=cameras)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Capture:
        rows = torch.arange(len(self))[rows_at(index, len(self))]
        return replace(
            self,
            images=self.images[rows],
            cameras=None if self.cameras is None else self.cameras[rows],
            names=tuple(self.names[i] for i in rows.tolist()),
            masks=None if self.masks is None else self.masks[rows],
            depths=None if self.depths is None else self.depths[rows],
            extras={name: value[rows] for name, value in self.extras.items()},
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Capture:
        """Return the capture on another device, or in another floating-point type."""
        return replace(
            self,
            images=self.images.to(device, dtype),
            cameras=None if self.cameras is None else self.cameras.to(device, dtype),
            masks=None if self.masks is None else self.masks.to(device, dtype),
            depths=None if self.depths is None else self.depths.to(device, dtype),
            extras={name: _moved(value, device, dtype) for name, value in self.extras.items()},
        )

    def front(self) -> int:
        """Return the view nearest to yaw 0; the first one where the cameras aren't known."""
        return front(self.cameras)

    def choose(self, views: int | None, selection: Selection) -> list[int]:
        """Choose views.

        Args:
            views: how many; all if None.
            selection: "angle" spreads them evenly over the yaw (around the full circle where the
                views are one), "index" over the file order, which is also taken where the cameras
                aren't known.

        Raises:
            InputError: where there aren't that many different views.
        """
        return choose_views(self.cameras, len(self), views, selection, self.source)


def _moved(value: Tensor, device: torch.device | str, dtype: torch.dtype | None) -> Tensor:
    """Move a tensor; whole numbers, such as classes, stay whole numbers."""
    return value.to(device, dtype if value.is_floating_point() else None)


def front(cameras: Camera | None) -> int:
    """Return the camera nearest to yaw 0; the first where they aren't known."""
    return 0 if cameras is None else int(cameras.yaw.abs().argmin())


def no_cameras(source: str) -> InputError:
    """Return the error to raise where cameras are needed and there are none."""
    return InputError(
        f"{source or 'the capture'}: its pictures have no cameras; add them as labels "
        "(dataset.json, 25 numbers a picture), or take a method that finds them"
    )


def choose_views(
    cameras: Camera | None, count: int, views: int | None, selection: Selection, source: str
) -> list[int]:
    """Choose among `count` views, before any image is read; see `Capture.choose`."""
    if views is not None and views < 1:
        raise InputError(f"--views {views}: expected 1 or more")
    if selection == "all" or views is None:
        return list(range(count))
    if views > count:
        raise InputError(
            f"--views {views}: the capture {source} has only {_counted(count)}; give a smaller "
            "number"
        )
    if selection == "index" or cameras is None:
        steps = torch.linspace(0, count - 1, views) if views > 1 else [count // 2]
        return [round(float(step)) for step in steps]
    chosen = evenly_by_angle(cameras.yaw, views)
    if len(set(chosen)) < views:
        raise InputError(
            f"--views {views}: only {_counted(len(set(chosen)))} of {source} differ enough "
            "in angle; give a smaller number or --select index"
        )
    return chosen


def _counted(views: int) -> str:
    return "1 view" if views == 1 else f"{views} views"


def is_circle(yaw: Tensor) -> bool:
    """Whether views go all around the head, so that the first and the last are neighbours.

    They do where no gap between neighbouring yaws is larger than 45 degrees; or, with few views,
    where the largest is at most 120 degrees and one and a half times the next largest: no gap
    stands out as the one that was left open.

    Args:
        yaw: [N] radians.
    """
    if len(yaw) < 3:
        return False
    ordered = yaw.double().sort().values
    gaps = torch.cat([ordered.diff(), ordered[:1] + math.tau - ordered[-1:]])
    next_largest, largest = gaps.rad2deg().sort().values[-2:].tolist()
    if largest <= _CLOSED_DEG:
        return True
    return bool(largest <= _WIDEST_DEG and largest <= _OUTSTANDING * next_largest)


def evenly_by_angle(yaw: Tensor, count: int) -> list[int]:
    """Return the views nearest to evenly spaced yaws, from the largest to the smallest yaw.

    Multi-view inversion paper, section 3.1; one view is the one nearest to the front. Views that
    are a circle are chosen a full turn divided by `count` apart, beginning at the front; others
    between the outermost two. A view may be chosen twice where angles are sparse.

    Args:
        yaw: [N] radians.
        count: how many.
    """
    front = int(yaw.abs().argmin())
    if count == 1:
        return [front]
    if is_circle(yaw):
        return _around(yaw.double(), front, count)
    wanted = torch.linspace(float(yaw.max()), float(yaw.min()), count, dtype=torch.float64)
    distance = (yaw.double()[None] - wanted[:, None]).abs()
    return [int(i) for i in distance.argmin(1)]


def _around(yaw: Tensor, front: int, count: int) -> list[int]:
    """Views of a circle: all where as many are wanted, else evenly from the front on."""
    if count == len(yaw):
        return [int(i) for i in yaw.argsort(descending=True, stable=True)]
    wanted = yaw[front] + torch.arange(count, dtype=torch.float64) * (math.tau / count)
    apart = torch.remainder(yaw[None] - wanted[:, None] + math.pi, math.tau) - math.pi
    # half a count of rounding must not decide between two views that are equally near
    chosen = (apart.abs() * 1e6).round().argmin(1)
    return [int(i) for i in chosen[yaw[chosen].argsort(descending=True, stable=True)]]
