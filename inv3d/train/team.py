"""The processes that train together: started by `torchrun`, or a single one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from inv3d.core.device import resolve_device
from inv3d.core.errors import ConfigError, RunError, first_line

# processes wait so long for one that evaluates, or stands still
_PATIENCE = timedelta(days=7)


class LeftAlone(RunError):
    """Another of the processes that train together has ended."""


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
            _add_up(flat)
            flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Wait until all are here, before any leaves: the first one keeps the addresses of all.

        Raises:
            LeftAlone: where one of them has ended.
        """
        if self.size > 1:
            with _others_there():
                distributed.barrier()

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes; gradients are summed over them too."""
        return tensor if self.size == 1 else _Sum.apply(tensor)


class _Sum(torch.autograd.Function):
    """A sum over processes, of which each one's gradient reaches all."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        _add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradient)  # a sum again, which has a gradient of its own
        return total


def _add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over the processes.

    Raises:
        LeftAlone: where one of them has ended.
    """
    with _others_there():
        distributed.all_reduce(tensor)


@contextlib.contextmanager
def _others_there() -> Iterator[None]:
    """Say in one line that another process has ended, whose own message tells why."""
    try:
        yield
    except RuntimeError as error:
        raise LeftAlone(
            "another of the processes that train together has ended; see its message"
        ) from error


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


@contextlib.contextmanager
def meeting(device: torch.device) -> Iterator[Team]:
    """Meet the other processes, where `torchrun` or `accelerate launch` started several.

    Args:
        device: of this process; CPUs exchange by gloo, GPUs by nccl.

    Yields:
        Which one this is; in the end it leaves.

    Raises:
        ConfigError: where the variables that name the processes are no numbers.
    """
    team = _join(device)
    try:
        yield team
    finally:
        if team.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


def _join(device: torch.device) -> Team:
    try:
        size, rank = (int(os.environ.get(n, d)) for n, d in (("WORLD_SIZE", "1"), ("RANK", "0")))
    except ValueError:
        raise ConfigError(
            "WORLD_SIZE and RANK must be whole numbers; start several processes with torchrun"
        ) from None
    if size > 1 and not distributed.is_initialized():
        # Imported by the first step of an optimiser, it would hold on to the group for good, whose
        # threads then outlive the interpreter and may abort the process as it ends.
        import torch._dynamo

        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        try:
            distributed.init_process_group(backend, timeout=_PATIENCE)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"WORLD_SIZE is {size}, but the processes couldn't meet ({first_line(error)}); "
                "start them with torchrun, or unset WORLD_SIZE"
            ) from error
    return Team(rank, size)
