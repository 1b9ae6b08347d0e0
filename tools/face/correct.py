"""Measures how angles of landmarks are corrected, on rendered heads, and how good they are then.

python -m tools.face.correct write      into inv3d/assets/face.safetensors
python -m tools.face.correct evaluate   on heads that nothing was measured on

The mean face must have been measured before (tools.face.measure).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.nn.face.correction import DIRECTIONS, Correction, differences
from inv3d.nn.face.crop import camera_at, placed_face, square_between
from inv3d.nn.face.model import PREFIX, FaceModel, rigid_fit, yaws_and_pitches
from inv3d.nn.face.program import FILE
from inv3d.nn.face.trust import doubt
from inv3d.photos.bundle import FEWEST, bundle, votes
from inv3d.plugins.generators.minihead import ALIGNMENT
from tools.face.measure import RESOLUTION, Look, heads
from tools.minihead.seeds import CAPTURES, TRAINING

# views beyond aren't learned from
_LEARNED_DEG = 75.0
# yaws, degrees, between which views of a head are taken for one clip, beside all of them
_PARTS_DEG = ((-_LEARNED_DEG, 10.0), (-45.0, 45.0), (-25.0, 50.0), (-30.0, 30.0))
# how much the factors of differences are held at 0
_HELD = {"one": 1000.0, "many": 400.0}
# the first features don't depend on them
_FREE = 7
_BINS_DEG = ((0, 30), (30, 45), (45, 62), (62, 80))


@dataclass(frozen=True)
class Fits:
    """Fits of N views.

    Attributes:
        rough: [N, 2] yaw and pitch of the fits, radians.
        apart: [N, S, P, 3] what the landmarks differ from the mean face.
        pixels: [N, P, 2] of the landmarks.
        true: [N, 2] yaw and pitch, radians.
        clip: [N] numbers of the clips.
    """

    rough: Tensor
    apart: Tensor
    pixels: Tensor
    true: Tensor
    clip: Tensor

    def mirrored(self, pairs: Tensor) -> Fits:
        """The same heads in a mirror."""
        turn = torch.tensor([-1.0, 1.0]).to(self.rough)
        flip = torch.tensor([-1.0, 1.0, 1.0]).to(self.apart)
        pixels = self.pixels[:, pairs] * turn + torch.tensor([RESOLUTION, 0]).to(turn)
        apart = self.apart[:, :, pairs] * flip
        return Fits(self.rough * turn, apart, pixels, self.true * turn, self.clip)

    @staticmethod
    def cat(parts: Sequence[Fits]) -> Fits:
        """One after the other; none shares a clip with another."""
        names = ("rough", "apart", "pixels", "true")
        columns = ([getattr(part, name) for part in parts] for name in names)
        firsts = [0]
        for part in parts:
            firsts.append(firsts[-1] + int(part.clip.max()) + 1)
        clips = [part.clip + first for part, first in zip(parts, firsts, strict=False)]
        return Fits(*(torch.cat(column) for column in columns), torch.cat(clips))

    def changes(self, change: Correction) -> Tensor:
        """What a correction changes, [N, 6]."""
        return change(*self.rough.unbind(1), self.apart)


def trusted(model: FaceModel, views: Sequence[Look]) -> list[Look]:
    """Those whose landmarks aren't refused as false."""
    return [
        view
        for view in views
        if not doubt(view.found, model.pose(view.found, view.detection), view.detection)
    ]


def single(model: FaceModel, views: Sequence[Look]) -> Fits:
    """Each view alone."""
    points = _points(model, views)
    rotations = torch.stack([rigid_fit(model.points, frame) for frame in points])
    apart = differences(model.points, points, rotations)[:, None]
    return _fits(rotations, apart, points, views)


def shared(model: FaceModel, views: Sequence[Look]) -> Fits:
    """Views of a head that share a face."""
    points = _points(model, views)
    alone = single(model, views)
    yaws = alone.rough[:, 0] + alone.changes(model.one)[:, 0]
    rotations, shape = bundle(model.points, points, votes(yaws))
    frames = differences(model.points, points, rotations)
    person = differences(model.points, shape[None], torch.eye(3).to(shape)[None])
    apart = torch.stack([frames, person.expand_as(frames)], 1)
    return _fits(rotations, apart, points, views)


def _points(model: FaceModel, views: Sequence[Look]) -> Tensor:
    return torch.stack([view.found.points for view in views]).to(model.points)


def _fits(rotations: Tensor, apart: Tensor, points: Tensor, views: Sequence[Look]) -> Fits:
    true = torch.tensor([[view.yaw, view.pitch] for view in views]).to(points)
    clip = torch.zeros(len(views), dtype=torch.long)
    return Fits(yaws_and_pitches(rotations), apart, points[..., :2], true, clip)


def correction(model: FaceModel, fits: Fits, held: float) -> Correction:
    """Finds the correction that brings fits nearest to the truth, by ridge regression.

    Args:
        model: the mean face.
        fits: of views of many heads.
        held: how much the factors of differences are held at 0.
    """
    fits = Fits.cat([fits, fits.mirrored(model.mirror.long())])
    made = Correction(fits.apart.shape[1]).double()
    flat = fits.apart.flatten(2)
    made.middle = flat.mean(0)
    for kind in range(flat.shape[1]):
        off = flat[:, kind] - made.middle[kind]
        spread, axes = torch.linalg.eigh(off.T @ off / len(off))
        made.directions[kind] = (axes / spread.clamp_min(1e-12).sqrt()).T[-DIRECTIONS:]
    features = made.features(*fits.rough.unbind(1), fits.apart)
    hold = torch.full((features.shape[1],), held).to(features)
    hold[:_FREE] = 0.01
    normal = features.T @ features + torch.diag(hold)
    made.factors[:, :2] = torch.linalg.solve(normal, features.T @ (fits.true - fits.rough))
    rest = framing(model, fits, fits.rough + fits.changes(made)[:, :2])
    made.factors[:, 2:] = torch.linalg.solve(normal, features.T @ rest)
    return made


def framing(model: FaceModel, fits: Fits, turns: Tensor) -> Tensor:
    """How squares must be changed so that all of a clip are alike true ones, [N, 4].

    What all frames of a clip share is left: how large a face is beside the mean one is up to the
    generator.

    Args:
        model: the mean face.
        fits: of N views.
        turns: [N, 2] yaw and pitch, radians.
    """
    faces, _ = camera_at(ALIGNMENT, *turns.unbind(1)).project(placed_face(model, ALIGNMENT))
    rows = []
    for face, pixels in zip(faces, fits.pixels, strict=True):
        made = square_between(face, pixels)
        middle = made.to_square(torch.full((2,), RESOLUTION / 2).to(pixels)) - 0.5
        rows.append([-made.roll, math.log(RESOLUTION / made.side), *middle.tolist()])
    changes = torch.tensor(rows).to(turns)
    for clip in fits.clip.unique():
        changes[fits.clip == clip] -= changes[fits.clip == clip].mean(0)
    return changes


def learn(model: FaceModel, people: Sequence[Sequence[Look]]) -> None:
    """Gives the model corrections that were measured on heads."""
    far = _LEARNED_DEG
    people = [[v for v in trusted(model, views) if _within(v, -far, far)] for views in people]
    alone = Fits.cat([single(model, views) for views in people])
    model.one = correction(model, alone, _HELD["one"])
    clips = [clip for views in people for clip in _clips(views)]
    together = Fits.cat([shared(model, clip) for clip in clips])
    model.many = correction(model, together, _HELD["many"])


def _within(view: Look, low: float, high: float) -> bool:
    return low <= math.degrees(view.yaw) <= high


def _clips(views: Sequence[Look]) -> Iterator[list[Look]]:
    """All views of a head, and those of parts of its turn."""
    yield list(views)
    for low, high in _PARTS_DEG:
        part = [view for view in views if _within(view, low, high)]
        if len(part) >= FEWEST:
            yield part


def table(model: FaceModel, people: Sequence[Sequence[Look]]) -> Iterator[str]:
    """Lines of mean and largest errors in degrees by true yaw, of views that aren't refused."""
    kept = [trusted(model, views) for views in people]
    count = sum(map(len, kept))
    yield f"{count} of {sum(map(len, people))} views kept"
    yield "degrees, mean / largest error     a view alone           a head's views together"
    yield "true yaw   views  uncorrected  yaw          pitch        yaw          pitch"
    alone = Fits.cat([single(model, views) for views in kept])
    together = Fits.cat([shared(model, views) for views in kept])
    turn = alone.true[:, 0].rad2deg().abs()
    one = alone.rough + alone.changes(model.one)[:, :2]
    many = together.rough + together.changes(model.many)[:, :2]
    found = torch.cat([alone.rough[:, :1], one, many], 1)
    errors = (found - alone.true[:, [0, 0, 1, 0, 1]]).rad2deg().abs()
    for low, high in _BINS_DEG:
        rows = errors[(turn >= low) & (turn < high)]
        if len(rows):
            pairs = zip(rows.mean(0).tolist(), rows.amax(0).tolist(), strict=True)
            cells = "  ".join(f"{mean:4.1f} / {most:4.1f}" for mean, most in pairs)
            yield f"{low:2d} to {high:2d}   {len(rows):5d}  {cells}"


@click.group()
def main() -> None:
    """What corrects the angles of landmarks."""


@main.command()
@click.option("--first-seed", default=TRAINING.start, show_default=True)
@click.option("--count", default=160, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=asset(FILE), show_default=True)
def write(first_seed: int, count: int, out: Path) -> None:
    """Measures on training heads and writes the corrections beside the networks."""
    model = FaceModel.load()
    learn(model, heads(first_seed, count))
    write_corrections(model, out, f"tools/minihead, seeds from {first_seed}, {count} heads")


def write_corrections(model: FaceModel, out: Path, measured_on: str) -> None:
    """Puts the corrections of a model in the place of those in a file."""
    tensors, metadata = read_tensors(out)
    names = (f"{PREFIX}one.", f"{PREFIX}many.")
    tensors = {name: t for name, t in tensors.items() if not name.startswith(names)}
    for name, tensor in model.state_dict().items():
        if (PREFIX + name).startswith(names):
            large = name.endswith("directions")
            tensors[PREFIX + name] = tensor.half() if large else tensor.float()
    metadata["corrections"] = {"measured_on": measured_on}
    write_tensors(out, tensors, metadata)


@main.command()
@click.option("--first-seed", default=CAPTURES.start + 700, show_default=True)
@click.option("--count", default=24, show_default=True)
def evaluate(first_seed: int, count: int) -> None:
    """Prints the errors of the embedded model on heads of captures."""
    click.echo("\n".join(table(FaceModel.load(), heads(first_seed, count))))


if __name__ == "__main__":
    main()
