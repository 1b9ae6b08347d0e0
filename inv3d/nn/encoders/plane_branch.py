"""TriPlaneNet's second branch: what a render lacks, to what the planes of the volume lack.

Bhattarai et al., TriPlaneNet (WACV 2024): a U-shaped network on the trunk of ArcFace. Module names
are those of the published files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.encoders.options import BranchOptions
from inv3d.nn.encoders.pyramid import group_ends
from inv3d.nn.ir_se import body, entrance, run_units

# the two versions' files name it differently
_HEADS = {1: "final_head", 2: "final_head_two"}


class PlaneBranch(nn.Module):
    """Differences of pictures to an offset of planes.

    Args:
        options: version and sizes.
        plane_channels: of all planes together, 96 of a tri-plane with 32 features.
    """

    def __init__(self, options: BranchOptions, plane_channels: int) -> None:
        super().__init__()
        trunk, shuffle = options.trunk, options.shuffles
        width = trunk.width
        first, second, third, last = group_ends(trunk.units)
        # units whose maps are joined again: the ends of three groups and the last group's first
        self.taps = sorted({first, second, third, third + 1, last})
        self.version = options.version
        self.input_layer = entrance(options.inputs, width)
        self.body = body(trunk.units, width, trunk.squeeze_excite)
        made = 8 * width
        self.up1 = Up(8 * width + made, made, enlarge=None)
        plain, shuffled = (4, 2, 1), (6, 4, 1.5)
        outputs = [int(times * width) for times in (shuffled if shuffle else plain)]
        ups = []
        for skipped, output in zip((4, 2, 1), outputs, strict=True):
            kept = made // 4 if shuffle else made
            ups.append(Up(skipped * width + kept, output, "shuffle" if shuffle else "nearest"))
            made = output
        self.up2, self.up3, self.up4 = ups
        self.up5 = Enlarge("shuffle" if shuffle else "nearest")
        head = _head(made // 4 if shuffle else made, plane_channels, options.version)
        self.add_module(_HEADS[options.version], head)

    def forward(self, pictures: Tensor, planes: Tensor | None = None) -> Tensor:
        """Return what to add to planes, [N, plane_channels, H, H].

        Args:
            pictures: [N, 9, H, H] as `differences` makes them, [N, 6, H, H] in version 1; H is
                that of the planes and a multiple of 16.
            planes: [N, plane_channels, H, H]; version 1 doesn't look at them.
        """
        maps = run_units(self.body, self.input_layer(pictures), self.taps)
        # a last group of one unit begins and ends with it
        c0, c1, c2, c3, x = maps if len(maps) == 5 else [*maps, maps[-1]]
        x = self.up1(x, c3)
        for up, skipped in ((self.up2, c2), (self.up3, c1), (self.up4, c0)):
            x = up(x, skipped)
        x = self.up5(x)
        if self.version == 1:
            return self.get_submodule(_HEADS[1])(x)  # type: ignore[no-any-return]
        assert planes is not None, "version 2 looks at the planes"
        head = self.get_submodule(_HEADS[2])
        return head(torch.cat([planes, x], dim=1))  # type: ignore[no-any-return]


class Enlarge(nn.Module):
    """Double the size: by nearest neighbours, or by taking four channels for one."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C or C / 4, 2 h, 2 w]."""
        if self.way == "shuffle":
            return F.pixel_shuffle(x, 2)
        return F.interpolate(x, scale_factor=2, mode="nearest")


class Up(nn.Module):
    """Enlarge a map, put a finer one before it and mix both.

    Args:
        inputs: channels of both together.
        outputs: channels.
        enlarge: how, see `Enlarge`; None leaves the size as it is.
    """

    def __init__(self, inputs: int, outputs: int, enlarge: str | None) -> None:
        super().__init__()
        self.up = nn.Identity() if enlarge is None else Enlarge(enlarge)
        self.conv = _Twice(inputs, outputs)

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        """Return [N, outputs, h, w] of x and a map [N, C, h, w]."""
        mixed: Tensor = self.conv(torch.cat([finer, self.up(x)], dim=1))
        return mixed


class _Twice(nn.Module):
    """Two convolutions; the activation behind the second one stands there twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
            nn.PReLU(outputs),
            nn.PReLU(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.double_conv(x)
        return mixed


def _head(inputs: int, channels: int, version: int) -> nn.Sequential:
    """Return the last layers; those of version 2 read the planes too."""
    return nn.Sequential(
        nn.Conv2d(inputs + channels if version == 2 else inputs, channels, 3, 1, 1),
        nn.PReLU(channels),
        nn.Conv2d(channels, channels, 3, 1, 1),
        nn.PReLU(channels),
        nn.Conv2d(channels, channels, 1),
    )


def differences(images: Tensor, rendered: Tensor, mirror_rendered: Tensor | None = None) -> Tensor:
    """Return what the branch sees, without gradient: a render and what it lacks.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        rendered: the same heads from the same cameras, of the latents alone.
        mirror_rendered: from the mirrored cameras; not for version 1.

    Returns:
        [N, 9, H, W], or [N, 6, H, W] without the mirrored renders.
    """
    seen = [rendered, images - rendered]
    if mirror_rendered is not None:
        seen.append(images.flip(-1) - mirror_rendered)
    return torch.cat(seen, dim=1).detach()
