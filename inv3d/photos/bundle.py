"""One face for all frames of a person, and how it's turned in each of them.

A mean face fits nobody exactly, and what doesn't fit is taken for a turn. With several frames the
person's own face is found together with the turns, near to the mean one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.nn.face.correction import CHANGES
from inv3d.nn.face.model import FaceModel, rigid_fit, yaws_and_pitches
from inv3d.photos.sight import Sight

# so many frames that turn so far share a face; fewer say less of it than each says alone
FEWEST, REACH_DEG = 6, 40.0
_ROUNDS = 30
# frames whose yaws are nearer to each other share one vote
_ALIKE_DEG = 4.0
# how much the mean face counts beside what all frames together say
_PRIOR = 0.05
# how much x, y and depth count; the network only guesses depths, which steadies the pitch a little
_SEEN = (1.0, 1.0, 0.05)


def share_a_face(model: FaceModel, sights: Sequence[Sight], *, correct: bool) -> None:
    """Find the angles of the kept frames again, together.

    Args:
        model: the mean face.
        sights: of all frames; those with a pose given by hand stay as they are.
        correct: whether angles are corrected by what was measured on rendered heads.
    """
    together = [s for s in sights if s.kept and s.found and s.pose and not s.by_hand]
    yaws = torch.tensor([sight.yaw for sight in together], dtype=torch.float64)
    if len(together) < FEWEST or float(yaws.max() - yaws.min()) < math.radians(REACH_DEG):
        return
    points = torch.stack([s.found.points for s in together if s.found is not None])
    points = points.to(model.points)
    rotations, shape = bundle(model.points, points, votes(yaws))
    turns = yaws_and_pitches(rotations)
    changes = torch.zeros(len(turns), CHANGES).to(turns)
    if correct:
        changes = model.correct_many(points, rotations, shape)
    turns = turns + changes[:, :2]
    for sight, turn, square in zip(together, turns.tolist(), changes[:, 2:].tolist(), strict=True):
        assert sight.pose is not None
        sight.yaw, sight.pitch = turn
        sight.pose = replace(sight.pose, square=tuple(square))


def votes(yaws: Tensor) -> Tensor:
    """Return how much each frame says of the shape, [N], 1 in the mean.

    Args:
        yaws: [N] radians; frames that have many others of about their yaw say less.
    """
    apart = (yaws[None] - yaws[:, None]) / math.radians(_ALIKE_DEG)
    rare = 1 / torch.exp(-0.5 * apart**2).sum(1)
    return rare / rare.mean()


def bundle(mean: Tensor, points: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Find turns and a shared shape in turns, seen from afar.

    Args:
        mean: [P, 3] the mean shape.
        points: [N, P, 3] pixels of every frame, depth in the same unit.
        votes: [N] how much each frame says of the shape, 1 in the mean.

    Returns:
        Rotations [N, 3, 3] from face axes to the camera's, and the shape [P, 3].
    """
    weights = torch.tensor(_SEEN).to(points)
    seen = points - points.mean(1, keepdim=True)
    base = mean - mean.mean(0)
    shape = base
    rotations = torch.stack([rigid_fit(mean, frame) for frame in points])
    for _ in range(_ROUNDS):
        turned = shape @ rotations.mT
        scale = (weights * turned * seen).sum((1, 2)) / (weights * turned**2).sum((1, 2))
        turned = turned * scale[:, None, None]
        rotations = _turns(turned, seen - turned, weights) @ rotations
        shape = _shape(base, seen / scale[:, None, None], rotations, weights, votes)
        back = rigid_fit(shape, base)  # turns of the shape itself are the frames' turns
        shape, rotations = shape @ back.T, rotations @ back.T
    return rotations, shape


def _turns(turned: Tensor, rest: Tensor, weights: Tensor) -> Tensor:
    """Small rotations [N, 3, 3] that take points nearest to where the rest says they should be."""
    axes = torch.eye(3).to(turned)
    moves = torch.stack([torch.linalg.cross(axis.expand_as(turned), turned) for axis in axes], -1)
    normal = torch.einsum("npci,c,npcj->nij", moves, weights, moves)
    goal = torch.einsum("npci,c,npc->ni", moves, weights, rest)
    x, y, z = torch.linalg.solve(normal, goal).unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    return torch.matrix_exp(skew)


def _shape(base: Tensor, seen: Tensor, rotations: Tensor, weights: Tensor, votes: Tensor) -> Tensor:
    """The shape [P, 3] that fits all frames best, near to the mean one."""
    heard = votes[:, None] * weights / len(rotations)
    normal = torch.einsum("nki,nk,nkj->ij", rotations, heard, rotations)
    goal = torch.einsum("nki,nk,npk->pi", rotations, heard, seen)
    prior = _PRIOR * torch.eye(3).to(normal)
    shape: Tensor = torch.linalg.solve(normal + prior, (goal + _PRIOR * base).T).T
    return shape
