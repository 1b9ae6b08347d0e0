"""How good an inversion is: front view, rotation, held-out views, depth, latents.

Definitions as in "Multi-view Inversion for 3D-aware GANs", section 4, except that the rotation
metrics average over all frames of the capture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.border import check_values
from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, evenly_by_angle
from inv3d.core.config import parse_overrides
from inv3d.core.errors import ConfigError, InvError, UnsupportedError
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.loss import AnyLoss, Target, load_loss
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.report.columns import (
    FRAME_COLUMNS,
    JUDGED,
    RUN_COLUMNS,
    Column,
    columns_with,
    described,
)
from inv3d.report.views import render_scenes, scenes_of

FORMAT = 1
LARGEST = 256
CONSISTENCY_LATENTS = 30
CONSISTENCY_VIEWS = 12
CONSISTENCY_RAYS = 24
_SCALES = 2**4
_TINY_MSE = 1e-10
# what is measured without a loss, and the other keys of a frame's row
_TAKEN = {c.key for c in (*FRAME_COLUMNS, *RUN_COLUMNS)} - set(JUDGED) | {"name", "role", "yaw_deg"}

Judges = Mapping[str, AnyLoss]
Notes = dict[str, str]


def parse_metric(text: str) -> tuple[str, dict[str, Any]]:
    """Split a metric such as "headfeat?network=b" into the loss's name and its options."""
    name, _, query = text.partition("?")
    return name, parse_overrides(query.split("&")) if query else {}


class Pictures(Target):
    """What metrics compare with: images, and nothing that a method or a capture has besides."""

    def map(self, name: str, user: str) -> Tensor:
        """Refuse every map.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            f"{user}: reads the map '{name}', but metrics compare images alone; leave it out"
        )


def build_judges(
    metrics: Mapping[str, str], device: torch.device, size: int = LARGEST
) -> tuple[dict[str, AnyLoss], Notes]:
    """Build the losses that serve as metrics.

    Args:
        metrics: role -> loss with options, from the generator's spec. "perceptual" and "identity"
            are distances; a role of another name becomes a metric of its own.
        device: where they run.
        size: side in pixels of the pictures.

    Returns:
        The losses that work here, and for each of the others the reason why it doesn't.
    """
    judges: dict[str, AnyLoss] = {}
    notes: Notes = {}
    for role in (*JUDGED, *(name for name in metrics if name not in JUDGED)):
        if role not in metrics:
            notes[role] = "the generator names no such metric"
            continue
        try:
            judges[role] = _judge(role, metrics[role], device, size)
        except (InvError, ImportError, OSError) as error:
            notes[role] = f"{metrics[role]}: {error}"
    return judges, notes


def _judge(role: str, text: str, device: torch.device, size: int) -> AnyLoss:
    """Build the loss of a role, and let it look at a picture.

    Raises:
        InvError: where it can't be built, or can't serve in this role.
    """
    if role in _TAKEN:
        raise ConfigError(f"'{role}' is a metric or a fact already; give the role another name")
    name, options = parse_metric(text)
    loss = load_loss(name, options, device=device, owner=f"metric {name}")
    if set(loss.needs) != {"image"}:
        raise UnsupportedError(
            f"reads {', '.join(loss.needs) or 'no image'}, but metrics compare images alone"
        )
    if role in JUDGED and loss.higher_is_better:
        raise UnsupportedError(
            f"higher is better, but '{role}' takes a distance; give it a role of its own"
        )
    loss.prepare(Pictures(torch.zeros(1, 3, size, size, device=device)))
    return loss


@torch.no_grad()
def evaluate(
    generator: Generator,
    inversion: Inversion,
    capture: Capture,
    chosen: Sequence[int],
    held_out: Sequence[int],
    device: torch.device,
    *,
    consistency_views: int = CONSISTENCY_VIEWS,
    on_images: Callable[[slice, Tensor], None] | None = None,
) -> dict[str, Any]:
    """Return all metrics as plain numbers; None, with a reason in "notes", where there's none.

    Args:
        generator: already tuned for the inversion, on `device`.
        inversion: to be judged.
        capture: all frames, at the generator's resolution.
        chosen: the frames that were inverted.
        held_out: the frames that the method never saw.
        device: where everything runs.
        consistency_views: viewpoints of the depth consistency.
        on_images: is given the pictures [N, 3, H, W] in [-1, 1] of some frames at a time, and
            which frames they are.
    """
    size = min(generator.spec.resolution, LARGEST)
    judges, notes = build_judges(generator.spec.metrics, device, size)
    columns = columns_with(judges)
    spread = None
    if "depth" in generator.spec.outputs and len(inversion.ws) > 1:
        spread = DepthSpread(generator, capture.camera, consistency_views)

    def see(frames: slice, scenes: Scene, images: Tensor) -> None:
        if spread is not None:
            spread.add(scenes, range(frames.start, frames.stop))
        if on_images is not None:
            on_images(frames, images)

    table = _frames(generator, inversion, capture, judges, columns, notes, device, see)
    front = capture.front()
    consistency = None
    if "depth" in generator.spec.outputs:
        consistency = 0.0 if spread is None else spread.mean()
    distance = latent_distance(inversion)
    if len(inversion.ws) == 1:
        notes["depth_consistency"] = "one latent: 0 by construction"
        notes["latent_distance"] = "one latent has no neighbours"
    if consistency is None:
        notes["depth_consistency"] = _no_depth(generator)
    return {
        "format": FORMAT,
        "columns": described(columns),
        "run_columns": described(RUN_COLUMNS),
        "names": dict(generator.spec.metrics),
        "size": size,
        "views": {"all": len(capture), "chosen": len(chosen), "held_out": len(held_out)},
        "latents": len(inversion.ws),
        "front": {
            "name": capture.names[front],
            "yaw_deg": table["yaw_deg"][front],
            **_mean(table, [front]),
        },
        "rotation": _mean(table, range(len(capture))),
        "chosen": _mean(table, chosen),
        "held_out": _mean(table, held_out),
        "depth_consistency": consistency,
        "depth_consistency_views": 0 if spread is None else spread.views,
        "latent_distance": distance,
        "per_frame": _rows(table, capture.names, chosen, held_out),
        "notes": notes,
    }


def _frames(
    generator: Generator,
    inversion: Inversion,
    capture: Capture,
    judges: Judges,
    columns: Sequence[Column],
    notes: Notes,
    device: torch.device,
    see: Callable[[slice, Scene, Tensor], None],
) -> dict[str, list[float | None]]:
    """Every metric of every frame: column -> N numbers. One copy to the host at the end.

    Some frames at a time, `see` is told which, with their scenes and pictures.
    """
    outputs: list[OutputName] = ["image"]
    depths = capture.depths if "depth" in generator.spec.outputs else None
    if depths is not None:
        outputs.append("depth")
    elif capture.depths is None:
        notes["depth_error"] = "the capture has no true depth"
    else:
        notes["depth_error"] = _no_depth(generator)
    parts: dict[str, list[Tensor]] = {}
    generator.require(outputs, "these views")
    camera = capture.camera.to(generator.device)
    for views, scenes in scenes_of(generator, inversion, camera, frames=capture.names):
        seen = generator.render(scenes, camera[views], outputs=outputs)
        see(views, scenes, seen.require("image"))
        images = compare_images(seen.require("image"), capture.images[views].to(device), judges)
        if depths is not None:
            masks = None if capture.masks is None else capture.masks[views].to(device)
            truth = depths[views].to(device)
            images["depth_error"] = depth_error(seen.require("depth"), truth, masks)
        for name, values in images.items():
            parts.setdefault(name, []).append(values)
    if "ms_ssim" not in parts:
        notes["ms_ssim"] = f"images of {generator.spec.resolution} pixels are too small for it"
    names = list(parts)
    numbers = torch.stack([torch.cat(parts[name]).double() for name in names]).tolist()
    table = {name: [_number(v) for v in row] for name, row in zip(names, numbers, strict=True)}
    yaw: list[float | None] = [round(float(v), 4) for v in capture.camera.yaw.double().rad2deg()]
    empty: list[float | None] = [None] * len(capture)
    return {"yaw_deg": yaw} | {name: table.get(name, empty) for name in [c.key for c in columns]}


def _no_depth(generator: Generator) -> str:
    return f"generator {generator.spec.name} makes no depth"


def compare_images(images: Tensor, targets: Tensor, judges: Judges) -> dict[str, Tensor]:
    """Return the image metrics of N views, each [N].

    Pictures larger than 256 pixels are averaged down to 256, as in the paper's protocol.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        targets: [N, 3, H, W] in [-1, 1].
        judges: role -> loss, such as "perceptual" and "identity"; any may be missing.
    """
    images, targets = _fit(images), _fit(targets)
    mse = (images - targets).square().mean((1, 2, 3))
    result = {"mse": mse, "psnr": -10 * torch.log10((mse / 4).clamp_min(_TINY_MSE))}
    for name, judge in judges.items():
        value = judge(Rendering(image=images), judge.prepare(Pictures(targets)))
        check_values(judge.name, value, len(images))
        result[name] = 1 - value if name == "identity" else value
    window = ms_ssim_window(images.shape[-1])
    if window is not None:
        result["ms_ssim"] = _ms_ssim(images, targets, window)
    return result


def _fit(images: Tensor) -> Tensor:
    if images.shape[-1] <= LARGEST:
        return images.float()
    return F.interpolate(images.float(), size=(LARGEST, LARGEST), mode="area")


def ms_ssim_window(size: int) -> int | None:
    """Return the window of MS-SSIM in pixels: 11, or the largest odd one that five scales allow.

    None below 33 pixels, where not even a window of 3 fits.
    """
    fitting = [w for w in (11, 9, 7, 5, 3) if (w - 1) * _SCALES < size]
    return fitting[0] if fitting else None


def _ms_ssim(images: Tensor, targets: Tensor, window: int) -> Tensor:
    from pytorch_msssim import ms_ssim

    first, second = ((x.clamp(-1, 1) + 1) / 2 for x in (images, targets))
    value: Tensor = ms_ssim(first, second, data_range=1.0, size_average=False, win_size=window)
    return value


def depth_error(depth: Tensor, truth: Tensor, masks: Tensor | None = None) -> Tensor:
    """Return the mean absolute depth error of N views where a surface is known, [N].

    Both are averaged down to the smaller of the two sizes; a pixel counts where the truth is
    known in all of it and the mask covers at least half of it. NaN where no pixel counts.

    Args:
        depth: [N, 1, h, w], rendered.
        truth: [N, 1, H, W], 0 where there's no surface.
        masks: [N, 1, ., .] in [0, 1], or None.
    """
    size = min(depth.shape[-1], truth.shape[-1])
    known = _shrink((truth > 0).float(), size) > 1 - 1e-4
    if masks is not None:
        known &= _shrink(masks.float(), size) >= 0.5
    error = (_shrink(depth.float(), size) - _shrink(truth.float(), size)).abs() * known
    return error.sum((1, 2, 3)) / known.sum((1, 2, 3))


def _shrink(values: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(values, size) if values.shape[-1] != size else values


class DepthSpread:
    """The depth consistency, eq. 7-9 of the paper, as its latents come.

    From each of some viewpoints: the population standard deviation, pixel by pixel, of the depth of
    M latents; averaged over pixels and viewpoints. M latents are interpolated at cameras chosen
    evenly by angle. The paper's viewpoints are those M, too; here they are fewer, as well chosen
    evenly by angle, since they are, like rays, only what a mean is taken over. The sums stream, so
    that a few depth maps are kept, however many latents there are.

    Args:
        generator: tuned for the inversion.
        camera: of the capture.
        views: viewpoints, at most.
        latents: M, at most; no more of both than there are cameras.

    Attributes:
        views: how many viewpoints there are.
    """

    def __init__(
        self,
        generator: Generator,
        camera: Camera,
        views: int = CONSISTENCY_VIEWS,
        latents: int = CONSISTENCY_LATENTS,
    ) -> None:
        yaw, most = camera.yaw, len(camera)
        # a camera may be chosen twice where angles are sparse: it counts twice
        self._times = Counter(evenly_by_angle(yaw, min(latents, most)))
        self.views = min(views, most)
        self._viewpoints = camera[evenly_by_angle(yaw, self.views)].to(generator.device)
        self._generator = generator
        self._rays = min(CONSISTENCY_RAYS, generator.spec.render_resolution)
        # Sums of the difference to the first latent's maps: no digits are lost to the large common
        # distance, and latents that are equal give exactly 0.
        self._first: Tensor | None = None
        self._total = self._squares = torch.zeros((), dtype=torch.float64, device=generator.device)

    @torch.no_grad()
    def add(self, scenes: Scene, cameras: Sequence[int]) -> None:
        """Add the latents among scenes, one for each of some cameras of the capture.

        Args:
            scenes: N, of latents interpolated at the cameras.
            cameras: their numbers; those that weren't chosen are left out.
        """
        rows = [row for row, number in enumerate(cameras) if number in self._times]
        if not rows:
            return
        depths = render_scenes(
            self._generator, scenes[rows], self._viewpoints, "depth", self._rays
        ).double()
        self._first = depths[0] if self._first is None else self._first
        times = depths.new_tensor([self._times[cameras[row]] for row in rows])
        difference = depths - self._first
        self._total = self._total + torch.tensordot(times, difference, 1)
        self._squares = self._squares + torch.tensordot(times, difference.square(), 1)

    def mean(self) -> float:
        """Return the standard deviation of the latents that were added, averaged."""
        count = self._times.total()
        variance = self._squares / count - (self._total / count).square()
        return float(variance.clamp_min(0).sqrt().mean())


def latent_distance(inversion: Inversion) -> float | None:
    """Return the mean L2 distance of latents that are neighbours by angle; None for one."""
    if len(inversion.ws) == 1:
        return None
    ordered = inversion.ws[torch.argsort(inversion.cameras.yaw).to(inversion.ws.device)]
    return float(ordered.diff(dim=0).flatten(1).double().norm(dim=1).mean())


def _mean(
    table: Mapping[str, Sequence[float | None]], index: Sequence[int]
) -> dict[str, float | None]:
    """Mean of every column over some frames; None where no frame has a number."""
    result: dict[str, float | None] = {}
    for name in (name for name in table if name != "yaw_deg"):
        values = [v for v in (table[name][i] for i in index) if v is not None]
        result[name] = math.fsum(values) / len(values) if values else None
    return result


def _rows(
    table: Mapping[str, Sequence[float | None]],
    names: Sequence[str],
    chosen: Sequence[int],
    held_out: Sequence[int],
) -> list[dict[str, Any]]:
    roles = dict.fromkeys(held_out, "held out") | dict.fromkeys(chosen, "chosen")
    return [
        {"name": name, "role": roles.get(i, "unused")} | {key: table[key][i] for key in table}
        for i, name in enumerate(names)
    ]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
