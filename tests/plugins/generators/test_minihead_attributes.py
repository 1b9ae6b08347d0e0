"""What the embedded generator says of its latents is what the tools draw from them."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.generator import load_generator
from inv3d.plugins.generators.minihead_attributes import known_attributes
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tools.minihead.layout import Z_DIM
from tools.minihead.params import expression, identity_params

# attribute -> parameter of the tools
DRAWN = {
    "smile": "smile",
    "open_mouth": "jaw",
    "closed_eyes": "blink",
    "raised_brows": "brow_raise",
    "frown": "frown",
    "pucker": "pucker",
    "age": "age",
    "feminine": "gender",
    "weight": "weight",
    "dark_skin": "melanin",
    "beard": "beard",
    "full_lips": "lips",
    "heavy_brows": "brow",
    "hair_length": "long",
    "hair_volume": "volume",
    "grey_hair": "grey",
    "bald": "bald",
}


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return torch.randn(4000, Z_DIM, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("attribute", DRAWN)
def test_more_of_it_is_more_of_what_is_drawn(z: torch.Tensor, attribute: str) -> None:
    drawn = (identity_params(z) | expression(z))[DRAWN[attribute]]
    ranks = [v.argsort().argsort().double() for v in (known_attributes(z)[attribute], drawn)]
    # where a parameter is limited or often zero, ranks among equals are chance
    free = (drawn > drawn.min()) & (drawn < drawn.max())
    together = torch.corrcoef(torch.stack([r[free] for r in ranks]))[0, 1]
    assert float(together) > 0.75


def test_of_other_layouts_nothing_is_known() -> None:
    assert known_attributes(torch.zeros(2, 50)) == {}
    assert ToyGenerator(ToyConfig()).attributes(torch.zeros(2, 8)) == {}


def test_the_embedded_generator_knows_its_own() -> None:
    generator = load_generator("minihead")
    found = generator.attributes(torch.randn(3, generator.spec.z_dim))
    assert set(DRAWN) <= set(found) and all(v.shape == (3,) for v in found.values())
