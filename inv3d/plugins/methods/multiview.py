"""Multi-view inversion: one latent and one tuned generator for many views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, evenly_by_angle
from inv3d.core.fit.context import Context
from inv3d.core.fit.options import FAST_SEARCH, FAST_TUNING, PAPER_SEARCH, PAPER_TUNING
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.options import MultiViewConfig


class MultiView(Inverter[MultiViewConfig]):
    """One W+ latent and one tuned generator that fit N views at once, losses summed over views."""

    name = "multiview"
    summary = "one W+ latent and one tuned generator for all views"
    licence = "Apache-2.0"
    reference = "Multi-view Inversion for 3D-aware Generative Adversarial Networks, eq. 3 and 4"
    takes_init = True
    Config = MultiViewConfig
    presets: ClassVar[Presets] = {
        "paper": {"views_per_step": None, "latent": PAPER_SEARCH, "tuning": PAPER_TUNING},
        "official": {
            "views_per_step": None,
            "latent": {**PAPER_SEARCH, "noise_per_view": True},
            "tuning": PAPER_TUNING,
        },
        "fast": {"views_per_step": 3, "latent": FAST_SEARCH, "tuning": FAST_TUNING},
    }

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return as many views as the option asks for, evenly by angle, or all."""
        views = self.config.views
        if cameras is None or views is None or views >= count:
            return range(count)
        return list(dict.fromkeys(evenly_by_angle(cameras.yaw, views)))

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Optimise the latent, correct the cameras where asked, tune the generator in place."""
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        fit = SingleLatent(generator, fitted, context, self.config)
        fit.check_tuning(self.config.tuning)
        yield from fit.optimise_latent()
        yield from fit.correct_cameras(self.config.cameras)
        yield from fit.tune(self.config.tuning)
        return self.inversion(
            generator, context, fit.ws, fit.camera, fit.snapshot, poses=fit.corrected
        )
