"""Reading the golden cases of the reference networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"


def facts_of(name: str) -> dict[str, Any]:
    """What a file says of its network."""
    facts: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return facts


class GoldenCase:
    """Facts, weights, inputs and expected outputs of one network."""

    def __init__(self, name: str) -> None:
        self.facts = facts_of(name)
        self.tensors = {
            k: v.float() if v.is_floating_point() and v.dtype == torch.float16 else v
            for k, v in load_file(FOLDER / f"{name}.safetensors").items()
        }

    def weights(self) -> dict[str, Tensor]:
        """The state dict."""
        start = "weights."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}

    def given(self, name: str) -> Tensor:
        """An input."""
        return self.tensors[f"in.{name}"]

    def expected(self, name: str) -> Tensor:
        """An output of the reference."""
        return self.tensors[f"out.{name}"]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference divided by the largest expected value."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float((found - expected).abs().max() / expected.abs().max())
