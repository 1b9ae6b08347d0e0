"""Writing small captures for tests."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from inv3d.core.camera import Camera, orbit
from inv3d.core.capture import Capture

SIZE = 16


def ring(views: int, yaw_deg: float = 60.0) -> Camera:
    """Cameras on a half orbit, from +yaw to -yaw."""
    yaw = torch.linspace(yaw_deg, -yaw_deg, views, dtype=torch.float64).deg2rad()
    return orbit(yaw, radius=2.7, focal=2.13)


def labels_of(camera: Camera) -> list[list[float]]:
    return camera.labels().double().tolist()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise_image(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def content(views: int = 4, size: int = SIZE) -> dict[str, bytes]:
    """Files of a capture: `view0.png ...` and `dataset.json`."""
    names = [f"view{i}.png" for i in range(views)]
    labels = [list(pair) for pair in zip(names, labels_of(ring(views)), strict=True)]
    files = {name: png(noise_image(i, size)) for i, name in enumerate(names)}
    return files | {"dataset.json": json.dumps({"labels": labels}).encode()}


def write(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def files_of(capture: Capture, scale: float = 1e-4) -> dict[str, bytes]:
    """The files of a capture in memory, 8-bit images, 16-bit depth."""
    files: dict[str, bytes] = {}
    for i, name in enumerate(capture.names):
        levels = ((capture.images[i] + 1) * 127.5).round().clamp(0, 255).byte()
        files[name] = png(levels.permute(1, 2, 0).numpy())
        if capture.masks is not None:
            files[f"masks/{name}"] = png((capture.masks[i, 0] * 255).round().byte().numpy())
        if capture.depths is not None:
            counts = (capture.depths[i, 0] / scale).round().numpy().astype(np.uint16)
            files[f"depth/{name}"] = png(counts)
    if capture.depths is not None:
        files["depth.json"] = json.dumps({"scale": scale, "kind": "ray"}).encode()
    labels = [list(pair) for pair in zip(capture.names, labels_of(capture.camera), strict=True)]
    return files | {"dataset.json": json.dumps({"labels": labels}).encode()}
