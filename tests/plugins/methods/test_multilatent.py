"""Multi-latent inversion: which views get a latent, its three updates, and moving heads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.capture import Capture
from inv3d.core.config import build_config, merge
from inv3d.core.errors import ConfigError, InputError, PluginError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Update
from inv3d.core.fit.terms import LossTerm
from inv3d.core.scene import Rendering, Scene
from inv3d.plugins.methods.multilatent import MultiLatent, MultiLatentConfig, regularisers
from inv3d.plugins.methods.multilatent.depth import DepthStore, own_view_consistency
from inv3d.plugins.methods.multilatent.regularisers import Regularisers
from inv3d.plugins.methods.multilatent.views import arrange, used
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from tests.golden_cases import GoldenCase
from tests.toy_fits import FREE, Fit, Watched, fit, method, same

GENERATOR = ToyGenerator(ToyConfig())
MOVING = toy_capture(GENERATOR, 33, seed=5, motion=0.5)
NINE = MOVING[list(range(0, 33, 4))]
HELD_OUT = MOVING[list(range(2, 33, 4))]


def _options(start: int, latent: int, tuning: int, /, **more: Any) -> dict[str, Any]:
    stages = {
        "start": merge(FREE, {"latent": {"steps": start}}),
        "latent": {"steps": latent},
        "tuning": {"steps": tuning},
    }
    return merge(stages, more)


def _fit(options: dict[str, Any], capture: Capture = NINE, **more: Any) -> Fit:
    return fit("multilatent", options, capture, **more)


@pytest.fixture(scope="module")
def unregularised() -> Fit:
    """A run whose latents only have the frames in between in common."""
    return _fit(_options(40, 60, 20, distance=0.0, depth=0.0))


# --- views


@pytest.mark.parametrize("order", [range(9), [3, 1, 8, 0, 2, 7, 5, 6, 4]])
def test_views_alternate_from_the_largest_yaw_down(order: list[int]) -> None:
    capture = NINE[list(order)]
    latents, between = arrange(capture, latents=None, interpolation=True)
    assert [capture.names[i] for i in latents] == [NINE.names[i] for i in (0, 2, 4, 6, 8)]
    assert [capture.names[i] for i in between] == [NINE.names[i] for i in (1, 3, 5, 7)]


def test_every_view_has_a_latent_without_interpolation() -> None:
    assert arrange(NINE, latents=None, interpolation=False) == (list(range(9)), [])


def test_a_number_of_latents_is_spread_by_angle() -> None:
    assert arrange(MOVING, latents=5, interpolation=True) == (
        [0, 8, 16, 24, 32],
        [4, 12, 20, 28],
    )
    assert arrange(MOVING, latents=3, interpolation=False) == ([0, 16, 32], [])


@pytest.mark.parametrize(
    ("views", "latents", "interpolation", "message"),
    [
        (1, None, True, "1 view given, multilatent needs at least 3; give more with --views$"),
        (1, None, False, "1 view given, multilatent needs at least 2; give more with --views$"),
        (
            2,
            None,
            True,
            "2 views given, multilatent needs at least 3; .*--set interpolation=0 gives",
        ),
        (
            8,
            None,
            True,
            r"8 views given, with interpolation .* odd number .*--views 7, or --set int",
        ),
        (5, 4, True, "option 'latents': 4 latents need 7 views, 5 given"),
        (3, 4, False, "option 'latents': 4 latents need 4 views, 3 given"),
    ],
)
def test_views_that_do_not_suit(
    views: int, latents: int | None, interpolation: bool, message: str
) -> None:
    weight = 1.0 if interpolation else 0.0
    with pytest.raises(InputError, match=message):
        _fit(_options(1, 1, 1, latents=latents, interpolation=weight), MOVING[list(range(views))])


def test_views_of_the_same_angle_are_refused() -> None:
    with pytest.raises(InputError, match=r"view\d+\.png and view\d+\.png: both look from yaw"):
        _fit(_options(1, 1, 1), NINE[[0, 1, 2, 2, 3]])


def _around(count: int) -> Capture:
    """Views of a full turn, in no order of angle."""
    yaw = torch.arange(count) * (2 * math.pi / count)
    camera = GENERATOR.spec.camera.orbit((yaw + math.pi) % (2 * math.pi) - math.pi)
    scene = GENERATOR.synthesize(toy_latents(GENERATOR, 1))
    with torch.no_grad():
        images = GENERATOR.render(scene, camera).require("image")
    return Capture(images, camera, tuple(f"view{i}.png" for i in range(count)))


def test_an_even_number_of_views_all_around_alternates() -> None:
    capture = _around(8)
    latents, between = arrange(capture, latents=None, interpolation=True)
    yaw = capture.camera.yaw.rad2deg().round()
    assert sorted(yaw[latents].abs().tolist()) == [0, 90, 90, 180]
    assert sorted(yaw[between].tolist()) == [-135, -45, 45, 135]
    many = _around(24)
    for count in (2, 3, 6):
        found = arrange(many, latents=count, interpolation=True)
        assert [len(part) for part in found] == [count, count]
    assert [len(p) for p in arrange(_around(9), latents=None, interpolation=True)] == [5, 4]
    assert [len(p) for p in arrange(_around(9), latents=5, interpolation=True)] == [5, 4]


@pytest.mark.parametrize("where", ["angle", "middle"])
def test_latents_are_interpolated_across_the_back(where: str) -> None:
    capture = _around(8)
    latents, between = arrange(capture, latents=None, interpolation=True)
    config = build_config(MultiLatentConfig, {"interpolation_at": where}, "test")
    targets = capture[latents]
    w = torch.arange(4.0)[:, None, None].expand(-1, 4, 8).contiguous()
    context = Context.create(torch.device("cpu"), 0)
    parts = Regularisers(GENERATOR, w, targets, capture[between], {}, {}, config, context)
    order = targets.camera.yaw.argsort().tolist()
    pairs = {frozenset((order[i], order[(i + 1) % 4])) for i in range(4)}
    places = parts.places
    found = zip(places.lower.tolist(), places.upper.tolist(), strict=True)
    assert {frozenset(pair) for pair in found} == pairs
    torch.testing.assert_close(places.fraction, torch.full((4,), 0.5), atol=1e-4, rtol=0)


def test_a_run_all_around_has_no_seam() -> None:
    run = _fit(_options(2, 3, 2), _around(8))
    assert len(run.inversion.ws) == 4 and run.inversion.blend == "turn"
    assert _fit(_options(2, 3, 2)).inversion.blend == "yaw"


@pytest.mark.parametrize("count", range(5, 17))
@pytest.mark.parametrize("latents", range(2, 9))
def test_views_that_are_taken_are_the_views_that_are_fitted(count: int, latents: int) -> None:
    """Also where those that are left of a circle are none."""
    camera = CameraPrior(2.7, 4.26).orbit(torch.arange(count) * (math.tau / count) - 3.0)
    taken = used(camera, latents=latents, interpolation=True)
    if 2 * latents - 1 > count:
        return
    assert used(camera[taken], latents=latents, interpolation=True) == list(range(len(taken)))
    some = Capture(torch.zeros(len(taken), 3, 4, 4), camera[taken], tuple(map(str, taken)))
    own, between = arrange(some, latents=latents, interpolation=True)
    assert sorted([*own, *between]) == list(range(len(taken))) and len(own) == latents


def test_the_same_angle_on_both_ends_of_the_circle_is_refused() -> None:
    capture = _around(8)
    matrices = capture.camera.cam2world.clone()
    row = int(capture.camera.yaw.abs().argmax())
    matrices[(row + 1) % 8] = matrices[row]
    matrices[row, 0, 3], matrices[(row + 1) % 8, 0, 3] = 1e-6, -1e-6
    odd = capture.with_cameras(Camera(matrices, capture.camera.intrinsics))
    with pytest.raises(InputError, match="both look from yaw"):
        arrange(odd, latents=None, interpolation=False)


# --- what comes out


def test_a_moving_head_is_better_with_a_latent_for_every_camera() -> None:
    one = fit("multiview", merge(FREE, {"latent": {"steps": 100}, "tuning": {"steps": 20}}), NINE)
    many = _fit(_options(60, 80, 20, distance=0.01))
    assert many.inversion.ws.shape == (5, 4, 8)
    for views in (NINE, HELD_OUT):
        assert many.error(views).mean() < one.error(views).mean()
        assert many.error(views).median() < 0.3 * one.error(views).median()


def test_latents_belong_to_their_cameras_and_bracket_the_rest() -> None:
    run = _fit(_options(2, 3, 2))
    inversion = run.inversion
    assert torch.equal(inversion.cameras.labels(), NINE.camera[[0, 2, 4, 6, 8]].labels())
    assert torch.equal(inversion.ws_for(NINE.camera[[0, 4]]), inversion.ws[[0, 2]])
    middle = inversion.ws_for(NINE.camera[1])[0]
    assert torch.allclose(middle, (inversion.ws[0] + inversion.ws[1]) / 2, atol=1e-6)


def test_cameras_that_the_start_corrects_are_taken_over() -> None:
    options = {"start": {"views": None, "cameras": {"steps": 20}}}
    inversion = _fit(merge(_options(20, 2, 2), options)).inversion
    assert set(inversion.poses) == set(NINE.names)
    corrected = torch.stack([inversion.poses[name] for name in NINE.names])
    assert torch.equal(inversion.cameras.labels(), corrected[::2])
    apart = (corrected - NINE.camera.labels()).abs().amax(1)
    assert bool((apart > 1e-4).all())
    few = _fit(merge(_options(20, 2, 2), {"start": {"views": 3, "cameras": {"steps": 20}}}))
    assert len(few.inversion.poses) == 3
    unmoved = few.inversion.cameras.labels() == NINE.camera[[0, 2, 4, 6, 8]].labels()
    assert unmoved.all(1).tolist() == [False, True, False, True, False]


def test_distance_keeps_latents_near_the_start() -> None:
    spread = []
    for weight in (0.0, 1.0, 100.0):
        ws = _fit(_options(20, 30, 0, distance=weight)).inversion.ws
        spread.append(float((ws - ws.mean(0)).square().mean()))
    assert spread[0] > 1.2 * spread[1] > 5 * spread[2]


def test_distance_as_a_sum_is_as_many_times_stronger() -> None:
    summed = _fit(_options(5, 8, 0, distance_form="sum", distance=0.5))
    mean = _fit(_options(5, 8, 0, distance=0.5 * 4 * 8))
    assert same(summed.inversion, mean.inversion)


def _inconsistency(run: Fit) -> float:
    """Eq. 6 over the latents of a run."""
    inversion, count = run.inversion, len(run.inversion.ws)
    with torch.no_grad():
        seen = run.generator.render(
            run.generator.synthesize(inversion.ws),
            Camera.cat([inversion.cameras] * count),
            outputs=("depth",),
        )
    depth = seen.require("depth")[:, 0].reshape(count, count, 16, 16).transpose(0, 1)
    return float(own_view_consistency(depth).sum())


@pytest.mark.parametrize("form", ["running", "exact"])
def test_depth_regulariser_makes_latents_agree(form: str, unregularised: Fit) -> None:
    on = _fit(_options(40, 60, 20, distance=0.0, depth_form=form))
    assert _inconsistency(on) < 0.8 * _inconsistency(unregularised)


def test_interpolation_fits_the_frames_in_between(unregularised: Fit) -> None:
    off = _fit(_options(40, 60, 20, distance=0.0, depth=0.0, interpolation=0.0, latents=5))
    on = unregularised
    between = NINE[[1, 3, 5, 7]]
    assert len(off.inversion.ws) == len(on.inversion.ws) == 5
    assert on.error(between).mean() < off.error(between).mean()


# --- stages and updates


def test_an_iteration_has_three_updates_and_tuning_no_distance() -> None:
    log = _fit(_options(2, 2, 2)).log
    assert [p.stage for p in log] == ["start/latent"] * 2 + ["latent"] * 2 + ["tuning"] * 2
    shared = {"mse", "l1", "total", "depth/total"}
    shared |= {"interpolation/mse", "interpolation/l1", "interpolation/total"}
    assert set(log[2].losses) == shared | {"w_dist"} and set(log[4].losses) == shared


@pytest.mark.parametrize(
    ("form", "home", "function"),
    [("running", DepthStore, "losses_of"), ("exact", regularisers, "own_view_consistency")],
)
def test_depths_are_looked_at_every_so_many_steps_and_in_turn(
    form: str, home: Any, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[list[int]] = []
    plain = getattr(home, function)

    def watched(*given: Any) -> Tensor:
        compared.append(given[-1])
        return plain(*given)

    monkeypatch.setattr(home, function, watched)
    options = _options(0, 9, 0, depth_every=3, depth_form=form, interpolation=0.0, latents=6)
    log = _fit(merge(options, {"views_per_step": 2})).log
    assert [p.step for p in log if "depth/total" in p.losses] == [0, 3, 6]
    assert sorted(n for latents in compared for n in latents) == list(range(6))


@pytest.mark.parametrize(
    ("preset", "latents", "names"),
    [
        ("no-regularisers", 9, {"total"}),
        ("distance", 9, {"total", "w_dist"}),
        ("interpolation", 5, {"total", "w_dist", "interpolation/total"}),
        ("depth", 5, {"total", "w_dist", "interpolation/total", "depth/total"}),
    ],
)
def test_rows_of_the_papers_table(preset: str, latents: int, names: set[str]) -> None:
    options = merge(MultiLatent.presets[preset], _options(1, 1, 1))
    run = _fit(options)
    assert len(run.inversion.ws) == latents
    watched = {"total", "w_dist", "interpolation/total", "depth/total"}
    assert watched & set(run.log[1].losses) == names


def test_all_latents_are_synthesised_in_one_batch() -> None:
    generator = Watched()
    _fit(_options(0, 1, 1), generator=generator)
    assert generator.scenes == [5, 5, 4] * 2 and generator.views == [5, 5, 4] * 2
    generator = Watched()
    _fit(_options(0, 1, 1, depth_form="exact"), generator=generator)
    assert generator.scenes == [5, 5, 4] * 2 and generator.views == [5, 25, 4] * 2


@pytest.mark.parametrize("form", ["running", "exact"])
@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_of_views_give_the_same_inversion(form: str, chunk: int) -> None:
    options = _options(3, 4, 3, depth_form=form)
    whole = _fit(options, generator=Watched().double())
    part = _fit(options, generator=Watched().double(), context=Context.create(view_chunk=chunk))
    assert torch.allclose(part.inversion.ws, whole.inversion.ws, atol=1e-6)
    for name, delta in whole.inversion.generator_delta.items():
        assert torch.allclose(part.inversion.generator_delta[name], delta, rtol=1e-5, atol=1e-8)


def test_out_of_memory_in_any_update_goes_on_with_fewer_views() -> None:
    options = _options(2, 3, 2, depth_form="exact")
    whole = _fit(options, generator=Watched().double())
    run = _fit(options, generator=Watched(room=4).double())
    assert run.context.state.view_chunk == 3 and len(run.context.state.notices) == 1
    assert torch.allclose(run.inversion.ws, whole.inversion.ws, atol=1e-6)


def test_interpolation_at_the_angle_or_in_the_middle() -> None:
    uneven = MOVING[[0, 3, 16, 17, 32]]
    angle = _fit(_options(1, 3, 0), uneven)
    middle = _fit(_options(1, 3, 0, interpolation_at="middle"), uneven)
    assert not torch.equal(angle.inversion.ws, middle.inversion.ws)
    even = [_fit(_options(1, 3, 0, interpolation_at=at)).inversion.ws for at in ("angle", "middle")]
    assert torch.allclose(even[0], even[1], atol=1e-5)


def test_runs_repeat_exactly() -> None:
    first = _fit(_options(2, 4, 3), generator=Watched(sampling="stochastic"))
    second = _fit(_options(2, 4, 3), generator=Watched(sampling="stochastic"))
    assert same(first.inversion, second.inversion)
    assert not same(_fit(_options(2, 4, 3), context=Context.create(seed=1)).inversion,
                    _fit(_options(2, 4, 3)).inversion)  # fmt: skip


# --- a few views a step, and line searches


@pytest.mark.parametrize(("form", "depth"), [("running", 2), ("exact", 10)])
def test_every_update_takes_a_few_views_in_turn(form: str, depth: int) -> None:
    generator = Watched()
    options = _options(0, 2, 1, views_per_step=2, depth_form=form)
    _fit(options, generator=generator)
    assert generator.views == [2, depth, 2] * 3
    assert generator.scenes == [2, depth // 2 if form == "exact" else 2, 2] * 3


@pytest.mark.parametrize("update", ["fit", "depth", "interpolation"])
def test_the_mean_over_a_round_is_the_update_of_all_views(update: str) -> None:
    generator = ToyGenerator(ToyConfig()).double().requires_grad_(False)
    nine = NINE.to("cpu", torch.float64)
    targets, between = nine[[0, 2, 4, 6, 8]], nine[[1, 3, 5, 7]]
    start = toy_latents(generator, 5, seed=2, motion=1.0)
    gradients = {}
    for views in (None, 3):
        config = build_config(
            MultiLatentConfig, {"views_per_step": views, "depth_form": "exact"}, "test"
        )
        context = Context.create()
        losses = context.losses({"mse": LossTerm()})
        w = start.clone().requires_grad_()
        parts = Regularisers(generator, w, targets, between, losses, {}, config, context)
        steps = 1 if views is None else 20
        for step in range(steps):
            run = parts.updates()[update]
            assert not isinstance(run, Update)
            run(step)
        assert w.grad is not None
        gradients[views] = w.grad / steps
    torch.testing.assert_close(gradients[3], gradients[None])


def test_latents_in_turn_fit_a_moving_head_too() -> None:
    options = _options(60, 80, 20, distance=0.01)
    whole = _fit(options)
    turns = _fit(merge(options, {"views_per_step": 2}))
    for views in (NINE, HELD_OUT):
        assert turns.error(views).mean() < 2 * whole.error(views).mean()


def test_a_line_search_takes_all_updates_as_one() -> None:
    generator = Watched()
    search = {"optimizer": "lbfgs"}
    options = merge(_options(20, 15, 1, depth_form="exact", distance=0.01), {"latent": search})
    run = _fit(options, generator=generator)
    steps = [p for p in run.log if p.stage == "latent"]
    last = steps[-1].losses
    shared = {"mse", "l1", "total", "w_dist", "depth/total", "interpolation/total"}
    assert set(last) == shared | {"interpolation/mse", "interpolation/l1"}
    fitted = last["mse"] + 0.1 * last["l1"] + 0.01 * last["w_dist"]
    parts = fitted + last["depth/total"] + last["interpolation/total"]
    assert last["total"] == pytest.approx(parts, rel=1e-4)
    totals = [p.losses["total"] for p in steps]
    assert totals == sorted(totals, reverse=True) and totals[-1] < 0.5 * totals[0]
    assert all(p.evaluations <= 25 for p in steps)


def test_a_line_search_cannot_follow_running_depth() -> None:
    with pytest.raises(ConfigError, match=r"method multilatent: depth_form=running changes what"):
        method("multilatent", {"latent": {"optimizer": "lbfgs"}})
    method("multilatent", {"latent": {"optimizer": "lbfgs"}, "depth": 0})


# --- the running depth regulariser against the reference


class DepthIsLatent(ToyGenerator):
    """A generator whose depth map is the latent itself."""

    def synthesize(self, ws: Tensor) -> Scene:
        return Scene({"depth": ws[:, None]}, ws)

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        return Rendering(depth=scene.parts["depth"], ws=scene.ws)


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_running_depth_update_is_the_references(chunk: int | None) -> None:
    golden = GoldenCase("multilatent_depth_loss").tensors
    generator = DepthIsLatent(ToyConfig())
    generator.spec = replace(generator.spec, render_resolution=5)
    w = golden["depth"][0].clone().requires_grad_()
    context = Context.create(view_chunk=chunk)
    views = iter(golden["view_of_step"].tolist())
    object.__setattr__(context, "randint", lambda high: next(views))
    parts = Regularisers(
        generator, w, NINE[[0, 4, 8]], None, {}, {}, MultiLatentConfig(interpolation=0.0), context
    )
    for step, depth in enumerate(golden["depth"]):
        w.data.copy_(depth)
        w.grad = None
        update = parts.updates()["depth"]
        assert not isinstance(update, Update)
        total = update(step)["total"]
        assert float(total) == pytest.approx(float(golden["loss"][step].sum()), abs=1e-5)
        assert w.grad is not None
        assert torch.allclose(w.grad, golden["grad"][step], atol=1e-5)


# --- starts


def test_start_run_leaves_only_its_latent() -> None:
    options = _options(5, 0, 0)
    options["start"]["tuning"] = {"steps": 5}
    run = _fit(options)
    assert [p.stage for p in run.log] == ["start/latent"] * 5 + ["start/tuning"] * 5
    assert run.inversion.generator_delta == {}
    assert (run.inversion.ws == run.inversion.ws[:1]).all()


def test_start_is_multiview_with_seven_views_and_this_runs_losses() -> None:
    generator = Watched()
    options = _options(1, 0, 0, losses={"l1": 0, "smooth_l1": 1.0})
    run = _fit(options, generator=generator)
    assert generator.views == [7]
    assert set(run.log[0].losses) == {"mse", "smooth_l1", "total"}
    options = merge(options, {"start": {"views": 3}})
    _fit(options, generator=generator)
    assert generator.views == [7, 3]


def test_start_from_another_method() -> None:
    run = _fit(_options(4, 0, 0, start_from="wplus"))
    assert [p.stage for p in run.log] == ["start/latent"] * 4


def test_start_from_the_mean() -> None:
    run = _fit(_options(4, 2, 0, start_from="mean"))
    assert [p.stage for p in run.log] == ["latent"] * 2


def test_start_from_an_unknown_method() -> None:
    with pytest.raises(PluginError, match="unknown method 'multivew'; did you mean 'multiview'"):
        _fit(_options(1, 1, 1, start_from="multivew"))


def test_start_with_an_unknown_option() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'latent\.step' of method multiview"):
        _fit(merge(_options(1, 1, 1), {"start": {"latent": {"step": 3}}}))


def test_start_from_a_run_takes_no_tuning_unless_told() -> None:
    init = fit("multiview", merge(FREE, {"latent": {"steps": 9}, "tuning": {"steps": 5}}), NINE)
    context = Context.create(init=init.inversion)
    run = _fit(_options(9, 0, 0), context=context)
    assert run.log == [] and run.inversion.generator_delta == {}
    assert torch.equal(run.inversion.ws, init.inversion.ws.expand(5, -1, -1))
    tuned = _fit(_options(9, 0, 0, init_tuned=True), context=Context.create(init=init.inversion))
    assert tuned.inversion.generator_delta.keys() == init.inversion.generator_delta.keys()


def test_start_from_a_multilatent_run_takes_its_path() -> None:
    init = _fit(_options(2, 6, 0)).inversion
    options = _options(9, 0, 0, interpolation=0.0)
    run = _fit(options, context=Context.create(init=init))
    assert torch.equal(run.inversion.ws, init.ws_for(NINE.camera))


def test_invert_takes_all_steps_and_returns_what_they_return() -> None:
    inverter = method("multilatent", _options(2, 2, 2))
    inverted = inverter.invert(ToyGenerator(ToyConfig()), NINE, Context.create())
    run = _fit(_options(2, 2, 2))
    assert len(run.log) == 6
    assert same(inverted, run.inversion)


@pytest.mark.parametrize("name", MultiLatent.presets)
def test_presets_are_valid_and_have_one_set_of_start_options(name: str) -> None:
    config = build_config(MultiLatentConfig, MultiLatent.presets[name], "method multilatent")
    start = merge({"views": 7}, config.start)
    assert method("multiview", start).config.views == 7  # type: ignore[attr-defined]
