"""PanoHead against the reference, number by number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.scene import Rendering
from inv3d.nn.volume import coarse_depths, compositing_weights, importance_depths
from tests.eg3d_cases import ALL_OUTPUTS
from tests.golden_cases import GoldenCase, relative_error
from tests.golden_images import EARLY, GRADIENTS, VALUES, check, check_depth
from tests.panohead_cases import CASES, Rendered, build, rendered


@pytest.fixture(params=CASES)
def run(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


@pytest.fixture
def head() -> Rendered:
    return rendered("panohead_head128_d3")


def official_mask(opacity: Tensor) -> Tensor:
    """The reference widens its opacity as a sigmoid's colours; ours stays in [0, 1]."""
    return opacity * 1.002 - 0.001


def check_all(case: GoldenCase, seen: Rendering, prefix: str = "") -> None:
    mask = seen.require("mask")
    check(case, f"{prefix}image_raw", seen.require("raw"))
    check(case, f"{prefix}image", seen.require("image"))
    check(case, f"{prefix}image_mask", official_mask(mask))
    check_depth(case, f"{prefix}image_depth", seen.require("depth"), mask)


def test_mapping(run: Rendered) -> None:
    case, z = run.case, run.case.given("z")
    camera = Camera.from_labels(case.given("c_cond"))
    with torch.no_grad():
        for psi, name in ((1.0, "ws_psi1_cond_row0"), (0.7, "ws_psi07_cond_row0")):
            ws = run.generator.map(z, camera, psi)
            assert ws.shape == (2, case.facts["num_ws"], 512)
            assert relative_error(ws[:, :1], case.expected(name)) < EARLY
            assert relative_error(ws[:, -1:], case.expected(name)) < EARLY
        ws = run.generator.map(z, camera, 0.7, cutoff=4)
    assert relative_error(ws[:, 3:5], case.expected("ws_psi07_cut4_cond")) < EARLY


def test_camera_shift(run: Rendered) -> None:
    case, z, camera = run.case, run.case.given("z"), Camera.from_labels(run.case.given("c"))
    with torch.no_grad():
        shifted = run.generator.shift(z, camera)
        truncated = run.generator.shift(z, camera, 0.7)
    for found, name in ((shifted, "delta_c"), (truncated, "delta_c_psi07")):
        assert relative_error(found.position - camera.position, case.expected(name)) < EARLY
    assert relative_error(shifted.labels(), case.expected("c_shifted")) < EARLY


def test_planes(run: Rendered) -> None:
    case, planes = run.case, run.scene.parts["planes"].flatten(1, 3)
    assert relative_error(planes.mean(dim=(2, 3)), case.expected("planes_mean")) < EARLY
    assert relative_error(planes.std(dim=(2, 3)), case.expected("planes_std")) < EARLY
    if "out.planes_sub8" in case.tensors:
        found, expected = planes[:, :, 2::8, 4::8], case.expected("planes_sub8")
    else:
        found, expected = planes[:, :, 1::4, 2::4], case.expected("planes_sub4")
    assert relative_error(found, expected) < EARLY


def test_points(run: Rendered) -> None:
    case, generator, points = run.case, run.generator, run.case.given("points")
    with torch.no_grad():
        raw, colour = generator.field(run.scene, crop=False)(points, True)
        assert colour is not None
        assert relative_error(raw[..., None], case.expected("sample_mixed.sigma")) < EARLY
        assert relative_error(colour[:, ::4], case.expected("sample_mixed.rgb_sub4")) < EARLY
        camera = Camera.from_labels(case.given("c_cond"))
        scene = generator.synthesize(generator.map(case.given("z"), camera, 0.7))
        raw, _ = generator.field(scene, crop=False)(points, False)
        assert relative_error(raw[..., None], case.expected("sample.sigma")) < EARLY


def test_samples_along_rays(run: Rendered) -> None:
    """Every step of the renderer on the rays that the file shows in full."""
    case, generator = run.case, run.generator
    index = case.expected("probe_rays").long()
    origins, directions = Camera.from_labels(case.given("c")).rays(generator.spec.render_resolution)
    rays = generator.rays(origins[:, index], directions[:, index], scenes=2)
    depths = coarse_depths(rays, generator.march).expand(2, len(index), -1)
    assert relative_error(depths[..., None], case.expected("probe_depths_coarse")) < EARLY
    points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
    with torch.no_grad():
        raw, _ = generator.field(run.scene)(points.flatten(1, 2), False)
    raw = raw.reshape(depths.shape)
    # The margin is compared exactly: on its scale any density would do.
    expected = case.expected("probe_sigma_coarse")[..., 0]
    margin = expected == -1000
    assert margin.any() and torch.equal(raw == -1000, margin)
    assert relative_error(raw[~margin], expected[~margin]) < VALUES
    weights = compositing_weights(raw, depths, generator.march)
    assert relative_error(weights[..., None], case.expected("probe_weights_coarse")) < VALUES
    fine = importance_depths(depths, weights, rays.positions)
    both = torch.cat([depths, fine], dim=-1).sort(dim=-1).values
    assert relative_error(both[..., None], case.expected("probe_depths_all")) < VALUES
    opacity = run.rendering.require("mask").flatten(1)[:, index]
    assert relative_error(opacity[..., None], case.expected("probe_weight_total")) < VALUES


def test_images(run: Rendered) -> None:
    check_all(run.case, run.rendering)
    check(run.case, "feature", run.rendering.require("features"))


def test_background(head: Rendered) -> None:
    check(head.case, "background_feature", head.scene.parts["background"])
    with torch.no_grad():
        scene = head.generator.synthesize(head.scene.ws, head.case.given("ws_bcg"))
        camera = Camera.from_labels(head.case.given("c"))
        seen = head.generator.render(scene, camera, outputs=ALL_OUTPUTS)
    check(head.case, "bcg.background_feature", scene.parts["background"])
    check_all(head.case, seen, "bcg.")


def test_from_z_to_the_picture_of_a_shifted_camera(run: Rendered) -> None:
    case, generator, z = run.case, run.generator, run.case.given("z")
    camera = Camera.from_labels(case.given("c"))
    with torch.no_grad():
        scene = generator.synthesize(generator.map(z, camera, 0.8))
        shifted = generator.shift(z, camera, 0.8)
        seen = generator.render(scene, shifted, outputs=("raw", "depth", "mask"))
    check(case, "forward.image_raw", seen.require("raw"))
    check_depth(case, "forward.image_depth", seen.require("depth"), seen.require("mask"))


@pytest.mark.parametrize("variant", ["coarse_only", "down_aa"])
def test_variants(variant: str) -> None:
    run = rendered("panohead_plain128_d1")
    (facts,) = [v for v in run.case.facts["variants"] if v["name"] == variant]
    changes = {"neural_rendering_resolution": facts["nrr"]} if "nrr" in facts else {}
    generator = build(run.case, rendering=facts.get("rendering_kwargs", {}), **changes)
    with torch.no_grad():
        camera = Camera.from_labels(run.case.given("c"))
        seen = generator.render(run.scene, camera, outputs=ALL_OUTPUTS)
    check_all(run.case, seen, f"{variant}.")


def test_gradients(head: Rendered) -> None:
    ws = head.case.given("ws_plus").clone().requires_grad_()
    labels = head.case.given("c").clone().requires_grad_()
    seen = head.generator.render(
        head.generator.synthesize(ws), Camera.from_labels(labels), outputs=("image", "mask")
    )
    loss = seen.require("image").square().mean() + official_mask(seen.require("mask")).mean()
    loss.backward()
    assert ws.grad is not None and labels.grad is not None
    assert relative_error(loss.detach(), head.case.expected("grad.loss")) < VALUES
    assert relative_error(ws.grad, head.case.expected("grad.ws")) < GRADIENTS
    assert relative_error(labels.grad, head.case.expected("grad.c")) < GRADIENTS
