"""EG3D against the reference, number by number."""

from __future__ import annotations

import re

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.nn.superresolution import Superresolution
from tests.eg3d_cases import CASES, build, changes_of
from tests.golden_cases import GoldenCase, relative_error
from tests.golden_generators import Rendered, check_gradients, check_samples_along_rays, rendered
from tests.golden_images import ALL_OUTPUTS, EARLY, VALUES, check, check_pictures

VARIANTS = [
    (name, variant["name"]) for name in CASES for variant in GoldenCase(name).facts["variants"]
]


@pytest.fixture(params=CASES)
def run(request: pytest.FixtureRequest) -> Rendered:
    return rendered(build, request.param)


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
    rays = check_samples_along_rays(run)
    assert relative_error(rays.origins, run.case.expected("probe_origins")) < EARLY
    assert relative_error(rays.directions, run.case.expected("probe_directions")) < EARLY


def test_images(run: Rendered) -> None:
    check_pictures(run.case, run.rendering)
    check(run.case, "feature", run.rendering.require("features"))


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_variants(name: str, variant: str) -> None:
    run = rendered(build, name)
    case = run.case
    (facts,) = [v for v in case.facts["variants"] if v["name"] == variant]
    generator = build(case, **changes_of(facts))
    camera = Camera.from_labels(case.tensors[facts.get("c_key", "in.c")])
    with torch.no_grad():
        seen = generator.render(run.scene, camera, outputs=ALL_OUTPUTS)
    mask = seen.require("mask")
    total = case.expected(f"{variant}.probe_weight_total")
    step = mask[0].numel() // total.shape[1]
    assert relative_error(mask.flatten(1)[:, ::step, None][:, : total.shape[1]], total) < VALUES
    raw = "image_raw_clean" if variant == "native64" else "image_raw"
    check_pictures(case, seen, f"{variant}.", raw)


def test_raw_image_that_the_reference_overwrites() -> None:
    """At its native 64 pixels the reference adds its first block's image to the raw one."""
    run = rendered(build, "eg3d_shapenet128_2x")
    (facts,) = [v for v in run.case.facts["variants"] if v["name"] == "native64"]
    generator = build(run.case, **changes_of(facts))
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
    run = rendered(build, "eg3d_afhq256_4x")
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
    check_gradients(
        rendered(build, name), ("image",), lambda seen: seen.require("image").square().mean()
    )
