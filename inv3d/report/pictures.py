"""Tensors to pictures: colours, differences, depth maps, shaded shape, rows of them."""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.arguments import PATH, expect
from inv3d.core.camera import Camera
from inv3d.core.errors import ConfigError, UsageError
from inv3d.core.files import atomic_write
from inv3d.io.images import Frame, check_frame

DIFFERENCE_SCALE = 4.0
_BACKGROUND = (236, 236, 238)
_GAP = 4
_TEXT_SIZE = 12
_FONT = "fonts/ttf/DejaVuSans.ttf"
_LIGHT = (0.35, -0.5, -0.8)


def colour_frames(images: Tensor) -> list[Frame]:
    """Return pictures [H, W, 3] of images [N, 3, H, W] in [-1, 1].

    Raises:
        ConfigError: where they are something else.
    """
    expect("images", images, Tensor, "a tensor [N, 3, H, W]")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ConfigError(f"images: found shape {list(images.shape)}, expected [N, 3, H, W]")
    levels = ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return _frames(levels)


def sized(images: Tensor, size: int | None) -> Tensor:
    """Return images of `size` pixels a side, bicubic, filtered where they become smaller.

    Args:
        images: [N, 3, H, H].
        size: pixels; None leaves the images as they are.
    """
    if size is None or images.shape[-1] == size:
        return images
    return F.interpolate(images.float(), size=(size, size), mode="bicubic", antialias=True)


def difference_frames(images: Tensor, targets: Tensor) -> list[Frame]:
    """Return pictures of the mean absolute difference: black is none, bright a quarter or more.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        targets: [N, 3, H, W] in [-1, 1].
    """
    difference = (images - targets).detach().float().abs().mean(1) / 2
    return _mapped((difference * DIFFERENCE_SCALE).clamp(0, 1), "inferno")


def depth_frames(depth: Tensor, mask: Tensor, size: int) -> list[Frame]:
    """Return colour maps of depth, bright is near, one scale for all views.

    Args:
        depth: [N, 1, h, w], world units.
        mask: [N, 1, h, w] in [0, 1]; grey where it's below half.
        size: pixels a side of the pictures.

    Raises:
        ConfigError: where depth or mask is no tensor.
    """
    expect("depth", depth, Tensor, "a tensor [N, 1, h, w]")
    expect("mask", mask, Tensor, "a tensor [N, 1, h, w]")
    return list(each_depth_frame(depth, mask, size))


def each_depth_frame(depth: Tensor, mask: Tensor, size: int) -> Iterator[Frame]:
    """Yield what `depth_frames` returns one by one, for pictures too large to hold all of them."""
    inside = mask > 0.5
    known = depth[inside].float().cpu().numpy() if bool(inside.any()) else np.array([0.0, 1.0])
    near, far = np.percentile(known, [1, 99])
    for one, cover in zip(depth.detach(), mask, strict=True):
        scaled = 1 - (one[None].float() - float(near)) / max(float(far - near), 1e-6)
        frames = _mapped(_resized(scaled.clamp(0, 1), size)[:, 0], "viridis")
        yield from _on_grey(frames, _resized(cover[None], size))


def shape_frames(depth: Tensor, mask: Tensor, camera: Camera, size: int) -> list[Frame]:
    """Return the surface that the depth shows, grey in a fixed light.

    Args:
        depth: [N, 1, h, w], distance along the unit ray.
        mask: [N, 1, h, w] in [0, 1].
        camera: N cameras.
        size: pixels a side of the pictures.
    """
    depth = depth.detach().float()
    side = depth.shape[-1]
    origins, directions = camera.to(depth.device, depth.dtype).rays(side)
    points = (origins + directions * depth.flatten(1)[..., None]) @ camera.rotation.to(depth)
    points = points.view(-1, side, side, 3).permute(0, 3, 1, 2)
    padded = F.pad(points, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    normals = F.normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    light = F.normalize(torch.tensor(_LIGHT).to(depth), dim=0)[:, None, None]
    shade = 0.25 + 0.75 * (normals * light).sum(1, keepdim=True).clamp_min(0)
    frames = colour_frames(_resized(shade, size).expand(-1, 3, -1, -1) * 2 - 1)
    return _on_grey(frames, _resized(mask, size))


def _frames(levels: Tensor) -> list[Frame]:
    return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _mapped(values: Tensor, name: str) -> list[Frame]:
    """Colour [N, H, W] in [0, 1] with a map of matplotlib."""
    from matplotlib import colormaps

    table = (np.asarray(colormaps[name](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)
    return list(table[(values * 255).round().long().cpu().numpy()])


def _resized(values: Tensor, size: int) -> Tensor:
    if values.shape[-1] == size:
        return values.detach().float()
    return F.interpolate(values.detach().float(), size=(size, size), mode="bilinear")


def _on_grey(frames: Sequence[Frame], mask: Tensor) -> list[Frame]:
    cover = mask.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    grey = np.array(_BACKGROUND, dtype=np.float32)
    return [
        (frame * part + grey * (1 - part)).round().astype(np.uint8)
        for frame, part in zip(frames, cover, strict=True)
    ]


def tile(rows: Sequence[Sequence[Frame]]) -> Frame:
    """Return rows of pictures of one size as one picture with white gaps.

    Raises:
        ConfigError: where there's something else than a picture.
        UsageError: where there's no picture, or one of another size.
    """
    for i, row in enumerate(rows):
        for j, frame in enumerate(row):
            check_frame(frame, f"row {i}, picture {j}")
    sizes = {frame.shape[:2] for row in rows for frame in row}
    if len(sizes) != 1:
        found = " and ".join(f"{width} x {height}" for height, width in sorted(sizes)) or "none"
        raise UsageError(f"pictures to tile: found {found}, expected one or more of one size")
    ((height, width),) = sizes
    columns = max(len(row) for row in rows)
    sheet = np.full(
        (len(rows) * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8
    )
    for i, row in enumerate(rows):
        for j, frame in enumerate(row):
            top, left = i * (height + _GAP), j * (width + _GAP)
            sheet[top : top + height, left : left + width] = frame
    return sheet


def labelled(frame: Frame, text: str) -> Frame:
    """Return a picture with a text above it, in the font of the plots: Pillow's has no umlauts."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    height, width = frame.shape[:2]
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), _FONT), _TEXT_SIZE)
    text = unicodedata.normalize("NFC", text)  # as macOS has names of files, letters are in parts
    sheet = Image.new("RGB", (width, height + _TEXT_SIZE + 6), "white")
    sheet.paste(Image.fromarray(np.ascontiguousarray(frame)), (0, _TEXT_SIZE + 6))
    ImageDraw.Draw(sheet).text((2, 1), text, fill=(40, 40, 40), font=font)
    return np.asarray(sheet)


def save_png(path: Path | str, frame: Frame) -> None:
    """Write a picture whole or not at all.

    Raises:
        ConfigError: where `path` is no path, or `frame` no picture.
        UsageError: where the name ends in something else than .png.
        RunError: where the place can't be written.
    """
    from PIL import Image

    expect("path", path, PATH, "the path of a file")
    check_frame(frame, "frame")
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: expected a name that ends in .png")
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(frame)).save(temporary, format="PNG")


def data_uri(frame: Frame) -> str:
    """Return a picture as a JPEG data URI of high quality."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(
        buffer, format="JPEG", quality=92, subsampling=0, optimize=True
    )
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
