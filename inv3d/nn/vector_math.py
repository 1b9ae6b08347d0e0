"""Vectorised mathematical functions at their full speed."""

from __future__ import annotations

import torch


def wake() -> None:
    """Let softplus, log1p and expm1 take a tenth of the time on processors with AVX-512.

    In a fresh process they're slow until a single -0.0 has gone through them: most likely they
    read a constant, masked, from a page that isn't mapped yet, which the processor mends anew each
    time. Networks and renderers do it when they're imported.
    """
    torch.log1p(torch.tensor([-0.0], device="cpu"))
