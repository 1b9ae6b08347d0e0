"""Pivotal tuning: find the latent, then tune the generator around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.fit.context import Context
from inv3d.core.fit.options import (
    FAST_SEARCH,
    FAST_TUNING,
    PAPER_SEARCH,
    PAPER_TUNING,
    PLAIN_ADAM,
)
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.options import PTIConfig

# pictures at full size
_LPIPS = {"weight": 1.0, "net": "alex", "resize": 0}


class PTI(Inverter[PTIConfig]):
    """W+ optimisation for the front view, then tuning of the generator with the latent fixed."""

    name = "pti"
    summary = "W+ latent for the front view, then the generator tuned around it"
    licence = "Apache-2.0"
    reference = "Roich et al., Pivotal Tuning for Latent-based Editing of Real Images, eq. 2 to 5"
    default_views = 1
    takes_init = True
    Config = PTIConfig
    presets: ClassVar[Presets] = {
        "paper": {"views_per_step": None, "latent": PAPER_SEARCH, "tuning": PAPER_TUNING},
        "pti-original": {
            "views_per_step": None,
            "default_losses": False,
            "latent": {
                "optimizer": "adam",
                "steps": 450,
                "lr": 0.01,
                "pull": 0.0,
                "noise_maps": 1e5,
                "samples": 600,
                "losses": {"lpips": {"weight": 1.0, "net": "vgg"}},
            },
            "tuning": {
                "steps": 350,
                "lr": 3e-4,
                **PLAIN_ADAM,
                "threshold": 0.06,
                "losses": {"lpips": _LPIPS, "mse": 1.0},
            },
        },
        "fast": {"latent": FAST_SEARCH, "tuning": FAST_TUNING},
    }

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front, or all."""
        return range(count) if self.config.views == "all" else [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Optimise the latent, then tune the generator in place."""
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        fit = SingleLatent(generator, fitted, context, self.config)
        fit.check_tuning(self.config.tuning)
        yield from fit.optimise_latent()
        yield from fit.tune(self.config.tuning)
        return self.inversion(generator, context, fit.ws, fit.camera, fit.snapshot)
