"""What the tuning stage compares by."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from inv3d.core.errors import ConfigError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Stop
from inv3d.core.fit.objective import Losses
from inv3d.core.fit.stages import loss_terms, stop_below
from inv3d.core.fit.terms import LossTerms
from inv3d.core.generator import Generator
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.spi.config import WHO, SPIConfig


@dataclass(frozen=True)
class TuningLosses:
    """Losses of the tuning stage.

    Attributes:
        picture: of the picture.
        nearby: of views around it; none where they aren't looked at.
        mirror: of views around its mirror image; likewise.
        stop: the test whether the picture is close enough, or None.
    """

    picture: Losses
    nearby: Losses = field(default_factory=dict)
    mirror: Losses = field(default_factory=dict)
    stop: Stop | None = None

    @staticmethod
    def of(config: SPIConfig, generator: Generator, context: Context) -> TuningLosses:
        """Build what the options name.

        Raises:
            ConfigError: where a part has no loss that serves, or one is watched that isn't there.
        """
        options = config.tuning
        picture = context.losses(loss_terms(generator, config, options.losses))
        limit, watched = options.threshold, [options.threshold_loss]
        stop = stop_below(limit, picture, watched, context.option("tuning.threshold_loss"))
        around = options.around
        nearby, mirror = around.losses, around.mirrored.losses or around.losses
        return TuningLosses(
            picture,
            _of_pictures(nearby, picture, context, "losses") if options.rotation else {},
            _of_pictures(mirror, picture, context, "mirrored.losses") if options.mirror else {},
            stop,
        )


def _of_pictures(terms: LossTerms, others: Losses, context: Context, option: str) -> Losses:
    return picture_losses(context.losses(terms) if terms else others, option)


def picture_losses(losses: Losses, option: str) -> Losses:
    """Return the losses that compare pictures alone.

    Args:
        losses: by name.
        option: of the views around, that names such losses, for the message.

    Raises:
        ConfigError: where there are none.
    """
    chosen = {
        key: one
        for key, one in losses.items()
        if tuple(one.loss.needs) == ("image",) and one.of == "image" and one.where is None
    }
    if not chosen:
        raise ConfigError(
            f"option 'tuning.around.{option}': none of the losses ({', '.join(losses)}) compares "
            f"whole pictures, which {WHO} needs; name one, such as tuning.around.{option}.l1=1, or "
            "set tuning.rotation=0 and tuning.mirror=0"
        )
    return chosen


def compare(losses: Losses, images: Tensor, targets: Tensor, masks: Tensor) -> Tensor:
    """Return the weighted losses of pictures [N, 3, H, W] against others, summed over them.

    Losses that look within masks look where these, [N, 1, H, W], are.
    """
    total = images.new_zeros(())
    for one in losses.values():
        with torch.no_grad():
            cache = one.loss.prepare(Target(targets, masks))
        total = total + one.weight * one.loss(Rendering(image=images), cache).sum()
    return total
