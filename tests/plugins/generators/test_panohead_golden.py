"""PanoHead against the reference, number by number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.scene import Rendering
from inv3d.nn.eg3d.generator import TriplaneGenerator
from tests.eg3d_cases import changes_of
from tests.golden_cases import GoldenCase, relative_error
from tests.golden_generators import Rendered, check_gradients, check_samples_along_rays, rendered
from tests.golden_images import ALL_OUTPUTS, EARLY, check, check_depth, check_pictures
from tests.panohead_cases import CASES, build


@pytest.fixture(params=CASES)
def run(request: pytest.FixtureRequest) -> Rendered:
    return rendered(build, request.param)


@pytest.fixture
def head() -> Rendered:
    return rendered(build, "panohead_head128_d3")


def official_mask(opacity: Tensor) -> Tensor:
    """The reference widens its opacity as a sigmoid's colours; ours stays in [0, 1]."""
    return opacity * 1.002 - 0.001


def check_all(case: GoldenCase, seen: Rendering, prefix: str = "") -> None:
    check_pictures(case, seen, prefix)
    check(case, f"{prefix}image_mask", official_mask(seen.require("mask")))


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
        raw, colour = TriplaneGenerator.field(generator, run.scene)(points, True)
        assert colour is not None
        assert relative_error(raw[..., None], case.expected("sample_mixed.sigma")) < EARLY
        assert relative_error(colour[:, ::4], case.expected("sample_mixed.rgb_sub4")) < EARLY
        camera = Camera.from_labels(case.given("c_cond"))
        scene = generator.synthesize(generator.map(case.given("z"), camera, 0.7))
        raw, _ = TriplaneGenerator.field(generator, scene)(points, False)
        assert relative_error(raw[..., None], case.expected("sample.sigma")) < EARLY


def test_samples_along_rays(run: Rendered) -> None:
    check_samples_along_rays(run, margin=True)


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
    run = rendered(build, "panohead_plain128_d1")
    (facts,) = [v for v in run.case.facts["variants"] if v["name"] == variant]
    generator = build(run.case, **changes_of(facts))
    with torch.no_grad():
        camera = Camera.from_labels(run.case.given("c"))
        seen = generator.render(run.scene, camera, outputs=ALL_OUTPUTS)
    check_all(run.case, seen, f"{variant}.")


def test_gradients(head: Rendered) -> None:
    def loss(seen: Rendering) -> Tensor:
        return seen.require("image").square().mean() + official_mask(seen.require("mask")).mean()

    check_gradients(head, ("image", "mask"), loss)
