"""Masks as tools write them: levels, class numbers, palettes, colours, alpha channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inv3d.io.decoding import decode
from inv3d.io.images import alpha_of
from inv3d.io.masks import Mask, mask_levels, mask_of
from tests.captures import SIZE, encoded, noise_image, png

RGB = noise_image(0)
Colours = Mapping[int, tuple[int, int, int]]
VOC: Colours = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def mask(content: bytes, size: int) -> Mask:
    return mask_of(mask_levels(decode(content, "m.png"), "m.png"), size)


def palette(numbers: NDArray[np.uint8], colours: Colours) -> Image.Image:
    image = Image.frombytes("P", numbers.shape[::-1], numbers.tobytes())
    image.putpalette([level for n in range(256) for level in colours.get(n, (n, 0, 255 - n))])
    return image


def halves(*numbers: int) -> NDArray[np.uint8]:
    """8 x 8, in as many columns as numbers."""
    return np.repeat(np.array(numbers, np.uint8)[None], 8, 0).repeat(8 // len(numbers), 1)


def columns(content: bytes, count: int) -> list[float]:
    row: list[float] = mask(content, count).weights[0, 0].tolist()
    return row


def test_masks_are_averaged() -> None:
    levels = np.zeros((8, 8), np.uint8)
    levels[:, :3] = 255
    read = mask(png(levels), 4)
    assert read.weights.shape == (1, 4, 4)
    np.testing.assert_allclose(read.weights[0, 0].numpy(), [1, 0.5, 0, 0], atol=0.01)
    assert not read.oddity


@pytest.mark.parametrize(
    ("highest", "oddity", "weight"),
    [(0, "empty", 0), (1, "classes", 1), (15, "classes", 1), (127, "dark", 127 / 255),
     (128, "", 128 / 255), (255, "", 1)],
)  # fmt: skip
def test_what_is_odd_about_masks(highest: int, oddity: str, weight: float) -> None:
    levels = np.zeros((8, 8), np.uint8)
    levels[2:, 2:] = highest
    read = mask(png(levels), 8)
    assert read.oddity == oddity
    assert not oddity or read.found.startswith(f"reaches {highest} of 255")
    assert float(read.weights[0, 0, 0]) == 0
    assert float(read.weights[0, 5, 5]) == pytest.approx(weight)


def test_several_small_levels_may_be_a_matte_of_nothing() -> None:
    assert mask(png(halves(0, 1, 2, 3)), 4).oddity == "dark"
    assert mask(png(halves(3, 3)), 4).oddity == "dark"


def test_what_lies_outside_of_the_square_is_no_head() -> None:
    wide = np.zeros((8, 24), np.uint8)
    wide[:, :6] = 255
    assert mask(png(wide), 8).oddity == "empty"


def test_a_speck_on_faint_noise_is_named() -> None:
    levels = np.random.default_rng(0).integers(0, 5, (64, 64)).astype(np.uint8)
    levels[9, 9] = 255
    assert mask(png(levels), 64).oddity == "speck"


def test_a_speck_is_named() -> None:
    levels = np.zeros((64, 64), np.uint8)
    levels[9, 9] = 255
    read = mask(png(levels), 64)
    assert (read.oddity, read.found) == ("speck", "0.02 % of the square are white")


def test_class_numbers_of_every_mode() -> None:
    classes = halves(0, 1)
    for content in (
        png(classes),
        png(classes.astype(np.uint16)),
        encoded(palette(classes, VOC), "PNG"),
        encoded(Image.fromarray(classes.astype(bool)), "PNG"),
        png(classes * np.uint16(65535)),
    ):
        np.testing.assert_allclose(mask(content, 2).weights[0, 0].numpy(), [0, 1])


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_of_coloured_classes_all_but_the_background_is_the_head(mode: str) -> None:
    picture = palette(halves(0, 1, 15, 255), VOC).convert(mode)
    read = mask(encoded(picture, "PNG"), 4)
    np.testing.assert_allclose(read.weights[0, 0], [0, 1, 1, 127 / 255], atol=1e-6)
    assert read.oddity == "classes"
    assert read.found == "holds 2 classes, all but the background was taken for the head"


@pytest.mark.parametrize("numbers", [(0, 1, 1, 255), (0, 1, 15, 255), (1, 15, 1, 255)])
def test_classes_of_grey_have_a_rim_too(numbers: tuple[int, ...]) -> None:
    read = mask(png(halves(*numbers)), 4)
    expected = [127 / 255 if n == 255 else float(n > 0) for n in numbers]
    np.testing.assert_allclose(read.weights[0, 0], expected, atol=1e-6)
    assert read.oddity == "classes"


@pytest.mark.parametrize("numbers", [(0, 40, 255, 255), (0, 40, 40, 100, 200, 255, 0, 0)])
def test_a_white_head_with_a_soft_edge_has_no_classes(numbers: tuple[int, ...]) -> None:
    expected = [n / 255 for n in numbers]
    assert columns(png(halves(*numbers)), len(numbers)) == pytest.approx(expected)


def test_a_class_of_255_alone_is_no_rim() -> None:
    assert columns(encoded(palette(halves(0, 255), VOC), "PNG"), 2) == [0, 1]


def test_a_palette_of_greys_holds_levels() -> None:
    for table, numbers in (({0: BLACK, 1: WHITE}, (0, 1)), ({0: WHITE, 1: BLACK}, (1, 0))):
        assert columns(encoded(palette(halves(*numbers), table), "PNG"), 2) == [0, 1]


def test_a_coloured_picture_without_classes_is_taken_by_its_lightness() -> None:
    assert mask(png(RGB), SIZE).oddity == ""
    blue_ground = np.zeros((8, 8, 3), np.uint8)
    blue_ground[..., 2] = 90
    blue_ground[:, 4:] = 255
    assert columns(png(blue_ground), 2)[1] == 1
    assert columns(png(blue_ground), 2)[0] < 0.1


def test_colours_without_black_are_taken_by_their_lightness_and_said() -> None:
    red_on_white = np.full((8, 8, 3), 255, np.uint8)
    red_on_white[:, 4:, 1:] = 0
    read = mask(png(red_on_white), 2)
    assert read.weights[0, 0].tolist() == pytest.approx([1, 76 / 255])
    assert "holds 2 colours, none of them black" in read.found and read.oddity == "classes"


def test_classes_of_grey_above_63_are_said() -> None:
    read = mask(png(halves(0, 80, 200, 200)), 4)
    np.testing.assert_allclose(read.weights[0, 0], np.array([0, 80, 200, 200]) / 255, atol=1e-6)
    assert "has no white, only 80, 200 of 255" in read.found and read.oddity == "classes"
    assert mask(png(halves(0, 80, 200, 255)), 4).oddity == ""


def test_a_mask_may_be_an_alpha_channel() -> None:
    alpha = np.zeros((SIZE, SIZE, 1), np.uint8)
    alpha[:, : SIZE // 2] = 200
    cut_out = png(np.concatenate([RGB, alpha], 2))
    np.testing.assert_allclose(mask(cut_out, 2).weights[0, 0].numpy(), [200 / 255, 0])
    found = alpha_of(decode(cut_out, "a.png"))
    assert found is not None and found.getextrema() == (0, 200)
    opaque = png(np.concatenate([RGB, np.full_like(alpha, 255)], 2))
    assert alpha_of(decode(opaque, "a.png")) is None
    assert alpha_of(decode(png(RGB), "a.png")) is None


def test_an_alpha_channel_that_says_nothing_is_no_mask() -> None:
    grey = np.repeat(halves(0, 255)[..., None], 3, 2)
    clear = np.concatenate([grey, np.zeros((8, 8, 1), np.uint8)], 2)
    assert columns(png(clear), 2) == [0, 1]
    assert mask(png(clear), 2).found == "is transparent all over, its white was taken for the head"


@pytest.mark.parametrize("colours", [np.full((SIZE, SIZE, 3), 255, np.uint8), RGB])
def test_leftover_colours_of_a_transparent_mask_count_nothing(colours: NDArray[np.uint8]) -> None:
    clear = np.concatenate([colours, np.zeros((SIZE, SIZE, 1), np.uint8)], 2)
    assert mask(png(clear), 4).oddity == "empty"
