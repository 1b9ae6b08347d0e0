"""Who a face is: dlib's residual network of 29 layers, whose weights are embedded in 8 bits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.weights.tensors import asset, load_state, read_tensors
from inv3d.nn.face.landmarks import Landmarks
from inv3d.nn.face.model import similarity
from inv3d.nn.face.square import Square

FILE = "faceid.safetensors"
SIZE, EMBEDDING = 150, 128
# levels of red, green and blue that are taken off, of 255
_MEAN = (122.782, 117.001, 104.298)
# blocks in order; with the channels that come out, and whether the sides are halved
_BLOCKS = (
    *((f"conv32_{i}", 32, 32, False) for i in (1, 2, 3)),
    ("conv64_down", 32, 64, True),
    *((f"conv64_{i}", 64, 64, False) for i in (1, 2, 3)),
    ("conv128_down", 64, 128, True),
    *((f"conv128_{i}", 128, 128, False) for i in (1, 2)),
    ("conv256_down", 128, 256, True),
    *((f"conv256_{i}", 256, 256, False) for i in (1, 2)),
    ("conv256_down_out", 256, 256, True),
)
# corners of the subject's left eye (outer, inner), of the right one, and the point below the nose:
# their landmarks, and where they are in the square that the network was trained with, 0 to 1
_POINTS = (263, 362, 33, 133, 2)
_PLACES = ((0.740, 0.309), (0.597, 0.319), (0.247, 0.309), (0.389, 0.319), (0.493, 0.585))


class FaceIdentity(nn.Module):
    """Tells faces apart: those of one person are mostly less than 0.6 apart."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv32_down = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.ModuleDict({name: _Block(i, o, down) for name, i, o, down in _BLOCKS})
        self.fc = nn.Linear(256, EMBEDDING, bias=False)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the network with the embedded weights, or with those that tools/face wrote.

        Raises:
            WeightsError: where the file is missing, damaged, or of another network.
        """
        path = path or asset(FILE)
        tensors, ranges = read_tensors(path)
        plain = {
            name: _dequantised(tensor, ranges.get(name, {})) for name, tensor in tensors.items()
        }
        with torch.device("meta"):
            network = cls()
        network.to_empty(device="cpu")
        network.mean = torch.tensor(_MEAN).view(1, 3, 1, 1)
        load_state(network, _joined(plain), path)
        return network.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        """Return embeddings [N, 128], of about unit length, of faces [N, 3, 150, 150] in [-1, 1].

        Distances between them are what says whether two faces are the same.
        """
        x = ((faces + 1) * 127.5 - self.mean) / 256
        x = F.max_pool2d(F.relu(self.conv32_down(x)), 3, 2)
        for block in self.blocks.values():
            x = block(x)
        embeddings: Tensor = self.fc(x.mean((2, 3)))
        return embeddings


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which may halve the sides and add empty channels."""

    def __init__(self, inputs: int, outputs: int, down: bool) -> None:
        super().__init__()
        self.down, self.more = down, outputs - inputs
        stride, padding = (2, 0) if down else (1, 1)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C', h', w']."""
        y = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            height, width = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
            x = F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, self.more))
            y = F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))
        return F.relu(x + y)


def face_square(found: Landmarks) -> Square:
    """Return the square of a face as the network knows faces: eyes and nose where they belong."""
    points = found.points[list(_POINTS), :2].double()
    scale, rotation, shift = similarity(points, torch.tensor(_PLACES).to(points))
    middle = rotation.T @ (torch.tensor([0.5, 0.5]).to(points) - shift) / scale
    roll = math.atan2(-float(rotation[1, 0]), float(rotation[0, 0]))
    return Square(float(middle[0]), float(middle[1]), 1 / float(scale), roll)


def _dequantised(tensor: Tensor, span: dict[str, float]) -> Tensor:
    """Numbers of bytes, in which 0 stands for the least and every step for a share of the span."""
    if tensor.dtype != torch.uint8:
        return tensor
    return (tensor.double() * span.get("step", 1.0) + span.get("least", 0.0)).float()


def _joined(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the module's state: each convolution takes the factor and the shift after it along."""
    state: dict[str, Tensor] = {}
    for name, weight in stored.items():
        place, _, kind = name.rpartition(".")
        inner = place if place in ("conv32_down", "") else f"blocks.{place}"
        if kind == "weight" and f"{place}.factor" in stored:
            factor = stored[f"{place}.factor"]
            state[f"{inner}.weight"] = weight * factor[:, None, None, None]
            bias = stored[f"{place}.bias"] * factor + stored[f"{place}.shift"]
            state[f"{inner}.bias"] = bias
        elif kind not in ("bias", "factor", "shift"):
            state[name] = weight
    return state
