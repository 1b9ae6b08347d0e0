"""Pictures of every mode give the same pixels; damaged ones one clear line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.core.errors import InputError
from inv3d.io.decoding import decode, picture_size
from inv3d.io.images import (
    depth_tensor,
    image_tensor,
    to_rgb,
)
from tests.captures import SIZE, encoded, noise_image, png

RGB = noise_image(0)


def read(content: bytes, size: int = SIZE) -> torch.Tensor:
    return image_tensor(decode(content, "a.png"), size, "a.png")


def levels(image: torch.Tensor) -> np.ndarray:
    return ((image + 1) * 127.5).permute(1, 2, 0).numpy()


def test_pixels_are_exact_where_nothing_is_resized() -> None:
    image = read(png(RGB))
    assert image.shape == (3, SIZE, SIZE)
    assert image.dtype == torch.float32
    np.testing.assert_allclose(levels(image), RGB, atol=1e-4)


def test_the_range_is_minus_one_to_one() -> None:
    image = read(png(np.array([[[0, 127, 255]]], dtype=np.uint8).repeat(4, 0).repeat(4, 1)), 4)
    assert image[0].max() == -1
    assert image[2].min() == 1


def test_grey_in_8_and_16_bits() -> None:
    grey = RGB[..., 0]
    np.testing.assert_allclose(levels(read(png(grey)))[..., 1], grey, atol=1e-4)
    wide = grey.astype(np.uint16) * 257
    np.testing.assert_allclose(levels(read(png(wide)))[..., 2], grey, atol=1e-4)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_small_numbers_of_16_bits_are_taken_for_8(kind: type) -> None:
    grey = RGB[..., 0].astype(kind)
    np.testing.assert_array_equal(np.asarray(to_rgb(Image.fromarray(grey), "a"))[..., 0], grey)


@pytest.mark.parametrize("numbers", [(-5, 900), (0, 1 << 20)])
def test_numbers_that_are_no_levels_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"pixels from {numbers[0]} to {numbers[1]}, expected 0"):
        to_rgb(Image.fromarray(np.array([numbers], np.int32)), "a.tif")


def test_transparent_pixels_become_white() -> None:
    alpha = np.full((SIZE, SIZE, 1), 255, np.uint8)
    alpha[: SIZE // 2] = 0
    image = levels(read(png(np.concatenate([RGB, alpha], 2))))
    assert image[: SIZE // 2].min() == 255
    np.testing.assert_allclose(image[SIZE // 2 :], RGB[SIZE // 2 :], atol=1e-4)


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    pixels = levels(read(encoded(image, "PNG", transparency=0)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_is_read(mode: str) -> None:
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    image = Image.new("RGB", (SIZE, SIZE), (200, 200, 200)).convert(mode)
    found = levels(read(encoded(image, kind)))
    expected = 255 if mode == "1" else 200
    assert abs(float(found.mean()) - expected) < (60 if mode == "1" else 3)


def test_exif_rotation_is_applied() -> None:
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = levels(read(encoded(image, "PNG", exif=exif)))
    np.testing.assert_allclose(turned, np.rot90(RGB, -1), atol=1e-4)


def test_the_middle_is_cropped_and_resized() -> None:
    wide = np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
    wide[:, SIZE : 2 * SIZE] = 180
    image = levels(read(png(wide), SIZE // 2))
    assert image.shape == (SIZE // 2, SIZE // 2, 3)
    np.testing.assert_allclose(image, 180, atol=1)


def test_a_resized_picture_keeps_its_mean() -> None:
    image = levels(read(png(noise_image(3, 64)), 16))
    assert abs(float(image.mean()) - float(noise_image(3, 64).mean())) < 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file (0 bytes)"),
        (b"no picture at all", "no known image format"),
        (png(RGB)[:200], "can't be read as an image"),
        (encoded(Image.fromarray(RGB), "JPEG")[:300], "can't be read as an image"),
    ],
)
def test_damaged_pictures_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(InputError) as error:
        decode(content, "cap/a.png")
    assert said in str(error.value)
    assert str(error.value).startswith("cap/a.png: ")
    assert "\n" not in str(error.value)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match="million pixels; make it smaller"):
        decode(png(RGB), "a.png")


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(InputError, match=r"a\.tif: pixels of mode F; save it with 8 or 16 bits"):
        to_rgb(Image.fromarray(np.zeros((4, 4), np.float32)), "a.tif")


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "blue", "lime")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = decode(content, "a.gif")
    assert found.info["frames"] == 3
    np.testing.assert_allclose(levels(image_tensor(found, SIZE, "a.gif"))[0, 0], [255, 0, 0])


def test_the_size_of_a_picture_is_that_of_its_upright_form() -> None:
    wide = Image.new("RGB", (30, 20))
    assert picture_size(encoded(wide, "PNG"), "a.png") == (30, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert picture_size(encoded(wide, "JPEG", exif=exif), "a.jpg") == (20, 30)
    with pytest.raises(InputError, match=r"a\.png: can't be read as an image"):
        picture_size(b"no", "a.png")


def test_depth_keeps_its_size_and_its_zeros() -> None:
    counts = np.zeros((8, 8), np.uint16)
    counts[2:, 2:] = 27_000
    depth = depth_tensor(decode(png(counts), "d.png"), 1e-4, "d.png")
    assert depth.shape == (1, 8, 8)
    assert float(depth[0, 0, 0]) == 0
    assert float(depth[0, 5, 5]) == pytest.approx(2.7)


def test_depth_below_0_is_refused() -> None:
    with pytest.raises(InputError, match=r"d\.tif: distances down to -2700, expected 0 or more"):
        depth_tensor(Image.fromarray(np.full((4, 4), -2700, np.int32)), 1e-3, "d.tif")


def test_coloured_depth_is_refused() -> None:
    with pytest.raises(InputError, match=r"d\.png: mode RGB, expected one channel of 16 bits"):
        depth_tensor(decode(png(RGB), "d.png"), 1.0, "d.png")
