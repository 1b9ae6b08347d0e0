"""Captures on disk: images with EG3D camera labels, in a folder or a zip."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, no_cameras
from inv3d.core.errors import InputError
from inv3d.core.weights.tensors import asset
from inv3d.io.files import Files, check_inside, natural, open_files
from inv3d.io.images import SUFFIXES, decode, image_tensor, read_depth, read_mask
from inv3d.io.labels import Labels, cameras, numbers, parse_dataset_json, parse_npy

SAMPLES = ("dynamic", "static")
_MASKS, _DEPTH, _IMAGES = "masks", "depth", "images"
_CROPPED = (
    "cropped to the square in its middle{}; the intrinsics of a label must belong to that square"
)
_MUCH_MEMORY = 2 * 2**30


@dataclass
class CaptureFiles:
    """A capture whose labels were read and checked; images are read when asked for.

    Attributes:
        files: folder or zip.
        root: folder inside `files` that the names belong to, empty or with a slash at its end.
        names: of the images, frame2 before frame10.
        cameras: one a name, or None where the pictures have no labels.
        depth_scale: world units a count of the depth maps; None where there are none.
        notices: sort -> what the user should know, such as the first picture that was cropped.
    """

    files: Files
    root: str
    names: tuple[str, ...]
    cameras: Camera | None
    depth_scale: float | None
    notices: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The path that the user gave."""
        return str(self.files.source)

    @property
    def extras(self) -> frozenset[str]:
        """Which of "masks" and "depths" the images have with them."""
        there = {
            "masks": any(self._within(_MASKS)),
            "depths": self.depth_scale is not None and any(self._within(_DEPTH)),
        }
        return frozenset(name for name, found in there.items() if found)

    def _within(self, folder: str) -> Iterator[str]:
        """Names of the files in one of the folders beside the images."""
        return (name for name in self.files.names if name.startswith(f"{self.root}{folder}/"))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def posed(self) -> bool:
        """Whether the cameras are known."""
        return self.cameras is not None

    @property
    def camera(self) -> Camera:
        """One camera a name.

        Raises:
            InputError: where they aren't known.
        """
        if self.cameras is None:
            raise no_cameras(self.source)
        return self.cameras

    def load(self, resolution: int, rows: Sequence[int] | None = None) -> Capture:
        """Read images, and masks and depth where there are any.

        Everything asked for is held in memory: 12 bytes a pixel and view for the images, 4 for
        the masks.

        Args:
            resolution: pixels a side of the images and masks.
            rows: which views; all if None.

        Raises:
            InputError: naming the file that can't be read.
        """
        rows = range(len(self)) if rows is None else rows
        need = 12 * resolution**2 * len(rows)
        if need > _MUCH_MEMORY:
            self.notices["memory"] = (
                f"{len(rows)} views of {resolution} pixels a side take {need / 2**30:.1f} GiB of "
                "memory; fewer --views and --hold-out N take less"
            )
        names = tuple(self.names[row] for row in rows)
        cropped: list[str] = []
        enlarged: list[str] = []
        images = [self._image(name, resolution, cropped, enlarged) for name in names]
        self._notice("cropped", cropped, len(names), _CROPPED)
        self._notice("enlarged", enlarged, len(names), f"enlarged to {resolution}{{}}")
        return Capture(
            images=torch.stack(images),
            cameras=None if self.cameras is None else self.cameras[list(rows)],
            names=names,
            masks=self._extra(_MASKS, names, lambda c, at: read_mask(c, resolution, at)),
            depths=self._depths(names),
            source=self.source,
        )

    def _notice(self, sort: str, found: Sequence[str], count: int, text: str) -> None:
        """Note what happened to pictures: the first one with its size, and how many they are."""
        if found:
            self.notices[sort] = f"{found[0]}, " + text.format(
                f" ({len(found)} of {count} pictures)"
            )

    def _image(self, name: str, resolution: int, cropped: list[str], enlarged: list[str]) -> Tensor:
        """Read a picture; its path and size go where it's cropped or enlarged."""
        path = _located(name, self.files, self.root)
        content, where = self.files.read(path), self.files.at(path)
        image = decode(content, where)
        if image.width != image.height:
            cropped.append(f"{where}: {image.width}x{image.height} pixels")
        if min(image.size) < resolution:
            enlarged.append(f"{where}: {min(image.size)} pixels")
        return image_tensor(image, resolution, where)

    def _depths(self, names: Sequence[str]) -> Tensor | None:
        if self.depth_scale is None:
            return None
        scale = self.depth_scale
        return self._extra(_DEPTH, names, lambda content, at: read_depth(content, scale, at))

    def _extra(
        self, folder: str, names: Sequence[str], read: Callable[[bytes, str], Tensor]
    ) -> Tensor | None:
        """Read the pictures that accompany the images in a folder; None where there are none."""
        if not any(self._within(folder)):
            return None
        pictures = []
        for name in names:
            same = f"{self.root}{folder}/{name}"
            path = (
                same if same in self.files.names else str(PurePosixPath(same).with_suffix(".png"))
            )
            if path not in self.files.names:
                raise InputError(
                    f"{self.files.at(same)}: missing; give one for every image or remove {folder}/"
                )
            pictures.append(read(self.files.read(path), self.files.at(path)))
            if pictures[-1].shape != pictures[0].shape:
                raise InputError(
                    f"{self.files.at(path)}: {pictures[-1].shape[-1]} pixels a side, the others "
                    f"have {pictures[0].shape[-1]}; make all of {folder}/ the same size"
                )
        return torch.stack(pictures)


def sample_path(name: str) -> Path:
    """Return the embedded capture `dynamic` (a head that moves) or `static`.

    Raises:
        InputError: where there's no sample of that name.
    """
    if name not in SAMPLES:
        known = " or ".join(f"sample:{sample}" for sample in SAMPLES)
        raise InputError(f"--input sample:{name}: no such sample; choose {known}")
    return asset(f"captures/{name}.zip")


def open_capture(source: str | Path) -> CaptureFiles:
    """Open a capture: find its images and labels and check the labels.

    Args:
        source: a folder or zip with `dataset.json`, with `labels.npy`, or with a `.npy` beside
            every image, or with images alone; or "sample:dynamic", "sample:static".

    Raises:
        InputError: naming the file and what's wrong with it.
    """
    text = str(source)
    path = sample_path(text.removeprefix("sample:")) if text.startswith("sample:") else Path(text)
    files = open_files(path)
    root = _root(files)
    images = sorted((n for n in files.names if _is_image(n, root)), key=natural)
    if not images:
        raise InputError(f"--input {path}: no images found ({', '.join(sorted(SUFFIXES))})")
    scale = _depth_scale(files, root)
    labels, where = _labels(files, root, images)
    if not labels:
        names = tuple(name.removeprefix(root) for name in images)
        return CaptureFiles(files, root, names, None, scale)
    labels = dict(sorted(labels.items(), key=lambda item: natural(item[0])))
    _match(labels, images, files, root, where)
    camera, notices = cameras(labels, where)
    return CaptureFiles(files, root, tuple(labels), camera, scale, notices)


def _root(files: Files) -> str:
    """Find the folder that holds the capture: the top, or the only folder there."""
    tops = {name.split("/")[0] + "/" for name in files.names if "/" in name}
    nested = len(tops) == 1 and all("/" in name for name in files.names)
    only = next(iter(tops), "")
    return only if nested and only not in (f"{_IMAGES}/", f"{_MASKS}/", f"{_DEPTH}/") else ""


def _is_image(name: str, root: str) -> bool:
    path = PurePosixPath(name.removeprefix(root))
    return path.suffix.lower() in SUFFIXES and path.parts[0] not in (_MASKS, _DEPTH)


def _labels(files: Files, root: str, images: Sequence[str]) -> tuple[Labels, str]:
    """Read the labels from wherever they are, and say from where; none where there are none."""
    if f"{root}dataset.json" in files.names:
        where = files.at(f"{root}dataset.json")
        labels = parse_dataset_json(files.read(f"{root}dataset.json"), where)
        for name in labels:
            check_inside(name, where)
        return labels, where
    short = [name.removeprefix(root) for name in images]
    if f"{root}labels.npy" in files.names:
        where = files.at(f"{root}labels.npy")
        rows = parse_npy(files.read(f"{root}labels.npy"), where)
        if rows.ndim != 2 or len(rows) != len(images):
            raise InputError(
                f"{where}: shape {rows.shape}, expected ({len(images)}, 25): a row for each of the "
                "images, sorted by name"
            )
        pairs = zip(short, rows.tolist(), strict=True)
        return {name: numbers(row, f"{where}: row of {name}") for name, row in pairs}, where
    beside = {name: str(PurePosixPath(name).with_suffix(".npy")) for name in images}
    if not files.names & set(beside.values()):
        return {}, ""
    found: Labels = {}
    for name, key in zip(images, short, strict=True):
        if beside[name] not in files.names:
            raise InputError(f"{files.at(name)}: no label; expected {beside[name]} beside it")
        where = files.at(beside[name])
        row = parse_npy(files.read(beside[name]), where).flatten().tolist()
        found[key] = numbers(row, where)
    return found, str(files.source)


def _located(name: str, files: Files, root: str) -> str:
    """Return where the image of a label is; "" where there's none."""
    candidates = (f"{root}{name}", f"{root}{_IMAGES}/{name}")
    return next((path for path in candidates if path in files.names), "")


def _match(labels: Labels, images: Sequence[str], files: Files, root: str, where: str) -> None:
    """Refuse labels without an image and images without a label."""
    located = {name: _located(name, files, root) for name in labels}
    lost = [name for name, path in located.items() if not path]
    if lost:
        raise InputError(
            f"{where}: {_some(lost, 'label')} without an image: {files.at(root + lost[0])} doesn't "
            "exist; add the image or remove the label"
        )
    bare = [name for name in images if name not in set(located.values())]
    if bare:
        raise InputError(
            f"{files.at(bare[0])}: {_some(bare, 'image')} without a label in {where}; "
            "add the label or remove the image"
        )


def _some(names: Sequence[str], noun: str) -> str:
    return f"1 {noun}" if len(names) == 1 else f"{len(names)} {noun}s"


def _depth_scale(files: Files, root: str) -> float | None:
    """Read `depth.json`: {"scale": world units a count, "kind": "ray"}; None where there's none."""
    name = f"{root}depth.json"
    if name not in files.names:
        return None
    where = files.at(name)
    try:
        facts = json.loads(files.read(name))
        scale, kind = float(facts["scale"]), facts["kind"]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        scale, kind = math.nan, None
    if not (math.isfinite(scale) and scale > 0 and kind == "ray"):
        raise InputError(
            f'{where}: expected {{"scale": WORLD_UNITS_PER_COUNT, "kind": "ray"}}, the distance '
            "along the ray"
        )
    return scale
