"""Noise of the backbone: stored, none, or drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.config import merge
from inv3d.core.errors import UnsupportedError
from inv3d.core.generator import load_generator
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.panohead import PanoHead
from tests.tiny_generators import TINY, latents, tiny, views

KINDS = pytest.mark.parametrize("kind", [EG3D, PanoHead])


def noisy(kind: type[EG3D], mode: str, strength: float = 0.5) -> EG3D:
    generator = tiny(kind, noise_mode=mode)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(strength)
    return generator


def made(generator: EG3D, seed: int | None = None) -> dict[str, Tensor]:
    if seed is not None:
        generator.rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return generator.synthesize(latents(2, generator)).parts


@KINDS
def test_none_is_what_a_strength_of_nothing_makes(kind: type[EG3D]) -> None:
    found, expected = made(noisy(kind, "none")), made(noisy(kind, "const", 0.0))
    stored = made(noisy(kind, "const"))
    for name, part in found.items():
        torch.testing.assert_close(part, expected[name])
        assert not torch.allclose(part, stored[name], atol=1e-3)


@KINDS
def test_random_noise_is_drawn_for_every_scene_from_the_seed(kind: type[EG3D]) -> None:
    generator = noisy(kind, "random")
    one, again, other = (made(generator, seed) for seed in (1, 1, 2))
    for name, part in one.items():
        assert torch.equal(part, again[name])
        assert not torch.allclose(part, other[name], atol=1e-3)
    same = latents(1, generator).expand(2, -1, -1)
    with torch.no_grad():
        planes = generator.synthesize(same).parts["planes"]
    assert not torch.allclose(planes[0], planes[1], atol=1e-3)


def test_random_noise_needs_a_source() -> None:
    with pytest.raises(ValueError, match=r"set generator\.rng"):
        made(noisy(EG3D, "random"))


def test_more_rays_than_superresolution_has_noise_for_is_said() -> None:
    """Modules that don't make features smaller give larger pictures then; noise doesn't fit."""
    options: dict[str, Any] = {"module": "4X", "input_resolution": 8, "channels": (6, 4)}
    quiet, loud = (
        tiny(EG3D, superresolution={**options, "noise_mode": mode}) for mode in ("none", "const")
    )
    scene, camera = quiet.synthesize(latents(1, quiet)), views(1, quiet)
    assert quiet.render(scene, camera, resolution=9).require("image").shape[-1] == 18
    assert loud.render(scene, camera, resolution=7).require("image").shape[-1] == 16
    with pytest.raises(UnsupportedError, match="4X has noise for features of 8 pixels a side"):
        loud.render(scene, camera, resolution=9)


@pytest.mark.parametrize(
    "options",
    [
        {"noise_mode": "random"},
        {"sampling": "stochastic"},
        {"superresolution": {"noise_mode": "random"}},
    ],
)
def test_a_loaded_generator_has_a_source_of_random_numbers(options: dict[str, Any]) -> None:
    """What renders a finished run loads its generator and draws nothing itself."""
    given = merge(TINY, {**options, "random_weights": True})
    seen = []
    for _ in range(2):
        generator = load_generator("eg3d", given)
        assert isinstance(generator, EG3D)
        with torch.no_grad():
            for name, parameter in generator.named_parameters():
                if name.endswith("noise_strength"):
                    parameter.fill_(0.5)
            scene = generator.synthesize(latents(1, generator))
            seen.append(generator.render(scene, views(1, generator)).require("image"))
            again = generator.render(generator.synthesize(scene.ws), views(1, generator))
        assert not torch.equal(again.require("image"), seen[-1])
    assert torch.equal(*seen)
