"""The processes that train together: started by `torchrun`, or a single one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from inv3d.core.device import resolve_device
from inv3d.core.errors import ConfigError

# processes wait so long for one that evaluates, or stands still
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Team:
    """Which of the processes this one is.

    Attributes:
        rank: its number; 0 writes and shows.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the processes, in one exchange for each type."""
        if self.size == 1:
            return
        for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == kind]
            flat = torch.cat([tensor.flatten() for tensor in same])
            distributed.all_reduce(flat)
            flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes; gradients are summed over them too."""
        return tensor if self.size == 1 else _Sum.apply(tensor)


class _Sum(torch.autograd.Function):
    """A sum over processes, of which each one's gradient reaches all."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def own_device(name: str) -> torch.device:
    """Return the device of this process by the name that a user gave.

    Several processes of a machine take a GPU each, unless one is named by its number.

    Raises:
        ConfigError: where the name means nothing or the machine has no such device.
    """
    device, local = resolve_device(name), os.environ.get("LOCAL_RANK", "0")
    if device.type == "cuda" and ":" not in name and local.isdecimal():
        return resolve_device(f"cuda:{local}")
    return device


def join_team(device: torch.device) -> Team:
    """Meet the other processes, where `torchrun` or `accelerate launch` started several.

    Args:
        device: of this process; CPUs exchange by gloo, GPUs by nccl.

    Raises:
        ConfigError: where the variables that name the processes are no numbers.
    """
    try:
        size, rank = (int(os.environ.get(n, d)) for n, d in (("WORLD_SIZE", "1"), ("RANK", "0")))
    except ValueError:
        raise ConfigError(
            "WORLD_SIZE and RANK must be whole numbers; start several processes with torchrun"
        ) from None
    if size > 1 and not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
    return Team(rank, size)


def leave_team(team: Team) -> None:
    """Let go of the other processes."""
    if team.size > 1 and distributed.is_initialized():
        distributed.destroy_process_group()
