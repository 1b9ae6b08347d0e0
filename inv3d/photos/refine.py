"""Cameras and crops refined by the generator itself: a head is fitted to some frames with them.

Landmarks err in the same way in neighbouring views, so what a few frames evenly spread over the
yaw teach is carried over to those between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera
from inv3d.core.capture import evenly_by_angle
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.latent import between_angles, latent_statistics
from inv3d.core.loss import Target
from inv3d.nn.face.crop import camera_at
from inv3d.nn.face.square import Square

KNOTS, VIEWS = 9, 3
_SAMPLES = 1000
# rates of the latent, of angles and roll in radians, of place and size in parts of the picture
_RATES = {"latent": 0.1, "angles": 0.006, "roll": 0.004, "place": 0.002, "size": 0.004}
# the part of the steps before which cameras stay
_ALONE = 0.3
# how much a camera is held where landmarks have it
_HOLD = 2.0


@dataclass
class Moves:
    """Changes of N cameras and crops.

    Attributes:
        angles: [N, 2] yaw and pitch, radians.
        roll: [N] radians, clockwise.
        place: [N, 2] right and down, parts of the picture.
        size: [N] logarithm of the factor.
    """

    angles: Tensor
    roll: Tensor
    place: Tensor
    size: Tensor

    @staticmethod
    def none(count: int) -> Moves:
        """Return no changes."""
        return Moves(
            torch.zeros(count, 2), torch.zeros(count), torch.zeros(count, 2), torch.zeros(count)
        )

    def named(self) -> dict[str, Tensor]:
        """Return them by name."""
        return {name: getattr(self, name) for name in ("angles", "roll", "place", "size")}

    def square(self, row: int, square: Square) -> Square:
        """Return a square with the changes of one camera."""
        right, down = self.place[row].tolist()
        return square.moved(float(self.roll[row]), float(self.size[row]), right, down)


def moved_cameras(alignment: Alignment, angles: Tensor, moves: Moves) -> Camera:
    """Return the cameras that took pictures whose crops still have to be changed.

    Args:
        alignment: of the generator.
        angles: [N, 2] yaw and pitch, radians.
        moves: of them and of their crops.
    """
    yaw, pitch = (angles + moves.angles).unbind(1)
    camera = camera_at(alignment, yaw, pitch).to(dtype=angles.dtype)
    c, s = moves.roll.cos(), moves.roll.sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    spin = torch.stack([c, s, zero, -s, c, zero, zero, zero, one], 1).view(-1, 3, 3)
    cam2world = camera.cam2world.clone()
    cam2world[:, :3, :3] = camera.rotation @ spin
    focal = camera.intrinsics[:, 0, 0] * moves.size.exp()
    x, y = (0.5 + moves.place).unbind(1)
    rows = [focal, zero, x, zero, focal, y, zero, zero, one]
    return Camera(cam2world, torch.stack(rows, 1).view(-1, 3, 3))


def refine(
    generator: Generator,
    alignment: Alignment,
    images: Tensor,
    angles: Tensor,
    steps: int,
    on_step: Callable[[int, int], None],
) -> Moves:
    """Fit one latent to pictures, and the pictures' cameras with it.

    Args:
        generator: frozen.
        alignment: of it.
        images: [N, 3, H, W] in [-1, 1], crops at the generator's resolution.
        angles: [N, 2] yaw and pitch, radians, as landmarks have them.
        steps: of the optimiser.
        on_step: told how many were taken, of how many.

    Returns:
        Changes of all N.
    """
    rows = sorted(set(evenly_by_angle(angles[:, 0].double(), min(KNOTS, len(images)))))
    moves = Moves.none(len(rows))
    context = Context.create(images.device, 303)
    generator.rng = context.state.generators["render"]
    terms = {n: LossTerm(weight=w) for n, w in generator.spec.default_losses.items()}
    objective = Objective(context.losses(terms), Target(images[rows]))
    start = latent_statistics(generator, samples=_SAMPLES).mean
    latent = start.expand(generator.spec.num_ws, -1)[None].clone()
    variables = {"latent": latent, **moves.named()}
    groups = [{"params": [v.requires_grad_()], "lr": _RATES[n]} for n, v in variables.items()]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.95))
    rates = [group["lr"] for group in optimiser.param_groups]
    for step in range(steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            moving = group is optimiser.param_groups[0] or step >= _ALONE * steps
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps)) if moving else 0.0
        order = torch.randperm(len(rows), generator=context.state.generators["cpu"])
        with torch.enable_grad():
            loss = _loss(generator, alignment, objective, latent, angles[rows], moves, order)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        on_step(step + 1, steps)
    return _between(moves, angles[rows, 0], angles[:, 0])


def _loss(
    generator: Generator,
    alignment: Alignment,
    objective: Objective,
    latent: Tensor,
    angles: Tensor,
    moves: Moves,
    order: Tensor,
) -> Tensor:
    """The losses of some of the views, and how far their cameras are from where they were."""
    total = torch.zeros(())
    scene = generator.synthesize(latent)
    cameras = moved_cameras(alignment, angles, moves)
    for row in order[:VIEWS].tolist():
        rendering = generator.render(scene, cameras[row], outputs=objective.outputs)
        total = total + objective.evaluate(rendering, slice(row, row + 1))[0]
    held = sum((value.square().sum() for value in moves.named().values()), torch.zeros(()))
    return total / min(VIEWS, len(order)) + _HOLD * held / len(angles)


def _between(moves: Moves, knots: Tensor, yaw: Tensor) -> Moves:
    """Carry changes over to all yaws, linearly between the knots."""
    places = between_angles(knots, yaw)
    return Moves(**{name: places.blend(value.detach()) for name, value in moves.named().items()})
