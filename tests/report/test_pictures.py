"""Pictures: exact colours, depth maps of one scale, shading that follows the surface."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.core.camera import orbit
from inv3d.core.errors import UsageError
from inv3d.report import pictures as pics


def test_colours_cover_the_whole_range() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    frames = pics.colour_frames(images)
    assert len(frames) == 2
    assert frames[0].shape == (4, 4, 3)
    assert frames[0][0, 0].tolist() == [0, 128, 255]
    assert pics.colour_frames(images * 5)[0][0, 0].tolist() == [0, 128, 255]


def test_no_difference_is_black_and_a_quarter_is_brightest() -> None:
    target = torch.zeros(1, 3, 2, 2)
    image = target.clone()
    image[..., 1] = 0.5
    frame = pics.difference_frames(image, target)[0].astype(int)
    assert frame[0, 0].sum() < 10
    further = pics.difference_frames(image * 2, target)[0].astype(int)
    np.testing.assert_array_equal(frame[0, 1], further[0, 1])
    assert frame[0, 1].sum() > 500


def test_depth_is_brighter_when_nearer_and_grey_outside() -> None:
    depth = torch.linspace(2.0, 3.0, 16).expand(1, 1, 16, 16)
    mask = torch.ones(1, 1, 16, 16)
    mask[..., :8, :] = 0
    frame = pics.depth_frames(depth, mask, 16)[0].astype(int)
    assert frame[12, 1].sum() > frame[12, 14].sum()
    assert len({tuple(pixel) for pixel in frame[2]}) == 1


def test_views_share_one_depth_scale() -> None:
    depth = torch.stack([torch.full((1, 8, 8), 2.0), torch.full((1, 8, 8), 3.0)])
    near, far = pics.depth_frames(depth, torch.ones(2, 1, 8, 8), 8)
    assert near[0, 0].tolist() != far[0, 0].tolist()


def sphere_depth(camera, side: int, radius: float = 0.4) -> torch.Tensor:
    """Exact distance along the unit rays to a ball around the origin; 0 where rays miss it."""
    origins, directions = camera.rays(side)
    half = -(origins * directions).sum(-1)
    root = half.square() - origins.square().sum(-1) + radius**2
    depth = torch.where(root > 0, half - root.clamp_min(0).sqrt(), torch.zeros_like(half))
    return depth.view(len(camera), 1, side, side)


def test_a_ball_is_lit_from_its_upper_right_in_every_view() -> None:
    camera = orbit(torch.tensor([0.0, 1.0]), radius=2.7, focal=2.5)
    depth = sphere_depth(camera, 48)
    first, second = pics.shape_frames(depth, (depth > 0).float(), camera, 48)
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 1
    upper_right, middle, lower_left = (
        int(first[i, j, 0]) for i, j in ((17, 29), (24, 24), (33, 15))
    )
    assert upper_right > middle > lower_left
    facing = 0.25 + 0.75 * 0.8 / np.linalg.norm(pics._LIGHT)
    assert abs(middle - 255 * facing) < 6


def test_tiles_keep_every_picture() -> None:
    frames = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = pics.tile([frames[:2], frames[2:]])
    assert sheet.shape == (4 * 2 + 4, 6 * 2 + 4, 3)
    assert sheet[0, 0, 0] == 10
    assert sheet[0, 10, 0] == 20
    assert sheet[8, 0, 0] == 30
    assert sheet[8, 10, 0] == 255


def test_labels_have_umlauts_and_other_alphabets() -> None:
    frame = np.zeros((4, 60, 3), np.uint8)
    seen = {text: pics.labelled(frame, text) for text in ("ä", "ö", "ß", "é", "λ", "я", "a")}
    drawn = {picture[:18].tobytes() for picture in seen.values()}
    assert len(drawn) == len(seen), "letters that a font lacks are all the same box"
    np.testing.assert_array_equal(pics.labelled(frame, "a\u0308"), seen["ä"])
    np.testing.assert_array_equal(seen["ä"][18:], frame)
    low = pics.labelled(frame, "Äg")[:18]
    assert low[-1].min() == 255 > low.min(), "no part of a letter is behind the picture"


def test_files_and_data_uris_hold_the_picture(tmp_path: Path) -> None:
    frame = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    pics.save_png(tmp_path / "new" / "a.png", frame)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), frame)
    head, _, data = pics.data_uri(frame).partition(",")
    assert head == "data:image/jpeg;base64"
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    assert np.abs(seen - frame.astype(int)).mean() < 6


@pytest.mark.parametrize("rows", [[], [[]]])
def test_no_pictures_make_no_sheet(rows: list[list[np.ndarray]]) -> None:
    with pytest.raises(UsageError, match="found none, expected one or more of one size"):
        pics.tile(rows)


def test_pictures_of_two_sizes_make_no_sheet() -> None:
    rows = [[np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]]
    with pytest.raises(UsageError, match="found 5 x 4 and 6 x 4, expected one or more of one"):
        pics.tile(rows)


def test_a_png_is_called_png(tmp_path: Path) -> None:
    frame = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(UsageError, match=r"a\.jpg: expected a name that ends in \.png"):
        pics.save_png(tmp_path / "a.jpg", frame)
    pics.save_png(str(tmp_path / "a.PNG"), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.PNG"]
