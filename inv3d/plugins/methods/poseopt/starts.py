"""Where the search for the camera begins: an estimator's answer, or the best of a grid of poses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inv3d.core.border import check_cameras
from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.capture import Capture
from inv3d.core.errors import InputError, UnsupportedError
from inv3d.core.estimator import AUTO, AnyEstimator, find_estimator, load_estimator
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import Losses, Objective, that_look
from inv3d.core.fit.stages import target_of
from inv3d.core.generator import Generator
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.geometry.views import mirrored_camera
from inv3d.plugins.methods.poseopt.config import PoseOptions, StartOptions
from inv3d.plugins.methods.poseopt.latent import by_view, repeated

WHO = "method poseopt"
NO_ESTIMATOR = "none"
# poses of the grid that are rendered at a time
_AT_A_TIME = 12
# relative spread of the grid's losses below which the picture says nothing of its pose
_TELLS = 0.01


def choose_estimator(
    options: PoseOptions, generator: Generator, context: Context
) -> AnyEstimator | None:
    """Return the estimator that the options ask for, on the device; None leaves it to a grid.

    Raises:
        PluginError: where one is named that isn't installed.
        ConfigError: where its options are wrong.
        WeightsError: where it has no networks for this generator.
    """
    if options.estimator == NO_ESTIMATOR:
        return None
    device = context.device
    if options.estimator != AUTO:
        given = options.estimator_options
        return load_estimator(options.estimator, given, device=device, generator=generator)
    try:
        return find_estimator(generator, WHO, device=device)
    except UnsupportedError as error:
        if options.through == "network":
            raise
        context.notice(
            f"{error}; the pose was looked for among a grid instead, an estimator with weights for "
            "this generator would be better"
        )
        return None


@torch.no_grad()
def from_estimator(
    estimator: AnyEstimator,
    capture: Capture,
    generator: Generator,
    options: PoseOptions,
    context: Context,
) -> Camera | None:
    """Return the camera that an estimator tells of the picture.

    None leaves it to a grid, where the estimator sees nothing that it knows and the user named
    none.

    Raises:
        InputError: where it sees nothing, and the user named it.
    """
    try:
        seen = estimator.estimate(capture.images, generator)
    except (InputError, UnsupportedError) as error:
        if options.estimator != AUTO:
            raise
        context.notice(f"{error}; the pose was looked for among a grid instead")
        return None
    camera = check_cameras(seen, len(capture.images), estimator.name)
    return camera.to(capture.images.device, capture.images.dtype)


def with_mirror_image(camera: Camera, options: StartOptions) -> Camera:
    """Return cameras with the mirror image of the first, unless one of them is near it."""
    return with_other(camera, mirrored_camera(camera[0]), options) if options.mirror else camera


def with_other(camera: Camera, other: Camera, options: StartOptions) -> Camera:
    """Return cameras with another one, unless one of them is near it."""
    apart = angle_between(camera.rotation, other.rotation).rad2deg()
    if bool((apart < options.apart_deg).any()):
        return camera
    return Camera.cat([camera, other])


def grid(prior: CameraPrior, options: StartOptions) -> Camera:
    """Return a grid of poses over a prior; around the whole head none comes twice."""
    yaw = _spread(prior.yaw_deg, options.yaws)
    if prior.yaw_deg >= 180:
        yaw = torch.linspace(-180, 180, options.yaws + 1)[:-1]
        yaw = yaw + 180 / options.yaws * (options.yaws % 2)  # one of them is in front
    yaw, pitch = torch.meshgrid(yaw, _spread(prior.pitch_deg / 2, options.pitches), indexing="ij")
    return prior.orbit(yaw.flatten().deg2rad(), pitch.flatten().deg2rad())


def _spread(limit: float, count: int) -> Tensor:
    return torch.linspace(-limit, limit, count) if count > 1 else torch.zeros(1)


@torch.no_grad()
def scores_of(
    generator: Generator, capture: Capture, ws: Tensor, camera: Camera, losses: Losses
) -> Tensor:
    """Return the weighted losses of one latent seen from N cameras, [N].

    Args:
        generator: that renders.
        capture: of one picture.
        ws: [1, num_ws, w_dim].
        camera: N.
        losses: that compare.
    """
    scene = generator.synthesize(ws)
    count = min(_AT_A_TIME, len(camera))
    objective = Objective(that_look(losses), target_of(generator, repeated(capture, count)))
    parts = []
    for first in range(0, len(camera), count):
        some = camera[first : first + count]
        seen = generator.render(scene, some, outputs=objective.outputs)
        parts.append(by_view(objective, seen, slice(0, len(some))))
    return torch.cat(parts)


def best_of_grid(camera: Camera, scores: Tensor, options: StartOptions, context: Context) -> Camera:
    """Return the best poses of a grid that are apart from one another, the best first."""
    order = scores.argsort().tolist()
    if len(scores) > 1 and float(scores.std() / scores.mean().clamp_min(1e-12)) < _TELLS:
        context.notice(
            f"{WHO}: from all poses the mean head differs alike from the picture, so that it tells "
            "little of its camera: does it show a head, cropped as the generator's are?"
        )
    return camera[apart_from_one_another(camera, order, options)]


def apart_from_one_another(
    camera: Camera, order: Sequence[int], options: StartOptions
) -> list[int]:
    """Return the first cameras in an order that are `apart_deg` from those before."""
    taken: list[int] = []
    for row in order:
        others = camera[taken].rotation if taken else camera.rotation[:0]
        apart = angle_between(others, camera[row].rotation).rad2deg()
        if not bool((apart < options.apart_deg).any()):
            taken.append(row)
        if len(taken) == options.count:
            break
    return taken
