"""Pictures for the identity networks: rendering, augmentation, and judging by pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tools.minihead.cameras import FOCAL, MAX_PITCH, RADIUS, orbit
from tools.minihead.heads import LAYOUT, Z_DIM, Heads
from tools.minihead.raster import render
from tools.minihead.seeds import z_of_seed

SIZE = 128
FAR = math.radians(60)  # pictures of one person at least this far apart count as far
OWN = 0.4  # share of a relative's numbers that isn't the family's


def person_z(seed: int, family: int = 1) -> Tensor:
    """Return the z [52] of a person.

    Args:
        seed: of the person.
        family: so many neighbouring seeds are near-identical relatives; 1 for strangers.
    """
    first, own = z_of_seed(seed - seed % family), z_of_seed(seed)
    return own if seed % family == 0 else math.sqrt(1 - OWN**2) * first + OWN * own


def draw_person(
    seed: int, faces: int, views: int, reach: float, family: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return z [faces, 52], yaw and pitch [faces, views] of one person, always the same."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(faces, Z_DIM, generator=rng)
    for group in ("identity", "appearance"):
        z[:, LAYOUT[group]] = person_z(seed, family)[LAYOUT[group]]
    yaw = (torch.rand(faces, views, generator=rng) * 2 - 1) * reach
    pitch = torch.randn(faces, views, generator=rng) * 0.2
    return z, yaw, pitch.clamp(-MAX_PITCH, MAX_PITCH)


@torch.no_grad()
def render_people(
    heads: Heads, seeds: range, faces: int, views: int, reach: float, family: int = 1
) -> dict[str, Tensor]:
    """Return rgb [P, K, 3, R, R] in 8 bits and yaw [P, K], K = faces * views pictures a person."""
    pictures, yaws = [], []
    together = 16 if heads.device.type == "cuda" else 2
    for start in range(0, len(seeds), together):
        some = seeds[start : start + together]
        drawn = [draw_person(s, faces, views, reach, family) for s in some]
        z, yaw, pitch = (torch.cat(part).to(heads.device) for part in zip(*drawn, strict=True))
        cameras = orbit(yaw, pitch, RADIUS)
        rgb = render(heads.build(z), cameras, FOCAL, SIZE, supersample=2)["rgb"]
        pictures.append(
            (rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).view(len(drawn), -1, *rgb.shape[2:])
        )
        yaws.append(yaw.view(len(drawn), -1))
        if start // together % 20 == 0:
            print(f"rendered {start + len(drawn)} of {len(seeds)} people", flush=True)
    return {"rgb": torch.cat(pictures), "yaw": torch.cat(yaws)}


def to_float(pictures: Tensor) -> Tensor:
    """8-bit pictures to [-1, 1]."""
    return pictures.float() / 127.5 - 1


def soften(images: Tensor, size: int) -> Tensor:
    """Return images [N, 3, R, R] as they look after a stay at `size` pixels."""
    small = F.interpolate(images, size=(size, size), mode="area")
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)


def augment(images: Tensor, rng: torch.Generator, size: int) -> Tensor:
    """Move, turn, soften, colour and roughen images [N, 3, R, R], each in its own way.

    Args:
        images: in [-1, 1].
        rng: on the images' device.
        size: low resolution that the images are blended with.
    """
    count = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, generator=rng, device=images.device)
        return low + (high - low) * draw

    angle, zoom = uniform(-0.12, 0.12), uniform(0.88, 1.12)
    c, s = zoom * angle.cos(), zoom * angle.sin()
    x, y = uniform(-0.1, 0.1), uniform(-0.1, 0.1)
    place = torch.stack([c, -s, x, s, c, y], 1).view(count, 2, 3)
    grid = F.affine_grid(place, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    share = uniform(-0.6, 1.0, 1, 1, 1).clamp(min=0)
    soft = torch.lerp(moved, soften(moved, size), share)
    gain = uniform(0.8, 1.15, 1, 1, 1) * uniform(0.94, 1.06, 3, 1, 1)
    coloured = (soft + 1) * gain - 1 + uniform(-0.08, 0.08, 1, 1, 1)
    noise = torch.randn(images.shape, generator=rng, device=images.device)
    return (coloured + noise * uniform(0, 0.06, 1, 1, 1)).clamp(-1, 1)


def roc_auc(same: Tensor, other: Tensor) -> float:
    """Return how often a score of `same` [S] beats one of `other` [T]; ties count half."""
    ranked = other.sort().values
    below = torch.searchsorted(ranked, same.contiguous())
    up_to = torch.searchsorted(ranked, same.contiguous(), right=True)
    return float((below + up_to).double().mean() / (2 * len(other)))


@torch.no_grad()
def evaluate(network: nn.Module, seen: dict[str, Tensor], family: int = 1) -> dict[str, float]:
    """Return areas under the ROC curve over pairs of pictures of unseen people.

    Args:
        network: in eval mode.
        seen: rgb [P, K, 3, R, R] in 8 bits and yaw [P, K].
        family: so many people in turn are relatives.

    Returns:
        auc: of strangers; auc_far: pairs of at least 60 degrees; auc_soft: pictures of 48 pixels;
        auc_family: of relatives, where there are any.
    """
    people, shots = seen["yaw"].shape
    images = seen["rgb"].flatten(0, 1)
    yaw = seen["yaw"].flatten()
    person = torch.arange(people, device=yaw.device).repeat_interleave(shots)
    pair = torch.triu(torch.ones(len(yaw), len(yaw), dtype=torch.bool, device=yaw.device), 1)
    same = person[:, None] == person
    related = person[:, None] // family == person // family
    far = (yaw[:, None] - yaw).abs() > FAR

    def scores(size: int) -> Tensor:
        parts = [network(soften(to_float(part), size)) for part in torch.split(images, 256)]
        embeddings = torch.cat(parts)
        return embeddings @ embeddings.T

    cosine, soft = scores(SIZE), scores(48)
    found = {
        "auc": roc_auc(cosine[pair & same], cosine[pair & ~related]),
        "auc_far": roc_auc(cosine[pair & same & far], cosine[pair & ~related & far]),
        "auc_soft": roc_auc(soft[pair & same], soft[pair & ~related]),
    }
    if family > 1:
        found["auc_family"] = roc_auc(cosine[pair & same], cosine[pair & related & ~same])
    return found
