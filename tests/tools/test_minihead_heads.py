"""Heads from the baked data: what z drives, what it leaves alone, what the camera sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tools.minihead.cameras import FOCAL, orbit, sample_cameras
from tools.minihead.headbase import LEFT_EYE, RIGHT_EYE, TEETH
from tools.minihead.heads import LAYOUT, NAMES, Z_DIM, Heads
from tools.minihead.params import expression, identity_params, scene_params
from tools.minihead.raster import cover, project, render

PERSON = ("identity", "appearance")


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_z(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, Z_DIM, generator=generator(seed))


def test_layout_covers_z_once() -> None:
    for slices in (LAYOUT, NAMES):
        used = sorted(i for s in slices.values() for i in range(s.start, s.stop))
        assert used == list(range(Z_DIM)) == list(range(52))
    assert {"identity", "appearance", "light", "expression"} <= set(LAYOUT)


@pytest.mark.parametrize("group", list(LAYOUT))
def test_each_group_drives_its_own_parameters_only(group: str) -> None:
    z = some_z(64)
    other = z.clone()
    other[:, LAYOUT[group]] = some_z(64, seed=1)[:, LAYOUT[group]]
    readers = {
        identity_params: group in PERSON,
        scene_params: group in ("clothes", "light"),
        expression: group == "expression",
    }
    for reader, driven in readers.items():
        before, after = reader(z), reader(other)
        same = all(torch.equal(before[name], after[name]) for name in before)
        assert same != driven


def test_light_and_clothes_are_separate() -> None:
    z = some_z(16)
    other = z.clone()
    other[:, LAYOUT["clothes"]] += 1
    before, after = scene_params(z), scene_params(other)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"cloth"}


def test_rare_attributes_are_frequent() -> None:
    z = some_z(50_000)
    person, face = identity_params(z), expression(z)
    men = person["gender"] < 0.4
    assert (person["beard"] > 0.3)[men].float().mean() > 0.25
    assert 0.12 < (person["grey"] > 0.4).float().mean() < 0.3
    assert 0.06 < (face["blink"] > 0.8).float().mean() < 0.14
    assert 0.15 < (face["jaw"] > 0.25).float().mean() < 0.25
    assert 0.20 < (face["smile"] > 0.6).float().mean() < 0.35


def test_most_faces_have_an_expression() -> None:
    face = expression(some_z(50_000))
    strong = [face[name] > 0.5 for name in ("blink", "jaw", "smile", "pucker", "frown")]
    assert torch.stack(strong).any(0).float().mean() > 0.5
    assert face["gaze_x"].std() > 0.2


@pytest.mark.parametrize(
    "name", ["blink", "jaw", "bald", "hair_length", "tuck", "hairline", "grey", "beard"]
)
def test_nothing_switches(name: str) -> None:
    """A small step of a number of z changes no parameter by much of its range."""
    z = some_z(256)
    z[:, NAMES["gender"]], z[:, NAMES["age"]] = -1.0, 0.5
    values = []
    for at in torch.linspace(-3, 3, 121):
        z[:, NAMES[name].start] = at
        values.append({**identity_params(z), **expression(z)})
    for key in values[0]:
        row = torch.stack([v[key].reshape(len(z), -1) for v in values])
        span = row.amax((0, 1)) - row.amin((0, 1))
        moved = row.diff(dim=0).abs().amax((0, 1))
        assert (moved <= 0.2 * span + 1e-6).all(), key


def test_same_seed_same_head(heads: Heads) -> None:
    first, second = (heads.build(heads.sample_z(2, generator(7))) for _ in range(2))
    assert torch.equal(first.vertices, second.vertices)
    assert torch.equal(first.attributes, second.attributes)


def test_a_head_does_not_depend_on_its_batch(heads: Heads) -> None:
    z = some_z(3)
    batch, alone = heads.build(z), heads.build(z[1:2])
    assert torch.allclose(batch.vertices[1], alone.vertices[0], atol=1e-5)
    assert torch.allclose(batch.attributes[1], alone.attributes[0], atol=1e-3)


def test_expression_moves_the_face_and_not_the_hair(heads: Heads) -> None:
    z = some_z(1)
    z[:, LAYOUT["expression"]] = 0
    open_mouth = z.clone()
    open_mouth[:, NAMES["jaw"]] = 2
    calm, moved = heads.build(z), heads.build(open_mouth)
    shell = slice(len(heads.rest), len(heads.rest) + len(heads.shell.rest))
    assert torch.equal(calm.vertices[:, shell], moved.vertices[:, shell])
    assert (calm.vertices - moved.vertices).norm(dim=-1).max() > 0.02


def visible(heads: Heads, z: torch.Tensor, parts: tuple[int, ...]) -> torch.Tensor:
    """Pixels of the given parts that each head of z shows from the front."""
    batch = heads.build(z)
    front = orbit(torch.zeros(len(z)), torch.zeros(len(z)))
    points = project(batch.vertices, front, torch.full((len(z),), FOCAL), 128)
    triangle = cover(points, batch.faces, batch.two_sided, 128)
    part = torch.where(triangle < 0, -1, batch.face_part[triangle.clamp(min=0)])
    return torch.isin(part, torch.tensor(parts)).sum((1, 2))


def test_closed_eyes_hide_the_eyeballs_and_an_open_mouth_shows_teeth(heads: Heads) -> None:
    z = some_z(8, seed=3)
    z[:, LAYOUT["expression"]] = 0
    closed, open_mouth = z.clone(), z.clone()
    closed[:, NAMES["blink"]] = 2
    open_mouth[:, NAMES["jaw"]] = 2
    eyes = (LEFT_EYE, RIGHT_EYE)
    assert visible(heads, z, eyes).min() >= 10
    assert visible(heads, closed, eyes).float().mean() < 3
    assert visible(heads, open_mouth, (TEETH,)).sum() > visible(heads, z, (TEETH,)).sum() + 8


def test_heads_fill_the_frame_and_touch_only_its_lower_edge(heads: Heads) -> None:
    z = heads.sample_z(24, generator(5))
    front = orbit(torch.zeros(24, 1), torch.zeros(24, 1))
    out = render(heads.build(z), front, FOCAL, 64, supersample=1)
    mask = out["mask"][:, 0, 0]
    assert mask[:, 0].sum() == 0
    assert mask[:, :40, 0].sum() == 0 and mask[:, :40, -1].sum() == 0
    assert (mask[:, -1].sum(1) > 10).all()
    assert 0.25 < mask.mean() < 0.6
    assert out["rgb"].min() >= 0 and out["rgb"].max() <= 1
    seen = out["depth"][out["depth"] > 0]
    assert seen.min() > 2.3 and seen.max() < 3.2


def test_colours_hardly_clip(heads: Heads) -> None:
    z = heads.sample_z(16, generator(9))
    out = render(heads.build(z), sample_cameras(16, 1, generator(9))[0], FOCAL, 64, supersample=1)
    seen = out["rgb"].permute(0, 1, 3, 4, 2)[out["mask"][:, :, 0] == 1]
    assert (seen > 0.98).float().mean() < 0.01
    assert 0.15 < seen.mean() < 0.6


def test_close_ups_fill_the_picture_with_the_face(heads: Heads) -> None:
    z = heads.sample_z(12, generator(9))
    poses, focal = sample_cameras(12, 1, generator(9), close_ups=1.0)
    assert focal.min() > 1.5 * FOCAL
    close = render(heads.build(z), poses, focal, 64, supersample=1)["mask"]
    assert close[..., 16:48, 16:48].mean() > 0.99
    assert close.mean() > 0.75
    poses, focal = sample_cameras(100, 10, generator(1), close_ups=0.2)
    assert 0.15 < (focal > FOCAL).float().mean() < 0.25
    assert torch.equal(sample_cameras(2, 3, generator(1))[1], torch.full((2, 3), FOCAL))


def test_vertex_colours_for_meshes(heads: Heads) -> None:
    batch = heads.build(some_z(2))
    assert batch.colours.shape == batch.vertices.shape
    assert 0 <= batch.colours.min() and batch.colours.max() <= 1
    assert batch.faces.max() == batch.vertices.shape[1] - 1


def test_missing_bake_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tools\.minihead\.bake"):
        Heads("cpu", tmp_path / "none.safetensors")
