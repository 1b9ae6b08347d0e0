"""The options of a tri-plane generator that change how it computes, not what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from inv3d.core.config import PluginConfig
from inv3d.nn.choices import Precision, Sampling

# options are checked before torch is imported
if TYPE_CHECKING:
    from inv3d.nn.eg3d.generator import TriplaneGenerator


class ComputeOptions(PluginConfig):
    """Sampling, memory and precision."""

    sampling: Sampling = Field(
        default="deterministic",
        description="deterministic: bin centres (no noise under depth); stochastic: as in training",
    )
    memory_budget_mb: int = Field(
        default=2048, ge=1, description="MiB that one chunk of rays or views may take, roughly"
    )
    checkpoint: bool = Field(
        default=False, description="recompute chunks in the backward pass: less memory, more time"
    )
    precision: Precision = Field(
        default="fp32",
        description="of the convolutions in backbone and super-resolution; all else is fp32. tf32: "
        "of all its convolutions and of the decoder, on CUDA",
    )
    triton: bool = Field(
        default=True,
        description="on an NVIDIA GPU, use programs that Triton compiles there, if a trial finds "
        "the same as PyTorch",
    )
    winograd: bool = Field(
        default=True,
        description="convolve wide maps by Winograd's algorithm, on CPUs, and in fp32 on NVIDIA "
        "GPUs: faster, a little less exact",
    )

    def apply(self, generator: TriplaneGenerator) -> None:
        """Let a generator compute as these options say."""
        generator.sampling = self.sampling
        generator.memory_budget = self.memory_budget_mb << 20
        generator.checkpoint = self.checkpoint
        generator.precision = self.precision
        generator.triton = self.triton
        generator.winograd = self.winograd
