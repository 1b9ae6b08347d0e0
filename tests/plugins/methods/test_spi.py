"""SPI on a generator with known answers: the prior, its terms, its options, its errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.config import PluginConfig, merge
from inv3d.core.errors import ConfigError, InvError, UnsupportedError
from inv3d.core.fit.context import Context
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.geometry.views import flipped
from inv3d.plugins.methods.spi.around import Around, cut_out, part_centres, warped_picture
from inv3d.plugins.methods.spi.config import AroundOptions, SymmetricTuningOptions
from inv3d.plugins.methods.spi.losses import TuningLosses, compare, picture_losses
from inv3d.plugins.methods.spi.mirror import mirror_image, mirror_weight, side_angle
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.golden_cases import GoldenCase
from tests.toy_fits import Fit, Watched, fit, method

GOLDEN = GoldenCase("spi_cameras_warp").tensors
VIEWS = toy_capture(ToyGenerator(ToyConfig()), 3, seed=5)
PRIOR = ToyGenerator(ToyConfig()).spec.camera
SIDE = VIEWS[[0]]  # 60 degrees to the left
LATENT = {"steps": 3, "samples": 50, "pull": 0.0}
QUICK: dict[str, Any] = {"latent": LATENT, "tuning": {"steps": 3, "every": 2, "batch": 2}}


def run(**options: Any) -> Fit:
    return fit("spi", merge(QUICK, options), SIDE, generator=Watched())


# --- the prior


def test_golden_angles_and_weights() -> None:
    cameras = Camera.from_labels(GOLDEN["cameras"])
    angles = GOLDEN["yaw_pitch_roll"][:, 0]
    torch.testing.assert_close(side_angle(cameras), angles, atol=1e-5, rtol=0)
    weight = mirror_weight(cameras, deviation=0.29, front=0.2)
    torch.testing.assert_close(weight, GOLDEN["weight"], atol=1e-5, rtol=0)


def test_the_weight_is_even_and_grows_to_the_side() -> None:
    yaw = torch.linspace(-1.2, 1.2, 25)
    weight = mirror_weight(VIEWS_PRIOR.orbit(yaw), deviation=0.29, front=0.2)
    torch.testing.assert_close(weight, weight.flip(0))
    assert (weight[12:].diff() >= 0).all() and 0 <= weight.min() and weight.max() <= 0.5
    assert not weight[yaw.abs() < 0.19].any()
    narrow = mirror_weight(VIEWS_PRIOR.orbit(yaw), deviation=0.1, front=0.0)
    assert (narrow >= 0).all()
    wide = mirror_weight(VIEWS_PRIOR.orbit(yaw), deviation=0.6, front=0.0)
    assert bool((wide > 0).all())


VIEWS_PRIOR = ToyGenerator(ToyConfig()).spec.camera


def test_the_mirror_image_has_everything_flipped() -> None:
    other = mirror_image(SIDE)
    assert torch.equal(other.images, flipped(SIDE.images))
    assert other.masks is not None and SIDE.masks is not None
    assert torch.equal(other.masks, flipped(SIDE.masks))
    assert other.depths is not None and SIDE.depths is not None
    assert torch.equal(other.depths, flipped(SIDE.depths))
    assert float(other.camera.yaw) == pytest.approx(-float(SIDE.camera.yaw), abs=1e-6)
    assert mirror_image(replace(SIDE, masks=None, depths=None)).masks is None


# --- views around


def test_a_view_of_itself_is_the_masked_picture() -> None:
    assert SIDE.depths is not None and SIDE.masks is not None
    options = AroundOptions()
    image, seen = warped_picture(SIDE, SIDE.depths, SIDE.camera, SIDE.depths, options)
    sure = seen[:, 0] > 0.99
    torch.testing.assert_close(
        image.movedim(1, -1)[sure], SIDE.images.movedim(1, -1)[sure], atol=1e-3, rtol=0
    )
    assert 0 < seen.mean() <= SIDE.masks.mean() + 1e-6
    everywhere = options.model_copy(update={"mask": False})
    _, whole = warped_picture(SIDE, SIDE.depths, SIDE.camera, SIDE.depths, everywhere)
    assert bool((whole >= seen - 1e-6).all()) and set(whole.unique().tolist()) == {0.0, 1.0}


def test_losses_of_pictures_alone_and_their_weights() -> None:
    context = Context.create()
    terms = {
        "mse": LossTerm(weight=2.0),
        "raw": LossTerm(weight=1.0, loss="l1", of="raw"),
        "seen": LossTerm(weight=1.0, loss="l1", where="mask"),
        "depth_smoothness": LossTerm(weight=1.0),
    }
    losses = context.losses(terms)
    chosen = picture_losses(losses, "losses")
    assert list(chosen) == ["mse"]
    images, others = torch.rand(2, 2, 3, 8, 8)
    expected = 2 * (images - others).square().mean((1, 2, 3)).sum()
    torch.testing.assert_close(compare(chosen, images, others, torch.ones(2, 1, 8, 8)), expected)
    del losses["mse"]
    with pytest.raises(ConfigError, match=r"around\.losses.*raw, seen, depth_smoothness"):
        picture_losses(losses, "losses")


def around(generator: Generator, **options: Any) -> Around:
    context = Context.create()
    losses = context.losses({"l1": LossTerm(weight=1.0)})
    ws = generator.map(torch.zeros(1, 8)).detach()
    given = SymmetricTuningOptions(batch=3, **options)
    terms = TuningLosses(losses, losses, losses)
    return Around(generator, ws, SIDE, terms, given, 0.4, context)


class Faced(ToyGenerator):
    """Its blobs are a face."""

    @classmethod
    def alignment(cls, config: PluginConfig) -> Alignment:
        prior = CameraPrior(radius=2.7, focal=4.2647 / 2)
        return Alignment(prior, (-0.2, 0.1, 0.4), (0.2, 0.1, 0.4), (0, 0, 0.6), (-0.1, -0.2, 0.4),
                         (0.1, -0.2, 0.4), 32)  # fmt: skip


def test_squares_around_eyes_and_mouth_are_cut_out() -> None:
    faces = Faced(ToyConfig()).faces
    assert faces is not None
    centres = part_centres(PRIOR.orbit(torch.tensor([0.0, 0.3])), faces)
    assert centres.shape == (2, 3, 2)
    (mouth, left, right), turned = centres
    assert float(mouth[0]) == pytest.approx(0.5) and float(mouth[1]) > float(left[1])
    # the subject's left eye is on the picture's right, and turns away from a camera on its side
    assert float(right[0]) < 0.5 < float(left[0]) and float(turned[1, 0]) < float(left[0])
    images = torch.rand(2, 3, 64, 64)
    squares = cut_out(images, torch.tensor([[[0.25, 0.5]], [[0.5, 0.75]]]), share=8 / 64)
    torch.testing.assert_close(squares, torch.stack([images[0, :, 28:36, 12:20],
                                                     images[1, :, 44:52, 28:36]]))  # fmt: skip
    assert cut_out(images, centres).shape == (6, 3, 10, 10)


def test_mirrored_views_are_compared_by_losses_and_parts_of_their_own() -> None:
    options = {"mirrored": {"losses": {"contextual": 0.1}}}
    log = run(tuning={"around": options}).log
    plain = run().log
    assert log[3].losses["rotation"] == plain[3].losses["rotation"]
    assert log[3].losses["mirror"] != plain[3].losses["mirror"]
    parts = merge(QUICK, {"tuning": {"around": {"mirrored": {"parts": True}}}})
    faced = fit("spi", parts, SIDE, generator=Faced(ToyConfig()))
    assert faced.log[3].losses["mirror"] != plain[3].losses["mirror"]
    assert not faced.context.state.notices
    whole = fit("spi", parts, SIDE)
    assert whole.log[3].losses["mirror"] == plain[3].losses["mirror"]
    (notice,) = whole.context.state.notices
    assert "mirrored views are compared whole" in notice


def test_cameras_of_a_step_lie_around_both_sides_and_are_drawn_anew() -> None:
    generator = ToyGenerator(ToyConfig())
    terms = around(generator)
    first, depth = terms.looks()
    assert len(first.camera) == 7 and len(depth.camera) == 3
    assert torch.equal(first.camera.labels()[:1], SIDE.camera.labels())
    yaw = float(SIDE.camera.yaw)
    reach = 0.25  # turning about the origin changes the yaw of a higher camera a little more
    assert bool(((first.camera.yaw[1:4] - yaw).abs() < reach).all())
    assert bool(((first.camera.yaw[4:] + yaw).abs() < reach).all())
    assert bool((depth.camera.yaw.abs() <= 0.7 + 1e-6).all())
    limits = [math.asin(2 / math.pi * height) for height in (-0.2, 0.6)]
    assert limits[0] <= float(depth.camera.pitch.min()) <= float(depth.camera.pitch.max())
    assert float(depth.camera.pitch.max()) <= limits[1]
    again = terms.looks()[0].camera.labels()
    assert not torch.equal(again[1:], first.camera.labels()[1:])


@pytest.mark.parametrize(
    ("options", "cameras"),
    [
        ({}, [7, 3]),
        ({"mirror": 0.0}, [4, 3]),
        ({"rotation": 0.0}, [4, 3]),
        ({"rotation": 0.0, "mirror": 0.0}, [3]),
        ({"depth": 0.0}, [7]),
        ({"rotation": 0.0, "mirror": 0.0, "depth": 0.0}, []),
    ],
)
def test_a_weight_of_0_leaves_a_term_out(options: dict[str, float], cameras: list[int]) -> None:
    terms = around(ToyGenerator(ToyConfig()), **options)
    assert [len(look.camera) for look in terms.looks()] == cameras


def test_the_depth_of_an_untuned_generator_has_not_changed() -> None:
    generator = ToyGenerator(ToyConfig()).requires_grad_()
    terms = around(generator, rotation=0.0, mirror=0.0)
    terms.context.backward(generator, terms.ws, *terms.looks())
    assert float(terms.metrics()["depth"]) == 0
    with torch.no_grad():
        generator.layout.weight += 0.1
    terms.context.backward(generator, terms.ws, *terms.looks())
    assert float(terms.metrics()["depth"]) > 0


# --- runs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prior": {"front": 2.0}},
        {"prior": {"deviation": 0.5}},
        {"latent": {"mirror": 0.0}},
        {"latent": {"noise": 0.0, "pull": 0.1, "noise_maps": 1e-3}},
        {"tuning": {"around": {"mask": False, "tolerance": 0.01}}},
        {"tuning": {"around": {"losses": {"mse": 0.5}}}},
        {"tuning": {"rotation": 0.0, "mirror": 0.0, "depth": 0.0}},
        {"tuning": {"keep": "best", "every": 1, "batch": 1}},
    ],
)
def test_every_choice_runs_both_stages(options: dict[str, Any]) -> None:
    done = run(**options)
    assert [p.stage for p in done.log] == ["latent"] * 3 + ["tuning"] * 3
    assert all(math.isfinite(p.losses["total"]) for p in done.log)
    assert done.inversion.ws.shape == (1, 4, 8)


def test_terms_are_in_the_log_where_they_were_taken() -> None:
    log = run().log
    assert {"mse", "mirror/mse", "total"} <= set(log[0].losses)
    first, second = log[3].losses, log[4].losses
    assert {"rotation", "mirror", "depth"} <= set(first)
    assert not {"rotation", "mirror", "depth"} & set(second)
    frontal = fit("spi", QUICK, VIEWS)
    assert "mirror/mse" not in frontal.log[0].losses and "mirror" not in frontal.log[3].losses
    assert "rotation" in frontal.log[3].losses
    torch.testing.assert_close(frontal.inversion.cameras.labels(), VIEWS.camera[1].labels())


def test_one_synthesis_serves_every_look_of_a_step() -> None:
    generator = Watched()
    steps = fit("spi", merge(QUICK, {"tuning": {"depth": 0.0}}), SIDE, generator=generator)
    assert len(steps.log) == 6
    assert len(generator.scenes) == 6 + 1  # and one for the report's pictures


def test_the_first_update_is_not_taken_where_the_picture_is_close_enough() -> None:
    stopped = run(tuning={"threshold": 1e9, "threshold_loss": "mse"})
    assert [p.stage for p in stopped.log] == ["latent"] * 3
    assert not stopped.inversion.generator_delta
    assert run(tuning={"threshold": 0.0, "threshold_loss": "mse"}).inversion.generator_delta


def test_a_symmetric_head_is_found_better_from_the_side_with_its_mirror_image() -> None:
    """Blobs that come in pairs; the other side is held out."""
    generator = symmetric_toy()
    views = toy_capture(generator, 2, seed=2, yaw_deg=50)
    options: dict[str, Any] = {
        "latent": {"steps": 60, "samples": 100, "pull": 0.0, "lr": 0.05},
        "tuning": {"steps": 0},
    }
    errors = {}
    for mirror in (0.0, 1.0):
        given = merge(options, {"latent": {"mirror": mirror}})
        done = fit("spi", given, views[[0]], generator=symmetric_toy())
        errors[mirror] = float(done.error(views)[1])
    assert errors[1.0] < errors[0.0]


def symmetric_toy() -> ToyGenerator:
    """Each blob of the first half has a twin on the other side, with the same looks."""
    generator = ToyGenerator(ToyConfig(seed=1))
    signs = torch.ones(8)
    signs[0] = -1
    with torch.no_grad():
        for part in (generator.layout.weight, generator.layout.bias):
            blobs = part.view(8, 8, -1)
            blobs[4:] = blobs[:4] * signs[:, None]
    return generator


def test_diagnostics_show_both_sides() -> None:
    inverter = method("spi", QUICK)
    assert inverter.diagnostics() == ()
    inverter.invert(ToyGenerator(ToyConfig()), SIDE, Context.create())
    rows = inverter.diagnostics()
    assert [row.title for row in rows] == ["Picture, warped", "Mirror image, warped"]
    assert all(row.images.shape == (5, 3, 32, 32) and len(row.labels) == 5 for row in rows)


def test_it_starts_from_the_result_of_another_run() -> None:
    start = fit("wplus", {"latent": LATENT}, SIDE).inversion
    still = merge(QUICK, {"latent": {"steps": 0}, "tuning": {"steps": 0}})
    done = fit("spi", still, SIDE, context=Context.create(init=start))
    assert torch.equal(done.inversion.ws, start.ws)


# --- errors


class Flat(ToyGenerator):
    """It makes no depth."""

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.spec = replace(self.spec, outputs=("image", "mask"))


def test_a_generator_without_depth_serves_for_the_mirror_image_alone() -> None:
    with pytest.raises(UnsupportedError, match="depth"):
        fit("spi", QUICK, SIDE, generator=Flat())
    off = {"tuning": {"rotation": 0.0, "mirror": 0.0, "depth": 0.0}}
    assert fit("spi", merge(QUICK, off), SIDE, generator=Flat()).log


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tuning": {"threshold": 0.1}}, "tuning.threshold_loss"),
        ({"tuning": {"around": {"losses": {"depth_smoothness": 1.0}}}}, "tuning.around.losses"),
        (
            {"tuning": {"around": {"mirrored": {"losses": {"noise": 1.0}}}}},
            "around.mirrored.losses",
        ),
        ({"tuning": {"every": 0}}, "tuning.every"),
        ({"prior": {"deviation": 0.0}}, "prior.deviation"),
        ({"latent": {"stepz": 1}}, "stepz"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], named: str) -> None:
    generator = Watched()
    with pytest.raises(InvError, match=named) as caught:
        fit("spi", merge(QUICK, options), SIDE, generator=generator)
    assert "\n" not in str(caught.value)
    assert not generator.views  # before anything is fitted
