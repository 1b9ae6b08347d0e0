"""EG3D against the reference, number by number."""

from __future__ import annotations

import re

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.nn.superresolution import Superresolution
from inv3d.nn.volume import coarse_depths, compositing_weights, importance_depths
from tests.eg3d_cases import ALL_OUTPUTS, CASES, Rendered, build, build_variant, rendered
from tests.golden_cases import GoldenCase, relative_error
from tests.golden_images import EARLY, GRADIENTS, VALUES, check, check_depth

VARIANTS = [
    (name, variant["name"]) for name in CASES for variant in GoldenCase(name).facts["variants"]
]


@pytest.fixture(params=CASES)
def run(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


def test_mapping(run: Rendered) -> None:
    case, z = run.case, run.case.given("z")
    ignored = run.generator.architecture.c_gen_conditioning_zero
    camera = Camera.from_labels(case.given("c_cond"))
    with torch.no_grad():
        for psi, text in ((1.0, "1"), (0.7, "07")):
            blind = run.generator.map(z, None, psi)
            seeing = run.generator.map(z, camera, psi)
            assert blind.shape == (2, run.generator.spec.num_ws, 512)
            expected = case.expected(f"ws_psi{text}_nocond_row0")
            assert relative_error(blind[:, :1], expected) < EARLY
            assert relative_error(blind[:, -1:], expected) < EARLY
            if ignored:
                assert torch.equal(blind, seeing)
            else:
                expected = case.expected(f"ws_psi{text}_cond_row0")
                assert relative_error(seeing[:, :1], expected) < EARLY


def test_truncation_cutoff(run: Rendered) -> None:
    case = run.case
    (key,) = [k for k in case.tensors if "_cut" in k]
    cutoff = int(re.findall(r"_cut(\d+)_", key)[0])
    camera = Camera.from_labels(case.given("c_cond"))
    generator = build(case, c_gen_conditioning_zero=False)
    with torch.no_grad():
        ws = generator.map(case.given("z"), camera, 0.7, cutoff=cutoff)
    assert relative_error(ws[:, cutoff - 1 : cutoff + 1], case.tensors[key]) < EARLY


def test_planes(run: Rendered) -> None:
    case, planes = run.case, run.scene.parts["planes"].flatten(1, 2)
    assert relative_error(planes[:, :, 5::32, 9::32], case.expected("planes_sub32")) < EARLY
    crop = planes[:, :, 124:130, 60:66]
    assert relative_error(crop, case.expected("planes_crop")) < EARLY
    assert relative_error(planes.mean(dim=(2, 3)), case.expected("planes_mean")) < EARLY
    assert relative_error(planes.std(dim=(2, 3)), case.expected("planes_std")) < EARLY


def test_points(run: Rendered) -> None:
    case, generator, points = run.case, run.generator, run.case.given("points")
    with torch.no_grad():
        raw, colour = generator.field(run.scene)(points, True)
        assert colour is not None
        assert relative_error(raw[..., None], case.expected("sample_mixed.sigma")) < EARLY
        assert relative_error(colour[:, ::4], case.expected("sample_mixed.rgb_sub4")) < EARLY
        density, rgb = generator.sample(run.scene, points)
        torch.testing.assert_close(density, torch.nn.functional.softplus(raw - 1))
        assert torch.equal(rgb, colour[..., :3].clamp(0, 1))
        camera = Camera.from_labels(case.given("c_cond"))
        scene = generator.synthesize(generator.map(case.given("z"), camera, 0.7))
        raw, colour = generator.field(scene)(points, True)
        assert colour is not None
        assert relative_error(raw[..., None], case.expected("sample.sigma")) < EARLY
        assert relative_error(colour[..., :4], case.expected("sample.rgb_first4")) < EARLY


def test_samples_along_rays(run: Rendered) -> None:
    """Every step of the renderer on the rays that the file shows in full."""
    case, generator = run.case, run.generator
    index = case.expected("probe_rays").long()
    size = generator.spec.render_resolution
    origins, directions = Camera.from_labels(case.given("c")).rays(size)
    rays = generator.rays(origins[:, index], directions[:, index], scenes=2)
    assert relative_error(rays.origins, case.expected("probe_origins")) < EARLY
    assert relative_error(rays.directions, case.expected("probe_directions")) < EARLY
    depths = coarse_depths(rays, generator.march).expand(2, len(index), -1)
    assert relative_error(depths[..., None], case.expected("probe_depths_coarse")) < EARLY
    points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
    with torch.no_grad():
        raw, colour = generator.field(run.scene)(points.flatten(1, 2), False)
    assert colour is None
    raw = raw.reshape(depths.shape)
    assert relative_error(raw[..., None], case.expected("probe_sigma_coarse")) < VALUES
    weights = compositing_weights(raw, depths, generator.march)
    assert relative_error(weights[..., None], case.expected("probe_weights_coarse")) < VALUES
    fine = importance_depths(depths, weights, rays.positions)
    both = torch.cat([depths, fine], dim=-1).sort(dim=-1).values
    assert relative_error(both[..., None], case.expected("probe_depths_all")) < VALUES
    opacity = run.rendering.require("mask").flatten(1)[:, index]
    assert relative_error(opacity[..., None], case.expected("probe_weight_total")) < VALUES


def test_images(run: Rendered) -> None:
    case, seen = run.case, run.rendering
    check(case, "image_raw", seen.require("raw"))
    check(case, "feature", seen.require("features"))
    check(case, "image", seen.require("image"))
    check_depth(case, "image_depth", seen.require("depth"), seen.require("mask"))


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_variants(name: str, variant: str) -> None:
    run = rendered(name)
    case = run.case
    (facts,) = [v for v in case.facts["variants"] if v["name"] == variant]
    generator = build_variant(case, facts)
    camera = Camera.from_labels(case.tensors[facts.get("c_key", "in.c")])
    with torch.no_grad():
        seen = generator.render(run.scene, camera, outputs=ALL_OUTPUTS)
    mask = seen.require("mask")
    total = case.expected(f"{variant}.probe_weight_total")
    step = mask[0].numel() // total.shape[1]
    assert relative_error(mask.flatten(1)[:, ::step, None][:, : total.shape[1]], total) < VALUES
    raw = "image_raw_clean" if variant == "native64" else "image_raw"
    check(case, f"{variant}.{raw}", seen.require("raw"))
    check(case, f"{variant}.image", seen.require("image"))
    check_depth(case, f"{variant}.image_depth", seen.require("depth"), mask)


def test_raw_image_that_the_reference_overwrites() -> None:
    """At its native 64 pixels the reference adds its first block's image to the raw one."""
    run = rendered("eg3d_shapenet128_2x")
    (facts,) = [v for v in run.case.facts["variants"] if v["name"] == "native64"]
    generator = build_variant(run.case, facts)
    camera = Camera.from_labels(run.case.given("c"))
    with torch.no_grad():
        seen = generator.render(run.scene, camera, outputs=("raw", "features"))
        features, raw = seen.require("features"), seen.require("raw")
        w = run.scene.ws[:, -1]
        _, overwritten = generator.superresolution.block0(features, raw, (w, w, w), "none")
    check(run.case, "native64.image_raw", overwritten)
    assert relative_error(overwritten, raw) > 0.01


@pytest.mark.parametrize(("name", "prefix"), [("Deepfp32", "deepfp32"), ("8X", "sr8x")])
def test_other_superresolution_modules(name: str, prefix: str) -> None:
    run = rendered("eg3d_afhq256_4x")
    module = Superresolution(name, 32, 512)
    start = "superresolution."
    weights = {
        n[len(start) :]: t for n, t in run.generator.state_dict().items() if n.startswith(start)
    }
    own = module.state_dict()
    fitting = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
    # Without noise, noise maps of another size don't matter.
    rest = {n for n in own if n not in fitting}
    assert all(n.endswith("noise_const") for n in rest)
    module.load_state_dict(fitting, strict=False)
    noise = "none" if name == "8X" else "const"
    with torch.no_grad():
        image = module(run.rendering.require("features"), run.scene.ws[:, -1], noise)
    check(run.case, f"{prefix}.image", image)


@pytest.mark.parametrize("name", ["eg3d_shapenet128_2x", "eg3d_ffhq128_disparity"])
def test_gradients(name: str) -> None:
    run = rendered(name)
    ws = run.case.given("ws_plus").clone().requires_grad_()
    labels = run.case.given("c").clone().requires_grad_()
    scene = run.generator.synthesize(ws)
    image = run.generator.render(scene, Camera.from_labels(labels)).require("image")
    loss = image.square().mean()
    loss.backward()
    assert ws.grad is not None and labels.grad is not None
    assert relative_error(loss.detach(), run.case.expected("grad.loss")) < VALUES
    assert relative_error(ws.grad, run.case.expected("grad.ws")) < GRADIENTS
    assert relative_error(labels.grad, run.case.expected("grad.c")) < GRADIENTS
