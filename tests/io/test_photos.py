"""Photographs as phones and cameras leave them."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from inv3d.core.errors import InputError
from inv3d.io.decoding import decode, in_srgb
from inv3d.io.images import to_rgb
from inv3d.io.photos import LONGEST, animation, moments, read_photo
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


def wide_profile() -> bytes:
    """A profile whose primaries are Display P3's and whose gamma is 2.2, of version 2."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(79)
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, 563, 0)
    tags = {b"desc": name, b"cprt": b"text" + bytes(4) + b"CC0\0"}
    primaries = {b"wtpt": (0.9505, 1, 1.0891), b"rXYZ": (0.5151, 0.2412, -0.0011),
                 b"gXYZ": (0.292, 0.6922, 0.0419), b"bXYZ": (0.1571, 0.0666, 0.7841)}  # fmt: skip
    tags |= {tag: b"XYZ " + bytes(4) + fixed(*xyz) for tag, xyz in primaries.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    size = 132 + 12 * len(tags) + len(body)
    head = struct.pack(">I", size) + bytes(4) + bytes.fromhex("02400000") + b"mntrRGB XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + body


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


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_wide_colours_become_those_of_srgb_in_every_mode(mode: str) -> None:
    image = Image.new("RGB", (40, 20), (200, 60, 60)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.new("L", (40, 20), 255))
        image.putpixel((0, 0), (*image.getpixel((0, 0))[:-1], 0))  # type: ignore[index]
    content = encoded(image, "PNG", icc_profile=wide_profile())
    photo = read_photo(content, "a.png")
    plain = read_photo(encoded(image, "PNG"), "a.png")
    change = [int(c) for c in photo.pixels[:, 9, 9].int() - plain.pixels[:, 9, 9].int()]
    if mode == "LA":  # a profile of colours says nothing of greys
        assert change == [0, 0, 0]
    else:
        assert change[0] > 10 and change[1] < -3
    assert (photo.alpha is not None) == (mode in ("RGBA", "LA"))
    as_capture = to_rgb(in_srgb(decode(content, "a.png")), "a.png")
    assert as_capture.getpixel((9, 9)) == tuple(photo.pixels[:, 9, 9].tolist())


def test_large_pictures_become_smaller() -> None:
    image = Image.new("RGB", (LONGEST + 1000, 50), "red")
    assert read_photo(encoded(image, "PNG"), "a.png").pixels.shape == (3, 40, LONGEST)


def test_what_is_no_picture(tmp_path: Path) -> None:
    whole = encoded(corner(), "JPEG")
    for content, said in ((b"", "an empty file"), (b"text", "can't be read as an image"),
                          (whole[: len(whole) // 2], "can't be read as an image")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read_photo(content, "a.jpg")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encoded(corner(), "JPEG")[:-80], "cut short: its end is missing; copy it again"),
        (b"<!DOCTYPE html>", "no known image format, but a web page, not the file itself"),
        (b"version https://git-lfs.github.com", "no known image format, but a Git LFS pointer"),
        (b"\x01\x02\x03\x00", "no known image format; save it as PNG or JPEG"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 99, "no known image format"),
        (encoded(Image.new("1", (30000, 20000)), "PNG"), "more than 178 million pixels; make it"),
    ],
)
def test_damaged_and_huge_files_say_what_to_do(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=rf"a\.jpg: can't be read as an image \({said}"):
        read_photo(content, "a.jpg")


def test_large_pictures_are_read_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    content = encoded(Image.new("1", (10000, 9500), 1), "PNG")
    assert read_photo(content, "a.png").pixels.shape == (3, 3891, LONGEST)
    assert not recwarn


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_stands_upright(orientation: int) -> None:
    """What a camera with this orientation stores of the corner is the corner again."""
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = corner()
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[turn[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(encoded(stored, "PNG", exif=exif), "a.png")
    assert photo.pixels.shape == (3, 20, 40)
    assert photo.pixels[1, 5, 5] == 0 and photo.pixels[1, 15, 30] == 255


def test_heic_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = io.BytesIO(b"\0\0\0\x18ftypheic" + b"\0" * 40).getvalue()
    with pytest.raises(InputError, match=r"a\.heic: a HEIC picture.*3dinv\[heic\]"):
        read_photo(content, "a.heic")


def test_avif_where_pillow_cannot_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(InputError, match=r"a\.avif: an AVIF picture, which needs a newer Pillow"):
        read_photo(b"\0\0\0\x18ftypavif" + b"\0" * 40, "a.avif")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_frame_by_frame(kind: str) -> None:
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=40)
    assert moments(content, "a") == 3
    found = list(animation(content, "a"))
    assert [time for time, _ in found] == pytest.approx([0, 0.04, 0.08])
    brightest = [int(photo.pixels[:, 8, 12].argmax()) for _, photo in found]
    assert brightest == [0, 1, 2]


def test_pages_are_no_animation() -> None:
    content = encoded(corner(), "TIFF", save_all=True, append_images=[corner(), corner()])
    assert moments(content, "a.tif") == 1 and read_photo(content, "a.tif").pages == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [("odd\n  thing\n", "odd thing; save"), ("Unexpected end of file: at\n3", "cut short")],
)
def test_what_decoders_say_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: str, said: str
) -> None:
    def fail(file: object) -> None:
        raise OSError(error)

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(InputError) as raised:
        read_photo(b"x", "a.png")
    assert said in str(raised.value) and "\n" not in str(raised.value)
