"""The dual encoder's discriminator of planes: did the generator make them from a latent of its own?

"Dual Encoder GAN Inversion for High-Fidelity 3D Head Reconstruction from Single Images" (NeurIPS
2024). It looks at whole maps, of which all but the occluded cells are zero; with three channels it
is one of pictures.
"""

from __future__ import annotations

from torch import Tensor, nn

from inv3d.nn.encoders.options import DiscriminatorOptions

_SLOPE = 0.2


class MapDiscriminator(nn.Module):
    """Maps to one score each, greater for those that look real; the size is kept to the last layer.

    Args:
        options: sizes.
        channels: of the maps; of all planes and slices together.
    """

    def __init__(self, options: DiscriminatorOptions, channels: int) -> None:
        super().__init__()
        w = options.width
        layers: list[nn.Module] = [_conv(channels, w), nn.LeakyReLU(_SLOPE)]
        for inputs, outputs in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)):
            layers += [_conv(inputs, outputs), nn.BatchNorm2d(outputs), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * w, 1, 3, 1, 0, bias=False))

    def forward(self, maps: Tensor) -> Tensor:
        """Return scores [N, 1] of maps [N, channels, H, W], 3 pixels a side or more."""
        scores: Tensor = self.layers(maps).mean((2, 3))
        return scores


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
