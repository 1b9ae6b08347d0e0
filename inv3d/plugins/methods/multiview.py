"""Multi-view inversion: one latent and one tuned generator for many views."""

from __future__ import annotations

from typing import ClassVar

from inv3d.core.capture import Capture, evenly_by_angle
from inv3d.core.fit.context import Context
from inv3d.core.fit.options import PAPER_SEARCH, PAPER_TUNING
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.options import MultiViewConfig


class MultiView(Inverter[MultiViewConfig]):
    """One W+ latent and one tuned generator that fit N views at once, losses summed over views."""

    name = "multiview"
    summary = "one W+ latent and one tuned generator for all views"
    reference = "Multi-view Inversion for 3D-aware Generative Adversarial Networks, eq. 3 and 4"
    takes_init = True
    Config = MultiViewConfig
    presets: ClassVar[Presets] = {
        "paper": {"latent": PAPER_SEARCH, "tuning": PAPER_TUNING},
        "official": {
            "latent": {**PAPER_SEARCH, "noise_per_view": True},
            "tuning": PAPER_TUNING,
        },
        "fast": {"latent": {"steps": 100, "samples": 2000}, "tuning": {"steps": 60}},
    }

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Optimise the latent, then tune the generator in place."""
        views = self.config.views
        if views is not None and views < len(capture):
            capture = capture[list(dict.fromkeys(evenly_by_angle(capture.camera.yaw, views)))]
        fit = SingleLatent(generator, capture, context, self.config)
        yield from fit.optimise_latent()
        yield from fit.tune(self.config.tuning)
        return self.inversion(generator, context, fit.ws, fit.camera, fit.snapshot)
