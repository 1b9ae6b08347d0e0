"""Every value of every option with a closed set of them makes a network that renders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import torch

from inv3d.core.config import merge, nested_model, parse_overrides
from inv3d.nn.superresolution import KINDS, SuperresolutionName
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.minihead import MiniHead
from inv3d.plugins.generators.panohead import PanoHead
from tests.golden_images import ALL_OUTPUTS
from tests.tiny_generators import tiny, views

# what a value needs beside it
WITH: dict[str, dict[str, Any]] = {
    **{f"superresolution.module={n}": {"img_resolution": 8 * KINDS[n].factor} for n in KINDS},
    "rendering.auto_over=batch": {"rendering": {"ray_start": "auto", "ray_end": "auto"}},
    "rendering.auto_over=view": {"rendering": {"ray_start": "auto", "ray_end": "auto"}},
    "background=false": {"background_channels": None},
    "variant=plain": {"background_channels": None},
    "superresolution.antialias=false": {"neural_rendering_resolution": 12},
    "superresolution.antialias=true": {"neural_rendering_resolution": 12},
}
ELSEWHERE = {"random_weights"}  # without them a file must be given


def values_of(config: Any, prefix: str = "") -> Iterator[str]:
    for name, field in config.model_fields.items():
        nested = nested_model(field.annotation)
        if nested is not None:
            yield from values_of(nested, f"{prefix}{name}.")
        elif field.annotation is bool and name not in ELSEWHERE:
            yield from (f"{prefix}{name}={value}" for value in ("false", "true"))
        elif get_origin(field.annotation) is Literal:
            yield from (f"{prefix}{name}={value}" for value in get_args(field.annotation))


CASES = [(kind, value) for kind in (EG3D, PanoHead) for value in values_of(kind.Config)]


@pytest.mark.parametrize(("kind", "value"), CASES, ids=[f"{k.name}-{v}" for k, v in CASES])
def test_every_value_makes_a_network_that_renders(kind: type[EG3D], value: str) -> None:
    generator = tiny(kind, **merge(WITH.get(value, {}), parse_overrides([value])))
    generator.rng = torch.Generator().manual_seed(0)
    z = torch.randn(1, 6, generator=generator.rng)
    scene = generator.synthesize(generator.map(z, generator.spec.camera.front()))
    seen = generator.render(scene, views(2, generator), outputs=ALL_OUTPUTS)
    side = generator.spec.resolution
    assert seen.require("image").shape == (2, 3, side, side)
    assert all(bool(getattr(seen, name).isfinite().all()) for name in ALL_OUTPUTS)


def test_the_closed_sets_are_found() -> None:
    found = {value for _, value in CASES}
    assert WITH.keys() <= found
    assert {f"superresolution.module={name}" for name in get_args(SuperresolutionName)} <= found
    assert {"plane_axes=cyclic", "superresolution.noise_mode=random", "variant=lpff"} <= found


@pytest.mark.parametrize("value", list(values_of(MiniHead.Config)))
def test_every_value_of_the_embedded_ones_options_too(value: str) -> None:
    options = {"render_resolution": 16, "samples": 8, **parse_overrides([value])}
    generator = MiniHead.create(MiniHead.Config(**options))
    generator.rng = torch.Generator().manual_seed(0)
    scene = generator.synthesize(generator.map(torch.zeros(1, generator.spec.z_dim)))
    image = generator.render(scene, generator.spec.camera.front()).require("image")
    assert image.shape == (1, 3, 128, 128) and bool(image.isfinite().all())
