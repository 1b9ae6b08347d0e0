"""What launching Triton's programs takes: how many of them, of what size, where."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on(tensor: Tensor) -> AbstractContextManager[None]:
    """Where programs are launched; elsewhere than on a GPU only Triton's interpreter takes them."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def tiles(count: int, size: int) -> int:
    """Tiles of a size that cover a number of things."""
    return -(-count // size)


def block(count: int) -> int:
    """The size of a block that holds a dimension: a power of two; products want 16 at least."""
    return max(16, 1 << (count - 1).bit_length())
