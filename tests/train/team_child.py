"""One of two processes that train together, for `test_team`: prints what it finds as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from inv3d.core.errors import RunError
from inv3d.train.norms import share_norms
from inv3d.train.team import Team, meeting

SEED = 3


def network(kind: torch.dtype) -> nn.Sequential:
    """Return convolutions with normalisation, always the same."""
    torch.manual_seed(SEED)
    layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 1, 3)
    return nn.Sequential(*layers).to(kind).train()


def pictures() -> Tensor:
    """Return four pictures, of which each of two processes sees two."""
    return torch.randn(4, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def penalty(made: nn.Module, images: Tensor) -> Tensor:
    """Return R1's penalty, whose own gradient is a second derivative."""
    images = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(made(images).sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def norm_of(kind: torch.dtype, team: Team) -> tuple[nn.BatchNorm2d, Tensor]:
    """Return a normalisation, and what it makes of a part of pictures far from 0."""
    norm = nn.BatchNorm2d(2)
    share_norms(norm, team)
    part = pictures()[2 * team.rank :][: 4 // team.size]
    return norm, norm((part + 10).to(kind))


def threads() -> list[str]:
    """Return the names of the threads of this process."""
    return [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]


def main() -> None:
    """Find gradients, statistics, what is left in the end, and what the loss of another says."""
    found: dict[str, object] = {}
    with meeting(torch.device("cpu")) as team:
        made = network(torch.float64)
        share_norms(made, team)
        loss = penalty(made, pictures()[2 * team.rank :][:2])
        parameters = list(made.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        changes = [g for g in gradients if g is not None]
        team.average(changes)
        found["second"] = [g.flatten().tolist() for g in changes]
        norm, normal = norm_of(torch.bfloat16, team)
        assert norm.running_mean is not None and normal.dtype == torch.bfloat16
        found["mean"] = norm.running_mean.tolist()
        torch.optim.Adam(parameters).step()
        team.wait()
    found["threads"] = threads()
    os.environ["MASTER_PORT"] = os.environ["OTHER_PORT"]  # the first may not be free again yet
    try:
        with meeting(torch.device("cpu")) as team:
            team.average([torch.zeros(1)])
            if team.leads:
                raise RunError("its disk is full")
            team.average([torch.zeros(1)])
    except RunError as error:
        found["said"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
