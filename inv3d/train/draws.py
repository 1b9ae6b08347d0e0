"""Seeds as a pure function of what they're for: nothing of a training's order needs to be kept."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*what: int | str) -> int:
    """Return a seed, 0 to 2^63 - 1, that depends on all of some numbers and names."""
    text = " ".join(map(str, what)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def drawer(*what: int | str) -> torch.Generator:
    """Return a random number generator on the CPU that is seeded with `seed_of`."""
    return torch.Generator().manual_seed(seed_of(*what))
