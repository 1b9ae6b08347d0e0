"""The final tuning: the picture and pseudo views, seen of one scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Progress, Stage
from inv3d.core.fit.objective import Losses, Objective
from inv3d.core.fit.optimizers import adam
from inv3d.core.fit.schedule import ramped
from inv3d.core.fit.stages import optimizer_of, target_of, trainable
from inv3d.core.generator import Generator
from inv3d.core.loss import Target
from inv3d.plugins.methods.hfgi3d.config import FinalOptions
from inv3d.plugins.methods.hfgi3d.occluded import through
from inv3d.plugins.methods.hfgi3d.pseudo import PseudoViews

VISIBLE, OCCLUDED, PSEUDO = "visible", "occluded", "pseudo"


@dataclass
class Final:
    """The final tuning.

    Attributes:
        generator: that's tuned, fresh.
        context: of the run.
        capture: the picture, one view.
        views: the pseudo views.
        losses: of the picture and of the pseudo views.
        options: of the stage.
        fill: whether what the picture doesn't show is compared with the occluded part.
    """

    generator: Generator
    context: Context
    capture: Capture
    views: PseudoViews
    losses: Losses
    options: FinalOptions
    fill: bool

    def __post_init__(self) -> None:
        self.known: dict[int, Objective] = {}

    def run(self, w: Tensor) -> Iterator[Progress]:
        """Tune the generator in place, and the latent w [1, num_ws, w_dim] where it's wanted."""
        options = self.options
        variables: dict[str, dict[str, Tensor]] = {
            "generator": dict(self.generator.named_parameters())
        }
        rates = {"generator": options.lr}
        ramps = {"rampup": options.rampup, "rampdown": options.rampdown}
        optimizers = {"generator": optimizer_of(options), "latent": adam}
        if options.latent_lr:
            variables["latent"] = {"w": w}
            rates["latent"] = options.latent_lr
        groups = {
            name: Group(of, ramped(rates[name], options.steps, **ramps), optimizer=optimizers[name])
            for name, of in variables.items()
        }
        front = Look(
            self.capture.camera,
            Objective(self.losses, target_of(self.generator, self.capture)),
        )

        def update(step: int) -> Metrics:
            return self.context.backward(self.generator, w, front, *self._pseudo_looks())

        with trainable({k: v for of in variables.values() for k, v in of.items()}):
            yield from self.context.run(
                Stage("final", options.steps, groups, {"fit": update}, keep=options.keep)
            )

    def _pseudo_looks(self) -> list[Look]:
        """Random pseudo views; each is a look of its own at the scene of the picture."""
        count, weight = self.options.views_per_step, self.options.alpha
        if not weight:
            return []
        chosen = [self.context.randint(len(self.views.camera)) for _ in range(count)]
        return [
            Look(self.views.camera[i], self.objective(i), weight=weight / count, name=PSEUDO)
            for i in chosen
        ]

    def objective(self, index: int) -> Objective:
        """What one pseudo view is compared with; prepared when it's first wanted."""
        if index not in self.known:
            self.known[index] = self._prepare(slice(index, index + 1))
        return self.known[index]

    def _prepare(self, rows: slice) -> Objective:
        views, mask = self.views, self.views.mask[rows]
        if not self.fill:
            seen = through(self.losses, VISIBLE)
            return Objective(seen, self._target(views.warped[rows], rows, {VISIBLE: mask}))
        if self.options.form == "blended":
            return Objective(self.losses, self._target(views.blended[rows], rows, {}))
        parts = {VISIBLE: (views.warped, mask), OCCLUDED: (views.occluded, 1 - mask)}
        return Objective.joined(
            {
                name: Objective(through(self.losses, name), self._target(of[rows], rows, {name: m}))
                for name, (of, m) in parts.items()
            }
        )

    def _target(self, images: Tensor, rows: slice, maps: dict[str, Tensor]) -> Target:
        """A target whose masks and depth are those of the coarse fit."""
        depth = self.views.depth[rows]
        masks = None if self.capture.masks is None else (depth > 0).to(images)
        rays = self.generator.spec.render_resolution
        return Target(images, masks, depth, maps=maps, rays=rays)


def seen_share(views: PseudoViews) -> Tensor:
    """Return which share of each pseudo view the picture shows, [N]."""
    return views.mask.mean((1, 2, 3))
