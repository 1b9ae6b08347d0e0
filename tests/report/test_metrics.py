"""Metrics: known answers, the paper's formulas done naively, and honest gaps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from inv3d.core.capture import evenly_by_angle
from inv3d.report import views as view_module
from inv3d.report.metrics import (
    CONSISTENCY_LATENTS,
    CONSISTENCY_VIEWS,
    build_judges,
    compare_images,
    depth_error,
    evaluate,
    latent_distance,
    ms_ssim_window,
    parse_metric,
)
from tests.toy_runs import CPU, Case, flattened, toy_case


def metrics_of(case: Case) -> dict:
    return evaluate(case.generator, case.inversion, case.capture, case.chosen, case.held_out, CPU)


def test_the_true_latent_is_perfect_in_every_metric() -> None:
    metrics = metrics_of(toy_case())
    for group in ("front", "rotation", "chosen", "held_out"):
        values = metrics[group]
        assert values["mse"] < 1e-9
        assert values["psnr"] > 90
        assert values["perceptual"] < 1e-4
        assert values["identity"] == pytest.approx(1, abs=1e-6)
        assert values["depth_error"] < 1e-4


def test_an_error_shows_in_every_metric() -> None:
    metrics = metrics_of(toy_case(error=0.3))
    rotation = metrics["rotation"]
    assert rotation["mse"] > 1e-4
    assert rotation["psnr"] < 50
    assert rotation["perceptual"] > 1e-3
    assert rotation["identity"] < 1 - 1e-4
    assert rotation["depth_error"] > 1e-3


def test_numbers_are_those_of_the_pictures() -> None:
    case = toy_case(error=0.3)
    metrics = metrics_of(case)
    scene = case.generator.synthesize(case.inversion.ws)
    seen = case.generator.render(scene, case.capture.camera).require("image").detach()
    mse = (seen - case.capture.images).square().mean((1, 2, 3))
    frames = metrics["per_frame"]
    np.testing.assert_allclose([f["mse"] for f in frames], mse, rtol=1e-4)
    psnr = [-10 * math.log10(float(m) / 4) for m in mse]
    np.testing.assert_allclose([f["psnr"] for f in frames], psnr, rtol=1e-4)
    assert metrics["front"]["mse"] == pytest.approx(float(mse[3]), rel=1e-4)
    assert metrics["front"]["name"] == case.capture.names[3]
    assert metrics["chosen"]["mse"] == pytest.approx(float(mse[::2].mean()), rel=1e-4)
    assert metrics["held_out"]["mse"] == pytest.approx(float(mse[1::2].mean()), rel=1e-4)
    assert metrics["rotation"]["mse"] == pytest.approx(float(mse.mean()), rel=1e-4)
    assert [f["role"] for f in frames] == ["chosen", "held out"] * 3 + ["chosen"]
    assert [f["yaw_deg"] for f in frames] == pytest.approx([60, 40, 20, 0, -20, -40, -60], abs=1e-3)


@pytest.mark.parametrize("latents", [1, 4])
def test_numbers_do_not_depend_on_the_chunk(latents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy_case(latents=latents, motion=0.5 if latents > 1 else 0.0, error=0.1)
    whole = metrics_of(case)
    monkeypatch.setattr(view_module, "RAYS_AT_ONCE", 2 * 16**2)
    chunked = metrics_of(case)
    for first, second in zip(whole["per_frame"], chunked["per_frame"], strict=True):
        assert first["mse"] == pytest.approx(second["mse"], rel=1e-3)
    assert whole["depth_consistency"] == pytest.approx(chunked["depth_consistency"], rel=1e-4)


def consistency_done_naively(case: Case, viewpoints: list[int]) -> float:
    """Eq. 7-9 with all depth maps kept: latents of every camera seen from some viewpoints."""
    latents = min(CONSISTENCY_LATENTS, len(case.capture))
    places = evenly_by_angle(case.capture.camera.yaw, latents)
    cameras = case.capture.camera[viewpoints]
    depths = []
    for ws in case.inversion.ws_for(case.capture.camera[places]):
        scene = case.generator.synthesize(ws[None])
        depths.append(case.generator.render(scene, cameras, outputs=("depth",)).require("depth"))
    return float(torch.stack(depths).detach().numpy().std(axis=0).mean())


def test_depth_consistency_is_the_papers_formula() -> None:
    case = toy_case(9, latents=5, motion=0.6)
    measured = metrics_of(case)["depth_consistency"]
    assert measured == pytest.approx(consistency_done_naively(case, list(range(9))), rel=1e-5)
    assert measured > 0.001


def test_depth_consistency_of_few_viewpoints_is_close_to_that_of_all() -> None:
    case = toy_case(40, latents=5, motion=0.6)
    metrics = metrics_of(case)
    chosen = evenly_by_angle(case.capture.camera.yaw, CONSISTENCY_VIEWS)
    few = consistency_done_naively(case, chosen)
    everything = consistency_done_naively(case, list(range(40)))
    assert metrics["depth_consistency_views"] == CONSISTENCY_VIEWS
    assert metrics["depth_consistency"] == pytest.approx(few, rel=1e-5)
    assert few == pytest.approx(everything, rel=0.02)


def test_a_camera_that_is_chosen_twice_counts_twice() -> None:
    case = toy_case(latents=4, motion=0.6)
    yaw = torch.tensor([1.0, 0.9, 0.8, 0.0, -0.9, -0.95, -1.0])
    camera = case.generator.spec.camera.orbit(yaw)
    sparse = replace(case, capture=replace(case.capture, cameras=camera))
    assert len(set(evenly_by_angle(yaw, 7))) < 7
    viewpoints = evenly_by_angle(yaw, 7)
    expected = consistency_done_naively(sparse, viewpoints)
    assert metrics_of(sparse)["depth_consistency"] == pytest.approx(expected, rel=1e-5)


def test_equal_latents_are_exactly_consistent() -> None:
    assert metrics_of(toy_case(latents=4))["depth_consistency"] == 0.0


def test_every_frame_is_handed_on_once_as_it_was_measured() -> None:
    case = toy_case(latents=4, motion=0.5, error=0.1)
    handed: dict[int, torch.Tensor] = {}

    def keep(frames: slice, images: torch.Tensor) -> None:
        numbers = range(frames.start, frames.stop)
        assert not set(numbers) & set(handed)
        handed.update(zip(numbers, images, strict=True))

    metrics = evaluate(
        case.generator, case.inversion, case.capture, case.chosen, case.held_out, CPU,
        on_images=keep,
    )  # fmt: skip
    assert sorted(handed) == list(range(7))
    for number, row in enumerate(metrics["per_frame"]):
        mse = (handed[number] - case.capture.images[number]).square().mean()
        assert row["mse"] == pytest.approx(float(mse), rel=1e-4)


def test_one_latent_says_so() -> None:
    metrics = metrics_of(toy_case())
    assert metrics["depth_consistency"] == 0.0
    assert metrics["latent_distance"] is None
    assert "by construction" in metrics["notes"]["depth_consistency"]


def test_latent_distance_is_between_neighbours_by_angle() -> None:
    case = toy_case(latents=4)
    steps = torch.tensor([0.0, 1.0, 3.0, 6.0])
    ws = steps[:, None, None].expand(4, 4, 8) / math.sqrt(32)
    shuffled = [2, 0, 3, 1]
    inversion = replace(case.inversion, ws=ws[shuffled], cameras=case.inversion.cameras[shuffled])
    assert latent_distance(inversion) == pytest.approx(2.0, rel=1e-6)


def test_depth_counts_only_where_a_surface_is_known() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :4] = 2.5
    depth = torch.full((1, 1, 8, 8), 2.6)
    depth[..., 4:] = 99.0
    assert float(depth_error(depth, truth)) == pytest.approx(0.1, rel=1e-5)
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., :4] = 1
    depth[..., 2:4] = 77.0
    assert float(depth_error(depth, truth, masks)) == pytest.approx(0.1, rel=1e-5)


def test_depth_of_two_sizes_is_compared_at_the_smaller() -> None:
    ramp = torch.linspace(2, 3, 16).expand(1, 1, 16, 16)
    small = F.avg_pool2d(ramp, 2)
    assert float(depth_error(small + 0.05, ramp)) == pytest.approx(0.05, rel=1e-4)
    assert float(depth_error(ramp + 0.05, small)) == pytest.approx(0.05, rel=1e-4)


def test_no_known_depth_is_no_number() -> None:
    case = toy_case()
    blind = replace(case.capture, depths=torch.zeros_like(case.capture.depths))
    metrics = metrics_of(replace(case, capture=blind))
    assert metrics["rotation"]["depth_error"] is None
    none = metrics_of(replace(case, capture=replace(case.capture, depths=None)))
    assert none["rotation"]["depth_error"] is None
    assert "no true depth" in none["notes"]["depth_error"]


def test_metrics_that_are_missing_are_null_with_a_reason() -> None:
    judges, notes = build_judges(
        {"perceptual": "no_such_loss", "identity": "arcface?weights=/nowhere.safetensors"}, CPU
    )
    assert not judges
    assert "unknown loss 'no_such_loss'" in notes["perceptual"]
    assert "/nowhere.safetensors" in notes["identity"]
    assert build_judges({}, CPU)[1]["identity"] == "the generator names no such metric"


def test_options_of_a_metric_reach_the_loss() -> None:
    assert parse_metric("headfeat?network=b&x=2") == ("headfeat", {"network": "b", "x": 2})
    assert parse_metric("l1") == ("l1", {})


@pytest.mark.parametrize(
    ("size", "window"), [(512, 11), (256, 11), (161, 11), (128, 7), (64, 3), (33, 3), (32, None)]
)
def test_the_window_of_ms_ssim_fits_the_picture(size: int, window: int | None) -> None:
    assert ms_ssim_window(size) == window
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    value = compare_images(images, images, {}).get("ms_ssim")
    assert (value is None) if window is None else float(value) == pytest.approx(1)


def test_large_pictures_are_compared_at_256() -> None:
    images = torch.zeros(1, 3, 512, 512)
    images[..., ::2] = 1.0
    targets = torch.full((1, 3, 512, 512), 0.5)
    assert float(compare_images(images, targets, {})["mse"]) == pytest.approx(0, abs=1e-10)


def test_too_small_for_ms_ssim_is_said() -> None:
    metrics = metrics_of(toy_case())
    assert metrics["rotation"]["ms_ssim"] is None
    assert "too small" in metrics["notes"]["ms_ssim"]


@pytest.mark.parametrize("latents", [1, 4])
def test_a_generator_without_depth_is_measured_all_the_same(latents: int) -> None:
    case = toy_case(latents=latents, motion=0.4 if latents > 1 else 0.0, error=0.1)
    full, flat = metrics_of(case), metrics_of(flattened(case))
    assert flat["rotation"] == {**full["rotation"], "depth_error": None}
    assert flat["latent_distance"] == full["latent_distance"]
    assert flat["depth_consistency"] is None
    for name in ("depth_error", "depth_consistency"):
        assert flat["notes"][name] == "generator toy makes no depth"
