"""IR-SE50 and its relatives: face recognition networks of identity losses, and their parts.

An improved residual network (batch norm - convolution - PReLU - convolution - batch norm) with
squeeze-and-excitation: Deng et al., ArcFace (2019); Hu et al., Squeeze-and-Excitation (2018).
The names of the tensors are those of the widely used file model_ir_se50.pth, which loads by name.
Encoders of pictures are built on the same entrance and residual units.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.weights.known import WeightFile

# residual units of the four groups, each of which halves the size first and doubles the channels
UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
WIDTH = 64
INPUT_SIZE = 112
FEATURES = 512
_REDUCTION = 16
_HALVED = 16
_UNIT = re.compile(r"body\.(\d+)\.")
IR_SE50_WEIGHTS = WeightFile(
    name="model_ir_se50.pth",
    purpose="face recognition by ArcFace, IR-SE50",
    licence="research use, see its source",
    page="https://github.com/TreB1eN/InsightFace_Pytorch",
    # the same bytes in a place that needs no browser
    url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
    size=175_367_323,
    sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    noncommercial=True,
    option="--set training.trunk=PATH",
    without="training goes without too, and takes longer",
)


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(1, channels // _REDUCTION)
        self.fc1 = nn.Conv2d(channels, few, 1, bias=False)
        self.fc2 = nn.Conv2d(few, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to the same shape."""
        gate: Tensor = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Bottleneck(nn.Module):
    """One residual unit; `stride` halves the size in its second convolution.

    Args:
        inputs: channels.
        outputs: channels.
        stride: 1 or 2.
        squeeze_excite: scale the channels at its end (mode `ir_se`), or don't (mode `ir`).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if inputs == outputs:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        gate = [SqueezeExcite(outputs)] if squeeze_excite else []
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            *gate,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C', h / stride, w / stride]."""
        residual: Tensor = self.res_layer(x)
        shortcut: Tensor = self.shortcut_layer(x)
        return residual + shortcut


def entrance(inputs: int = 3, width: int = WIDTH) -> nn.Sequential:
    """Return the first layers: [N, inputs, H, W] to [N, width, H, W]."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
    )


def body(
    units: Sequence[int] = UNITS[50], width: int = WIDTH, squeeze_excite: bool = True
) -> nn.Sequential:
    """Return the residual units behind the entrance, all groups in a row.

    Args:
        units: of each group; the first of a group halves the size.
        width: channels of the first group, twice as many in each further one.
        squeeze_excite: see `Bottleneck`.
    """
    blocks, inputs = [], width
    for group, count in enumerate(units):
        outputs = width << group
        blocks.append(Bottleneck(inputs, outputs, 2, squeeze_excite))
        blocks += [Bottleneck(outputs, outputs, 1, squeeze_excite) for _ in range(count - 1)]
        inputs = outputs
    return nn.Sequential(*blocks)


def run_units(units: nn.Sequential, x: Tensor, kept: Collection[int]) -> list[Tensor]:
    """Return what some of a body's units make of x, in their order.

    Args:
        units: made by `body`.
        x: [N, width, H, W], what the entrance made.
        kept: numbers of the units.
    """
    found = []
    for number, unit in enumerate(units):
        x = unit(x)
        if number in kept:
            found.append(x)
    return found


class ArcFaceNetwork(nn.Module):
    """Aligned faces [N, 3, size, size], RGB in [-1, 1], to unit features [N, 512].

    As it stands it's IR-SE50; CurricularFace's IR-101 is `ArcFaceNetwork(100, squeeze_excite=False,
    affine=False)`.

    Args:
        layers: 50, 100 or 152.
        squeeze_excite: see `Bottleneck`.
        size: pixels a side, a multiple of 16, 112 or 224 in published files.
        affine: whether the norm of the features has a factor and a shift.
    """

    def __init__(
        self,
        layers: int = 50,
        *,
        squeeze_excite: bool = True,
        size: int = INPUT_SIZE,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.size = size
        self.input_layer = entrance()
        side = size // _HALVED
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(512 * side * side, FEATURES),
            nn.BatchNorm1d(FEATURES, affine=affine),
        )
        self.body = body(UNITS[layers], squeeze_excite=squeeze_excite)

    def forward(self, faces: Tensor) -> Tensor:
        """Return unit features [N, 512]."""
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)


def network_of(tensors: Mapping[str, Tensor]) -> ArcFaceNetwork:
    """Build the network that a state dict is of; IR-SE50 where that can't be told.

    Args:
        tensors: by name.
    """
    units = {int(m[1]) for name in tensors if (m := _UNIT.match(name))}
    layers = next((n for n, groups in UNITS.items() if sum(groups) == len(units)), 50)
    features = tensors.get("output_layer.3.weight")
    size = INPUT_SIZE
    if features is not None and features.ndim == 2:
        size = _HALVED * max(1, math.isqrt(features.shape[1] // 512))
    gated = "body.0.res_layer.5.fc1.weight" in tensors
    return ArcFaceNetwork(
        layers,
        squeeze_excite=gated or not units,
        size=size,
        affine="output_layer.4.weight" in tensors or not units,
    )
