"""How sure a camera is: the spread of the starts, mirrored poses, and whether it stands still."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.capture import Capture
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.geometry.views import mirrored_camera
from inv3d.plugins.methods.poseopt.latent import PosedLatent
from inv3d.plugins.methods.poseopt.pose import described

# losses up to so much above the best explain the picture as well
_AS_WELL = 1.05
# two cameras nearer to one another are one pose
_SAME_DEG = 5.0
_MIRRORED_DEG = 10.0
# a camera that turns further in the last tenth of the steps hasn't come to rest
_RESTLESS_DEG = 1.0
# share of the loss of the start that a fit must be below
_HARDLY = 0.8
# a camera further from the capture's own isn't that one
_OTHER_DEG = 10.0
_BEYOND_DEG = 10.0


@dataclass
class Doubts:
    """What is known of how sure the camera is.

    Attributes:
        starts: cameras of the starts, when all of them were fitted, or None.
        scores: [K], their losses.
        best: number of the one that was taken.
        before: lowest loss of a start, before anything was fitted; None if not known yet.
    """

    starts: Camera | None = None
    scores: Tensor = field(default_factory=lambda: torch.zeros(0))
    best: int = 0
    before: float | None = None

    def begin(self, fit: PosedLatent) -> None:
        """Take down the loss before anything is fitted, the first time that it's called."""
        if self.before is None:
            self.before = float(fit.scores().min())

    def of_starts(self, fit: PosedLatent) -> int:
        """Take down what the starts came to, and return the best one."""
        self.starts, self.scores = fit.camera, fit.scores()
        self.best = int(self.scores.argmin())
        return self.best

    @property
    def spread_deg(self) -> float | None:
        """How far the starts that came to the same pose are apart, degrees; None for one start."""
        if self.starts is None or len(self.starts) < 2:
            return None
        near = self._apart(self.starts[self.best]) <= 2 * _SAME_DEG
        return float(self._apart(self.starts[self.best])[near].max())

    def _apart(self, camera: Camera) -> Tensor:
        assert self.starts is not None
        return angle_between(self.starts.rotation, camera.rotation).rad2deg()

    def said(self, fit: PosedLatent, prior: CameraPrior) -> list[str]:
        """Return what a user should know of the camera; nothing where all is well."""
        return [*self._of_others(), *self._of_the_fit(fit), *_of_the_prior(fit.camera, prior)]

    def _of_others(self) -> list[str]:
        """Say which other poses explain the picture as well."""
        if self.starts is None:
            return []
        mine = self.starts[self.best]
        rivals = (self.scores <= _AS_WELL * self.scores[self.best]) & (
            self._apart(mine) > _SAME_DEG
        )
        mirrored = rivals & (self._apart(mirrored_camera(mine)) <= _MIRRORED_DEG)
        said = []
        if bool(mirrored.any()):
            said.append(
                f"the mirrored pose ({_of(self.starts, mirrored)}) explains the picture about as "
                f"well as the one that was taken ({described(mine)[0]}), so left and right may be "
                "confused; compare the poses in the report, and give the camera if it's known"
            )
        others = rivals & ~mirrored
        if bool(others.any()):
            said.append(
                f"other poses ({_of(self.starts, others)}) explain the picture about as well as "
                f"the one that was taken ({described(mine)[0]}); more starts.steps may tell them "
                "apart"
            )
        return said

    def _of_the_fit(self, fit: PosedLatent) -> list[str]:
        """Say where the camera didn't come to rest, or the picture wasn't reached."""
        said = []
        moved = float(fit.moved()[0].rad2deg())
        if moved > _RESTLESS_DEG:
            said.append(
                f"the camera still turned by {moved:.1f} degrees in the last tenth of the steps: "
                "it did not converge; give more latent.steps, or a smaller pose.lr"
            )
        after = float(fit.scores()[0])
        if self.before is not None and after > _HARDLY * self.before:
            said.append(
                f"the fit hardly came nearer to the picture (loss {after:.3g}, {self.before:.3g} "
                "at its start): it did not converge; does the picture show a head, cropped as the "
                "generator's are?"
            )
        return said


def _of_the_prior(camera: Camera, prior: CameraPrior) -> list[str]:
    yaw, pitch = abs(float(camera.yaw.rad2deg())), abs(float(camera.pitch.rad2deg()))
    if yaw <= prior.yaw_deg + _BEYOND_DEG and pitch <= prior.pitch_deg + _BEYOND_DEG:
        return []
    return [
        f"the camera that was found ({described(camera)[0]}) lies beyond where the generator knows "
        f"heads from (yaw {prior.yaw_deg:.0f}, pitch {prior.pitch_deg:.0f} degrees), and is hardly "
        "right"
    ]


def of_the_capture(camera: Camera, view: Capture) -> str | None:
    """Say where the camera that was found isn't the capture's own, if that has one."""
    if view.cameras is None:
        return None
    apart = float(angle_between(camera.rotation, view.cameras.rotation).rad2deg())
    if apart <= _OTHER_DEG:
        return None
    return (
        f"the camera that was found ({described(camera)[0]}) is {apart:.0f} degrees from the "
        f"capture's own ({described(view.cameras)[0]}); if that one is right, methods pti, spi and "
        "hfgi3d take it as it is"
    )


def _of(camera: Camera, which: Tensor) -> str:
    return ", ".join(described(camera[which.nonzero().flatten()]))
