"""The embedded generator: its file, what it knows, and whose weights it takes."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.config import build_config
from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import OUTPUTS
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.io.dataset import open_capture, sample_path

# Decibels in frames of the static sample from its z; measured: 20.5.
LEAST = 20.0


def load(weights: Path | None = None) -> Generator:
    kind = registry().load("generators", "minihead")
    made: Generator = kind.create(build_config(kind.Config, {}, "minihead"), weights)
    return made


def test_weights_are_small_and_half_precision() -> None:
    path = asset("minihead.safetensors")
    tensors, metadata = read_tensors(path)
    assert path.stat().st_size <= 12_000_000
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert metadata["name"] == "minihead"
    words = metadata["training"]["command"].split()
    assert "tools.minihead.train" in words
    assert [word for word in words if word.startswith("/")] == []


def known_head() -> tuple[Tensor, Tensor]:
    """The z of the static sample, which no network has seen, and nine of its frames' numbers."""
    with zipfile.ZipFile(sample_path("static")) as archive:
        z = json.loads(archive.read("identity.json"))["z"]
    return torch.tensor([z]), torch.arange(2, 60, 7)


def test_latents_have_no_condition() -> None:
    generator = load()
    spec, z = generator.spec, torch.zeros(1, generator.spec.z_dim)
    assert (spec.condition, spec.outputs, spec.density) == ("none", OUTPUTS, True)
    with pytest.raises(UnsupportedError, match=r"generator minihead: .* 'none'; give None"):
        generator.map(z, spec.camera.front())


@pytest.mark.parametrize("name", ("minihead", "eg3d", "panohead"))
def test_every_generator_has_one_line_of_inheritance(name: str) -> None:
    kind = registry().load("generators", name)
    while kind is not Generator:
        (kind,) = kind.__bases__


def test_a_head_that_was_never_seen_comes_out_of_its_z() -> None:
    generator, (z, frames) = load(), known_head()
    capture = open_capture("sample:static").load(128)
    seen = generator.render(generator.synthesize(generator.map(z)), capture.camera[frames])
    error = ((seen.require("image").clamp(-1, 1) - capture.images[frames]) / 2).square().mean()
    assert -10 * math.log10(error) > LEAST


def test_front_and_back_have_slices_of_their_own() -> None:
    """Seen from behind, the front slice doesn't count; a tri-plane mixes both."""
    generator, (z, _) = load(), known_head()
    scene = generator.synthesize(generator.map(z))
    planes = scene.parts["planes"]
    assert planes.shape == (1, 3, 16, 2, 128, 128)
    behind, front = torch.tensor([[[0.05, 0.0, -0.2]]]), torch.tensor([[[0.05, 0.0, 0.2]]])
    before = [generator.sample(scene, at)[1] for at in (behind, front)]
    planes[:, 0, :, 1] = 0
    after = [generator.sample(scene, at)[1] for at in (behind, front)]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1], atol=1e-2)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"name": "minihead"}, "weights of 'minihead', expected 'minihead' and its arch"),
        ({"name": "minihead", "architecture": [3]}, "weights of 'minihead', expected"),
        ({"name": "minihead", "architecture": {"plane_dept": 2}}, "unknown option 'plane_dept'"),
        ({"name": "minihead", "architecture": {"z_dim": -1}}, "option 'z_dim' of .*: -1 is not"),
    ],
)
def test_a_file_without_an_architecture_is_refused(
    tmp_path: Path, metadata: dict[str, Any], said: str
) -> None:
    path = tmp_path / "net.safetensors"
    write_tensors(path, {"x": torch.zeros(1)}, metadata)
    with pytest.raises(WeightsError, match=rf"net\.safetensors: {said}"):
        load(path)
