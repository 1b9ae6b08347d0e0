"""The network of Pose-Opt's pose estimator: a residual network that tells a few numbers.

Ko et al., "3D GAN Inversion with Pose Optimization" (WACV 2023), with the residual network of He et
al. (CVPR 2016), whose tensors have the names that torchvision gives them.
"""

from __future__ import annotations

from torch import Tensor, nn

from inv3d.core.geometry.rotations import POSE_NUMBERS
from inv3d.nn.colours import imagenet_colours
from inv3d.nn.pose_options import PoseNetworkOptions
from inv3d.nn.resample import resize


class _Block(nn.Module):
    """Two convolutions, added to the input, or to one convolution of it where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C', h / stride, w / stride]."""
        y: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        shortcut = x if self.downsample is None else self.downsample(x)
        return (y + shortcut).relu()


class PoseNetwork(nn.Module):
    """A residual network with a head of three layers; every number passes tanh."""

    def __init__(self, options: PoseNetworkOptions) -> None:
        super().__init__()
        self.options = options
        first, last = options.widths[0], options.widths[-1]
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = first
        for stage, (count, width) in enumerate(zip(options.blocks, options.widths, strict=True)):
            strides = [1 if stage == 0 else 2, *[1] * (count - 1)]
            blocks = []
            for stride in strides:
                blocks.append(_Block(inputs, width, stride))
                inputs = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(last, options.hidden[0])
        self.fc2 = nn.Linear(options.hidden[0], options.hidden[1])
        self.fc3 = nn.Linear(options.hidden[1], POSE_NUMBERS[options.form])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the numbers [N, k] of normalised pictures [N, 3, h, w] of the network's size."""
        x = self.maxpool(self.bn1(self.conv1(pictures)).relu())
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        x = self.fc(x.mean((2, 3))).relu()
        numbers: Tensor = self.fc3(self.fc2(x).relu()).tanh()
        return numbers

    def numbers(self, images: Tensor) -> Tensor:
        """Return the numbers [N, k] of pictures [N, 3, H, W] in [-1, 1], of any size."""
        numbers: Tensor = self(imagenet_colours(resize(images, self.options.size)))
        return numbers
