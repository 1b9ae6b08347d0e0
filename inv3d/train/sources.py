"""Where the pictures of a training come from: files, or the generator itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.errors import InputError
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.training import Batch
from inv3d.io.capturefiles import CaptureFiles
from inv3d.train.draws import drawer, seed_of

GENERATED = "generated"
_BINS = 36  # of the yaws, all around
_BLOCK = 8  # pictures of a pool that are made together
DrawCameras = Callable[[int, torch.Generator], Camera]


class Source(ABC):
    """Pictures by row of a step; which they are depends on the row's seed alone.

    Attributes:
        name: for messages and tables.
        weight: how often it's drawn, beside the others.
        waits: whether reading it takes time in which a device could work.
    """

    name: str
    weight: float
    waits = False

    @abstractmethod
    def batch(self, seeds: Sequence[int], step: int) -> Batch:
        """Return the pictures of rows with some seeds, on the CPU or the generator's device."""

    @abstractmethod
    def held_out(self) -> Batch:
        """Return the pictures that a training never sees."""


@dataclass
class Generated(Source):
    """Pictures that the generator makes of latents drawn at random.

    Attributes:
        generator: frozen, on its device.
        cameras: draws cameras.
        seed: of the training.
        pool: pictures that are kept and drawn again and again; 0 makes new ones every time.
        count: pictures that are held out.
        truncation: of the latents.
    """

    generator: Generator
    cameras: DrawCameras
    seed: int
    weight: float = 1.0
    pool: int = 0
    count: int = 8
    truncation: float = 1.0

    def __post_init__(self) -> None:
        self.name = GENERATED
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def batch(self, seeds: Sequence[int], step: int) -> Batch:
        """Return new pictures, or some of the pool."""
        if not self.pool:
            return self._made([drawer(seed) for seed in seeds], step)
        chosen = [self._of_pool(seed % self.pool) for seed in seeds]
        levels, labels, ws = (torch.stack(part) for part in zip(*chosen, strict=True))
        return _batch(levels.float() / 127.5 - 1, Camera.from_labels(labels), ws, step)

    def _of_pool(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return levels, label and latent of a row, on the CPU.

        Rows are made in blocks that are always the same, since what is made together may differ in
        the last bit from what is made alone.
        """
        if row not in self._kept:
            first = row - row % _BLOCK
            rows = range(first, min(first + _BLOCK, self.pool))
            made = self._made([drawer(self.seed, "pool", row) for row in rows], 0)
            assert made.ws is not None
            levels = ((made.capture.images.float().cpu() + 1) * 127.5).round().byte()
            labels = made.capture.camera.labels().cpu()
            kept = zip(levels, labels, made.ws.cpu(), strict=True)
            self._kept |= dict(zip(rows, kept, strict=True))
        return self._kept[row]

    def held_out(self) -> Batch:
        """Return pictures of other latents than any that are drawn."""
        return self._made([drawer(self.seed, "held out", row) for row in range(self.count)], 0)

    @torch.no_grad()
    def _made(self, draws: Sequence[torch.Generator], step: int) -> Batch:
        generator = self.generator
        device, kind = generator.device, generator.dtype
        z = torch.stack([torch.randn(generator.spec.z_dim, generator=draw) for draw in draws])
        camera = Camera.cat([self.cameras(1, draw) for draw in draws]).to(device, kind)
        condition = neutral_condition(generator, len(draws))
        ws = generator.map(z.to(device, kind), condition, self.truncation)
        image = generator.render(generator.synthesize(ws), camera).require("image").clamp(-1, 1)
        return _batch(image, camera, ws, step)


def _batch(images: Tensor, camera: Camera, ws: Tensor, step: int) -> Batch:
    names = tuple(f"{GENERATED}{row}" for row in range(len(images)))
    return Batch(Capture(images, camera, names, source=GENERATED), ws, step)


class Pictures(Source):
    """Pictures of a folder or zip, read when they're drawn.

    Args:
        files: opened; labels are checked, pictures aren't read yet.
        resolution: pixels a side.
        weight: how often it's drawn, beside the others.
        count: pictures that are held out, spread over all; a fifth at most.
        mirror: show every second one mirrored.
        rebalance: how far yaws are drawn evenly, 0 to 1.
        least: pictures that must be left to train with.
        ws: [N, num_ws, w_dim], true latents of all pictures, which are then never mirrored: a
            mirror image is another head, whose latent isn't known.

    Raises:
        InputError: where there are fewer.
    """

    waits = True

    def __init__(
        self,
        files: CaptureFiles,
        resolution: int,
        *,
        weight: float = 1.0,
        count: int = 8,
        mirror: bool = True,
        rebalance: float = 0.0,
        least: int = 1,
        ws: Tensor | None = None,
    ) -> None:
        self.files = files
        self.ws = ws
        self.resolution = resolution
        self.name = files.source
        self.weight = weight
        self.mirror = mirror and ws is None
        total = len(files)
        held = min(count, total // 5) or min(1, total - 1)
        self.held_rows = [(2 * i + 1) * total // (2 * held) for i in range(held)]
        out = set(self.held_rows)
        self.rows = [row for row in range(total) if row not in out]
        if len(self.rows) < least or not held:
            raise InputError(
                f"--data {files.source}: {total} pictures, of which {max(1, held)} are held out "
                f"for evaluations; a step takes {least}: give more pictures, or a smaller "
                "training.batch"
            )
        self.edges = self._edges(rebalance)

    def _edges(self, rebalance: float) -> Tensor | None:
        """Where each row's share of [0, 1) ends, [rows]; None where all shares are equal."""
        if not rebalance or self.files.cameras is None:
            return None
        yaw = self.files.cameras.yaw.double()[self.rows]
        bins = ((yaw + math.pi) / math.tau * _BINS).long().clamp(0, _BINS - 1)
        share = torch.bincount(bins, minlength=_BINS)[bins].double() ** -rebalance
        return share.cumsum(0) / share.sum()

    def batch(self, seeds: Sequence[int], step: int) -> Batch:
        """Read the pictures of some seeds."""
        draws = torch.stack([torch.rand(2, generator=drawer(s)).double() for s in seeds])
        count = len(self.rows)
        if self.edges is None:
            places = (draws[:, 0] * count).long()
        else:
            places = torch.searchsorted(self.edges, draws[:, 0].contiguous())
        rows = [self.rows[min(int(place), count - 1)] for place in places]
        capture = self.files.load(self.resolution, rows)
        if self.mirror:
            capture = mirrored(capture, draws[:, 1] < 0.5)
        return Batch(capture, self._latents(rows), step)

    def _latents(self, rows: Sequence[int]) -> Tensor | None:
        return None if self.ws is None else self.ws[list(rows)]

    def held_out(self) -> Batch:
        """Read the pictures that are held out."""
        capture = self.files.load(self.resolution, self.held_rows)
        return Batch(capture, self._latents(self.held_rows), 0)


def mirrored(capture: Capture, which: Tensor) -> Capture:
    """Return a capture of which some pictures are mirrored, with their cameras, masks and depth.

    Args:
        capture: N views.
        which: [N] booleans.
    """

    def turned(maps: Tensor | None) -> Tensor | None:
        return (
            None if maps is None else torch.where(which[:, None, None, None], maps.flip(-1), maps)
        )

    images = turned(capture.images)
    assert images is not None
    camera = capture.cameras
    if camera is not None:
        labels, other = camera.labels(), mirrored_camera(camera).labels()
        camera = Camera.from_labels(torch.where(which[:, None], other, labels))
    masks, depths = turned(capture.masks), turned(capture.depths)
    return replace(capture, images=images, cameras=camera, masks=masks, depths=depths)


def row_seeds(seed: int, step: int, rows: Sequence[int]) -> list[int]:
    """Return the seeds of some rows of a step."""
    return [seed_of(seed, "row", step, row) for row in rows]
