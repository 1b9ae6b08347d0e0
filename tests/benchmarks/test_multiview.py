"""The reference step computes what ours computes, and the benchmark says what it found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import multiview
from benchmarks.reference import Upsampling
from benchmarks.steps import (
    STAGES,
    Agreement,
    Case,
    OurStep,
    StageName,
    compare,
    make_problem,
    peak_bytes,
    reference_network,
    reference_step,
)
from inv3d.core.config import merge
from inv3d.core.errors import ConfigError, WeightsError
from inv3d.core.fit.stages import trainable

CPU = torch.device("cpu")
LOSSES = {"mse": 1.0, "l1": 1.0}
EG3D: dict[str, Any] = {
    "random_weights": True,
    "z_dim": 8,
    "w_dim": 8,
    "channel_base": 128,
    "channel_max": 16,
    "plane_resolution": 16,
    "plane_channels": 4,
    "decoder_hidden": 8,
    "decoder_channels": 6,
    "neural_rendering_resolution": 8,
    "img_resolution": 32,
    "rendering": {"depth_resolution": 6, "depth_resolution_importance": 6},
    "superresolution": {"module": "2X", "channels": (8, 4), "input_resolution": 16},
}
# what the embedded generator uses of the architecture
HEAD = merge(
    EG3D,
    {
        "use_noise": False,
        "constant_maps": True,
        "plane_axes": "corrected",
        "rendering": {
            "coarse": "guide",
            "white_back": True,
            "density_gain": 2.0,
            "density_scale": 40.0,
        },
    },
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads only get into each other's way where tensors are this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_case(options: dict[str, Any], dtype: torch.dtype = torch.float32) -> Case:
    generator = multiview.build_generator("eg3d", options).to(dtype)
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        for parameter in generator.parameters():  # noise strengths and maps begin at zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return Case("tiny", generator, LOSSES, None, "a tiny network")


def agreement(
    case: Case, stage: StageName, views: int, chunk: int | None, upsampling: Upsampling
) -> Agreement:
    problem = make_problem(case, stage, views, CPU)
    network = reference_network(problem.generator, upsampling)
    with trainable(problem.variables):
        return compare(problem, OurStep(problem, chunk), reference_step(problem, network))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("options", [EG3D, HEAD], ids=["eg3d", "minihead"])
@pytest.mark.parametrize(
    ("chunk", "upsampling"), [(None, "transposed"), (2, "zeros")], ids=["whole", "chunked"]
)
def test_both_ways_compute_the_same(
    options: dict[str, Any], stage: StageName, chunk: int | None, upsampling: Upsampling
) -> None:
    found = agreement(tiny_case(options, torch.float64), stage, 3, chunk, upsampling)
    # losses are read back in single precision
    assert found.loss < 2e-7
    assert found.tensor < 1e-7, found


@pytest.mark.parametrize("stage", STAGES)
def test_both_ways_agree_in_single_precision(stage: StageName) -> None:
    found = agreement(tiny_case(EG3D), stage, 2, None, "transposed")
    assert found.ok, found


def test_larger_features_are_shrunk_alike() -> None:
    options = merge(EG3D, {"neural_rendering_resolution": 24, "superresolution": {"module": "8X"}})
    case = tiny_case(merge(options, {"img_resolution": 64}), torch.float64)
    assert agreement(case, "tuning", 1, None, "transposed").tensor < 1e-7


def test_a_wrong_result_is_told() -> None:
    case = tiny_case(EG3D)
    problem = make_problem(case, "w+", 1, CPU)
    network = reference_network(problem.generator)
    with trainable(problem.variables):
        reference = reference_step(problem, network)
        reference.camera = problem.generator.spec.camera.orbit(torch.tensor([0.3]))
        found = compare(problem, OurStep(problem), reference)
    assert not found.ok


def test_options_of_the_product_alone_are_refused() -> None:
    case = tiny_case(merge(EG3D, {"rendering": {"ray_start": "auto", "ray_end": "auto"}}))
    with pytest.raises(ConfigError, match="ray_start=auto"):
        reference_network(case.generator)


def test_peak_counts_what_is_held_at_a_time() -> None:
    def step() -> dict[str, float]:
        kept = torch.ones(1 << 20)
        for _ in range(5):
            kept = kept + torch.ones(1 << 20)
        return {"total": float(kept[0])}

    # at most three of 4 MiB live at the same time
    assert 12 << 20 <= peak_bytes(step, CPU) < 13 << 20


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    def missing(rays: int) -> Case:
        raise WeightsError("minihead.safetensors: no such file")

    cases = {"full": lambda rays: tiny_case(EG3D), "minihead": missing}
    monkeypatch.setattr(multiview, "CASES", cases)
    fixed = ["--repeats", "1", "--device", "cpu", "--threads", "1"]
    result = CliRunner().invoke(multiview.main, [*fixed, *options])
    assert result.exit_code == 0, result.output
    return result


def test_tables_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    result = run(monkeypatch, "--views", "2,1", "--out", str(file))
    assert "speed-up" in result.stdout and "DIFFERENT" not in result.stdout
    assert "minihead: not measured: minihead.safetensors: no such file" in result.stdout
    assert "2 views take" in result.stdout
    assert "tiny w+ 1" in result.stderr
    assert result.stdout.count("every gradient agrees") == len(STAGES)
    report = json.loads(file.read_text())
    assert [(s["stage"], s["views"]) for s in report["steps"]] == [
        (stage, views) for stage in STAGES for views in (1, 2)
    ]
    assert all(s["agrees"] and s["ratio_min"] <= s["ratio_max"] for s in report["steps"])
    # each stage: ours for every number of views, the reference for the fewest
    assert len(report["memory"]) == len(STAGES) * 3
    assert all(0 < g["ratio"] < 2 for g in report["growth"])


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads(
        run(monkeypatch, "--views", "1", "--no-memory", "--no-exact", "--json").stdout
    )
    assert [step["views"] for step in report["steps"]] == [1, 1]
    assert report["memory"] == report["exact"] == []


def test_wrong_views() -> None:
    result = CliRunner().invoke(multiview.main, ["--views", "1,x"])
    assert result.exit_code == 2 and "1,x" in result.output
