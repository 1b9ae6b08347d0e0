"""Pose-Opt on a generator with known answers: cameras, starts, doubts, its options, its errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig, build_config, merge
from inv3d.core.errors import (
    ConfigError,
    DivergedError,
    InputError,
    InvError,
    PluginError,
    UnsupportedError,
    WeightsError,
)
from inv3d.core.estimator import Estimator
from inv3d.core.fit.context import Context
from inv3d.core.fit.schedule import delayed, latent_noise, ramped
from inv3d.core.generator import Generator
from inv3d.core.geometry.rotations import POSE_FORMS, PoseForm, angle_between
from inv3d.core.registry.discovery import registry
from inv3d.plugins.methods.poseopt.config import (
    PRESETS,
    RATES,
    PoseOptConfig,
    PoseOptions,
    StartOptions,
)
from inv3d.plugins.methods.poseopt.pose import Numbers
from inv3d.plugins.methods.poseopt.starts import (
    apart_from_one_another,
    grid,
    with_mirror_image,
    with_other,
)
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.toy_fits import Fit, Watched, fit, method

POSED = toy_capture(ToyGenerator(ToyConfig()), 5, seed=5)[[1]]  # 30 degrees to the left
VIEW = replace(POSED, cameras=None)
PRIOR = ToyGenerator(ToyConfig()).spec.camera
QUICK: dict[str, Any] = {
    "pose": {"warmup": 2},
    "starts": {"steps": 3, "yaws": 5, "pitches": 1, "count": 2},
    "latent": {"steps": 3, "samples": 50},
    "tuning": {"steps": 3},
}


class LeanConfig(PluginConfig):
    lean: float = Field(0.0, description="how far it leans to the left, radians")


class Leaning(Estimator[LeanConfig]):
    """Its network knows the picture's yaw but for how far it leans."""

    name = "leaning"
    api = "1.0"
    Config = LeanConfig
    blind: ClassVar[bool] = False

    def __init__(self, config: LeanConfig) -> None:
        super().__init__(config)
        self.yaw = nn.Parameter(torch.tensor([math.radians(30) + config.lean]))

    def get_ready(self, generator: Generator) -> None:
        if generator.spec.name != "toy":
            raise WeightsError(f"estimator leaning: knows toys, not {generator.spec.name}")

    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        if self.blind:
            raise InputError("estimator leaning: sees no head")
        return generator.spec.camera.orbit(self.yaw.expand(len(images)))


@pytest.fixture
def leaning(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", f"estimators:leaning={__name__}:Leaning")
    registry.cache_clear()
    yield
    registry.cache_clear()


def run(capture: Any = VIEW, **options: Any) -> Fit:
    given = merge({"pose": {"estimator": "none"}}, options)
    return fit("poseopt", merge(QUICK, given), capture, generator=Watched())


def error_deg(done: Fit) -> float:
    found = done.inversion.cameras.rotation
    return float(angle_between(found, POSED.camera.rotation).rad2deg())


# --- cameras that change


@pytest.mark.parametrize("form", POSE_FORMS)
@pytest.mark.parametrize("shift", [True, False])
def test_a_pose_begins_where_its_camera_is(form: PoseForm, shift: bool) -> None:
    camera = PRIOR.orbit(torch.tensor([0.3, -1.0]), 0.2)
    pose = Numbers(camera, PRIOR, PoseOptions(form=form, shift=shift))
    torch.testing.assert_close(pose.camera().cam2world, camera.cam2world, atol=1e-5, rtol=0)
    assert set(pose.groups()) == ({"pose", "shift"} if shift else {"pose"})
    one = pose.only(1)
    torch.testing.assert_close(one.camera().cam2world, camera[1].cam2world, atol=1e-5, rtol=0)


def test_a_camera_that_looks_past_the_head_is_a_shift() -> None:
    camera = PRIOR.front()
    moved = camera.cam2world.clone()
    moved[:, :3, 3] = 2.7 * torch.nn.functional.normalize(torch.tensor([[0.2, 0.1, 2.7]]), dim=1)
    aside = Camera(moved, camera.intrinsics)
    pose = Numbers(aside, PRIOR, PoseOptions())
    torch.testing.assert_close(pose.camera().cam2world, moved, atol=1e-5, rtol=0)
    middle = Numbers(aside, PRIOR, PoseOptions(shift=False)).camera()
    torch.testing.assert_close(middle.cam2world, camera.cam2world, atol=1e-5, rtol=0)


@pytest.mark.parametrize("through", ["numbers", "network"])
@pytest.mark.parametrize("form", POSE_FORMS)
def test_rates(through: str, form: PoseForm) -> None:
    options = PoseOptions.model_validate({"through": through, "form": form, "shift_lr": 0.5})
    groups = Numbers(PRIOR.front(), PRIOR, options).groups()
    assert groups["pose"].lr(7) == RATES[through][form] and groups["shift"].lr(7) == 0.5
    official = {"angles": 6e-6, "quaternion": 6e-7, "sixd": 6e-6}
    assert RATES["network"] == official
    given = options.model_copy(update={"lr": 0.25})
    assert Numbers(PRIOR.front(), PRIOR, given).groups()["pose"].lr(0) == 0.25


# --- starts


def test_the_grid_covers_the_prior_and_has_the_front() -> None:
    cameras = grid(PRIOR, StartOptions(yaws=5, pitches=3))
    assert len(cameras) == 15
    yaws = sorted({round(float(y)) for y in cameras.yaw.rad2deg()})
    assert yaws == [-90, -45, 0, 45, 90]
    pitches = sorted({round(float(p)) for p in cameras.pitch.rad2deg()})
    assert pitches == [-15, 0, 15]
    assert len(grid(PRIOR, StartOptions(yaws=1, pitches=1))) == 1


@pytest.mark.parametrize("yaws", [6, 7])
def test_a_grid_all_around_has_no_pose_twice(yaws: int) -> None:
    cameras = grid(replace(PRIOR, yaw_deg=180.0), StartOptions(yaws=yaws, pitches=1))
    found = cameras.yaw.rad2deg().sort().values
    assert float(found.abs().min()) == pytest.approx(0, abs=1e-3)
    torch.testing.assert_close(found.diff(), torch.full((yaws - 1,), 360 / yaws), atol=1e-2, rtol=0)


def test_starts_are_apart() -> None:
    cameras = PRIOR.orbit(torch.tensor([0.0, 5.0, 30.0, 33.0, -40.0]).deg2rad())
    options = StartOptions(count=3, apart_deg=20)
    assert apart_from_one_another(cameras, [1, 0, 3, 2, 4], options) == [1, 3, 4]
    assert apart_from_one_another(cameras, [1, 0], options) == [1]


def test_another_pose_is_tried_unless_one_is_near() -> None:
    cameras = PRIOR.orbit(torch.tensor([0.0, 0.5]))
    near, far = PRIOR.orbit(torch.tensor([0.2])), PRIOR.orbit(torch.tensor([-0.5]))
    assert len(with_other(cameras, near, StartOptions(apart_deg=20))) == 2
    found = with_other(cameras, far, StartOptions(apart_deg=20))
    torch.testing.assert_close(found.yaw, torch.tensor([0.0, 0.5, -0.5]))


def test_the_mirrored_pose_is_tried_unless_it_is_there() -> None:
    side, front = PRIOR.orbit(torch.tensor([0.6])), PRIOR.front()
    tried = with_mirror_image(side, StartOptions())
    torch.testing.assert_close(tried.yaw, torch.tensor([0.6, -0.6]))
    assert len(with_mirror_image(front, StartOptions())) == 1
    assert len(with_mirror_image(side, StartOptions(mirror=False))) == 1
    assert len(with_mirror_image(Camera.cat([side, tried[1]]), StartOptions())) == 2


# --- runs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pose": {"form": "angles"}},
        {"pose": {"form": "sixd", "shift": False}},
        {"pose": {"warmup": 0}},
        {"pose": {"warmup": 99}},
        {"latent": {"update": "alternate"}},
        {"latent": {"space": "w+", "pull": 0.1, "noise": 0.0}},
        {"latent": {"noise_maps": 1e-3, "keep": "best"}},
        {"warp": {"losses": {"warping": 0.0}}},
        {"warp": {"losses": {"warping": {"layer": "2", "near": False}}}},
        {"tuning": {"smoothness": 0.0, "keep": "best"}},
        {"starts": {"mirror": False, "count": 1}},
    ],
)
def test_every_choice_runs_all_stages(options: dict[str, Any]) -> None:
    done = run(**options)
    assert [p.stage for p in done.log] == ["starts"] * 3 + ["latent"] * 3 + ["tuning"] * 3
    assert all(math.isfinite(v) for p in done.log for v in p.losses.values())
    assert done.inversion.ws.shape == (1, 4, 8) and done.inversion.generator_delta
    assert float(done.inversion.cameras.radius) == pytest.approx(2.7, abs=1e-4)
    torch.testing.assert_close(
        done.inversion.poses[VIEW.names[0]], done.inversion.cameras.labels()[0]
    )


def test_the_camera_is_found_without_an_estimator() -> None:
    options = {
        "starts": {"steps": 20, "yaws": 9},
        "latent": {"steps": 60, "samples": 300, "lr": 0.05},
        "tuning": {"steps": 0},
        "pose": {"warmup": 5},
    }
    done = run(**options)
    assert error_deg(done) < 5
    assert not [n for n in done.context.state.notices if "converge" in n or "mirrored" in n]


def test_the_captures_own_camera_is_tried_too() -> None:
    """A grid of the front alone doesn't find the side; with the camera it's where it is."""
    options = {"starts": {"yaws": 1, "mirror": False, "steps": 5}, "tuning": {"steps": 0}}
    done = run(POSED, **options)
    assert error_deg(done) < 10
    assert not [n for n in done.context.state.notices if "the capture's own" in n]
    done = run(POSED, **merge(options, {"starts": {"given": False}}))
    assert error_deg(done) > 15
    (said,) = [n for n in done.context.state.notices if "degrees from the capture's own" in n]
    assert "(yaw +30.0" in said and "methods pti, spi and hfgi3d" in said


def test_in_the_warm_up_the_camera_changes_alone() -> None:
    still = {"starts": {"steps": 0}, "latent": {"steps": 2}, "pose": {"warmup": 2}}
    done = run(**still, tuning={"steps": 0})
    start = run(**merge(still, {"latent": {"steps": 0}}), tuning={"steps": 0})
    assert torch.equal(done.inversion.ws, start.inversion.ws)
    assert not torch.equal(done.inversion.cameras.labels(), start.inversion.cameras.labels())
    assert all(p.lr["latent"] == 0 for p in done.log)


def test_rates_and_noise_of_the_latent_begin_after_the_warm_up() -> None:
    options = {"starts": {"steps": 0}, "latent": {"steps": 10, "lr": 0.2}, "pose": {"warmup": 4}}
    log = run(**options).log[:10]
    rate = delayed(ramped(0.2, 6), 4)
    expected = [max(0.0, rate(step)) for step in range(10)]
    assert [p.lr["latent"] for p in log] == pytest.approx(expected)
    assert delayed(latent_noise(0.05, 6), 4)(4) == 0.05


def test_alternating_moves_the_camera_by_the_warp_alone() -> None:
    """Without a warm-up and with one step, both see the same latent."""
    base = {"starts": {"steps": 0}, "latent": {"steps": 1}, "pose": {"warmup": 0}}
    moved = {}
    for losses in ({"mse": 1.0}, {"mse": 5.0, "l1": 3.0}):
        done = run(**merge(base, {"latent": {"update": "alternate"}}), losses=losses)
        moved[len(losses)] = done.inversion.cameras.labels()
        assert "follow/warping" in done.log[0].losses and "mse" in done.log[0].losses
    torch.testing.assert_close(moved[1], moved[2])


def test_the_warp_is_in_the_log() -> None:
    log = run().log
    assert {"mse", "l1", "warping", "total"} <= set(log[0].losses)
    assert "depth_smoothness" in log[-1].losses and "warping" not in log[-1].losses
    assert "warping" not in run(warp={"losses": {"warping": 0.0}}).log[0].losses


def test_the_first_update_is_not_taken_where_the_picture_is_close_enough() -> None:
    sums = {"threshold": 1e9, "threshold_losses": ["mse", "l1"]}
    assert not run(tuning=sums).inversion.generator_delta
    values = run(tuning={"steps": 1}).log[-1].losses
    between = (max(values["mse"], values["l1"]) + values["mse"] + values["l1"]) / 2
    sums["threshold"] = between  # above each of the two, below their sum
    assert run(tuning=sums).inversion.generator_delta


def test_a_known_camera_is_not_looked_at() -> None:
    known, unknown = run(POSED), run(VIEW)
    assert torch.equal(known.inversion.ws, unknown.inversion.ws)


def test_it_starts_from_the_result_of_another_run() -> None:
    latent = {"steps": 3, "samples": 50}
    start = fit("wplus", {"latent": latent}, POSED).inversion
    options = {
        "pose": {"estimator": "none"},
        "starts": {"steps": 0},
        "latent": {"steps": 0, "space": "w+"},
        "tuning": {"steps": 0},
    }
    context = Context.create(init=start)
    done = fit("poseopt", merge(QUICK, options), VIEW, context=context)
    assert torch.equal(done.inversion.ws, start.ws)


def test_another_method_tells_the_latent_to_begin_with() -> None:
    options = {
        "encoder": "pti",
        "encoder_options": {"latent": {"steps": 2, "samples": 50}, "tuning": {"steps": 2}},
        "starts": {"steps": 0},
        "latent": {"steps": 0},
        "tuning": {"steps": 0},
    }
    done = run(**options)
    assert [p.stage for p in done.log] == ["encoder/latent"] * 2 + ["encoder/tuning"] * 2
    assert not done.inversion.generator_delta  # its tuning is undone
    mean = run(**merge(options, {"encoder": None, "encoder_options": {}}))
    assert not torch.equal(done.inversion.ws, mean.inversion.ws)
    given = merge(QUICK, merge({"pose": {"estimator": "none"}}, options))
    start = mean.inversion
    again = fit("poseopt", given, VIEW, context=Context.create(init=start))
    assert not again.log and torch.equal(again.inversion.ws, start.ws)  # --init takes its place


# --- estimators


def test_an_estimator_that_serves_the_generator_is_taken(leaning: None) -> None:
    still = {"starts": {"steps": 0}, "latent": {"steps": 0}}
    done = fit("poseopt", merge(QUICK, still), VIEW)
    assert error_deg(done) < 0.01
    assert not [n for n in done.context.state.notices if "estimator" in n]


def test_one_that_sees_nothing_is_an_error_where_it_is_named(
    leaning: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Leaning, "blind", True)
    with pytest.raises(InputError, match="sees no head"):
        run(pose={"estimator": "leaning"})
    done = fit("poseopt", QUICK, VIEW)
    assert "sees no head; the pose was looked for among a grid" in done.context.state.notices[0]


def test_without_one_it_says_that_weights_would_be_better() -> None:
    done = fit("poseopt", QUICK, VIEW)
    assert "an estimator with weights" in done.context.state.notices[0]
    assert not [n for n in run().context.state.notices if "estimator" in n]  # a choice


def test_the_weights_of_its_network_change(leaning: None) -> None:
    options = {
        "pose": {
            "estimator": "leaning",
            "estimator_options": {"lean": 0.15},
            "through": "network",
            "lr": 0.02,
        },
        "starts": {"steps": 0},
        "latent": {"steps": 40, "samples": 300},
        "tuning": {"steps": 0},
    }
    assert error_deg(run(**merge(options, {"latent": {"steps": 0}}))) == pytest.approx(8.6, abs=0.1)
    done = run(**options)
    assert error_deg(done) < 4
    assert [p.stage for p in done.log] == ["latent"] * 40


def test_rates_of_a_network_are_those_of_the_numbers_that_it_tells(
    leaning: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        "pose": {"estimator": "leaning", "through": "network", "form": "quaternion"},
        "starts": {"steps": 0},
    }
    plain = run(**options)
    assert plain.log[0].lr["pose"] == RATES["network"]["quaternion"]
    assert not any("pose.form" in said for said in plain.context.state.notices)
    monkeypatch.setattr(Leaning, "form", "angles")
    told = run(**options)
    assert told.log[0].lr["pose"] == RATES["network"]["angles"]
    assert any("tells rotations as angles" in said for said in told.context.state.notices)


def test_an_estimator_without_weights_that_change_it_is_refused(
    leaning: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = torch.no_grad()(Leaning.estimate)
    monkeypatch.setattr(Leaning, "estimate", fixed)
    network = {"estimator": "leaning", "through": "network"}
    with pytest.raises(ConfigError, match=r"pose\.through.*set pose\.through=numbers"):
        run(pose=network, starts={"steps": 0})


# --- what it says of its answer


def symmetric() -> ToyGenerator:
    """Each blob of the first half has a twin on the other side with the same looks."""
    generator = Watched()
    signs = torch.ones(8)
    signs[0] = -1
    with torch.no_grad():
        for part in (generator.layout.weight, generator.layout.bias):
            blobs = part.view(8, 8, -1)
            blobs[4:] = blobs[:4] * signs[:, None]
        generator.noise_strength.zero_()
    return generator


def test_a_mirrored_pose_that_serves_as_well_is_said() -> None:
    """The picture and its mirror image, laid over one another, tell no side."""
    generator = symmetric()
    view = toy_capture(generator, 2, seed=2, yaw_deg=40)[[0]]
    images = (view.images + view.images.flip(-1)) / 2
    blurred = replace(view, images=images, cameras=None)
    options = {"pose": {"estimator": "none"}, "starts": {"yaws": 4, "count": 1}}
    done = fit("poseopt", merge(QUICK, options), blurred, generator=generator)
    said = [n for n in done.context.state.notices if "mirrored pose" in n]
    assert len(said) == 1 and "left and right" in said[0]


def test_a_camera_that_does_not_rest_is_said() -> None:
    notices = run(pose={"lr": 0.3}).context.state.notices
    assert any("in the last tenth" in n and "did not converge" in n for n in notices)
    assert not any("in the last tenth" in n for n in run(pose={"lr": 1e-6}).context.state.notices)


def test_a_fit_that_got_nowhere_is_said() -> None:
    still = run(starts={"steps": 0}, latent={"steps": 0})
    assert any("hardly came nearer" in n for n in still.context.state.notices)


def test_diagnostics_show_the_poses_and_the_picture() -> None:
    inverter = method("poseopt", merge(QUICK, {"pose": {"estimator": "none"}}))
    assert inverter.diagnostics() == ()
    inverter.invert(ToyGenerator(ToyConfig()), POSED, Context.create())
    tried, found = inverter.diagnostics()
    assert tried.title == "Poses that were tried"
    assert len(tried.labels) == len(tried.images) and sum("taken" in t for t in tried.labels) == 1
    assert found.images.shape == (4, 3, 32, 32) and len(found.labels) == 4
    assert "starts within" in found.labels[1] and "deg from the capture's" in found.labels[1]


# --- errors


class Flat(ToyGenerator):
    """It makes no depth."""

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.spec = replace(self.spec, outputs=("image", "mask"))


def test_a_generator_without_depth_serves_without_the_warp() -> None:
    options = merge(QUICK, {"pose": {"estimator": "none"}})
    with pytest.raises(UnsupportedError, match="depth"):
        fit("poseopt", options, VIEW, generator=Flat())
    off = {"warp": {"losses": {"warping": 0.0}}, "tuning": {"smoothness": 0.0}}
    assert fit("poseopt", merge(options, off), VIEW, generator=Flat()).log


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3])
def test_a_picture_of_one_colour_is_refused(value: float) -> None:
    blank = replace(VIEW, images=torch.full_like(VIEW.images, value), source="empty.zip")
    with pytest.raises(InputError, match=r"view001\.png of empty\.zip: is of one colour"):
        run(blank)


def test_a_picture_without_a_head_is_said() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = replace(VIEW, images=torch.rand(VIEW.images.shape, generator=rng) * 2 - 1)
    assert any(
        "does it show a head" in n or "does the picture show a head" in n
        for n in run(noise).context.state.notices
    )


def test_a_picture_of_another_size_is_refused() -> None:
    small = replace(VIEW, images=VIEW.images[..., ::2, ::2])
    with pytest.raises(InputError, match="16x16 pixels, expected 32x32"):
        run(small)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tuning": {"threshold": 0.1}}, "tuning.threshold_losses"),
        ({"warp": {"losses": {"mse": 1.0}}}, "warp.losses"),
        ({"pose": {"form": "euler"}}, "pose.form"),
        ({"pose": {"through": "network"}}, "there's no network"),
        ({"pose": {"through": "network", "estimator": "auto"}}, "starts.steps=0"),
        ({"latent": {"update": "alternate"}, "warp": {"losses": {"warping": 0}}}, "latent.update"),
        ({"encoder": "multilatent"}, "option 'encoder'"),
        ({"pose": {"stepz": 1}}, "stepz"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], named: str) -> None:
    generator = Watched()
    given = merge(QUICK, merge({"pose": {"estimator": "none"}}, options))
    with pytest.raises(InvError, match=named) as caught:
        fit("poseopt", given, VIEW, generator=generator)
    assert "\n" not in str(caught.value)
    assert not generator.views  # before anything is fitted


def test_a_start_that_runs_away_names_the_rate_that_it_runs_by() -> None:
    options = {"pose": {"warmup": 0}, "latent": {"lr": 1e30, "rampup": 0.0}}
    with pytest.raises(DivergedError, match=r"stage 'starts'.*--set latent\.lr="):
        run(**options)


def test_an_unknown_estimator_is_an_error() -> None:
    with pytest.raises(PluginError, match="unknown estimator 'poseop'"):
        run(pose={"estimator": "poseop"})


def test_a_network_needs_an_estimator_that_serves() -> None:
    options = {"pose": {"through": "network", "estimator": "auto"}, "starts": {"steps": 0}}
    with pytest.raises(UnsupportedError, match="no pose estimator serves generator toy"):
        run(**options)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_differ_as_their_sources_do(preset: str) -> None:
    config = build_config(PoseOptConfig, dict(PRESETS[preset]), "it")
    if preset != "fast":
        alternate = preset == "paper"
        assert (config.latent.update == "alternate") == alternate
        assert config.latent.steps == 400 and config.pose.warmup == 50
        assert config.pose.form == ("angles" if alternate else "quaternion")


def test_unknown_names_in_presets_are_found() -> None:
    with pytest.raises(ConfigError):
        build_config(PoseOptConfig, {"posee": {}}, "it")
