"""Latents whose rows are mapped from a z of their own (Z+)."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.generator import Generator, neutral_condition


def map_rows(generator: Generator, z: Tensor, truncation: float = 1.0) -> Tensor:
    """Return latents [N, num_ws, w_dim] whose rows are mapped each by itself.

    The dual encoder's ablations encode pictures to z, truncated at 0.85.

    Args:
        generator: whose neutral condition, mostly its frontal camera, is taken.
        z: [N, num_ws, z_dim].
        truncation: 1 keeps w, 0 gives the mean w.
    """
    count, rows, _ = z.shape
    condition = neutral_condition(generator, count * rows)
    ws = generator.map(z.flatten(0, 1), condition, truncation)
    each = ws.reshape(count, rows, rows, -1)
    return each.diagonal(dim1=1, dim2=2).transpose(1, 2)


@torch.no_grad()
def independent_latents(generator: Generator, count: int, rng: torch.Generator) -> Tensor:
    """Return random latents [count, num_ws, w_dim] of Z+.

    Scenes of them are what the dual encoder's discriminator takes for real.

    Args:
        generator: see `map_rows`.
        count: how many.
        rng: draws, on the CPU.
    """
    spec = generator.spec
    z = torch.randn(count, spec.num_ws, spec.z_dim, generator=rng)
    return map_rows(generator, z.to(generator.device, generator.dtype))
