"""W+ optimisation, pivotal tuning and multi-view inversion on a generator with known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.config import build_config, merge
from inv3d.core.errors import ConfigError, DivergedError, InputError, RunError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.moving import MovingCameras
from inv3d.core.fit.options import LatentOptions, SingleLatentConfig
from inv3d.core.fit.single_latent import locality_point
from inv3d.core.fit.stages import loss_terms
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.inversion import Inversion
from inv3d.core.latent import latent_statistics
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from tests.golden_cases import GoldenCase
from tests.toy_fits import FREE, Watched, fit, method, same

GENERATOR = ToyGenerator(ToyConfig())
CLIP = toy_capture(GENERATOR, 9, seed=5)
FOREIGN = toy_capture(ToyGenerator(ToyConfig(seed=3)), 5, seed=1)


def _options(latent: int, tuning: int | None = None, /, **more: Any) -> dict[str, Any]:
    stages: dict[str, Any] = {"latent": {"steps": latent}}
    if tuning is not None:
        stages["tuning"] = {"steps": tuning}
    return merge(merge(FREE, stages), more)


@pytest.mark.parametrize(
    ("method_losses", "stage_losses", "weights"),
    [
        ({}, {}, {"mse": 0.25}),
        ({"mse": {"mask": True}}, {}, {"mse": 0.25}),
        ({"mse": {"mask": True}}, {"mse": {"mask": False}}, {"mse": 0.25}),
        ({"mse": 3.0}, {"mse": {"mask": True}}, {"mse": 3.0}),
        ({"mse": {"weight": 0.5, "mask": True}, "l1": {"mask": True}}, {}, {"mse": 0.5, "l1": 1.0}),
    ],
)
def test_an_option_of_a_loss_leaves_its_weight_alone(
    method_losses: dict[str, Any], stage_losses: dict[str, Any], weights: dict[str, float]
) -> None:
    generator = ToyGenerator(ToyConfig())
    generator.spec = replace(generator.spec, default_losses={"mse": 0.25})
    config = build_config(SingleLatentConfig, {"losses": method_losses}, "test")
    # as a resumed run reads it
    config = build_config(SingleLatentConfig, config.model_dump(mode="json"), "test")
    stage = build_config(LatentOptions, {"losses": stage_losses}, "test").losses
    terms = loss_terms(generator, config, stage)
    assert {name: term.weight for name, term in terms.items()} == weights
    given = stage_losses.get("mse") or method_losses.get("mse") or {}
    assert (terms["mse"].model_extra or {}).get("mask") == given.get("mask")


def test_the_memory_message_names_the_generators_own_option() -> None:
    class Rays(Watched):
        rays_option = "rays"

    with pytest.raises(RunError, match=r"--set generator\.rays="):
        fit("wplus", _options(2), CLIP, generator=Rays(room=0))


def test_wplus_recovers_a_known_head_from_one_view() -> None:
    run = fit("wplus", _options(250), CLIP)
    assert run.losses("latent", "mse")[-1] < 1e-3 * run.losses("latent", "mse")[0]
    assert run.error(CLIP).max() < 5e-3
    assert run.inversion.ws.shape == (1, 4, 8) and run.inversion.generator_delta == {}


def test_multiview_recovers_a_known_head_in_views_it_never_saw() -> None:
    run = fit("multiview", _options(250, 0), CLIP[[0, 2, 4, 6, 8]])
    assert run.losses("latent")[-1] < 1e-3 * run.losses("latent")[0]
    assert run.error(CLIP[[1, 3, 5, 7]]).max() < 1e-4
    true = toy_latents(GENERATOR, 1, seed=5)
    with torch.no_grad():
        found, wanted = (
            GENERATOR.synthesize(ws).parts["centres"] for ws in (run.inversion.ws, true)
        )
    assert (found - wanted).abs().mean() < 0.02


@pytest.mark.parametrize(("views", "steps"), [(None, 120), (3, 400)])
def test_multiview_corrects_cameras_that_are_off(views: int | None, steps: int) -> None:
    moving, rng = MovingCameras(CLIP.camera), torch.Generator().manual_seed(0)
    moving.turn += 0.04 * torch.randn(9, 3, generator=rng)
    moving.shift += 0.01 * torch.randn(9, 3, generator=rng)
    off = CLIP.with_cameras(moving.camera())
    options = _options(120, 0, views_per_step=views, cameras={"steps": steps})
    run = fit("multiview", options, off)
    found = torch.stack([run.inversion.poses[name] for name in off.names])

    def apart(labels: Tensor) -> Tensor:
        return angle_between(Camera.from_labels(labels).rotation, CLIP.camera.rotation).rad2deg()

    assert float(apart(off.camera.labels()).mean()) > 2.9
    assert float(apart(found).max()) < 1.0
    assert run.losses("cameras")[-1] < 0.02 * run.losses("latent")[-1]
    torch.testing.assert_close(run.inversion.cameras.labels()[0], found[off.front()])
    assert not run.context.state.notices


def test_a_camera_that_turns_far_is_named() -> None:
    moving = MovingCameras(CLIP.camera)
    moving.turn[3, 1] = 0.25
    off = CLIP.with_cameras(moving.camera())
    run = fit("multiview", _options(80, 0, cameras={"steps": 120, "lr": 1e-2}), off)
    (said,) = run.context.state.notices
    assert said.startswith(f"the camera of {CLIP.names[3]} was turned by 1")


def test_cameras_stay_as_given_unless_asked() -> None:
    assert not fit("multiview", _options(2, 1), CLIP).inversion.poses


def test_latent_in_w_has_equal_rows() -> None:
    options = merge(_options(80, views="all"), {"latent": {"space": "w"}})
    run = fit("wplus", options, CLIP)
    assert (run.inversion.ws == run.inversion.ws[:, :1]).all()
    assert run.losses("latent")[-1] < 0.1 * run.losses("latent")[0]


def test_pull_holds_the_latent_at_the_mean() -> None:
    mean = latent_statistics(GENERATOR, 500).mean
    distance = []
    for pull in (0.0, 1.0, 100.0):
        options = merge(_options(60), {"latent": {"pull": pull}})
        distance.append(float((fit("wplus", options, CLIP).inversion.ws - mean).square().mean()))
    assert distance[0] > 3 * distance[1] > 9 * distance[2]


def test_front_view_alone_or_all_views() -> None:
    generator = Watched()
    fit("wplus", _options(1), CLIP, generator=generator)
    fit("wplus", _options(1, views="all"), CLIP, generator=generator)
    assert generator.views == [1, 9]


def test_multiview_takes_all_views_or_some_by_angle() -> None:
    generator = Watched()
    fit("multiview", _options(1, 0), CLIP, generator=generator)
    fit("multiview", _options(1, 0, views=3), CLIP, generator=generator)
    fit("multiview", _options(1, 0, views=7), CLIP[[0, 1, 8]], generator=generator)
    assert generator.views == [9, 3, 3]


def test_a_step_synthesises_once_for_all_views_or_once_a_view_with_noise_of_its_own() -> None:
    generator = Watched()
    fit("multiview", _options(1, 1), CLIP, generator=generator)
    assert generator.scenes == [1, 1]
    options = merge(_options(1, 0), {"latent": {"noise_per_view": True}})
    fit("multiview", options, CLIP, generator=generator)
    assert generator.scenes[2:] == [9]


def test_result_belongs_to_the_front_camera() -> None:
    inversion = fit("multiview", _options(1, 0), CLIP).inversion
    assert inversion.cameras.yaw.abs().item() < 1e-6
    assert inversion.method == "multiview" and inversion.generator == "toy"
    assert inversion.history[0].options["latent"]["steps"] == 1


def test_tuning_reproduces_a_picture_outside_the_generators_range() -> None:
    before = fit("pti", _options(80, 0), FOREIGN)
    run = fit("pti", _options(80, 150), FOREIGN)
    front = FOREIGN[[FOREIGN.front()]]
    assert run.error(front) < 0.2 * before.error(front)
    assert torch.equal(run.inversion.ws, before.inversion.ws)
    assert set(run.inversion.generator_delta) >= {"layout.weight", "tint.weight", "background"}
    assert not any(name.startswith("mapping") for name in run.inversion.generator_delta)


def test_tuned_run_loads_back_to_the_same_pixels(tmp_path: Path) -> None:
    run = fit("multiview", _options(5, 8), FOREIGN)
    run.inversion.save(tmp_path)
    loaded, fresh = Inversion.load(tmp_path), ToyGenerator(ToyConfig())
    loaded.tune(fresh)
    again = replace(run, generator=fresh, inversion=loaded)
    assert torch.equal(again.error(FOREIGN), run.error(FOREIGN))


@pytest.mark.parametrize("name", ["wplus", "pti", "multiview"])
def test_runs_repeat_exactly_and_follow_the_seed(name: str) -> None:
    options = _options(6, None if name == "wplus" else 4)
    first = fit(name, options, CLIP, generator=Watched(sampling="stochastic"))
    second = fit(name, options, CLIP, generator=Watched(sampling="stochastic"))
    other = fit(name, options, CLIP, context=Context.create(seed=1))
    assert same(first.inversion, second.inversion)
    assert not same(first.inversion, other.inversion)


@pytest.mark.parametrize("name", ["wplus", "pti", "multiview"])
def test_invert_takes_all_steps_and_returns_what_they_return(name: str) -> None:
    options = _options(3, None if name == "wplus" else 3)
    inverted = method(name, options).invert(ToyGenerator(ToyConfig()), CLIP, Context.create())
    run = fit(name, options, CLIP)
    assert len(run.log) == (3 if name == "wplus" else 6)
    assert same(inverted, run.inversion)


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_chunks_of_views_give_the_same_inversion(chunk: int) -> None:
    whole = fit("multiview", _options(6, 4), CLIP, generator=Watched().double())
    run = fit(
        "multiview", _options(6, 4), CLIP,
        generator=Watched().double(), context=Context.create(view_chunk=chunk),
    )  # fmt: skip
    assert torch.allclose(run.inversion.ws, whole.inversion.ws, atol=1e-6)
    for name, delta in whole.inversion.generator_delta.items():
        assert torch.allclose(run.inversion.generator_delta[name], delta, rtol=1e-6, atol=1e-9)


def test_out_of_memory_goes_on_with_fewer_views() -> None:
    whole = fit("multiview", _options(4, 4), CLIP, generator=Watched().double())
    run = fit("multiview", _options(4, 4), CLIP, generator=Watched(room=2).double())
    assert run.context.state.view_chunk == 2 and len(run.context.state.notices) == 1
    assert torch.allclose(run.inversion.ws, whole.inversion.ws, atol=1e-6)
    with pytest.raises(RunError, match="with one view at a time"):
        fit("multiview", _options(4, 4), CLIP, generator=Watched(room=0))


# --- a few views a step


@pytest.mark.parametrize("views", [2, 3])
def test_steps_of_both_stages_take_a_few_views_in_turn(views: int) -> None:
    generator = Watched()
    run = fit("multiview", _options(3, 3, views_per_step=views), CLIP, generator=generator)
    assert generator.views == [views] * 6 and generator.scenes == [1] * 6
    whole = fit("multiview", _options(3, 3), CLIP)
    for stage in ("latent", "tuning"):
        assert run.losses(stage)[0] == pytest.approx(whole.losses(stage)[0], rel=0.5)


@pytest.mark.parametrize("views", [9, 12])
def test_as_many_views_as_there_are_is_no_choice(views: int) -> None:
    some = fit("multiview", _options(4, 3, views_per_step=views), CLIP)
    assert same(some.inversion, fit("multiview", _options(4, 3), CLIP).inversion)


def test_a_few_views_a_step_find_the_head_too() -> None:
    run = fit("multiview", _options(250, 0, views_per_step=3), CLIP)
    assert run.error(CLIP).max() < 1e-4


def test_noise_of_every_view_is_drawn_for_the_views_of_the_step() -> None:
    generator = Watched()
    options = _options(2, 0, views_per_step=3, latent={"noise_per_view": True})
    fit("multiview", options, CLIP, generator=generator)
    assert generator.scenes == [3, 3]


def test_threshold_of_a_few_views_a_step_is_the_mean_over_all() -> None:
    options = _options(40, 200, tuning={"threshold_loss": "mse", "threshold": 0.03})
    run = fit("multiview", merge(options, {"views_per_step": 2}), FOREIGN)
    assert 0 < len(run.losses("tuning")) < 200
    assert 0.015 < run.error(FOREIGN).mean() <= 0.031


@pytest.mark.parametrize("name", ["wplus", "pti"])
def test_views_a_step_of_one_view_are_refused(name: str) -> None:
    message = r"^options of method \w+: views_per_step=2 chooses .* or set views=all$"
    with pytest.raises(ConfigError, match=message):
        method(name, {"views_per_step": 2})
    assert method(name, {"views_per_step": 2, "views": "all"}).config.views_per_step == 2


def test_less_than_one_view_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"option 'views_per_step' of method multiview: 0 is not"):
        method("multiview", {"views_per_step": 0})


# --- line searches


def test_a_line_search_finds_the_head_in_few_evaluations() -> None:
    generator = Watched()
    options = _options(40, 0, latent={"optimizer": "lbfgs"})
    run = fit("multiview", options, CLIP, generator=generator)
    assert len(run.log) == 40 and set(generator.views) == {9}
    assert sum(p.evaluations for p in run.log) == len(generator.views) < 60
    assert run.error(CLIP).max() < 1e-3
    assert run.losses("latent") == sorted(run.losses("latent"), reverse=True)


def test_a_line_search_takes_all_views_draws_no_noise_and_leaves_the_rest_to_adam() -> None:
    generator = Watched()
    search = {"latent": {"optimizer": "lbfgs"}}
    options = merge(_options(6, 4, views_per_step=3), search)
    first = fit("multiview", options, CLIP, generator=generator)
    assert generator.views[-4:] == [3] * 4 and set(generator.views[:-4]) == {9}
    second = fit("multiview", options, CLIP, context=Context.create(seed=1))
    assert same(first.inversion, second.inversion)
    changed = merge(options, {"latent": {"lr": 0.5, "rampup": 1.0, "noise": 9.0}})
    assert torch.equal(fit("multiview", changed, CLIP).inversion.ws, first.inversion.ws)


def test_a_line_search_of_random_rays_holds_them_within_a_step() -> None:
    options = _options(12, 0, latent={"optimizer": "lbfgs"})
    run = fit("multiview", options, CLIP, generator=Watched(sampling="stochastic"))
    assert run.losses("latent")[-1] < 0.1 * run.losses("latent")[0]


def test_a_line_search_in_w() -> None:
    options = _options(20, views="all", latent={"optimizer": "lbfgs", "space": "w"})
    run = fit("wplus", options, CLIP)
    assert (run.inversion.ws == run.inversion.ws[:, :1]).all()
    assert run.losses("latent")[-1] < 0.1 * run.losses("latent")[0]


def test_a_line_search_over_noise_maps_is_refused() -> None:
    options = {"latent": {"optimizer": "lbfgs", "noise_maps": 1.0}}
    with pytest.raises(ConfigError, match=r"option 'latent' of method wplus: .*noise_maps are put"):
        method("wplus", options)


# --- tuning


def test_a_ramp_holds_the_first_steps_of_tuning_back() -> None:
    ramp = fit("pti", _options(40, 20, tuning={"lr": 0.02, "rampup": 0.5}), FOREIGN)
    full = fit("pti", _options(40, 20, tuning={"lr": 0.02}), FOREIGN)
    rates = [p.lr["generator"] for p in ramp.log if p.stage == "tuning"]
    assert rates[:2] == pytest.approx([0.002, 0.004]) and rates[10:] == [0.02] * 10
    assert ramp.losses("tuning")[1] < full.losses("tuning")[1]


def test_threshold_stops_tuning_before_the_update() -> None:
    options = _options(40, 200, tuning={"threshold_loss": "mse", "threshold": 0.02})
    run = fit("pti", options, FOREIGN)
    values = run.losses("tuning", "mse")
    assert 0 < len(values) < 200 and values[-1] > 0.02
    assert run.error(FOREIGN[[FOREIGN.front()]]) <= 0.02


def test_threshold_of_several_views_is_their_mean() -> None:
    options = _options(40, 200, tuning={"threshold_loss": "mse", "threshold": 0.03})
    run = fit("multiview", options, FOREIGN)
    assert 0 < len(run.losses("tuning")) < 200
    assert 0.02 < run.error(FOREIGN).mean() <= 0.03


def test_threshold_of_a_loss_that_is_not_there() -> None:
    options = _options(1, 1, tuning={"threshold": 0.06})
    with pytest.raises(ConfigError, match=r"'lpips' isn't one of the losses .*\(mse, l1\)"):
        fit("pti", options, CLIP)


def test_locality_point_is_the_references() -> None:
    case = GoldenCase("pti_edits").tensors
    found = locality_point(case["morph_fixed"], case["morph_new"], 30.0)
    assert torch.allclose(found, case["morph_result"], rtol=1e-5, atol=1e-5)


def test_locality_keeps_the_neighbourhood() -> None:
    near = {"locality_distance": 1.0}
    off = fit("pti", _options(30, 60, tuning=near), FOREIGN)
    on = fit("pti", _options(30, 60, tuning=near | {"locality": 3.0}), FOREIGN)
    assert all(value >= 0 for value in on.losses("tuning", "locality"))
    rng = torch.Generator().manual_seed(9)
    towards = GENERATOR.map(torch.randn(16, 8, generator=rng)).detach()
    ws = locality_point(on.inversion.ws, towards, 1.0)
    front = GENERATOR.spec.camera.front().repeat_interleave(16)
    change = []
    for run in (off, on):
        with torch.no_grad():
            images = [g.render(g.synthesize(ws), front).image for g in (GENERATOR, run.generator)]
        assert images[0] is not None and images[1] is not None
        change.append(float((images[0] - images[1]).square().mean()))
    assert change[1] < 0.7 * change[0]


def test_noise_maps_are_optimised_normalised_and_kept(tmp_path: Path) -> None:
    options = merge(_options(20), {"latent": {"noise_maps": 1e-3}})
    run = fit("wplus", options, FOREIGN)
    assert set(run.inversion.generator_delta) == {"noise_const"}
    noise = run.generator.noise_const
    assert abs(float(noise.mean())) < 1e-5 and float(noise.square().mean()) == pytest.approx(1)
    assert not noise.requires_grad and len(run.losses("latent", "noise")) == 20
    run.inversion.save(tmp_path)
    fresh = ToyGenerator(ToyConfig())
    Inversion.load(tmp_path).tune(fresh)
    assert torch.equal(replace(run, generator=fresh).error(FOREIGN), run.error(FOREIGN))


def test_noise_maps_of_a_generator_without_any() -> None:
    generator = ToyGenerator(ToyConfig())
    generator.noise_maps = dict  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="generator toy has no noise maps"):
        fit("wplus", merge(_options(1), {"latent": {"noise_maps": 1.0}}), CLIP, generator=generator)


def _init(**options: Any) -> Inversion:
    return fit("pti", _options(40, 30, **options), FOREIGN).inversion


def test_start_from_another_run_takes_its_latent_and_its_tuning() -> None:
    init = _init()
    run = fit("pti", _options(0, 0), FOREIGN, context=Context.create(init=init))
    assert torch.equal(run.inversion.ws, init.ws)
    assert run.inversion.generator_delta.keys() == init.generator_delta.keys()
    for name, delta in init.generator_delta.items():
        assert torch.allclose(run.inversion.generator_delta[name], delta, atol=1e-7)


def test_start_from_another_run_can_leave_its_tuning() -> None:
    init = _init()
    run = fit("pti", _options(0, 0, init_tuned=False), FOREIGN, context=Context.create(init=init))
    assert torch.equal(run.inversion.ws, init.ws) and run.inversion.generator_delta == {}


def test_start_from_several_latents_takes_the_frontal_one() -> None:
    yaw = torch.tensor([0.8, 0.2, -0.2])
    ws = toy_latents(GENERATOR, 3, motion=1.0)
    init = replace(_init(), ws=ws, cameras=GENERATOR.spec.camera.orbit(yaw), generator_delta={})
    run = fit("wplus", _options(0), CLIP, context=Context.create(init=init))
    assert torch.allclose(run.inversion.ws[0], (ws[1] + ws[2]) / 2, atol=1e-6)


def test_start_from_a_run_of_another_generator_is_refused() -> None:
    init = replace(_init(), fingerprint="0" * 16)
    with pytest.raises(WeightsError, match="the run was made with toy, 0000000000000000"):
        fit("wplus", _options(1), CLIP, context=Context.create(init=init))


def test_start_from_a_run_with_a_scene_offset_says_that_it_is_not_used() -> None:
    init = replace(_init(), offset={"centres": torch.zeros(1, 8, 3)})
    run = fit("wplus", _options(1), CLIP, context=Context.create(init=init))
    assert run.context.state.notices == ["--init: its scene offset isn't used, only its latent"]


def test_losses_are_the_generators_with_the_methods_and_the_stages_over_them() -> None:
    log = fit("pti", _options(1, 1), CLIP).log
    assert set(log[0].losses) == set(log[1].losses) == {"mse", "l1", "total"}
    assert log[0].losses["total"] == pytest.approx(log[0].losses["mse"] + 0.1 * log[0].losses["l1"])
    options = _options(1, 1, losses={"l1": 0, "smooth_l1": 2.0}, tuning={"losses": {"mse": 0}})
    log = fit("pti", options, CLIP).log
    assert set(log[0].losses) == {"mse", "smooth_l1", "total"}
    assert set(log[1].losses) == {"smooth_l1", "total"}
    only = fit("wplus", _options(1, default_losses=False, losses={"l1": 1.0}), CLIP)
    assert set(only.log[0].losses) == {"l1", "total"}


def test_no_losses_at_all() -> None:
    with pytest.raises(ConfigError, match="option 'losses' is empty and there are no default loss"):
        fit("wplus", _options(1, default_losses=False), CLIP)


def test_images_of_another_size() -> None:
    with pytest.raises(InputError, match="images of toy seed 5: 16x32 pixels, expected 32x32"):
        fit("wplus", _options(1), replace(CLIP, images=CLIP.images[..., :16]))


def test_target_that_is_not_finite_stops_the_run_and_names_the_loss() -> None:
    images = CLIP.images.clone()
    images[4, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"stage 'latent', step 0: fit loss 'mse' \(nan\)"):
        fit("wplus", _options(1), replace(CLIP, images=images))
