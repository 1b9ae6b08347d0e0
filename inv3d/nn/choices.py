"""Choices that options name; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Sampling = Literal["deterministic", "stochastic"]
