"""The memory benchmark: what it measures, its table and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks import memory
from benchmarks.memory import GB, Peak, main, peak_memory, random_loss_weights
from inv3d.core.config import build_config
from inv3d.core.registry.discovery import registry

PEAKS = [Peak("latent", 3.0, 5 * GB), Peak("tuning", 4.0, 7 * GB)]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def measure(*given: Any) -> Iterator[Peak]:
        calls.append(given)
        yield from PEAKS

    monkeypatch.setattr(memory, "measure", measure)
    return calls


def test_within_the_limit(measured: list[tuple[Any, ...]]) -> None:
    result = CliRunner().invoke(main, ["--limit-gb", "7", "--rays", "64", "--views", "3"])
    assert result.exit_code == 0, result.output
    assert "3 views, 1 at a time, 64 x 64 rays, fp32" in result.stdout
    assert "7.00 GB, within the 7 GB of --limit-gb" in result.stderr
    ((options, views, chunk, device, folder),) = measured
    assert (views, chunk, device) == (3, 1, torch.device("cpu")) and not folder.exists()
    assert options["checkpoint"] and options["neural_rendering_resolution"] == 64


def test_above_the_limit() -> None:
    result = CliRunner().invoke(main, ["--limit-gb", "6.5"])
    assert result.exit_code == 1
    assert "Error: 7.00 GB, more than the 6.5 GB of --limit-gb; lower --chunk" in result.stderr


def test_memory_is_counted_in_bytes() -> None:
    block = torch.ones(1 << 25)
    assert block.nbytes < peak_memory(torch.device("cpu")) < 1 << 40


def test_random_weights_fit_the_losses(tmp_path: Path) -> None:
    for name, options in random_loss_weights(tmp_path).items():
        kind = registry().load("losses", name)
        loss = kind.create(build_config(kind.Config, options, f"loss {name}"))
        assert all(bool(p.isfinite().all()) for p in loss.parameters())
