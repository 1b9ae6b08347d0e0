"""Picture files as cameras, phones and programs leave them: decoded, upright, in sRGB."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

from PIL import Image, ImageCms, ImageOps, features

from inv3d.core.errors import InputError
from inv3d.core.weights.forms import UNKNOWN, describe

# EXIF: from 5 on, rows and columns change places
_ORIENTATION, _FIRST_ON_ITS_SIDE = 0x0112, 5
# brands of the container that HEIC and AVIF share
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")


def decode(content: bytes, where: str) -> Image.Image:
    """Decode a picture and turn it upright as its EXIF data says, in its own mode.

    Of several pictures in a file the first is taken; `info["frames"]` says how many there are.

    Args:
        content: of the file.
        where: its path, for messages.

    Raises:
        InputError: where it's empty, cut short, no picture, or one that nothing here can decode.
    """
    with opened(content, where) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        upright.info["frames"] = getattr(image, "n_frames", 1)
        return upright


def picture_size(content: bytes, where: str) -> tuple[int, int]:
    """Return width and height of a picture that stands upright, without decoding it.

    Raises:
        InputError: as `decode`.
    """
    with opened(content, where) as image:
        turned = image.getexif().get(_ORIENTATION, 1) >= _FIRST_ON_ITS_SIDE
        return image.size[::-1] if turned else image.size


@contextlib.contextmanager
def opened(content: bytes, where: str) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong inside is an error that names the file.

    Raises:
        InputError: as `decode`.
    """
    if not content:
        raise InputError(f"{where}: an empty file (0 bytes); write the image again")
    _know_format(content, where)
    try:
        with warnings.catch_warnings():
            # up to twice what Pillow warns of is decoded; it refuses more than that by itself
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                yield image
    except InputError:
        raise
    # the decoders raise anything when a file is damaged
    except Exception as error:
        raise InputError(
            f"{where}: can't be read as an image ({_reason(error, content)})"
        ) from None


def _reason(error: Exception, content: bytes) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"more than {most // 10**6} million pixels; make it smaller"
    if "cannot identify" in said:
        what = describe(content[:512])
        found = "" if what == UNKNOWN else f", but {what}"
        return f"no known image format{found}; save it as PNG or JPEG"
    if "truncated" in said or "end of file" in said:
        return "cut short: its end is missing; copy it again"
    return f"{said}; save it again as PNG or JPEG"


def _know_format(content: bytes, where: str) -> None:
    """Let Pillow read HEIC.

    Raises:
        InputError: where HEIC or AVIF can't be read here.
    """
    if content[4:8] != b"ftyp":
        return
    brand = content[8:12]
    if brand in _AVIF and not features.check("avif"):
        raise InputError(
            f"{where}: an AVIF picture, which needs a newer Pillow: pip install -U pillow, or save "
            "it as JPEG"
        )
    if brand in _HEIC:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise InputError(
                f"{where}: a HEIC picture, which needs another package: pip install '3dinv[heic]', "
                "or save it as JPEG"
            ) from None
        register_heif_opener()


def in_srgb(image: Image.Image) -> Image.Image:
    """Convert from the colour space that a picture names; as it is where it names none.

    Its transparency stays.
    """
    profile = image.info.get("icc_profile")
    plain = {"RGBA": "RGB", "P": "RGB", "PA": "RGB", "LA": "L"}.get(image.mode, image.mode)
    if not profile or plain not in ("RGB", "CMYK", "L"):
        return image
    clear = image.has_transparency_data
    alpha = image.convert("RGBA").getchannel("A") if clear else None
    colours = image if plain == image.mode else image.convert(plain)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(colours, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a profile of another colour model, or a damaged one
    if converted is None:
        return image
    converted.info.pop("transparency", None)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted
