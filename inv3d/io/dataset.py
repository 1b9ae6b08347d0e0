"""Captures on disk: images with cameras, in a folder or a zip."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from inv3d.core.errors import InputError
from inv3d.core.weights.tensors import asset
from inv3d.io.cameras import camera_folder, distortion, find_cameras, unread_cameras
from inv3d.io.cameraset import CameraSet
from inv3d.io.capturefiles import CaptureFiles
from inv3d.io.files import Files, check_inside, open_files
from inv3d.io.formats import OTHER_PICTURES, PICTURES, VIDEOS
from inv3d.io.mirrors import named_mirrors, split_mirrors
from inv3d.io.naming import DEPTH, IMAGES, MASKS, Images, Matches

SAMPLES = ("dynamic", "static")
_FACTS = '{"scale": WORLD_UNITS_PER_COUNT, "kind": "ray"}'
_PACKED = (".zip", ".tar", ".gz", ".7z", ".rar")
# folders that a capture consists of, which therefore aren't the capture themselves
_PARTS = (IMAGES, MASKS, DEPTH, "sparse", "colmap")


def sample_path(name: str) -> Path:
    """Return the embedded capture `dynamic` (a head that moves) or `static`.

    Raises:
        InputError: where there's no sample of that name.
    """
    if name not in SAMPLES:
        known = " or ".join(f"sample:{sample}" for sample in SAMPLES)
        raise InputError(f"--input sample:{name}: no such sample; choose {known}")
    return asset(f"captures/{name}.zip")


def is_there(source: str) -> bool:
    """Whether there's anything at a capture's place; samples always are there."""
    return source.startswith("sample:") or os.path.exists(source)


def open_capture(source: str | Path, *, undistort: bool = False) -> CaptureFiles:
    """Open a capture: find its images and cameras and check the cameras.

    Args:
        source: a folder or zip with `dataset.json`, `labels.npy`, a `.npy` beside every image,
            `transforms.json`, COLMAP's model or a raw `cameras.json`, or with images alone; a
            single picture; or "sample:dynamic", "sample:static".
        undistort: take the lens distortion that the cameras name out of the pictures.

    Raises:
        InputError: naming the file and what's wrong with it.
    """
    text = str(source)
    path = sample_path(text.removeprefix("sample:")) if text.startswith("sample:") else Path(text)
    files = open_files(path)
    top = _top(files)
    images = Images(files, top)
    if not images.paths:
        raise _no_images(files, path)
    folder = camera_folder(files, top)
    inner = images if folder == top else Images(files, folder)
    found = find_cameras(files, folder, inner)
    if found is None:
        paths = {images.short(name): name for name in images.paths}
        notices = unread_cameras(files, folder)
        return CaptureFiles(files, top, paths, None, _depth_scale(files, top), notices=notices)
    if found.nameless:
        raise InputError(
            f"{found.nameless}: expected transform_matrix and file_path in each frame, found no "
            "file_path, which says whose camera it is"
        )
    for name in found.labels:
        check_inside(name, found.where)
    root = top
    if folder != top:
        found.notices["deeper"] = f"{found.where}: read, though it's a folder deeper than the input"
        if any(map(inner.find, found.labels)):
            images, root = inner, folder
    return _posed(files, root, found, images, undistort)


def _posed(
    files: Files, root: str, found: CameraSet, images: Images, undistort: bool
) -> CaptureFiles:
    """Bring images and cameras together."""
    matches = images.match(found.labels)
    notices = _check_matches(matches, images, files, root, found)
    labels = found.read(matches.labels.values())
    mirrored, doubtful = split_mirrors(found, matches.labels)
    notices |= _mirror_notices(mirrored, doubtful, len(labels))
    mirrored = mirrored if len(mirrored) < len(labels) else []
    name_of = {path: name for name, path in matches.paths.items()}
    out = {None, *mirrored}
    left = [name_of[path] for path in images.paths if name_of.get(path) not in out]
    originals = {name: matches.labels[name] for name in left}
    camera = found.camera({label: labels[label] for label in originals.values()})
    bent = distortion(found, originals.values())
    if bent and not undistort:
        notices["distorted"] = bent
    elif undistort:
        notices["undistorted"] = _undistorted(bool(bent), found.where)
    pinholes = {
        name: found.pinholes[label] for name, label in originals.items() if label in found.pinholes
    }
    paths = {name: matches.paths[name] for name in left}
    scale = _depth_scale(files, root)
    notices = found.notices | notices | _unread_depth(files, root)
    return CaptureFiles(files, root, paths, camera, scale, pinholes, undistort, notices)


def _undistorted(bent: bool, where: str) -> str:
    if bent:
        return f"{where}: the lens distortion is taken out of the pictures, masks and depth maps"
    return f"{where}: names no lens distortion, so that --undistort changes nothing"


def _top(files: Files) -> str:
    """Find the folder that holds the capture: the top, or the only folder there."""
    top = ""
    while True:
        below = {name[len(top) :].split("/")[0] for name in files.names if "/" in name[len(top) :]}
        alone = len(below) == 1 and all("/" in name[len(top) :] for name in files.names)
        only = next(iter(below), "")
        if not alone or only in _PARTS:
            return top
        top += f"{only}/"


def _no_images(files: Files, path: Path) -> InputError:
    known = ", ".join(sorted(PICTURES))
    inside = {
        suffix: name
        for name in sorted(files.names, reverse=True)
        if (suffix := PurePosixPath(name).suffix.lower())
    }
    packed = [inside[suffix] for suffix in _PACKED if suffix in inside]
    others = sorted(inside[suffix] for suffix in inside.keys() & (OTHER_PICTURES | VIDEOS))
    instead = "; give the folder or zip that has them"
    if packed:
        instead = f"; unpack {packed[0]}"
    elif others:
        instead = f"; convert {others[0]} and others like it"
    return InputError(f"--input {path}: no images found ({known}){instead}")


def _check_matches(
    matches: Matches, images: Images, files: Files, root: str, found: CameraSet
) -> dict[str, str]:
    """Say which labels have no image and which images no label; refuse what can't be meant.

    Raises:
        InputError: where no label has an image, or an image has no label in a format in which
            every image needs one.
    """
    notices = {}
    lost, count = matches.lost, len(found.labels)
    if not matches.paths:
        raise InputError(
            f"{found.where}: {_some(lost, 'label')} without an image: {files.at(root + lost[0])} "
            "doesn't exist; add the image or remove the label (the first image there is "
            f"{images.short(images.paths[0])})"
        )
    if lost:
        notices["lost"] = f"{found.where}: {len(lost)} of {count} labels have no image ({lost[0]})"
    if matches.renamed:
        notices["renamed"] = (
            f"{found.where}: {len(matches.renamed)} of {count} labels belong to images with "
            f"another ending, as {matches.renamed[0]}"
        )
    if matches.moved:
        notices["moved_images"] = (
            f"{found.where}: {len(matches.moved)} of {count} labels belong to images in another "
            f"folder, as {matches.moved[0]}"
        )
    used = set(matches.paths.values())
    bare = [path for path in images.paths if path not in used]
    if unlabelled := named_mirrors(bare, used):
        bare = [path for path in bare if path not in unlabelled]
        notices["unlabelled"] = (
            f"{len(unlabelled)} of {len(images.paths)} pictures are mirror images without a label "
            f"and left out ({images.short(next(iter(unlabelled)))})"
        )
    if bare and not found.partial:
        raise InputError(
            f"{files.at(bare[0])}: {_some(bare, 'image')} without a label in {found.where}; "
            f"add the label or remove the image{_are_they_masks(bare, used)}"
        )
    if bare:
        notices["bare"] = (
            f"{found.where}: {len(bare)} of {len(images.paths)} pictures have no camera and are "
            f"left out ({images.short(bare[0])})"
        )
    return notices


def _are_they_masks(bare: Sequence[str], used: Collection[str]) -> str:
    """Say how to name a folder of pictures with the names of others; "" where it's none."""
    names = {PurePosixPath(path).name for path in used}
    folders = {str(PurePosixPath(path).parent) for path in bare}
    if len(folders) > 1 or not all(PurePosixPath(path).name in names for path in bare):
        return ""
    return f"; if they are masks or depth maps, call their folder {MASKS}/ or {DEPTH}/"


def _unread_depth(files: Files, root: str) -> dict[str, str]:
    """Say that depth maps aren't read where nobody says what they mean."""
    folder = f"{root}{DEPTH}/"
    if f"{root}depth.json" in files.names or not any(n.startswith(folder) for n in files.names):
        return {}
    return {
        "depth": f"{files.at(folder)}: isn't read without a depth.json beside it, such as {_FACTS}"
    }


def _mirror_notices(mirrored: list[str], doubtful: list[str], total: int) -> dict[str, str]:
    notices = {}
    if mirrored and len(mirrored) == total:
        notices["all_mirrored"] = (
            f"all {total} pictures are mirror images ({mirrored[0]}) and taken, since none would "
            "be left; the head is the mirrored one"
        )
    elif mirrored:
        notices["mirrored"] = (
            f"{len(mirrored)} of {total} pictures are mirror images and left out, since they show "
            f"another person ({mirrored[0]}); to take them, rename them and their labels"
        )
    if doubtful:
        notices["doubtful"] = (
            f"{len(doubtful)} of {total} pictures are mirror images by name, but not by their "
            f"cameras ({doubtful[0]}), and taken; remove them if they are"
        )
    return notices


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
        scale = math.nan if isinstance(facts["scale"], bool) else scale
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        scale, kind = math.nan, None
    if not (math.isfinite(scale) and scale > 0 and kind == "ray"):
        found = files.read(name)[:60].decode("utf-8", "replace")
        raise InputError(f"{where}: expected {_FACTS}, the distance along the ray, found {found!r}")
    return scale
