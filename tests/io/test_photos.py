"""Photographs as phones and cameras leave them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from inv3d.core.errors import InputError
from inv3d.io.photos import LONGEST, read_photo
from tests.captures import encoded


def corner() -> Image.Image:
    """White with a red upper left quarter, 40 x 20."""
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (0, 0, 20, 10))
    return image


def test_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    photo = read_photo(encoded(corner(), "PNG", exif=exif), "a.png")
    assert photo.pixels.shape == (3, 20, 40)
    assert photo.pixels[:, 15, 30].tolist() == [255, 0, 0]


def test_transparency_is_white_and_a_mask() -> None:
    image = corner().convert("RGBA")
    image.putalpha(Image.fromarray(np.pad(np.zeros((20, 10), np.uint8), ((0, 0), (0, 30)),
                                          constant_values=255)))  # fmt: skip
    photo = read_photo(encoded(image, "PNG"), "a.png")
    assert photo.pixels[:, 5, 5].tolist() == [255, 255, 255]
    assert photo.alpha is not None and photo.alpha[0, 5, 5] == 0 and photo.alpha[0, 5, 30] == 255
    assert read_photo(encoded(corner(), "PNG"), "a.png").alpha is None


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16", "1", "LA"])
def test_any_mode(mode: str) -> None:
    image = corner().convert("L") if mode == "I;16" else corner()
    made = encoded(image.convert(mode), "TIFF" if mode in ("CMYK", "LA") else "PNG")
    assert read_photo(made, "a").pixels.shape == (3, 20, 40)


def test_another_colour_space_is_converted() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_photo(encoded(corner(), "PNG", icc_profile=lab), "a.png").pixels
    assert same[:, 5, 5].tolist() == [255, 0, 0]
    damaged = read_photo(encoded(corner(), "PNG", icc_profile=b"nothing"), "a.png").pixels
    assert damaged[:, 5, 5].tolist() == [255, 0, 0]


def test_large_pictures_become_smaller() -> None:
    image = Image.new("RGB", (LONGEST + 1000, 50), "red")
    assert read_photo(encoded(image, "PNG"), "a.png").pixels.shape == (3, 40, LONGEST)


def test_what_is_no_picture(tmp_path: Path) -> None:
    whole = encoded(corner(), "JPEG")
    for content, said in ((b"", "an empty file"), (b"text", "can't be read as an image"),
                          (whole[: len(whole) // 2], "can't be read as an image")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read_photo(content, "a.jpg")


def test_heic_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = io.BytesIO(b"\0\0\0\x18ftypheic" + b"\0" * 40).getvalue()
    with pytest.raises(InputError, match=r"a\.heic: a HEIC picture.*3dinv\[heic\]"):
        read_photo(content, "a.heic")
