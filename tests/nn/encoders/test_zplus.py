from __future__ import annotations

import pytest
import torch

from inv3d.core.generator import neutral_condition
from inv3d.nn.encoders.zplus import independent_latents, map_rows
from inv3d.plugins.generators.eg3d.generator import EG3D
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.tiny_generators import tiny


@pytest.fixture(params=["eg3d", "toy"])
def generator(request):
    return tiny(EG3D) if request.param == "eg3d" else ToyGenerator(ToyConfig())


@pytest.mark.parametrize("truncation", [1.0, 0.85])
def test_every_row_has_a_z_of_its_own(generator, truncation):
    spec = generator.spec
    z = torch.randn(2, spec.num_ws, spec.z_dim, requires_grad=True)
    found = map_rows(generator, z, truncation)
    assert found.shape == (2, spec.num_ws, spec.w_dim)
    for row in range(spec.num_ws):
        alone = generator.map(z[1:, row], neutral_condition(generator), truncation)
        torch.testing.assert_close(found[1:, row], alone[:, row])
    found[0, 0].sum().backward()
    touched = z.grad.abs().sum(2) > 0
    assert touched[0, 0] and int(touched.sum()) == 1


def test_random_latents_are_drawn_for_every_row(generator):
    spec = generator.spec
    found = independent_latents(generator, 2, torch.Generator().manual_seed(17))
    rng = torch.Generator().manual_seed(17)
    z = torch.randn(2, spec.num_ws, spec.z_dim, generator=rng)
    torch.testing.assert_close(found, map_rows(generator, z))
    assert not torch.allclose(found[0, 0], found[0, 1]) and not found.requires_grad
