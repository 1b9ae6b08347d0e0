"""Where the pseudo views look from."""

from __future__ import annotations

import math

import torch

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.errors import ConfigError
from inv3d.plugins.methods.hfgi3d.config import PathOptions


def pseudo_cameras(prior: CameraPrior, camera: Camera, options: PathOptions, name: str) -> Camera:
    """Return cameras on an ellipse of yaw and pitch, as many as there are pseudo views.

    They stand on the sphere of the prior, look at its pivot and have the picture's intrinsics. The
    pitch is even in its sine, so that even steps cover even areas, as in EG3D's sampler.

    Args:
        prior: of the generator.
        camera: one, of the picture.
        options: the ellipse.
        name: of the generator, for the message.

    Raises:
        ConfigError: where they leave the range of the prior.
    """
    middle = camera if options.around == "input" else prior.front()
    yaw, pitch = (float(angle.double()) for angle in (middle.yaw, middle.pitch))
    turn = torch.arange(options.views, dtype=torch.float64) * (math.tau / options.views)
    centre = math.sin(pitch + math.radians(options.rise_deg))
    height = centre - math.sin(math.radians(options.pitch_deg)) * turn.cos()
    yaws = yaw + math.radians(options.yaw_deg) * turn.sin()
    pitches = height.clamp(-1, 1).asin()
    for option, angles, most in (
        ("yaw_deg", yaws, prior.yaw_deg),
        ("pitch_deg", pitches, prior.pitch_deg),
    ):
        reach = float(angles.rad2deg().abs().max())
        if reach > most + 1e-3 and not (option == "yaw_deg" and most >= 180):
            raise ConfigError(
                f"option 'path.{option}': pseudo views reach {reach:.1f} degrees, but generator "
                f"{name} was trained up to {most:g}; give a smaller number"
            )
    cameras = prior.orbit(yaws, pitches).to(camera.cam2world.device, camera.cam2world.dtype)
    return Camera(cameras.cam2world, camera.intrinsics.expand(len(cameras), -1, -1))
