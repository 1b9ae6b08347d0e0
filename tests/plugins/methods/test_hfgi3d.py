"""HFGI3D on a generator with known answers: its parts, its options, its errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.config import build_config, merge
from inv3d.core.errors import ConfigError, InvError, PluginError, UnsupportedError
from inv3d.core.fit.context import Context
from inv3d.core.fit.terms import LossTerm
from inv3d.core.geometry.masks import blur
from inv3d.core.geometry.normals import facing
from inv3d.core.scene import Rendering
from inv3d.plugins.generators.eg3d.poses import equal_area_orbit
from inv3d.plugins.methods.hfgi3d.config import PRESETS, PathOptions, VisibleOptions
from inv3d.plugins.methods.hfgi3d.final import seen_share
from inv3d.plugins.methods.hfgi3d.method import HFGI3D
from inv3d.plugins.methods.hfgi3d.occluded import difference_map, masked_terms, through, without
from inv3d.plugins.methods.hfgi3d.path import pseudo_cameras
from inv3d.plugins.methods.hfgi3d.pseudo import (
    Surface,
    blend,
    make_pseudo_views,
    surface_depth,
    surface_of,
    visible_mask,
)
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.core.geometry.scenes import picture, sphere_depth
from tests.toy_fits import Fit, Watched, fit, method, same

GENERATOR = ToyGenerator(ToyConfig())
ONE = toy_capture(GENERATOR, 1, seed=5)
LATENT = {"steps": 3, "samples": 50, "pull": 0.0}
QUICK: dict[str, Any] = {
    "coarse": {"latent": LATENT, "tuning": {"steps": 2}},
    "path": {"views": 4},
    "occluded": {"theta": 1.0, "latent": LATENT},
    "final": {"steps": 3},
}


def run(**options: Any) -> Fit:
    return fit("hfgi3d", merge(QUICK, options), ONE, generator=Watched())


# --- cameras


def test_the_default_path_is_that_of_the_official_code_on_a_prior_of_faces() -> None:
    prior = CameraPrior(2.7, 4.2647, (0.0, 0.0, 0.2))
    cameras = pseudo_cameras(prior, prior.front(), PathOptions(), "faces")
    turn = torch.arange(30) * (math.tau / 30)
    expected = equal_area_orbit(
        math.pi / 2 + 0.35 * turn.sin(),
        math.pi / 2 - 0.05 + 0.25 * turn.cos(),
        radius=2.7,
        focal=4.2647,
        pivot=(0.0, 0.0, 0.2),
    )
    torch.testing.assert_close(cameras.labels(), expected.labels(), atol=1e-3, rtol=0)
    for preset in ("official", "paper"):
        exactly = PathOptions(**PRESETS[preset]["path"])
        cameras = pseudo_cameras(prior, prior.front(), exactly, "faces")
        torch.testing.assert_close(cameras.labels(), expected.labels(), atol=2e-6, rtol=0)


def test_the_path_goes_around_the_picture_and_has_its_intrinsics() -> None:
    prior = CameraPrior(2.7, 4.0)
    one = prior.orbit(torch.tensor([0.5]), 0.2)
    camera = Camera(one.cam2world, one.intrinsics * torch.tensor([0.9, 0.9, 1.0])[:, None])
    options = PathOptions(views=8, yaw_deg=10, pitch_deg=5, rise_deg=0, around="input")
    cameras = pseudo_cameras(prior, camera, options, "faces")
    torch.testing.assert_close(cameras.intrinsics, camera.intrinsics.expand(8, -1, -1))
    assert math.degrees(float(cameras.yaw.max()) - 0.5) == pytest.approx(10, abs=1e-3)
    assert float((cameras.pitch.max() + cameras.pitch.min()) / 2) == pytest.approx(0.2, abs=1e-3)
    assert cameras.radius == pytest.approx(2.7)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"yaw_deg": 91.0}, "path.yaw_deg"), ({"pitch_deg": 31.0}, "path.pitch_deg")],
)
def test_a_path_beyond_the_prior_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        run(path=options)
    assert "toy" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("yaw", [165.0, -170.0, 180.0])
def test_a_path_goes_around_the_back_of_a_head_that_is_known_all_around(yaw: float) -> None:
    prior = CameraPrior(2.7, 4.26, yaw_deg=180.0, pitch_deg=30.0)
    camera = prior.orbit(torch.tensor([yaw]).deg2rad())
    cameras = pseudo_cameras(prior, camera, PathOptions(around="input", views=8), "heads")
    away = (cameras.yaw - camera.yaw).sin().asin().rad2deg()
    assert float(away.max()) == pytest.approx(20, abs=0.1)
    assert float(away.min()) == pytest.approx(-20, abs=0.1)


def test_a_path_around_a_profile_is_refused_before_anything_is_fitted() -> None:
    camera = GENERATOR.spec.camera.orbit(torch.tensor([1.3]))
    generator = Watched()
    with pytest.raises(ConfigError, match="yaw_deg"):
        fit("hfgi3d", {"path": {"around": "input"}}, ONE.with_cameras(camera), generator=generator)
    assert not generator.views


# --- the visible part


def surfaces(*yaw: float, size: int = 96) -> Surface:
    prior = CameraPrior(2.7, 3.0)
    camera = prior.orbit(torch.tensor(yaw).double(), 0.05)
    depth = sphere_depth(camera, size)
    return Surface(camera, picture(camera, depth), depth)


def test_pseudo_views_show_the_picture_where_it_shows_something_else_the_other_part() -> None:
    source, views = surfaces(0.0), surfaces(-0.4, 0.0, 0.4)
    other = torch.zeros_like(views.images)
    options = VisibleOptions(shrink_outline=1)
    made = make_pseudo_views(source.images, source, views, other, options)
    assert torch.equal(made.occluded, other) and made.camera is views.camera
    sure, hidden = (made.mask == 1).expand_as(other), (made.mask == 0).expand_as(other)
    assert 0.5 < seen_share(made).min() < seen_share(made).max() <= 1
    error = (made.blended - views.images).abs()[sure]
    assert error.median() < 1e-3 and error.quantile(0.95) < 0.02
    assert hidden.any() and torch.equal(made.blended[hidden], other[hidden])
    torch.testing.assert_close(made.blended, torch.lerp(other, made.warped, made.mask))


def test_without_the_warp_pseudo_views_are_the_other_part() -> None:
    source, views = surfaces(0.0, size=32), surfaces(0.2, size=32)
    other = torch.rand_like(views.images)
    made = make_pseudo_views(source.images, source, views, other, VisibleOptions(warp=False))
    assert not made.mask.any() and torch.equal(made.blended, other)
    assert made.warped.any()


def test_sizes_of_the_mask_are_those_of_pictures_of_512_pixels() -> None:
    def edge(size: int) -> Tensor:
        seen = torch.zeros(1, 1, size, size)
        seen[..., size // 2 :] = 1
        mask = visible_mask(seen, torch.ones_like(seen), VisibleOptions(shrink=17, feather=41))
        return mask[0, 0, size // 2]

    large, small = edge(512), edge(128)
    assert float((large == 0).float().mean()) == pytest.approx(
        float((small == 0).float().mean()), abs=0.02
    )
    assert float(large.mean()) == pytest.approx(float(small.mean()), abs=0.01)


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
def test_the_mask_of_a_symmetric_picture_is_symmetric(size: int) -> None:
    seen = torch.zeros(1, 1, size, size)
    seen[..., size // 4 : -size // 4, size // 8 : -size // 8] = 1
    mask = visible_mask(seen, torch.ones_like(seen), VisibleOptions())
    torch.testing.assert_close(mask, mask.flip(-1), rtol=0, atol=1e-5)


def test_the_edge_of_the_frame_is_left_out_but_not_empty_space() -> None:
    size = 64
    source, views = surfaces(0.0, size=size), surfaces(0.5, size=size)
    options = VisibleOptions(shrink=1, shrink_outline=80, feather=1)
    made = make_pseudo_views(source.images, source, views, views.images, options)
    whole = make_pseudo_views(
        source.images, source, views, views.images, options.model_copy(update={"shrink_outline": 1})
    )
    assert made.mask.sum() < whole.mask.sum() and not (made.mask > whole.mask).any()
    nothing = replace(views, depth=torch.zeros_like(views.depth))
    empty = make_pseudo_views(source.images, source, nothing, views.images, options)
    assert not empty.mask.any()


def test_what_the_picture_shows_squeezed_together_is_not_taken() -> None:
    source, views = surfaces(0.0), surfaces(0.5)
    plain = VisibleOptions(shrink=1, shrink_outline=1, feather=1)
    masks = {
        degrees: make_pseudo_views(
            source.images,
            source,
            views,
            views.images,
            plain.model_copy(update={"grazing_deg": degrees}),
        ).mask
        for degrees in (90.0, 60.0, 30.0)
    }
    squarely = blur(facing(views.camera, views.depth, source.camera), 3)
    for degrees, mask in masks.items():
        assert torch.equal(mask, masks[90.0] * (squarely >= math.cos(math.radians(degrees))))
    assert masks[90.0].sum() > masks[60.0].sum() > masks[30.0].sum() > 0


def test_poisson_blending_takes_the_brightness_of_the_other_part() -> None:
    warped = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    options = VisibleOptions(blend="poisson")
    brighter = blend(warped + 0.3, warped, mask, options)
    torch.testing.assert_close(brighter, warped, atol=1e-3, rtol=0)
    faded = blend(warped + 0.3, warped, mask, VisibleOptions())
    torch.testing.assert_close(faded, warped + 0.3 * mask)


def test_what_has_no_surface_has_no_depth() -> None:
    scene = GENERATOR.synthesize(GENERATOR.map(torch.randn(1, 8)))
    camera = GENERATOR.spec.camera.orbit(torch.tensor([0.0, 0.3]))
    seen = surface_of(GENERATOR, scene, camera)
    whole = GENERATOR.render(scene, camera, outputs=("image", "depth", "mask"))
    torch.testing.assert_close(seen.images, whole.image)
    assert seen.depth.shape == (2, 1, 32, 32)
    assert (seen.depth > 0).any() and (seen.depth == 0).any()


def test_the_depth_of_a_surface_is_not_mixed_with_that_around_it() -> None:
    depth = torch.tensor([2.0, 2.0, 9.0, 9.0]).expand(1, 1, 4, 4)
    opacity = torch.tensor([1.0, 1.0, 0.2, 0.0]).expand(1, 1, 4, 4)
    images = torch.zeros(1, 3, 16, 16)
    found = surface_depth(depth, opacity, images)[0, 0, 0]
    assert set(found.tolist()) == {0.0, 2.0}
    assert (found > 0).tolist() == [True] * 8 + [False] * 8
    everywhere = surface_depth(depth, None, images)
    assert everywhere.shape == (1, 1, 16, 16) and 2 < everywhere[0, 0, 0, 8] < 9


# --- the occluded part


def test_the_difference_map_leaves_out_what_the_coarse_latent_misses() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[..., 0, :] = 0.2
    image[:, :1, 1] = 0.2 * 3**0.5 + 1e-4  # one colour alone: the same root mean square, and more
    known = difference_map(image, torch.zeros_like(image), 0.2)
    assert known[0, 0].mean(1).tolist() == [1.0, 0.0, 1.0, 1.0]


def test_a_difference_map_without_anything_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"occluded\.theta.*every pixel") as caught:
        run(occluded={"source": "latent", "theta": 1e-6})
    assert "\n" not in str(caught.value)


def test_the_second_latent_is_fitted_through_the_map() -> None:
    context = Context.create()
    terms = {
        "mse": LossTerm(weight=0.5),
        "raw": LossTerm(weight=1.0, loss="l1", of="raw"),
        "w_norm": LossTerm(weight=1.0),
    }
    found = masked_terms(terms, context)
    assert {name: term.where for name, term in found.items()} == {
        "mse": "mask",
        "raw": "mask",
        "w_norm": None,
    }
    assert found["raw"].of == "raw" and found["mse"].weight == 0.5
    losses = through(context.losses(terms), "visible")
    assert [one.where for one in losses.values()] == ["visible", "visible", None]


@pytest.mark.parametrize(
    ("term", "used"),
    [
        (LossTerm(), False),
        (LossTerm(where="mask"), True),
        (LossTerm.model_validate({"mask": True}), True),
    ],
)
def test_masks_of_the_picture_count_where_losses_look_at_them(term: LossTerm, used: bool) -> None:
    known = torch.rand(1, 1, 32, 32).round()
    assert ONE.masks is not None
    masks = without(ONE, known, {"mse": term}).masks
    assert masks is not None
    assert torch.equal(masks, known * ONE.masks if used else known)
    assert torch.equal(without(replace(ONE, masks=None), known, {}).masks, known)  # type: ignore


# --- runs

STAGES = ["coarse/latent", "coarse/tuning", "final"]


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, STAGES),
        ({"path": {"around": "input"}}, STAGES),
        ({"visible": {"warp": False}}, STAGES),
        ({"visible": {"blend": "poisson"}}, STAGES),
        ({"visible": {"blend": "gaussian"}}, STAGES),
        ({"occluded": {"source": "none"}}, STAGES),
        ({"occluded": {"source": "none"}, "final": {"form": "separate"}}, STAGES),
        ({"occluded": {"source": "latent"}}, ["coarse/latent", "occluded/latent", *STAGES[1:]]),
        ({"inpaint_from": "pti", "inpaint": {"latent": LATENT, "tuning": {"steps": 1}}},
         ["coarse/latent", "inpaint/latent", "inpaint/tuning", *STAGES[1:]]),
        ({"final": {"form": "separate", "views_per_step": 3}}, STAGES),
        ({"final": {"latent_lr": 1e-3, "rampup": 0.5}}, STAGES),
        ({"final": {"lr": 1e-5, "keep": "best"}}, STAGES),
        ({"final": {"optimizer": "muon", "latent_lr": 1e-3, "rampdown": 0.5}}, STAGES),
        ({"final": {"alpha": 0.0}}, STAGES),
        ({"coarse": {"tuning": {"steps": 0}}}, ["coarse/latent", "final"]),
    ],
)  # fmt: skip
def test_every_choice_runs_all_stages(options: dict[str, Any], stages: list[str]) -> None:
    done = run(**options)
    assert list(dict.fromkeys(p.stage for p in done.log)) == stages
    assert done.inversion.generator_delta and done.generator.tuned
    assert all(math.isfinite(p.losses["total"]) for p in done.log)
    assert done.inversion.ws.shape == (1, 4, 8)


def test_one_synthesis_serves_the_picture_and_the_pseudo_views() -> None:
    generator = Watched()
    fit("hfgi3d", merge(QUICK, {"final": {"steps": 5, "views_per_step": 2}}), ONE,
        generator=generator)  # fmt: skip
    without_final = Watched()
    fit("hfgi3d", merge(QUICK, {"final": {"steps": 0}}), ONE, generator=without_final)
    assert len(generator.scenes) - len(without_final.scenes) == 5
    assert len(generator.views) - len(without_final.views) == 15


def test_the_final_tuning_begins_with_the_untuned_generator_and_the_coarse_latent() -> None:
    coarse = run(final={"steps": 0})
    assert not coarse.inversion.generator_delta
    latent = fit("wplus", {"latent": LATENT}, ONE)
    torch.testing.assert_close(coarse.inversion.ws, latent.inversion.ws)
    moved = run(final={"latent_lr": 1e-2})
    assert torch.equal(run().inversion.ws, coarse.inversion.ws)
    assert not torch.equal(moved.inversion.ws, coarse.inversion.ws)


def test_the_final_tuning_takes_the_optimiser_and_ramps_of_other_tunings() -> None:
    plain, other, fading = (
        run(final=options).inversion.generator_delta
        for options in ({}, {"optimizer": "muon"}, {"rampdown": 1.0})
    )
    for changed in (other, fading):
        assert any(not torch.equal(plain[name], changed[name]) for name in plain)


def test_losses_are_those_of_both_parts() -> None:
    blended, separate, visible = (
        set(run(final={"form": form}, occluded={"source": source}).log[-1].losses)
        for form, source in (("blended", "render"), ("separate", "render"), ("blended", "none"))
    )
    assert blended == {"mse", "l1", "pseudo/mse", "pseudo/l1", "total"} == visible
    assert separate - blended == {
        f"pseudo/{part}/{loss}" for part in ("visible", "occluded") for loss in ("mse", "l1")
    }


def test_pseudo_views_keep_the_other_sides_of_the_head() -> None:
    """The picture alone pulls the other views away; pseudo views of the coarse fit don't."""
    views = toy_capture(ToyGenerator(ToyConfig(seed=3)), 5, seed=1, yaw_deg=20)
    options: dict[str, Any] = {
        "coarse": {"latent": {"steps": 40, "samples": 100, "pull": 0.0}, "tuning": {"steps": 0}},
        "path": {"views": 12, "pitch_deg": 0.0, "rise_deg": 0.0},
        "final": {"steps": 60, "lr": 5e-3},
    }
    errors = {
        alpha: float(
            fit("hfgi3d", merge(options, {"final": {"alpha": alpha}}), views)
            .error(views)[::4]
            .mean()
        )
        for alpha in (0.0, 1.0)
    }
    assert errors[1.0] < errors[0.0]


def test_resolved_options_run_the_same_again() -> None:
    first = run(occluded={"source": "latent"})
    options = method("hfgi3d", merge(QUICK, {"occluded": {"source": "latent"}})).config
    again = fit("hfgi3d", options.model_dump(mode="json"), ONE, generator=Watched())
    assert same(first.inversion, again.inversion)


def test_it_starts_from_the_result_of_another_run() -> None:
    start = fit("pti", {"latent": LATENT, "tuning": {"steps": 2, "lr": 0.01}}, ONE)
    still = merge(QUICK, {"coarse": {"latent": {"steps": 0}}, "final": {"steps": 0}})
    context = Context.create(init=start.inversion)
    done = fit("hfgi3d", still, ONE, context=context)
    assert torch.equal(done.inversion.ws, start.inversion.ws)
    assert done.inversion.generator_delta.keys() == start.inversion.generator_delta.keys()
    assert done.inversion.history[0] == start.inversion.history[0]


def test_only_the_view_nearest_to_the_front_is_fitted() -> None:
    views = toy_capture(GENERATOR, 3, seed=5)
    assert method("hfgi3d", {}).fitted(views.cameras, 3) == [1]
    done = fit("hfgi3d", merge(QUICK, {"final": {"steps": 1}}), views)
    torch.testing.assert_close(done.inversion.cameras.labels(), views.camera[1].labels())


def test_diagnostics_show_several_angles() -> None:
    inverter = method("hfgi3d", merge(QUICK, {"occluded": {"source": "latent"}}))
    assert inverter.diagnostics() == ()
    inverter.invert(ToyGenerator(ToyConfig()), ONE, Context.create())
    rows = {row.title: row for row in inverter.diagnostics()}
    assert list(rows) == [
        "What the generator can make of the picture",
        "Picture, warped",
        "Mask of the warped picture",
        "Occluded part",
        "Pseudo view",
    ]
    for row in rows.values():
        assert row.images.shape[1:] == (3, 32, 32) and len(row.labels) == len(row.images)
        assert row.images.abs().max() <= 1
    assert rows["Pseudo view"].labels[1].startswith("yaw +20")


def test_a_picture_that_shows_nothing_of_some_views_is_said() -> None:
    done = run(visible={"shrink": 512})
    (notice,) = done.context.state.notices
    assert "shows nothing of 4 of 4" in notice and "visible.tolerance" in notice


# --- errors


class Flat(ToyGenerator):
    """It makes no depth."""

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.spec = replace(self.spec, outputs=("image", "mask"))


class Solid(ToyGenerator):
    """It makes no mask."""

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.spec = replace(self.spec, outputs=("image", "depth"))

    def render(self, *given: Any, **options: Any) -> Rendering:
        assert "mask" not in options.get("outputs", ())
        return super().render(*given, **options)


def test_a_generator_without_depth_is_refused_and_one_without_masks_is_not() -> None:
    with pytest.raises(UnsupportedError, match="depth"):
        fit("hfgi3d", QUICK, ONE, generator=Flat())
    assert fit("hfgi3d", QUICK, ONE, generator=Solid()).inversion.generator_delta


class Mapless(ToyGenerator):
    """It has no noise maps."""

    def noise_maps(self) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize("part", ["coarse", "occluded"])
def test_options_of_a_part_are_named_whole(part: str) -> None:
    two = merge(QUICK, {"occluded": {"source": "latent"}})
    given = merge(two, {part: {"latent": {"noise_maps": 1.0}}})
    with pytest.raises(ConfigError, match=rf"option '{part}\.latent\.noise_maps': generator toy"):
        fit("hfgi3d", given, ONE, generator=Mapless(ToyConfig()))
    searched = merge(given, {part: {"latent": {"optimizer": "lbfgs"}}})
    with pytest.raises(ConfigError, match=rf"{part}\.latent'.*: noise_maps are put back"):
        method("hfgi3d", searched)


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"visible": {"warp": False}, "occluded": {"source": "none"}}, ConfigError, "nothing"),
        ({"inpaint_from": "ptii"}, PluginError, "ptii"),
        ({"inpaint_from": "multilatent"}, ConfigError, "inpaint_from.*needs 2 views"),
        ({"inpaint_from": "pti", "inpaint": {"stepz": 1}}, ConfigError, "stepz"),
        ({"path": {"views": 0}}, ConfigError, "path.views"),
        ({"occluded": {"source": "both"}}, ConfigError, "occluded.source"),
        ({"final": {"form": "mixed"}}, ConfigError, "final.form"),
        ({"final": {"losses": {"mse": {"where": "hair"}}}}, InvError, "hair"),
        ({"final": {"losses": {"mse": 0, "l1": 0}}}, ConfigError, "every weight is 0"),
        ({"coarse": {"tuning": {"threshold": 0.1}}}, ConfigError, "coarse.tuning.threshold_loss"),
    ],
)
def test_wrong_options_are_one_line(
    options: dict[str, Any], error: type[InvError], named: str
) -> None:
    generator = Watched()
    with pytest.raises(error, match=named) as caught:
        fit("hfgi3d", merge(QUICK, options), ONE, generator=generator)
    assert "\n" not in str(caught.value)
    assert not generator.views or "hair" in named


def test_presets_are_those_of_the_sources() -> None:
    paper, official = (
        build_config(HFGI3D.Config, PRESETS[name], name).model_dump()
        for name in ("paper", "official")
    )
    assert paper["final"]["form"] == "separate" and official["final"]["form"] == "blended"
    assert paper["occluded"]["source"] == "latent" and official["occluded"]["source"] == "render"
    assert (paper["final"]["steps"], official["final"]["steps"]) == (3000, 1000)
    assert (paper["coarse"]["latent"]["lr"], official["coarse"]["latent"]["lr"]) == (5e-3, 0.01)
    assert official["coarse"]["tuning"]["threshold"] == 0.06 and paper["path"]["views"] == 30
