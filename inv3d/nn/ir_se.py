"""IR-SE50: the face recognition network of the ArcFace identity loss.

An improved residual network (batch norm - convolution - PReLU - convolution - batch norm) with
squeeze-and-excitation: Deng et al., ArcFace (2019); Hu et al., Squeeze-and-Excitation (2018).
The names of the tensors are those of the widely used file model_ir_se50.pth, which loads by name.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
INPUT_SIZE = 112
FEATURES = 512
_REDUCTION = 16


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to the same shape."""
        gate: Tensor = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Bottleneck(nn.Module):
    """One residual unit; `stride` halves the size in its second convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if inputs == outputs:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcite(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C', h / stride, w / stride]."""
        residual: Tensor = self.res_layer(x)
        shortcut: Tensor = self.shortcut_layer(x)
        return residual + shortcut


class IRSE50(nn.Module):
    """Aligned faces [N, 3, 112, 112], RGB in [-1, 1], to unit features [N, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        side = INPUT_SIZE // 2 ** len(STAGES)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(512 * side * side, FEATURES),
            nn.BatchNorm1d(FEATURES),
        )
        blocks, inputs = [], 64
        for outputs, count in STAGES:
            blocks.append(Bottleneck(inputs, outputs, 2))
            blocks += [Bottleneck(outputs, outputs, 1) for _ in range(count - 1)]
            inputs = outputs
        self.body = nn.Sequential(*blocks)

    def forward(self, faces: Tensor) -> Tensor:
        """Return unit features [N, 512]."""
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)
