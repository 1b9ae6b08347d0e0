"""Which views have a latent of their own, and which lie between them."""

from __future__ import annotations

import math

import torch

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, evenly_by_angle, is_circle
from inv3d.core.errors import InputError

_SAME_ANGLE = 1e-4


def used(cameras: Camera, *, latents: int | None, interpolation: bool) -> list[int]:
    """Return the views that have a latent or lie in between, in their own order.

    Where so many differing views can't be had, all of them, so that `arrange` says what's wrong.
    """
    wanted = None if latents is None else _wanted(latents, interpolation, cameras)
    if wanted is None or wanted >= len(cameras):
        return list(range(len(cameras)))
    chosen = set(evenly_by_angle(cameras.yaw, wanted))
    return sorted(chosen) if len(chosen) == wanted else list(range(len(cameras)))


def _wanted(latents: int, interpolation: bool, cameras: Camera) -> int:
    """Views that M latents take; all around, one lies between the last and the first, too.

    Those that would be chosen must go all around as well, so that all look at one circle.
    """
    if not interpolation:
        return latents
    wanted = 2 * latents - 1
    if len(cameras) <= wanted or not is_circle(cameras.yaw):
        return wanted
    chosen = sorted(set(evenly_by_angle(cameras.yaw, wanted + 1)))
    return wanted + 1 if is_circle(cameras.yaw[chosen]) else wanted


def arrange(
    capture: Capture, *, latents: int | None, interpolation: bool
) -> tuple[list[int], list[int]]:
    """Return the views that have a latent and those in between, from the largest yaw down.

    Args:
        capture: the views given.
        latents: M; none uses all views.
        interpolation: whether every other view lies between two latents. Of N views that go all
            around, N an even number, the last one lies between the last and the first latent;
            with an odd number those two are neighbours without a view between them.

    Raises:
        InputError: where there are too few views, an even number with interpolation though they
            don't go all around, or two of the same angle.
    """
    order = _order(capture, latents, interpolation)
    _refuse_same_angles(capture[order])
    return (order[::2], order[1::2]) if interpolation else (order, [])


def _order(capture: Capture, latents: int | None, interpolation: bool) -> list[int]:
    count, yaw = len(capture), capture.camera.yaw
    circle = is_circle(yaw)
    least = 3 if interpolation else 2
    off = "--set interpolation=0 gives every view a latent"
    if count < 2 or (count < least and latents is None):
        hint = f", or {off}" if count == 2 else ""
        raise InputError(
            f"{count} view{'s' * (count != 1)} given, multilatent needs at least {least}; give "
            f"more with --views{hint}"
        )
    by_yaw: list[int] = capture.camera.yaw.argsort(descending=True, stable=True).tolist()
    if latents is None:
        if interpolation and count % 2 == 0 and not circle:
            raise InputError(
                f"{count} views given, with interpolation multilatent needs an odd number (M "
                "latents and M - 1 views between them) unless the views go all around; give "
                f"--views {count - 1}, or {off}"
            )
        return by_yaw
    wanted = _wanted(latents, interpolation, capture.camera)
    if count < wanted:
        raise InputError(
            f"option 'latents': {latents} latents need {wanted} views, {count} given; give more "
            "with --views, or a smaller number"
        )
    return by_yaw if count == wanted else evenly_by_angle(capture.camera.yaw, wanted)


def _refuse_same_angles(views: Capture) -> None:
    """Refuse views that look from the same angle: their latents couldn't be told apart."""
    yaw, order = views.camera.yaw.sort()
    steps = torch.cat([yaw.diff(), yaw[:1] + math.tau - yaw[-1:]])
    same = (steps < _SAME_ANGLE).nonzero()
    if len(same):
        i = int(same[0])
        first, second = (views.names[int(order[k % len(yaw)])] for k in (i, i + 1))
        raise InputError(
            f"{first} and {second}: both look from yaw {float(yaw[i].rad2deg()):.2f} deg; "
            "multi-latent needs a different angle for every view, leave one out"
        )
