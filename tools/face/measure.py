"""Measures the mean face on rendered heads.

python -m tools.face.measure        into inv3d/assets/face.safetensors

The networks look at renderings of procedural heads whose cameras are known. Corrections of angles
go with a mean face: measure them anew after it (tools.face.correct).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from inv3d.core.camera import Camera, intrinsics_matrix
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.nn.face.detector import Detection, Detector
from inv3d.nn.face.landmarks import Landmarker, Landmarks
from inv3d.nn.face.model import PREFIX, FaceModel, keypoint_features
from inv3d.nn.face.program import FILE
from tools.minihead.cameras import FOCAL, orbit
from tools.minihead.captures import make_capture, neutral
from tools.minihead.heads import Heads
from tools.minihead.seeds import TRAINING

RESOLUTION = 256
REACH_DEG, STEP_DEG, JITTER_DEG = 75, 10, 3
PITCH_SPREAD = 0.13
# what the mean face is triangulated from
_FRONTAL_DEG = 35.0


@dataclass(frozen=True)
class Look:
    """A rendered view and what the networks see in it.

    Attributes:
        yaw, pitch: radians, true.
        cam2world: [4, 4], true.
        found: landmarks, in pixels.
        detection: of the face.
    """

    yaw: float
    pitch: float
    cam2world: Tensor
    found: Landmarks
    detection: Detection


def looks(heads: Heads, seed: int) -> Iterator[Look]:
    """Renders one head from many sides and looks for its face, which moves where a seed is odd."""
    detector, landmarker = Detector(), Landmarker()
    rng = torch.Generator().manual_seed(seed)
    steps = torch.arange(-REACH_DEG, REACH_DEG + 1, STEP_DEG).float()
    jitter = (torch.rand(len(steps), generator=rng) * 2 - 1) * JITTER_DEG
    yaw = torch.deg2rad(steps + jitter)
    pitch = PITCH_SPREAD * torch.randn(len(steps), generator=rng)
    cameras = orbit(yaw, pitch)
    moving = heads.expression(heads.sample_z(len(yaw), rng)) if seed % 2 else neutral()
    capture = make_capture(heads, seed, cameras, RESOLUTION, moving)
    for picture, y, p, camera in zip(capture.rgb, yaw, pitch, cameras, strict=True):
        faces = detector(picture)
        if faces:
            found = landmarker(picture, faces[0].square)
            yield Look(float(y), float(p), camera, found, faces[0])


def mean_face(heads: Sequence[Sequence[Look]]) -> Tensor:
    """Triangulates the landmarks of each head from its frontal views; their mean, [468, 3]."""
    return torch.stack([_triangulated(views) for views in heads]).mean(0)


def _triangulated(views: Sequence[Look]) -> Tensor:
    frontal = [view for view in views if abs(math.degrees(view.yaw)) < _FRONTAL_DEG]
    poses = torch.stack([view.cam2world for view in frontal]).double()
    camera = Camera(poses, intrinsics_matrix(FOCAL, len(poses)).double())
    uv = torch.stack([view.found.points[:, :2] for view in frontal]) / RESOLUTION
    rays = camera.unproject(uv, torch.ones(uv.shape[:2]).double()) - camera.position[:, None]
    across = torch.eye(3).double() - rays[..., None] * rays[..., None, :]
    shifts = (across @ camera.position[:, None, :, None]).sum(0)
    return torch.linalg.solve(across.sum(0), shifts)[..., 0]


def mirrored(points: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs the points of the two sides; returns the pairs [468] and symmetric points."""
    from scipy.optimize import linear_sum_assignment

    flip = torch.tensor([-1.0, 1.0, 1.0]).double()
    pairs = torch.tensor(linear_sum_assignment(torch.cdist(points * flip, points).numpy())[1])
    assert torch.equal(pairs[pairs], torch.arange(len(points)))
    return pairs, (points + points[pairs] * flip) / 2


def measure(heads: Sequence[Sequence[Look]]) -> FaceModel:
    """Makes the model of what was seen of several heads."""
    model = FaceModel().double()
    pairs, model.points = mirrored(mean_face(heads))
    model.mirror = pairs.double()
    views = [view for head in heads for view in head]
    yaw = torch.tensor([view.yaw for view in views]).double()
    features = torch.stack([keypoint_features(view.detection) for view in views])
    model.rough = torch.linalg.lstsq(features, yaw[:, None]).solution[:, 0]
    return model


def heads(first: int, count: int) -> list[list[Look]]:
    """Renders heads with seeds from one on, and looks for their faces."""
    made = Heads("cpu")
    with torch.no_grad():
        return [list(looks(made, seed)) for seed in range(first, first + count)]


@click.command()
@click.option("--first-seed", default=TRAINING.start, show_default=True)
@click.option("--count", default=24, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=asset(FILE), show_default=True)
def main(first_seed: int, count: int, out: Path) -> None:
    """Measures on training heads and writes the model beside the networks."""
    model = measure(heads(first_seed, count))
    tensors, metadata = read_tensors(out)
    tensors = {name: t for name, t in tensors.items() if not name.startswith(PREFIX)}
    state = {PREFIX + name: tensor.float() for name, tensor in model.state_dict().items()}
    metadata["model"] = {"measured_on": f"tools/minihead, seeds from {first_seed}, {count} heads"}
    write_tensors(out, {**tensors, **state}, metadata)
    click.echo(f"anchors: {model.anchors().tolist()}")


if __name__ == "__main__":
    main()
