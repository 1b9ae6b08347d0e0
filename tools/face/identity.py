"""Makes `inv3d/assets/faceid.safetensors` of the face recognition network in a published package.

npm pack @vladmandic/face-api@1.7.15
python -m tools.face.identity vladmandic-face-api-1.7.15.tgz

The archive is only read; nothing of the package is run. Its network is dlib's (CC0), whose weights
the package holds in 8 bits; they stay so.
"""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from inv3d.core.weights.tensors import asset, write_tensors
from inv3d.nn.face.identity import FILE

_FOLDER = "package/model"
_MANIFEST = f"{_FOLDER}/face_recognition_model-weights_manifest.json"
# what a convolution's tensors are called here
_PARTS = {
    "conv/filters": "weight",
    "conv/bias": "bias",
    "scale/weights": "factor",
    "scale/biases": "shift",
}


def convert(archive: Path, out: Path) -> None:
    """Reads the network of a package and writes its bytes with their ranges."""
    with tarfile.open(archive) as package:
        (group,) = json.loads(_read(package, _MANIFEST))
        content = b"".join(_read(package, f"{_FOLDER}/{path}") for path in group["paths"])
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {
        "licence": f"CC0-1.0 (dlib's face recognition network), converted from {archive.name}"
    }
    at = 0
    for weight in group["weights"]:
        span, count = weight.get("quantization"), math.prod(weight["shape"])
        kind = np.dtype(span["dtype"] if span else weight["dtype"])
        values = np.frombuffer(content, kind, count, at).reshape(weight["shape"])
        at += count * kind.itemsize
        name, order = _named(weight["name"])
        tensors[name] = torch.from_numpy(values.transpose(order).copy())
        if span:
            metadata[name] = {"step": span["scale"], "least": span["min"]}
    assert at == len(content), "the manifest names all bytes"
    write_tensors(out, tensors, metadata)


def _read(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(name)
    assert file is not None
    return file.read()


def _named(name: str) -> tuple[str, tuple[int, ...]]:
    """Return a tensor's name in the module, and the order of its axes there."""
    if name == "fc":
        return "fc.weight", (1, 0)
    place, part = "/".join(name.split("/")[:-2]), "/".join(name.split("/")[-2:])
    return f"{place.replace('/', '.')}.{_PARTS[part]}", (
        (3, 2, 0, 1) if part == "conv/filters" else (0,)
    )


@click.command()
@click.argument("archive", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=asset(FILE), show_default=True)
def main(archive: Path, out: Path) -> None:
    """Converts the network that tells faces apart."""
    convert(archive, out)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
