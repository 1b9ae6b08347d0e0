"""Is the generator's volume in the picture, upright, between the near and the far end of the rays?

An error where nothing can be seen, a warning with the remedy where it's odd. Everything that
brings cameras to a generator asks here: runs, `render --camera`, imports and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.core.generator import GeneratorSpec
from inv3d.core.poses import (
    FLIP_XY,
    MOST_ROLL_DEG,
    TURN_WORLD,
    offset,
    remedy,
    roll,
    rows_of,
    side,
)

ANGLE_SLACK_DEG = 3.0
RELATIVE_SLACK = 0.25
# how far the focal lengths of both directions may differ
_SQUEEZED = 0.05
_UPSIDE_DOWN_DEG = 120.0
# the least part of the head's width or height that's in the picture without a warning; cameras
# that look at the pivot of EG3D's faces have the origin 0.32 pictures from the middle in profile
_LEAST_SEEN = 2 / 3


@dataclass(frozen=True)
class _Views:
    """N cameras with the names of their pictures, for messages."""

    camera: Camera
    names: Sequence[str]

    def name(self, row: int) -> str:
        return self.names[row] if self.names else f"picture {row + 1}"

    def count(self, rows: Sequence[int]) -> str:
        return f"{len(rows)} of {len(self.camera)} pictures"


def check_framing(
    camera: Camera, spec: GeneratorSpec, names: Sequence[str], where: str
) -> list[str]:
    """Refuse cameras that see nothing of a generator's volume; return warnings for odd ones.

    Args:
        camera: N cameras.
        spec: of the generator: its box, depth range and camera prior.
        names: of the N pictures; none for cameras that belong to no picture.
        where: where the cameras come from, for the errors.

    Returns:
        One sentence for each kind of oddity, with the number of pictures and the remedy.

    Raises:
        InputError: where a picture can't show anything of the head.
    """
    views = _Views(camera, names)
    limits = _Rays.of(spec)
    blind = limits.blind(camera.radius)
    if blind:
        raise InputError(
            f"{where}: in {views.count(blind)} the head lies outside of what the generator's rays "
            f"see, and nothing of it shows ({views.name(blind[0])}: "
            f"{limits.found(camera, blind[0])}); {limits.remedy(camera[blind])}"
        )
    seen = _seen_part(camera, spec)
    lost = rows_of(seen <= 0)
    if lost:
        mend = remedy(camera) or "check labels and crop, or leave such pictures out"
        raise InputError(
            f"{where}: the head isn't in {views.count(lost)} ({views.name(lost[0])}: "
            f"{_place(camera, lost[0])}): {mend}"
        )
    return [*_warnings(views, spec, limits, seen)]


def framing_warnings(camera: Camera, spec: GeneratorSpec, names: Sequence[str]) -> list[str]:
    """Return everything that's odd about cameras, without refusing any."""
    try:
        return check_framing(camera, spec, names, "cameras")
    except InputError as error:
        return [str(error)]


def _warnings(views: _Views, spec: GeneratorSpec, limits: _Rays, seen: Tensor) -> Iterator[str]:
    camera = views.camera
    yield from _roll_warnings(views)
    cut = rows_of(seen < _LEAST_SEEN)
    if cut:
        yield (
            f"the head is partly outside of {views.count(cut)} ({views.name(cut[0])}: "
            f"{_place(camera, cut[0])}): {remedy(camera) or 'check the crop and the labels'}"
        )
    beyond = limits.cut(camera.radius)
    if beyond:
        yield (
            f"in {views.count(beyond)} the head lies outside of what the generator's rays see, or "
            f"partly so ({views.name(beyond[0])}: {limits.found(camera, beyond[0])}); "
            f"{limits.remedy(camera[beyond])}"
        )
    yield from _unusual(views, spec, distance=not beyond)
    yield from _squeezed(views)
    yield from _angle_warnings(views, spec)


def _roll_warnings(views: _Views) -> Iterator[str]:
    """Name pictures in which the world's vertical isn't upright."""
    angle = roll(views.camera).rad2deg()
    down = rows_of(angle.abs() >= _UPSIDE_DOWN_DEG)
    if down:
        where = side(views.camera[down])
        camera = f"the camera's y axis points up ({views.name(down[0])}), and must point down; "
        world = f"the world's y axis points down ({views.name(down[0])}), and must point up; "
        causes = [camera + FLIP_XY] * (where >= 0) + [world + TURN_WORLD] * (where <= 0)
        yield f"{views.count(down)} have the head upside down: {'; or '.join(causes)}"
    lying = rows_of((angle.abs() > MOST_ROLL_DEG) & (angle.abs() < _UPSIDE_DOWN_DEG))
    if lying:
        yield (
            f"{views.count(lying)} have the head on its side ({views.name(lying[0])}: rolled by "
            f"{float(angle[lying[0]]):.0f} degrees): turn the world so that its y axis points up, "
            "or the pictures and their cameras upright"
        )


def _unusual(views: _Views, spec: GeneratorSpec, *, distance: bool) -> Iterator[str]:
    """Name distances and focal lengths far from the generator's."""
    prior, camera = spec.camera, views.camera
    focal = camera.intrinsics[:, [0, 1], [0, 1]].mean(1)
    kinds = [("focal length", focal, prior.focal, "check the crop and the labels")]
    if distance:
        scale = f"{_scaling(camera, prior.radius)}, or check the labels"
        kinds.insert(0, ("distance from the origin", camera.radius, prior.radius, scale))
    for name, value, usual, mend in kinds:
        outside = rows_of((value / usual - 1).abs() > RELATIVE_SLACK)
        if outside:
            yield (
                f"{views.count(outside)} have an unusual {name} ({views.name(outside[0])}: "
                f"{float(value[outside[0]]):.2f}, the generator's is {usual:.2f}); {mend}"
            )


def _squeezed(views: _Views) -> Iterator[str]:
    """Name cameras whose pixels aren't square, as where a portrait was divided by both sides."""
    focal = views.camera.intrinsics[:, [0, 1], [0, 1]]
    ratio = focal[:, 0] / focal[:, 1]
    rows = rows_of(torch.maximum(ratio, 1 / ratio) > 1 + _SQUEEZED)
    if rows:
        fx, fy = focal[rows[0]].tolist()
        yield (
            f"in {views.count(rows)} the head is squeezed ({views.name(rows[0])}: focal lengths "
            f"{fx:.3f} across and {fy:.3f} down); divide both by the side of the square that the "
            "picture is cropped to"
        )


def _angle_warnings(views: _Views, spec: GeneratorSpec) -> Iterator[str]:
    """Name angles that the generator wasn't trained with."""
    for name, angle, limit in (
        ("yaw", views.camera.yaw.rad2deg(), spec.camera.yaw_deg),
        ("pitch", views.camera.pitch.rad2deg(), spec.camera.pitch_deg),
    ):
        outside = rows_of(angle.abs() > limit + ANGLE_SLACK_DEG)
        if outside:
            worst = int(angle.abs().argmax())
            yield (
                f"{views.count(outside)} are seen from a {name} beyond the generator's ±{limit:g} "
                f"degrees ({views.name(worst)}: {float(angle[worst]):.0f}); expect artefacts there"
            )


def _seen_part(camera: Camera, spec: GeneratorSpec) -> Tensor:
    """Which part of the head's width or height is in the picture, the smaller one, [N], 0 to 1.

    The head is a ball as wide as the picture of the generator's own camera, around the origin or
    around the point that this camera looks at, whichever is more in the picture. Of a ball that is
    wider than the picture, as much as fills it counts as all.
    """
    prior = spec.camera
    radius = min(0.5 * prior.radius / prior.focal, spec.box / 2)
    parts = []
    for point in ((0.0, 0.0, 0.0), prior.pivot):
        uv, z = camera.project(torch.tensor([list(point)]).to(camera.cam2world))
        half = camera.intrinsics[:, [0, 1], [0, 1]] * radius / z.clamp_min(1e-6)
        inside = torch.minimum(uv[:, 0] + half, torch.ones_like(half)) - (uv[:, 0] - half).clamp(0)
        part = (inside / (2 * half).clamp(max=1)).amin(1).nan_to_num(0).clamp(0, 1)
        parts.append(torch.where(z[:, 0] > 0, part, torch.zeros_like(part)))
    return torch.stack(parts).amax(0)


def _place(camera: Camera, row: int) -> str:
    if not bool(offset(camera[row]).isfinite()):
        return "its centre is behind the camera"
    uv, _ = camera[row].project(torch.zeros(1, 3).to(camera.cam2world))
    across, down = uv[0, 0].tolist()
    return f"its centre lies at {across:.2f} across and {down:.2f} down, where 0 to 1 is inside"


@dataclass(frozen=True)
class _Rays:
    """Between which distances a camera's rays meet the head.

    Attributes:
        usual: the distance of the generator's own cameras.
        near, far: ends of the rays.
        whole: distances between which the whole head lies in the rays.
        some: distances between which anything of it does.
    """

    usual: float
    near: float
    far: float
    whole: tuple[float, float]
    some: tuple[float, float]

    @staticmethod
    def of(spec: GeneratorSpec) -> _Rays:
        """Half the box must lie within the rays; the generator's own distance always counts."""
        usual, (near, far) = spec.camera.radius, spec.depth_range
        before, behind = (max(0.0, room / 2) for room in (usual - near, far - usual))
        core, half = spec.box / 4, spec.box / 2
        whole = min(usual, near + min(core, before)), max(usual, far - min(core, behind))
        some = min(usual, near - half), max(usual, far + half)
        return _Rays(usual, near, far, whole, some)

    def cut(self, distance: Tensor) -> list[int]:
        """Rows whose rays miss a part of the head."""
        return rows_of(~((distance >= self.whole[0]) & (distance <= self.whole[1])))

    def blind(self, distance: Tensor) -> list[int]:
        """Rows whose rays miss all of it."""
        return rows_of(~((distance >= self.some[0]) & (distance <= self.some[1])))

    def found(self, camera: Camera, row: int) -> str:
        """Name the distance of a camera and the ends of its rays."""
        return (
            f"distance {float(camera.radius[row]):.2f} from the origin, the rays run from "
            f"{self.near:.2f} to {self.far:.2f}"
        )

    def remedy(self, camera: Camera) -> str:
        """Say how to bring the cameras to the generator's distance."""
        return f"{_scaling(camera, self.usual)}, the generator's distance"


def _scaling(camera: Camera, usual: float) -> str:
    """Name the factor that brings the cameras to a distance, in the middle of them."""
    median = float(camera.radius.median())
    if median <= 0:
        return f"move the cameras to {usual:.2f}"
    return f"scale their positions (times {usual / median:.3g}) to {usual:.2f}"
