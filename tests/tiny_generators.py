"""Small random networks in the official architectures, and what each of them must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import merge
from inv3d.core.errors import WeightsError
from inv3d.core.scene import OutputName, Rendering
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.eg3d.published import PublishedOptions
from tests.golden_images import ALL_OUTPUTS

G = TypeVar("G", bound=TriplaneGenerator)

TINY: dict[str, Any] = {
    "z_dim": 6,
    "w_dim": 10,
    "channels": (8, 8, 6),
    "plane_resolution": 16,
    "plane_channels": 4,
    "decoder_hidden": 8,
    "decoder_channels": 5,
    "img_resolution": 16,
    "neural_rendering_resolution": 6,
    "rendering": {"depth_resolution": 8, "depth_resolution_importance": 6},
    "superresolution": {"module": "2X", "input_resolution": 8, "channels": (6, 4)},
}
OWN: dict[str, dict[str, Any]] = {"eg3d": {}, "panohead": {"background_channels": (6, 4)}}
# Largest yaw of the cameras, radians.
REACH = {"eg3d": 0.6, "panohead": 3.0}


def tiny_config(kind: type[TriplaneGenerator], **changes: Any) -> PublishedOptions:
    """Return the options of a network that renders in milliseconds."""
    config = kind.Config(**merge(TINY | OWN[kind.name], changes))
    assert isinstance(config, PublishedOptions)
    return config


def untouched(kind: type[G], **changes: Any) -> G:
    """Return a tiny random network as its class makes it, with a true fingerprint."""
    return kind.create(tiny_config(kind, random_weights=True, **changes))


def tiny(kind: type[G], **changes: Any) -> G:
    """Return a tiny random network with surfaces."""
    generator = untouched(kind, **changes)
    # Random decoders make fog; a steeper density gives surfaces.
    with torch.no_grad():
        generator.decoder.net[2].weight[0] *= 30
    return generator


def latents(count: int, generator: TriplaneGenerator) -> Tensor:
    """Return random ws [count, num_ws, w_dim]."""
    rng = torch.Generator().manual_seed(3)
    return torch.randn(count, generator.num_ws, generator.spec.w_dim, generator=rng)


def views(count: int, generator: TriplaneGenerator) -> Camera:
    """Return cameras from where the network is usually seen."""
    reach = REACH[generator.name]
    return generator.spec.camera.orbit(torch.linspace(-reach, reach, count))


def one_by_one(generator: TriplaneGenerator, ws: Tensor, camera: Camera) -> Rendering:
    """Render every view alone, each of a scene that is made for it."""
    rows = ws.repeat_interleave(len(camera) // len(ws), 0)
    scenes = [generator.synthesize(row[None]) for row in rows]
    return Rendering.cat(
        [generator.render(s, camera[i], outputs=ALL_OUTPUTS) for i, s in enumerate(scenes)]
    )


def close(found: Rendering, expected: Rendering) -> None:
    """Two renderings show the same."""
    for name in ALL_OUTPUTS:
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-4
        )


def check_outputs(generator: TriplaneGenerator) -> None:
    """What was asked for, and nothing else, comes in its shape and range."""
    scene, camera = generator.synthesize(latents(1, generator)), views(3, generator)
    seen = generator.render(scene, camera, outputs=ALL_OUTPUTS)
    assert {n: tuple(getattr(seen, n).shape) for n in ALL_OUTPUTS} == {
        "image": (3, 3, 16, 16),
        "raw": (3, 3, 6, 6),
        "depth": (3, 1, 6, 6),
        "mask": (3, 1, 6, 6),
        "features": (3, 5, 6, 6),
    }
    assert seen.ws is not None and seen.ws.shape == (3, generator.num_ws, 10)
    mask, depth = seen.require("mask"), seen.require("depth")
    assert mask.min() >= 0 and mask.max() <= 1 + 1e-6
    near, far = generator.spec.depth_range
    assert depth.min() >= near and depth.max() <= far + (far - near) / 7
    chosen: tuple[OutputName, ...] = ("raw", "mask")
    some = generator.render(scene, camera, outputs=chosen, resolution=9)
    assert some.require("raw").shape == (3, 3, 9, 9)
    assert some.image is None and some.depth is None and some.features is None


def check_depth_alone(
    generator: TriplaneGenerator, patch: pytest.MonkeyPatch, *colouring: nn.Module
) -> None:
    """Depth and mask are the same where nothing makes colours."""
    scene, camera = generator.synthesize(latents(1, generator)), views(2, generator)
    whole = generator.render(scene, camera, outputs=ALL_OUTPUTS)

    def refuse(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("colours were made")

    colours: list[bool] = []
    generator.decoder.register_forward_pre_hook(lambda _, given: colours.append(given[1]))
    for module in (generator.superresolution, *colouring):
        patch.setattr(module, "forward", refuse)
    seen = generator.render(scene, camera, outputs=("depth", "mask"))
    assert colours and not any(colours)
    torch.testing.assert_close(seen.depth, whole.depth)
    torch.testing.assert_close(seen.mask, whole.mask)


def check_chunks(generator: TriplaneGenerator, scenes: int) -> None:
    """Results don't depend on chunks, whether these are given or follow from the memory."""
    scene, camera = generator.synthesize(latents(scenes, generator)), views(4, generator)

    def render() -> Rendering:
        generator.rng = torch.Generator().manual_seed(8)
        return generator.render(scene, camera, outputs=ALL_OUTPUTS)

    whole = render()
    generator.ray_chunk, generator.view_chunk = 7, 1
    close(render(), whole)
    generator.ray_chunk = generator.view_chunk = None
    generator.memory_budget = 1 << 12
    close(render(), whole)


def check_checkpointing(generator: TriplaneGenerator) -> None:
    """Activations that are made again in chunks give the same values and gradients."""
    generator.requires_grad_(True)
    camera = views(3, generator)

    def gradients() -> tuple[Rendering, list[Tensor]]:
        generator.zero_grad()
        ws = latents(1, generator).requires_grad_()
        seen = generator.render(generator.synthesize(ws), camera, outputs=ALL_OUTPUTS)
        (seen.require("image").square().mean() + seen.require("depth").mean()).backward()
        assert ws.grad is not None
        return seen, [ws.grad, *(p.grad for p in generator.parameters() if p.grad is not None)]

    generator.checkpoint = False
    plain, expected = gradients()
    generator.checkpoint, generator.ray_chunk, generator.view_chunk = True, 11, 2
    seen, found = gradients()
    close(seen, plain)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def check_fingerprint(kind: type[TriplaneGenerator], *changes: dict[str, Any]) -> None:
    """Each of the changes makes another network; the way of its use doesn't."""
    base = untouched(kind).spec.fingerprint
    assert len(base) == 16 and base == untouched(kind).spec.fingerprint
    how = {"memory_budget_mb": 7, "checkpoint": True, "sampling": "stochastic"}
    assert untouched(kind, **how).spec.fingerprint == base
    others = {untouched(kind, **c).spec.fingerprint for c in changes}
    assert len(others | {base}) == len(changes) + 1


def stored(generator: TriplaneGenerator, folder: Path) -> Path:
    """Write a network into a file as conversion does, with what training leaves on it."""
    metadata = {
        "architecture": generator.architecture.model_dump(mode="json"),
        "variant": generator.spec.name.removeprefix(f"{generator.name}-"),
    }
    tensors = {**generator.state_dict(), "dataset_label_std": torch.zeros(25)}
    write_tensors(folder / "net.safetensors", tensors, metadata)
    return folder / "net.safetensors"


def check_refused(
    kind: type[TriplaneGenerator], state: dict[str, Tensor], folder: Path, **changes: Any
) -> None:
    """A file of these tensors isn't taken for the tiny network with the changes."""
    path = folder / "net.safetensors"
    write_tensors(path, state, {})
    with pytest.raises(WeightsError, match=r"net\.safetensors") as caught:
        kind.create(tiny_config(kind, random_weights=True, **changes), path)
    assert "\n" not in str(caught.value)
