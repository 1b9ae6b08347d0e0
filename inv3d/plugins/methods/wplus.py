"""W and W+ optimisation: the latent whose render looks like the picture, generator frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.fit.context import Context
from inv3d.core.fit.options import FAST_SEARCH, PAPER_SEARCH
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.options import WPlusConfig


class WPlus(Inverter[WPlusConfig]):
    """The StyleGAN2 projector with one latent a layer (W+) or one for all (W)."""

    name = "wplus"
    summary = "optimise one W or W+ latent for the front view, generator frozen"
    licence = "Apache-2.0"
    reference = (
        "Karras et al., Analyzing and Improving the Image Quality of StyleGAN, appendix D; "
        "Abdal et al., Image2StyleGAN; Multi-view Inversion for 3D-aware GANs, section 3.1"
    )
    default_views = 1
    takes_init = True
    Config = WPlusConfig
    presets: ClassVar[Presets] = {
        "paper": {"views_per_step": None, "latent": PAPER_SEARCH},
        "pti-family": {
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
        },
        "fast": {"latent": FAST_SEARCH},
    }

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front, or all."""
        return range(count) if self.config.views == "all" else [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Optimise the latent."""
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        fit = SingleLatent(generator, fitted, context, self.config)
        yield from fit.optimise_latent()
        return self.inversion(generator, context, fit.ws, fit.camera, fit.snapshot)
