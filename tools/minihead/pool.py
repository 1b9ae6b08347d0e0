"""A ring of rendered heads on the training device, refilled while training goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from safetensors import safe_open
from torch import Tensor

from inv3d.core.weights.tensors import METADATA_KEY, read_tensors
from tools.minihead.cameras import CLOSE_UPS, sample_cameras
from tools.minihead.heads import Z_DIM, Heads
from tools.minihead.layout import NAMES
from tools.minihead.raster import render

SIZE = 128
STORED = ("z", "rgb", "mask", "depth", "cam2world", "focal")
# What is rare in z ~ N(0, I) and small in a picture: share of the heads that get it on top, and
# from which value of z on it shows.
OFTEN = {"blink": (0.2, 1.2), "jaw": (0.25, 1.0), "beard": (0.15, 0.6), "grey": (0.1, 1.0)}
# Factors of which the heads of a pair differ in one: small in a picture, so that the error of a
# whole head hides them.
SMALL = (
    "blink", "jaw", "smile", "brow_raise", "frown", "pucker", "gaze_x", "gaze_y",
    "smile", "pucker", "gaze_x", "brow_raise", "smile", "pucker", "gaze_x", "gaze_y",
    "smile", "pucker", "gaze_x", "gaze_y", "wave", "lips", "cloth_hue",
    "brows", "lips", "blush", "iris", "melanin", "hair_tone", "hair_red", "grey",
    "hairline", "recede", "tuck", "wave", "parting", "sides", "hair_length",
    "beard", "moustache", "beard_length",
    "cloth_hue", "cloth_tone", "light_side", "light_height", "ambient", "warmth",
)  # fmt: skip
# Those that only men have, or hardly any women.
MANLY = ("beard", "moustache", "beard_length", "recede")


@dataclass
class Views:
    """Pictures of B heads from V cameras each.

    Attributes:
        z: [B, 52].
        rgb: [B, V, 3, R, R] in [-1, 1] on white.
        mask: [B, V, 1, R, R] coverage in [0, 1].
        depth: [B, V, 1, R, R] distance along the unit ray, 0 where there's no surface.
        cam2world: [B, V, 4, 4].
        focal: [B, V], picture widths.
    """

    z: Tensor
    rgb: Tensor
    mask: Tensor
    depth: Tensor
    cam2world: Tensor
    focal: Tensor

    def only(self, views: int) -> Views:
        """The first views of every head."""
        return Views(self.z, *(getattr(self, name)[:, :views] for name in STORED[1:]))


def training_z(heads: Heads, count: int, rng: torch.Generator) -> Tensor:
    """Draw z [count, 52] from N(0, I), with more closed eyes, open mouths, beards and grey hair."""
    z = heads.sample_z(count, rng)
    for name, (share, start) in OFTEN.items():
        chosen, beyond = torch.rand(count, generator=rng), torch.randn(count, generator=rng)
        column = z[:, NAMES[name].start]
        more = (start + 0.6 * beyond.abs()).to(z)
        column.copy_(torch.where((chosen < share).to(z.device), more, column))
    return z


def pairs_z(heads: Heads, count: int, rng: torch.Generator) -> Tensor:
    """Draw z [count, 52] of `count` / 2 people, twice in a row, that differ in one small factor."""
    z = training_z(heads, count // 2, rng).repeat_interleave(2, 0)
    far = 1.2 + 0.5 * torch.rand(count // 2, 2, generator=rng)
    for pair, number in enumerate(torch.randint(len(SMALL), (count // 2,), generator=rng)):
        rows, name = slice(2 * pair, 2 * pair + 2), SMALL[int(number)]
        if name in MANLY:
            z[rows, NAMES["gender"]], z[rows, NAMES["age"]] = -1.2, 0.5
        z[rows, NAMES[name].start] = far[pair].to(z) * far.new_tensor([-1, 1]).to(z)
    return z


class Pool:
    """The last `size` heads that were rendered, or those of files, 8 bits a colour.

    Args:
        heads: the head model.
        size: heads kept.
        views: pictures of each.
        resolution: of the pictures.
        rng: draws heads and cameras; on the CPU, so that every device sees the same heads.
        supersample: subsamples a pixel along each axis.
        pairs: heads 2 k and 2 k + 1 are a pair (`pairs_z`), seen by the same cameras.
    """

    def __init__(
        self,
        heads: Heads,
        size: int,
        views: int,
        resolution: int,
        rng: torch.Generator,
        supersample: int = 2,
        pairs: bool = False,
    ) -> None:
        device, self.supersample, self.pairs = heads.device, supersample, pairs
        shape = (size, views, 1, resolution, resolution)
        self.heads, self.rng, self.resolution, self.views = heads, rng, resolution, views
        self.z = torch.zeros(size, Z_DIM, device=device)
        self.rgb = torch.zeros(size, views, 3, resolution, resolution, dtype=torch.uint8).to(device)
        self.mask = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.depth = torch.zeros(shape, dtype=torch.float16, device=device)
        self.cam2world = torch.zeros(size, views, 4, 4, device=device)
        self.focal = torch.zeros(size, views, device=device)
        self.filled = self.next = 0
        self.from_files = False

    @torch.no_grad()
    def add(self, count: int) -> None:
        """Render new heads over the oldest ones."""
        count = min(count, len(self.z) - self.next)
        z = (pairs_z if self.pairs else training_z)(self.heads, count, self.rng)
        cameras, focal = (v.to(z) for v in self._cameras(count))
        seen = render(self.heads.build(z), cameras, focal, self.resolution, self.supersample)
        rows = slice(self.next, self.next + count)
        self.z[rows], self.cam2world[rows], self.focal[rows] = z, cameras, focal
        self.rgb[rows] = (seen["rgb"].clamp(0, 1) * 255 + 0.5).to(torch.uint8)
        self.mask[rows] = (seen["mask"] * 255 + 0.5).to(torch.uint8)
        self.depth[rows] = seen["depth"].half()
        self.filled = max(self.filled, rows.stop)
        self.next = rows.stop % len(self.z)

    def _cameras(self, count: int) -> tuple[Tensor, Tensor]:
        if not self.pairs:
            return sample_cameras(count, self.views, self.rng, CLOSE_UPS)
        poses, focal = sample_cameras(count // 2, self.views, self.rng, 3 * CLOSE_UPS)
        return poses.repeat_interleave(2, 0), focal.repeat_interleave(2, 0)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that was rendered, by name."""
        return {name: getattr(self, name)[: self.filled] for name in STORED}

    def load(self, files: Sequence[Path]) -> None:
        """Take what `make_pool` wrote into files, beside that of earlier files.

        The first files take the place of heads that were rendered; the ring is as large as all
        files together from then on.

        Raises:
            UsageError: where files have different numbers of views.
        """
        shards = [read_tensors(path)[0] for path in files]
        if not self.from_files:
            self.next, self.views = 0, shards[0]["rgb"].shape[1]
        for path, shard in zip(files, shards, strict=True):
            if shard["rgb"].shape[1] != self.views:
                raise click.UsageError(
                    f"{path}: {shard['rgb'].shape[1]} views a head, expected {self.views} as in "
                    "the files before it; render pools with the same --views"
                )
        for name in STORED:
            before = [getattr(self, name)] if self.from_files else []
            more = torch.cat([shard.pop(name) for shard in shards]).to(self.z.device)
            setattr(self, name, torch.cat([*before, more]))
        self.from_files, self.filled = True, len(self.z)

    def draw(self, heads: int, views: int, rng: torch.Generator) -> Views:
        """Return random heads seen from some of their cameras; of a pool of pairs, whole pairs."""
        together = 2 if self.pairs else 1
        count = heads // together
        rows = torch.randint(self.filled // together, (count, 1), generator=rng)
        order = torch.rand(count, self.views, generator=rng).argsort(1)[:, :views]
        rows = (rows * together + torch.arange(together)).view(-1, 1)
        order = order.repeat_interleave(together, 0)
        index = (rows.to(self.z.device), order.to(self.z.device))
        return Views(
            z=self.z[index[0][:, 0]],
            rgb=self.rgb[index].float() / 127.5 - 1,
            mask=self.mask[index].float() / 255,
            depth=self.depth[index].float(),
            cam2world=self.cam2world[index],
            focal=self.focal[index],
        )


def is_pairs(file: Path) -> bool:
    """Whether `make_pool` wrote pairs into a file."""
    with safe_open(file, framework="pt") as opened:
        return bool(json.loads(opened.metadata()[METADATA_KEY])["pairs"])
