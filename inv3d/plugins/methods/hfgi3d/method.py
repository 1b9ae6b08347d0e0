"""The method: coarse fit, pseudo views of both parts, final tuning."""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.config import build_config
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.fit.options import SearchOptions, SingleLatentConfig
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.fit.stages import loss_terms
from inv3d.core.fit.terms import LossTerms
from inv3d.core.generator import Generator
from inv3d.core.inversion import Snapshot
from inv3d.core.inverter import (
    NEEDS,
    AnyInverter,
    Diagnostic,
    Inverter,
    Steps,
    load_inner_method,
)
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.hfgi3d.config import PRESETS, HFGI3DConfig
from inv3d.plugins.methods.hfgi3d.final import Final, seen_share
from inv3d.plugins.methods.hfgi3d.occluded import difference_map, masked_terms, without
from inv3d.plugins.methods.hfgi3d.path import pseudo_cameras
from inv3d.plugins.methods.hfgi3d.pseudo import (
    PseudoViews,
    make_pseudo_views,
    rendered,
    surface_of,
)
from inv3d.plugins.methods.hfgi3d.show import diagnostics_of

WHO = "method hfgi3d"


class HFGI3D(Inverter[HFGI3DConfig]):
    """Pseudo-multi-view optimisation of one picture."""

    name = "hfgi3d"
    summary = "one picture: warped to views nearby, which the generator is tuned to, too"
    licence = "Apache-2.0"
    reference = "Xie et al., High-fidelity 3D GAN Inversion by Pseudo-multi-view Optimization"
    default_views = 1
    takes_init = True
    Config = HFGI3DConfig
    presets: ClassVar[Presets] = PRESETS
    shown: Sequence[Diagnostic] = ()

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front."""
        return [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Run all stages; the generator is tuned in place."""
        generator.require(("image", "depth"), WHO)
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        cameras = pseudo_cameras(
            generator.spec.camera, fitted.camera, self.config.path, generator.spec.name
        )
        inpaint = inpainting(self.config, fitted, generator)
        fit = _Fit(generator, fitted, cameras, context, self.config, inpaint)
        fit.check_losses()
        yield from fit.coarse.optimise_latent()
        views = yield from fit.pseudo_views()
        self.shown = diagnostics_of(fit.coarse.capture.images, fit.known, views)
        ws = yield from fit.tune(views)
        return self.inversion(generator, context, ws, fit.coarse.camera, fit.coarse.snapshot)

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return warped views, masks, occluded parts and pseudo views of several angles."""
        return self.shown


def inpainting(config: HFGI3DConfig, capture: Capture, generator: Generator) -> AnyInverter | None:
    """Return the method that makes the occluded part, if one is named.

    Raises:
        PluginError: where it's unknown.
        ConfigError: where its options are wrong, or it needs more than the picture.
    """
    if config.inpaint_from is None:
        return None
    has = {need for need in NEEDS if getattr(capture, need) is not None}
    return load_inner_method(
        config.inpaint_from, config.inpaint, generator, option="inpaint_from", has=has
    )


class _Fit:
    """The fit while it runs.

    Attributes:
        coarse: the coarse fit, with the picture on the device.
        cameras: of the pseudo views.
        inpaint: the method that makes the occluded part, or None.
        known: the difference map [1, 1, H, W], where a second latent was fitted through it.
    """

    def __init__(
        self,
        generator: Generator,
        capture: Capture,
        cameras: Camera,
        context: Context,
        config: HFGI3DConfig,
        inpaint: AnyInverter | None,
    ) -> None:
        self.generator = generator
        self.inpaint = inpaint
        self.context = context
        self.config = config
        # a part of this run that starts from --init, unlike a method within another
        inner = replace(context, prefix=f"{context.prefix}coarse/")
        searched = self._searched(config.coarse.latent, config.losses, config.default_losses)
        self.coarse = SingleLatent(generator, capture, inner, searched)
        camera = self.coarse.capture.camera
        self.cameras = cameras.to(camera.cam2world.device, camera.cam2world.dtype)
        self.known: Tensor | None = None

    def _searched(
        self, latent: SearchOptions, losses: LossTerms, default_losses: bool
    ) -> SingleLatentConfig:
        options = {
            "losses": losses,
            "default_losses": default_losses,
            "init_tuned": self.config.init_tuned,
            "latent": latent,
        }
        return build_config(SingleLatentConfig, options, WHO)

    def check_losses(self) -> None:
        """Refuse wrong losses of later stages before anything is fitted.

        Raises:
            ConfigError: where a stage has none, or watches one that it doesn't have.
        """
        config = self.config
        self.coarse.check_tuning(config.coarse.tuning)
        if self.inpaint is None and config.occluded.source == "latent":
            loss_terms(self.generator, config, config.occluded.latent.losses)
        self.context.losses(loss_terms(self.generator, config, config.final.losses))

    def pseudo_views(self) -> Iteration[Progress, None, PseudoViews]:
        """Make the pseudo views; the generator is left as the latent stage left it."""
        untuned = Snapshot(self.generator)
        occluded = yield from self._occluded()
        untuned.restore()
        yield from self.coarse.tune(self.config.coarse.tuning)
        with torch.no_grad():
            scene = self.generator.synthesize(self.coarse.ws)
        source = surface_of(self.generator, scene, self.coarse.camera)
        seen = surface_of(self.generator, scene, self.cameras)
        untuned.restore()
        views = make_pseudo_views(
            self.coarse.capture.images,
            source,
            seen,
            seen.images if occluded is None else occluded,
            self.config.visible,
        )
        self._say_what_is_not_seen(views)
        return views

    def _say_what_is_not_seen(self, views: PseudoViews) -> None:
        blind = int((seen_share(views) == 0).sum())
        if self.config.visible.warp and blind:
            self.context.notice(
                f"{WHO}: the picture shows nothing of {blind} of {len(views.mask)} pseudo views, "
                "which stay as the generator makes them; see the masks in the report, and try a "
                "larger visible.tolerance or path.around=input"
            )

    def _occluded(self) -> Iteration[Progress, None, Tensor | None]:
        """Make the occluded part [N, 3, H, W]; None where the coarse fit shows it."""
        if self.inpaint is not None:
            return (yield from self._from_method(self.inpaint))
        if self.config.occluded.source == "latent":
            return (yield from self._from_second_latent())
        return None

    def _from_method(self, method: AnyInverter) -> Iteration[Progress, None, Tensor]:
        context = self.context.within("inpaint")
        found = yield from method.steps(self.generator, self.coarse.capture, context)
        return rendered(self.generator, found, self.cameras)

    def _from_second_latent(self) -> Iteration[Progress, None, Tensor]:
        """Fit a latent to what the generator can make of the picture (its difference map)."""
        options, capture = self.config.occluded, self.coarse.capture
        with torch.no_grad():
            scene = self.generator.synthesize(self.coarse.ws)
            image = self.generator.render(scene, self.coarse.camera).require("image")
        self.known = difference_map(capture.images, image, options.theta)
        terms = loss_terms(self.generator, self.config, options.latent.losses)
        inside = without(capture, self.known, terms)
        searched = options.latent.model_copy(update={"losses": {}})
        config = self._searched(searched, masked_terms(terms, self.context), False)
        context = self.context.within("occluded")
        fit = SingleLatent(self.generator, inside, context, config)
        yield from fit.optimise_latent()
        with torch.no_grad():
            scene = self.generator.synthesize(fit.ws)
        return surface_of(self.generator, scene, self.cameras).images

    def tune(self, views: PseudoViews) -> Iteration[Progress, None, Tensor]:
        """Run the final tuning and return the latent."""
        terms = loss_terms(self.generator, self.config, self.config.final.losses)
        final = Final(
            self.generator,
            self.context,
            self.coarse.capture,
            views,
            self.context.losses(terms),
            self.config.final,
            fill=self.inpaint is not None or self.config.occluded.source != "none",
        )
        w = self.coarse.ws.detach().clone()
        yield from final.run(w)
        self.coarse.snapshot.settle()
        return w
