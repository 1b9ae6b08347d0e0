"""Captures: cameras, labels, files, and the two that are shipped."""

from __future__ import annotations

import io
import itertools
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from tools.minihead.cameras import FOCAL, MAX_PITCH, RADIUS, orbit, sample_angles, sample_cameras
from tools.minihead.captures import (
    DEPTH_SCALE,
    label,
    make_capture,
    motion,
    neutral,
    route,
    write_folder,
    write_zip,
)
from tools.minihead.heads import Heads
from tools.minihead.make_captures import ASSETS, SAMPLE_FRAMES, SAMPLE_SEED, main
from tools.minihead.seeds import CAPTURES, EVALUATION, TRAINING, z_of_seed


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads("cpu")


def check_camera(pose: Tensor) -> None:
    rotation = pose[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
    assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=1e-5)
    assert pose[:3, 3].norm().item() == pytest.approx(RADIUS, abs=1e-4)
    forward = -pose[:3, 3] / RADIUS
    assert torch.allclose(rotation[:, 2], forward, atol=1e-5)


def test_seed_ranges_are_disjoint() -> None:
    ranges = sorted((TRAINING, EVALUATION, CAPTURES), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    assert SAMPLE_SEED in CAPTURES
    assert not torch.equal(z_of_seed(TRAINING.start), z_of_seed(EVALUATION.start))
    assert torch.equal(z_of_seed(SAMPLE_SEED), z_of_seed(SAMPLE_SEED))


def test_sampled_cameras_look_at_the_origin_from_all_around() -> None:
    generator = torch.Generator().manual_seed(0)
    for pose in sample_cameras(5, 4, generator)[0].flatten(0, 1):
        check_camera(pose)
    yaw, pitch = sample_angles(4000, 1, generator)
    assert yaw.abs().max() < 5 and pitch.abs().max() <= MAX_PITCH
    assert 0.1 < (yaw.abs() > math.pi / 2).float().mean() < 0.3
    assert (yaw.abs() < 0.6).float().mean() > 0.4


def test_positive_yaw_moves_the_camera_to_x_and_positive_pitch_up() -> None:
    pose = orbit(torch.tensor([0.0, 0.5]), torch.tensor([0.3, 0.0]))
    assert pose[0, 1, 3] > 0 and pose[0, 2, 3] > 0
    assert pose[1, 0, 3] > 0
    assert torch.allclose(pose[1, :3, 1], torch.tensor([0.0, -1.0, 0.0]), atol=1e-6)


def test_label_is_row_major_cam2world_then_intrinsics() -> None:
    pose = route("sweep", 3, 0)[2]
    numbers = label(pose)
    assert len(numbers) == 25
    assert torch.allclose(torch.tensor(numbers[:16]).view(4, 4), pose, atol=1e-6)
    assert numbers[16:] == [FOCAL, 0, 0.5, 0, FOCAL, 0.5, 0, 0, 1]


def test_motion_blinks_with_open_eyes_in_the_middle() -> None:
    face = motion(60)
    assert face["blink"].max() == 1 and face["jaw"].max() > 0.3
    assert face["blink"][26:34].max() < 1e-3
    assert face["jaw"][29:31].max() < 0.02


def test_folder_holds_what_was_rendered(heads: Heads, tmp_path: Path) -> None:
    capture = make_capture(heads, CAPTURES.start, route("random", 2, 1), 32)
    folder = tmp_path / "capture"
    write_folder(capture, folder, mesh=True)
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert [name for name, _ in labels] == ["00000.png", "00001.png"]
    for name, numbers in labels:
        check_camera(torch.tensor(numbers[:16]).view(4, 4))
        assert Image.open(folder / name).size == (32, 32)
    scale = json.loads((folder / "depth.json").read_text())["scale"]
    stored = np.asarray(Image.open(folder / "depth" / "00000.png")) * scale
    assert scale == DEPTH_SCALE
    assert np.abs(stored - capture.depth[0, 0].numpy()).max() <= scale / 2 + 1e-6
    mask = np.asarray(Image.open(folder / "masks" / "00000.png")) > 0
    assert (mask == (stored > 0)).all()
    person = json.loads((folder / "identity.json").read_text())
    assert torch.allclose(torch.tensor(person["z"]), z_of_seed(CAPTURES.start))
    assert (folder / "mesh" / "00000.ply").read_bytes().startswith(b"ply")
    with pytest.raises(FileExistsError, match="capture"):
        write_folder(capture, folder)
    assert [p.name for p in tmp_path.iterdir()] == ["capture"]


def test_zip_is_reproducible(heads: Heads, tmp_path: Path) -> None:
    for name in ("a", "b"):
        capture = make_capture(heads, CAPTURES.start, route("sweep", 3, 1), 24, motion(3))
        write_zip(capture, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_moving_capture_has_one_head_a_view(heads: Heads) -> None:
    cameras = route("sweep", 3, 1)
    moving = make_capture(heads, CAPTURES.start, cameras, 24, motion(3))
    still = make_capture(heads, CAPTURES.start, cameras, 24, neutral())
    assert len(moving.heads.vertices) == 3 and len(still.heads.vertices) == 1
    assert torch.equal(moving.cam2world, still.cam2world)
    assert not torch.equal(moving.rgb[0], still.rgb[0])


def test_command_writes_captures(tmp_path: Path) -> None:
    options = ["--count", "2", "--views", "2", "--resolution", "16", "--zip", "--dynamic"]
    result = CliRunner().invoke(main, ["write", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [f"{CAPTURES.start}.zip", f"{CAPTURES.start + 1}.zip"]
    wrong = CliRunner().invoke(main, ["write", str(tmp_path), "--dynamic", "--neutral"])
    assert wrong.exit_code == 2


def read_shipped(name: str) -> tuple[zipfile.ZipFile, Tensor]:
    archive = zipfile.ZipFile(ASSETS / f"{name}.zip")
    labels = json.loads(archive.read("dataset.json"))["labels"]
    return archive, torch.tensor([numbers for _, numbers in labels])


def png(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def test_shipped_captures_are_small_twins_of_a_turning_head() -> None:
    size = sum((ASSETS / f"{name}.zip").stat().st_size for name in ("dynamic", "static"))
    assert size < 4e6
    (moving, labels), (_, twin) = read_shipped("dynamic"), read_shipped("static")
    assert labels.shape == (SAMPLE_FRAMES, 25) and torch.equal(labels, twin)
    for pose in labels[:, :16].view(-1, 4, 4):
        check_camera(pose)
    yaw = torch.rad2deg(torch.atan2(labels[:, 3], labels[:, 11]))
    assert yaw[0].item() == pytest.approx(-70, abs=0.1)
    assert yaw[-1].item() == pytest.approx(70, abs=0.1)
    blink = json.loads(moving.read("identity.json"))["expression"]["blink"]
    assert max(blink) == 1 and blink[yaw.abs().argmin()] < 1e-3


def test_shipped_depth_agrees_between_views() -> None:
    """Points of one still frame, seen from the next, lie at that frame's depth."""
    archive, labels = read_shipped("static")
    first, second = (
        torch.tensor(png(archive, f"depth/{k:05d}.png").astype(np.int64)) * DEPTH_SCALE
        for k in (30, 33)
    )
    poses = labels[[30, 33], :16].view(2, 4, 4)
    row, column = torch.nonzero(first > 0, as_tuple=True)
    local = torch.stack([(column + 0.5) / 128 - 0.5, (row + 0.5) / 128 - 0.5], 1) / FOCAL
    ray = torch.nn.functional.normalize(torch.cat([local, torch.ones(len(row), 1)], 1), dim=1)
    points = (ray * first[row, column, None]) @ poses[0, :3, :3].T + poses[0, :3, 3]
    seen = (points - poses[1, :3, 3]) @ poses[1, :3, :3]
    pixel = ((seen[:, :2] / seen[:, 2:] * FOCAL + 0.5) * 128).long()
    inside = ((pixel >= 0) & (pixel < 128)).all(1)
    there = second[pixel[inside, 1], pixel[inside, 0]]
    assert ((there - seen[inside].norm(dim=1)).abs() < 0.01).float().mean() > 0.85
