"""What the report shows: the poses that were tried, and the picture beside what was found."""

from __future__ import annotations

import torch

from inv3d.core.capture import Capture
from inv3d.core.generator import Generator
from inv3d.core.geometry.depth import depth_points
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.geometry.warp import look_up
from inv3d.core.inverter import Diagnostic
from inv3d.plugins.methods.poseopt.doubts import Doubts
from inv3d.plugins.methods.poseopt.latent import PosedLatent
from inv3d.plugins.methods.poseopt.pose import described


@torch.no_grad()
def shown_starts(view: Capture, fit: PosedLatent, doubts: Doubts) -> Diagnostic:
    """Return the picture and what every start came to; the generator isn't tuned yet."""
    scene = fit.generator.synthesize(fit.ws)
    seen = fit.generator.render(scene, fit.camera).require("image")
    texts = [
        f"{where}, loss {float(score):.3g}{', taken' if row == doubts.best else ''}"
        for row, (where, score) in enumerate(zip(described(fit.camera), doubts.scores, strict=True))
    ]
    images = torch.cat([view.images, seen]).cpu()
    return Diagnostic("Poses that were tried", images, ["picture", *texts])


@torch.no_grad()
def shown_fit(generator: Generator, view: Capture, fit: PosedLatent, doubts: Doubts) -> Diagnostic:
    """Return the picture, its reconstruction, the head from the front, and that carried over."""
    camera, front = fit.camera, generator.spec.camera.front().to(generator.device, generator.dtype)
    scene = generator.synthesize(fit.ws)
    depth = "depth" in generator.spec.outputs
    seen = generator.render(scene, camera, outputs=("image", "depth") if depth else ("image",))
    canonical = generator.render(scene, front).require("image")
    spread = doubts.spread_deg
    found = described(camera)[0] + ("" if spread is None else f", starts within {spread:.1f} deg")
    if view.cameras is not None:
        error = float(angle_between(camera.rotation, view.camera.rotation).rad2deg())
        found += f", {error:.1f} deg from the capture's"
    images = [view.images, seen.require("image"), canonical]
    texts = ["picture", found, "from the front"]
    if depth:
        depths = seen.require("depth")
        uv, _ = front.project(depth_points(camera, depths))
        images.append(_sized(look_up(canonical, uv.reshape(1, *depths.shape[-2:], 2)), view))
        texts.append("that, carried to the picture's view")
    return Diagnostic("Picture and camera", torch.cat(images).cpu(), texts)


def _sized(images: torch.Tensor, view: Capture) -> torch.Tensor:
    return torch.nn.functional.interpolate(images, view.images.shape[-2:], mode="nearest")
