"""The files of an opened capture: images, masks and depth maps, read when they're asked for."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

import torch
from PIL import Image
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, no_cameras
from inv3d.core.errors import InputError
from inv3d.io.decoding import decode, in_srgb, picture_size
from inv3d.io.files import Files
from inv3d.io.formats import PICTURES
from inv3d.io.images import (
    EIGHT_BITS,
    TWELVE_BITS,
    alpha_of,
    depth_tensor,
    highest_of_16_bits,
    image_tensor,
    to_rgb,
)
from inv3d.io.masks import Mask, levels_of, mask_levels, mask_of
from inv3d.io.naming import DEPTH, IMAGES, MASKS, PREPARED
from inv3d.io.pinhole import Pinhole

# notices of views that were left out
_LEFT_OUT = ("mirrored", "bare", "lost")
# oddities of masks under which nothing counts, as errors name them
_BLANK = {
    "empty": "is black all over",
    "dark": "isn't white anywhere ({})",
    "speck": "shows no head ({})",
}
# the depth of a head and the distance of its camera differ by a smaller factor
_SCALES_APART = 3.0
_MUCH_MEMORY = 2 * 2**30
# width over height of a picture and of what its camera is for may differ by that part
_SHAPE_TOLERANCE = 0.02
# of masks and depth maps, those without loss first
_ENDINGS = (".png", *sorted(PICTURES - {".png"}))


@dataclass
class CaptureFiles:
    """A capture whose labels were read and checked; images are read when asked for.

    Attributes:
        files: folder or zip.
        root: folder inside `files` that the names belong to, empty or with a slash at its end.
        paths: name -> path of the image in `files`, frame2 before frame10.
        cameras: one a name, or None where the pictures have none.
        depth_scale: world units a count of the depth maps; None where there are none.
        pinholes: name -> camera of the whole picture, where the capture's format knows it.
        undistort: whether the distortion of those cameras' lenses is taken out of the pictures.
        notices: sort -> what the user should know, such as how many pictures were cropped.
        blank_masks: name -> path of a mask that was read and shows no head, what's wrong with it.
    """

    files: Files
    root: str
    paths: Mapping[str, str]
    cameras: Camera | None
    depth_scale: float | None
    pinholes: Mapping[str, Pinhole] = field(default_factory=dict)
    undistort: bool = False
    notices: dict[str, str] = field(default_factory=dict)
    blank_masks: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the images, frame2 before frame10."""
        return tuple(self.paths)

    @property
    def source(self) -> str:
        """The path that the user gave."""
        return str(self.files.source)

    def digest(self) -> str:
        """Return 16 hex digits of the names and cameras; no picture is looked into."""
        found = hashlib.sha256("\n".join(self.names).encode())
        if self.cameras is not None:
            found.update(self.cameras.labels().cpu().numpy().tobytes())
        return found.hexdigest()[:16]

    @property
    def described(self) -> str:
        """The path that the user gave, and why there are fewer views than pictures or labels."""
        why = [self.notices[sort] for sort in _LEFT_OUT if sort in self.notices]
        return f"{self.source} ({'; '.join(why)})" if why else self.source

    @property
    def extras(self) -> frozenset[str]:
        """Which of "masks" and "depths" the images have with them."""
        there = {
            "masks": any(self._within(MASKS)) or self._transparent(self.names[0]),
            "depths": self.depth_scale is not None and any(self._within(DEPTH)),
        }
        return frozenset(name for name, found in there.items() if found)

    @property
    def prepared(self) -> bool:
        """Whether it was made of photographs or a video, so that it shows real faces."""
        return f"{self.root}{PREPARED}" in self.files.names

    def _within(self, folder: str) -> Iterator[str]:
        """Names of the files in one of the folders beside the images."""
        return (name for name in self.files.names if name.startswith(f"{self.root}{folder}/"))

    def _transparent(self, name: str) -> bool:
        try:
            return alpha_of(self._decoded(self.paths[name])) is not None
        except InputError:
            return False  # who reads it will be told

    def __len__(self) -> int:
        return len(self.paths)

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
        everything = self.names
        names = tuple(everything[row] for row in rows)
        seen = _Seen(len(names))
        pictures = [self._picture(name, resolution, seen) for name in names]
        masks = self._masks(names, [picture.alpha for picture in pictures], resolution, seen)
        depths = self._depths(names, seen)
        self.notices |= seen.notices(by_label=not self.pinholes)
        return Capture(
            images=torch.stack([picture.image for picture in pictures]),
            cameras=None if self.cameras is None else self.cameras[list(rows)],
            names=names,
            masks=masks,
            depths=depths,
            source=self.source,
        )

    def size_of(self, name: str) -> tuple[int, int]:
        """Return width and height of an upright picture as its file has it, without decoding it.

        Raises:
            InputError: where it can't be read.
        """
        path = self.paths[name]
        return picture_size(self.files.read(path), self.files.at(path))

    def _decoded(self, path: str) -> Image.Image:
        return decode(self.files.read(path), self.files.at(path))

    def _picture(self, name: str, resolution: int, seen: _Seen) -> _Picture:
        path = self.paths[name]
        where = self.files.at(path)
        image = self._decoded(path)
        alpha = alpha_of(image)
        if image.info["frames"] > 1:
            seen.note("animated", f"{where}: {image.info['frames']} frames")
        if 0 < (highest := highest_of_16_bits(image)) <= TWELVE_BITS:
            sort = "bits" if highest <= EIGHT_BITS else "dim"
            seen.note(sort, f"{where}: 16 bits with no number above {highest}")
        if image.width != image.height:
            seen.note("cropped", f"{where}: {image.width}x{image.height} pixels")
        if min(image.size) < resolution:
            seen.note("enlarged", f"{where}: {min(image.size)} pixels")
        seen.resolution = resolution
        seen.shapes[name] = image.size
        self._check_shape(name, image, where)
        image = self._straight(name, to_rgb(in_srgb(image), where))
        return _Picture(
            image_tensor(image, resolution, where),
            None
            if alpha is None
            else mask_of(levels_of(alpha).changed(partial(self._straight, name)), resolution),
        )

    def _check_shape(self, name: str, image: Image.Image, where: str) -> None:
        """Refuse a picture that isn't the one that its camera is for."""
        lens = self.pinholes.get(name)
        if lens and _differ(image.size, lens.size):
            raise InputError(
                f"{where}: {image.width}x{image.height} pixels, but its camera is for "
                f"{lens.width:g}x{lens.height:g}; was it turned or cropped afterwards? Give the "
                "picture that the camera was found for"
            )

    def _straight(self, name: str, image: Image.Image, *, smooth: bool = True) -> Image.Image:
        lens = self.pinholes.get(name)
        if not (self.undistort and lens and lens.distorted):
            return image
        return lens.undistorted(image, smooth=smooth)

    def _masks(
        self,
        names: Sequence[str],
        alphas: Sequence[Mask | None],
        resolution: int,
        seen: _Seen,
    ) -> Tensor | None:
        """The masks of masks/, or else of the images' alpha channels; None without any."""

        def read(name: str, image: Image.Image, where: str) -> Tensor:
            levels = mask_levels(image, where)
            _check_shape(image, seen.shapes[name], where, "masks")
            mask = mask_of(levels.changed(partial(self._straight, name)), resolution)
            return self._known(name, mask, where, seen)

        if any(self._within(MASKS)):
            return self._extra(MASKS, names, read)
        if not any(alphas):
            return None
        masks = []
        for name, alpha in zip(names, alphas, strict=True):
            where = self.files.at(self.paths[name])
            if alpha is None:
                masks.append(torch.ones(1, resolution, resolution))
                continue
            seen.note("alpha", where)
            masks.append(self._known(name, alpha, f"{where} (alpha channel)", seen))
        return torch.stack(masks)

    def _known(self, name: str, mask: Mask, where: str, seen: _Seen) -> Tensor:
        """Note what is odd about a mask."""
        if mask.oddity:
            seen.note(mask.oddity, f"{where}: {mask.found}")
        if mask.oddity in _BLANK:
            self.blank_masks[name] = where, _BLANK[mask.oddity].format(mask.found)
        return mask.weights

    def _depths(self, names: Sequence[str], seen: _Seen) -> Tensor | None:
        if self.depth_scale is None:
            return None
        scale = self.depth_scale

        def read(name: str, image: Image.Image, where: str) -> Tensor:
            if image.width != image.height:  # a square one is that of the image's square
                _check_shape(image, seen.shapes[name], where, "depth maps")
            depth = depth_tensor(self._straight(name, image, smooth=False), scale, where)
            self._check_depth(name, depth, where, seen)
            return depth

        return self._extra(DEPTH, names, read)

    def _check_depth(self, name: str, depth: Tensor, where: str, seen: _Seen) -> None:
        """Note depth maps of nothing, or of another scale than the cameras."""
        measured = depth[depth > 0]
        if not measured.numel():
            seen.note("unmeasured", where)
        elif self.cameras is not None:
            distance = float(self.cameras[self.names.index(name)].radius)
            median = float(measured.median())
            if not 1 / _SCALES_APART < median / distance < _SCALES_APART:
                seen.note("scale", f"{where}: {median:.3g} in the middle")
                seen.distance = distance

    def _extra(
        self,
        folder: str,
        names: Sequence[str],
        read: Callable[[str, Image.Image, str], Tensor],
    ) -> Tensor | None:
        """Read the pictures that accompany the images in a folder; None where there are none."""
        if not any(self._within(folder)):
            return None
        pictures = []
        for name in names:
            path = self._accompanying(folder, name)
            pictures.append(read(name, self._decoded(path), self.files.at(path)))
            if pictures[-1].shape != pictures[0].shape:
                raise InputError(
                    f"{self.files.at(path)}: {pictures[-1].shape[-1]} pixels a side, the others "
                    f"have {pictures[0].shape[-1]}; make all of {folder}/ the same size"
                )
        return torch.stack(pictures)

    def _accompanying(self, folder: str, name: str) -> str:
        """Return where the mask or depth map of an image is: by its name, with any ending."""
        for short in dict.fromkeys((name, name.removeprefix(f"{IMAGES}/"))):
            same = PurePosixPath(f"{self.root}{folder}/{short}")
            others = (str(same.with_suffix(suffix)) for suffix in _ENDINGS)
            for path in (str(same), *others, f"{same}.png"):
                if path in self.files.names:
                    return path
        alike = next((path for path in sorted(self._within(folder)) if same.stem in path), "")
        there = f", though {PurePosixPath(alike).name} is there" if alike else ""
        raise InputError(
            f"{self.files.at(f'{self.root}{folder}/{name}')}: missing{there}; give one for every "
            f"image or remove {folder}/"
        )


@dataclass(frozen=True)
class _Picture:
    """A picture that was read: [3, H, W] in [-1, 1], and its alpha channel if it has one."""

    image: Tensor
    alpha: Mask | None


class _Seen:
    """Counts what the user should know of the pictures that are read, and keeps the first each.

    Attributes:
        shapes: name -> width and height of the image.
        resolution: that they are resized to.
        distance: of a camera from the origin, where a depth map doesn't suit it.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.shapes: dict[str, tuple[int, int]] = {}
        self.resolution = 0
        self.distance = 0.0
        self._found: dict[str, list[str]] = defaultdict(list)

    def note(self, sort: str, what: str) -> None:
        """Keep one."""
        self._found[sort].append(what)

    def notices(self, *, by_label: bool) -> dict[str, str]:
        """Return a sentence of each sort.

        Args:
            by_label: whether the intrinsics are those of labels, rather than of whole pictures.
        """
        square = (
            "the intrinsics of a label must belong to that square"
            if by_label
            else "its camera with it"
        )
        said = {
            "cropped": ("cropped to the square in its middle", "pictures", f"; {square}"),
            "enlarged": (f"enlarged to {self.resolution}", "pictures", ""),
            "animated": ("of which the first is taken", "pictures", ""),
            "bits": ("taken for 8", "pictures", ""),
            "dim": (
                "so that it's dark",
                "pictures",
                "; where they have 12 bits, save them with their full range",
            ),
            "alpha": ("its alpha channel is its mask", "pictures", ", which is put on white"),
            "classes": ("", "masks", ""),
            "empty": ("black all over", "masks", ": nothing there counts as the head"),
            "dark": ("not white anywhere", "masks", "; the head must be 255"),
            "unmeasured": ("0 all over", "depth maps", ": nothing there is measured"),
            "scale": (
                f"though its camera is {self.distance:.3g} from the origin",
                "depth maps",
                '; check "scale" in depth.json',
            ),
            "speck": ("which is no head", "masks", "; the head must be white"),
        }
        return {
            sort: f"{found[0]}{text and ', '}{text} ({len(found)} of {self.total} {noun}){more}"
            for sort, (text, noun, more) in said.items()
            if (found := self._found[sort])
        }


def _check_shape(image: Image.Image, shape: tuple[int, int], where: str, what: str) -> None:
    """Refuse what lies beside an image and has another shape."""
    if _differ(image.size, shape):
        raise InputError(
            f"{where}: {image.width}x{image.height} pixels, its image has {shape[0]}x{shape[1]}; "
            f"give {what} of the images' shape"
        )


def _differ(size: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two pictures have different shapes, whatever their sizes."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) > _SHAPE_TOLERANCE
