"""What of a picture is a person."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inv3d.nn.face.matte import SIZE, Matte
from inv3d.nn.face.square import Square, cut, whole
from tests.faces import as_bytes, heads


class Reads(nn.Module):
    """A stand-in that calls a person what is red, and leaves a hole in one of its looks."""

    def __init__(self, hole: int | None = None) -> None:
        super().__init__()
        self.hole = hole
        self.looks: list[int] = []

    def forward(self, images: Tensor) -> tuple[Tensor]:
        cover = images[:, :1].clone()
        if self.hole is not None:
            cover[self.hole, :, 96:160, 96:160] = 0
        self.looks.append(len(images))
        return (cover,)


def test_rendered_heads_are_told_from_their_background() -> None:
    capture = heads()
    assert capture.masks is not None
    for row in (0, 4, 8):
        picture = as_bytes(capture.images[row])
        found = Matte()(picture, whole(128, 128), 128)
        true = capture.masks[row] > 0.5
        both, either = (found > 0.5) & true, (found > 0.5) | true
        assert float(both.sum() / either.sum()) > 0.98


def test_a_mirrored_picture_has_a_mirrored_matte() -> None:
    picture, square = as_bytes(heads().images[3]), Square(60.0, 70.0, 50.0, 0.1)
    matte = Matte()
    found = matte(picture, square, 64)
    other = matte(picture.flip(-1), Square(68.0, 70.0, 50.0, -0.1), 64)
    torch.testing.assert_close(other.flip(-1), found, atol=1e-3, rtol=0)


def test_a_hole_in_one_look_is_filled_by_the_others() -> None:
    picture = torch.zeros(3, 300, 300)
    picture[0, 100:200, 90:180] = 1
    square = Square(150.0, 150.0, 120.0, 0.2)
    matte = Matte()
    for hole in range(3):
        matte.network = Reads(hole)
        found = matte(picture, square, SIZE)
        expected = cut(picture, square, SIZE)[:1].clamp(0, 1)
        assert float((found - expected).abs().mean()) < 0.01
        assert float((found - expected)[:, 100:156, 100:156].abs().max()) < 1e-3


def test_it_looks_wider_only_where_the_picture_shows_more() -> None:
    matte = Matte()
    matte.network = reads = Reads()
    for width, height in ((100, 100), (100, 170), (300, 300)):
        matte(torch.zeros(3, height, width), Square(width / 2, height / 2, 100.0), 32)
    assert reads.looks[::2] == [1, 3, 3]
