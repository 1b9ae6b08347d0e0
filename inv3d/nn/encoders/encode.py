"""Building an encoder by its options, and asking it for the latents of pictures."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from inv3d.nn.choices import Precision
from inv3d.nn.colours import imagenet_colours
from inv3d.nn.encoders.e4e import Encoder4Editing
from inv3d.nn.encoders.last_layer import WEncoder, WPlusEncoder
from inv3d.nn.encoders.options import EncoderOptions
from inv3d.nn.encoders.psp import GradualStyleEncoder
from inv3d.nn.precision import run_in
from inv3d.nn.resample import resize


def make_encoder(options: EncoderOptions, num_ws: int, w_dim: int) -> nn.Module:
    """Return an encoder with fresh weights.

    Args:
        options: its kind and sizes.
        num_ws: latents that the generator takes.
        w_dim: numbers of a latent.
    """
    if options.kind == "w":
        return WEncoder(options, w_dim)
    kinds = {"psp": GradualStyleEncoder, "e4e": Encoder4Editing, "wplus": WPlusEncoder}
    return kinds[options.kind](options, num_ws, w_dim)


def encode(
    encoder: Callable[[Tensor], Tensor],
    images: Tensor,
    options: EncoderOptions,
    num_ws: int,
    average: Tensor | None,
    precision: Precision = "fp32",
) -> Tensor:
    """Return the latents of pictures, [N, num_ws, w_dim].

    Args:
        encoder: made by `make_encoder`.
        images: [N, 3, H, W] in [-1, 1], brought to the size that the encoder sees.
        options: that it was made with: size and colours of what it sees.
        num_ws: latents that the generator takes; a single one is repeated.
        average: [1 or num_ws, w_dim] that the encoder counts from, or None.
        precision: of the encoder's convolutions; the average is added in float32.
    """
    seen = resize(images, options.size)
    if options.colours == "imagenet":
        seen = imagenet_colours(seen)
    offsets = run_in(precision, encoder, seen)
    ws = offsets if average is None else offsets + average.to(offsets)
    return ws.expand(-1, num_ws, -1)
