"""Makes `inv3d/assets/face.safetensors` of the face networks inside a published wheel.

pip download --no-deps --python-version 3.11 --only-binary=:all: mediapipe==0.10.21
python -m tools.face.convert mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl

The wheel (Apache-2.0) is only read as a zip; the package is neither installed nor imported. The
format of its networks is read with the package `tflite`, which has to be installed for this.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.nn.face.program import FILE

NETWORKS = {
    "detector": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "landmarks": "mediapipe/modules/face_landmark/face_landmark.tflite",
    "matte": "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
}
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32}
_ACTIVATIONS = {0: "", 1: "relu", 3: "relu6"}
_PLAIN = {"RELU": "relu", "LOGISTIC": "sigmoid", "HARD_SWISH": "hardswish"}


class Graph:
    """A network file: constants, and operations that become steps of a `Program`."""

    def __init__(self, content: bytes) -> None:
        import tflite

        self.format = tflite
        self.model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self.model.Subgraphs(0)
        names = vars(tflite.BuiltinOperator).items()
        self.names = {number: name for name, number in names if isinstance(number, int)}
        self.constants = dict(self._constants())
        self.weights: dict[str, Tensor] = {}
        self.steps: list[list[Any]] = []
        self.same = {self.graph.Inputs(0): 0}

    def _constants(self):
        for i in range(self.graph.TensorsLength()):
            tensor = self.graph.Tensors(i)
            data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
            if isinstance(data, np.ndarray) and data.size and tensor.Type() in _TYPES:
                values = np.frombuffer(data.tobytes(), _TYPES[tensor.Type()])
                yield i, values.reshape(self.shape(i)).copy()

    def shape(self, number: int) -> list[int]:
        """Of a tensor, as the file has it."""
        tensor = self.graph.Tensors(number)
        return [int(n) for n in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []

    def convert(self) -> dict[str, Any]:
        """Return the steps and the outputs; the weights are in `weights`."""
        for n in range(self.graph.OperatorsLength()):
            self._operation(self.graph.Operators(n))
        count = self.graph.OutputsLength()
        return {"steps": self.steps, "outputs": [self.graph.Outputs(i) for i in range(count)]}

    def _operation(self, operation: Any) -> None:
        code = self.model.OperatorCodes(operation.OpcodeIndex())
        name = self.names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        name = code.CustomCode().decode() if name == "CUSTOM" else name
        inputs = [int(i) for i in operation.InputsAsNumpy() if i >= 0]
        output = int(operation.OutputsAsNumpy()[0])
        if name == "DEQUANTIZE":
            self.constants[output] = self.constants[inputs[0]]
        else:
            self._step(name, operation, inputs, output)

    def _options(self, kind: str, operation: Any) -> Any:
        read = getattr(self.format, kind)()
        table = operation.BuiltinOptions()
        read.Init(table.Bytes, table.Pos)
        return read

    def _weight(self, number: int, order: Sequence[int] | None = None) -> str:
        values = self.constants[number].astype(np.float32)
        values = values.transpose(order) if order else values.reshape(-1)
        name = f"w{len(self.weights)}"
        self.weights[name] = torch.from_numpy(np.ascontiguousarray(values)).half()
        return name

    def _step(self, name: str, operation: Any, inputs: list[int], output: int) -> None:
        weights: list[str] = []
        options: dict[str, Any] = {}
        given = [self.same.get(i, i) for i in inputs if i not in self.constants]
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            plain = name == "CONV_2D"
            read = self._options("Conv2DOptions" if plain else "DepthwiseConv2DOptions", operation)
            weights = [self._weight(inputs[1], (0, 3, 1, 2) if plain else (3, 0, 1, 2))]
            weights.append(self._weight(inputs[2]))
            kernel, stride = self.shape(inputs[1])[1:3], (read.StrideH(), read.StrideW())
            same = read.Padding() == 0
            options = {
                "stride": list(stride),
                "padding": self._padding(inputs[0], kernel, stride) if same else [0, 0, 0, 0],
                "activation": _ACTIVATIONS[read.FusedActivationFunction()],
            }
            step = "conv"
        elif name == "Convolution2DTransposeBias":
            weights = [self._weight(inputs[1], (3, 0, 1, 2)), self._weight(inputs[2])]
            step, options = "transposed", {"stride": 2}
        elif name in ("ADD", "MUL"):
            read = self._options("AddOptions" if name == "ADD" else "MulOptions", operation)
            step = "add" if name == "ADD" else "multiply"
            options = {"activation": _ACTIVATIONS[read.FusedActivationFunction()]}
        elif name == "MAX_POOL_2D":
            read = self._options("Pool2DOptions", operation)
            step = "max_pool"
            options = {"size": read.FilterHeight(), "stride": read.StrideH()}
        elif name == "AVERAGE_POOL_2D":
            read = self._options("Pool2DOptions", operation)
            assert [read.FilterHeight(), read.FilterWidth()] == self.shape(inputs[0])[1:3]
            step = "mean"
        elif name == "PAD":
            sides = self.constants[inputs[1]].tolist()
            assert not any(map(any, sides[:3])) and sides[3][0] == 0
            step, options = "pad_channels", {"count": int(sides[3][1])}
        elif name == "PRELU":
            weights, step = [self._weight(inputs[1])], "prelu"
        elif name == "RESHAPE":
            step, options = "rows", {"width": self.shape(output)[-1]}
        elif name == "CONCATENATION":
            assert self._options("ConcatenationOptions", operation).Axis() == 1
            step = "join"
        elif name == "RESIZE_BILINEAR":
            read = self._options("ResizeBilinearOptions", operation)
            assert read.AlignCorners() or read.HalfPixelCenters()
            size = self.constants[inputs[1]].tolist()
            step, options = "resize", {"size": size, "corners": bool(read.AlignCorners())}
        else:
            step = _PLAIN[name]
        self.steps.append([step, given, output, weights, options])

    def _padding(self, number: int, kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
        """Left, right, top, bottom, so that the output has the input's size over the stride."""
        sides: list[int] = []
        for size, k, s in zip(
            self.shape(number)[1:3][::-1], kernel[::-1], stride[::-1], strict=True
        ):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            sides += [total // 2, total - total // 2]
        return sides


def convert(wheel: Path, out: Path) -> None:
    """Reads the networks of a wheel; what else is in `out` stays."""
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    if out.exists():
        tensors, metadata = read_tensors(out)
        tensors = {n: t for n, t in tensors.items() if n.partition(".")[0] not in NETWORKS}
    with zipfile.ZipFile(wheel) as archive:
        for name, path in NETWORKS.items():
            graph = Graph(archive.read(path))
            metadata[name] = graph.convert()
            tensors |= {f"{name}.{n}": tensor for n, tensor in graph.weights.items()}
    metadata["licence"] = f"Apache-2.0, converted from {wheel.name}"
    write_tensors(out, tensors, metadata)


@click.command()
@click.argument("wheel", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=asset(FILE), show_default=True)
def main(wheel: Path, out: Path) -> None:
    """Converts the detector, the landmarks and the matte."""
    convert(wheel, out)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
