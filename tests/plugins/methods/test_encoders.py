"""psp, e4e, triplanenet, dualencoder and hybrid: trainings, results, and what doesn't fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import build_config
from inv3d.core.errors import (
    ConfigError,
    InputError,
    MismatchError,
    UnsupportedError,
    WeightsError,
)
from inv3d.core.fit.context import Context
from inv3d.core.fit.terms import LossTerm
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.inverter import load_method
from inv3d.core.latent import latent_statistics
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import Scene
from inv3d.nn.encoders.dual import occluded_maps
from inv3d.nn.encoders.encode import make_encoder
from inv3d.nn.encoders.options import EncoderOptions
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.panohead import PanoHead
from inv3d.plugins.methods.encoders.branches import _mirror_terms
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.plugins.methods.encoder_trainings import (
    CPU,
    ENCODER,
    Training,
    changed,
    one_picture,
    states,
)
from tests.tiny_generators import tiny, untouched


@pytest.mark.parametrize("name", ["psp", "e4e"])
def test_an_encoder_learns_latents_and_is_found_again(name: str, tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    training = Training(name, generator, latent=1.0, lr=3e-3, batch=4, optimizer="adam").steps(40)
    losses = training.losses("latent")
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    method = load_method(name, {"weights": str(training.save(tmp_path))})
    context, capture = Context.create(CPU), one_picture(generator)
    found = method.invert(generator, capture, context)
    assert found.ws.shape == (1, 4, 8) and not found.offset and method.instant
    assert found.cameras.labels().equal(capture.camera.labels()) and not context.state.notices
    again = load_method(name, {"weights": str(tmp_path / "trained.safetensors")})
    assert torch.equal(again.invert(generator, capture, Context.create(CPU)).ws, found.ws)


@pytest.mark.parametrize("name", ["psp", "triplanenet"])
def test_sixteen_bits_train_nearly_the_same(name: str) -> None:
    generator = tiny(EG3D)
    options = {"second_from": 0} if name == "triplanenet" else {}
    exact = Training(name, generator, **options).steps(1).taken[0].losses["total"]
    training = Training(name, generator, precision="bf16", **options).steps(1)
    assert training.taken[0].losses["total"] == pytest.approx(exact, rel=0.1)
    assert training.taken[0].losses["total"] != exact
    assert {t.dtype for t in training.trainer.network.parameters()} == {torch.float32}


def test_the_latents_of_a_picture_are_seen_by_evaluations() -> None:
    generator = ToyGenerator(ToyConfig())
    training = Training("psp", generator, lr=1e-4).steps(1)
    check = training.trainer.check(training.source.held_out())
    assert {"total", "mse", "latent", "mean latent"} <= set(check.values)
    assert check.pictures["reconstruction"].shape == (2, 3, 32, 32)
    assert training.trainer.network.training


def test_e4e_lets_latents_differ_one_after_another() -> None:
    generator = ToyGenerator(ToyConfig())
    options = {"progressive": 3, "progressive_every": 2, "steps": 100, "r1_every": 2}
    training = Training("e4e", generator, **options)
    lesson, method = training.trainer.lesson, training.method
    deltas = [method.deltas(lesson, step) for step in range(9)]
    assert deltas == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    begun = replace(lesson, training=lesson.training.model_copy(update={"begin": Path("e4e")}))
    assert method.deltas(begun, 0) == generator.spec.num_ws - 1
    batch = training.feed.batch(0, 0)
    ws = method.latents(lesson, batch) - lesson.average
    assert torch.allclose(ws, ws[:, :1].expand_as(ws), atol=1e-6)
    before = states(training.trainer, "critic.", "encoder.", "pool.")
    training.steps(2)
    assert changed(before, states(training.trainer, "critic.", "encoder.", "pool.")) == [True] * 3
    assert len(training.losses("critic/r1")) == 1 and len(training.losses("near")) == 2
    assert not any(name.startswith("critic") for name in training.trainer.kept())


@pytest.mark.parametrize("kind", [EG3D, PanoHead])
def test_triplanenet_keeps_what_latents_lack_as_an_offset(kind, tmp_path: Path) -> None:
    generator = tiny(kind)
    training = Training("triplanenet", generator, second_from=1, novel=0.5, lr=1e-3).steps(3)
    assert len(training.losses("second/total")) == 2 and len(training.losses("second/novel")) == 2
    capture = one_picture(generator)
    method = load_method("triplanenet", {"weights": str(training.save(tmp_path))})
    found = method.invert(generator, capture, Context.create(CPU))
    network = training.trainer.network.eval()
    average = training.trainer.lesson.average
    with torch.no_grad():
        look, offset = network(generator, capture.images, capture.camera, average)
    torch.testing.assert_close(found.ws, look.scene.ws)
    torch.testing.assert_close(found.offset["planes"], offset["planes"])
    (pictures,) = method.diagnostics()
    assert pictures.images.shape[0] == 3 == len(pictures.labels)
    # equation 16: what an editor adds to the latents keeps the offset
    edited = replace(found, ws=found.ws + 0.1)
    front = generator.spec.camera.front()
    planes = edited.scene_for(generator, front).parts["planes"]
    with torch.no_grad():
        plain, moved = (generator.synthesize(ws).parts["planes"] for ws in (found.ws, edited.ws))
        whole = found.scene_for(generator, front).parts["planes"]
    torch.testing.assert_close(planes, whole + moved - plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["psp", "triplanenet"])
def test_every_frame_of_a_video_has_a_result_of_its_own(name: str, tmp_path: Path) -> None:
    generator = tiny(EG3D)
    place = Training(name, generator).steps(1).save(tmp_path)
    video = toy_capture(generator, 11, motion=0.5, yaw_deg=20)
    method = load_method(name, {"weights": str(place), "views": "all"})
    found = method.invert(generator, video, Context.create(CPU))
    assert found.blend == "frame" and found.frames == video.names and len(found.ws) == 11
    alone = load_method(name, {"weights": str(place)})
    assert (
        method.fitted(video.cameras, 11) == range(11) and len(alone.fitted(video.cameras, 11)) == 1
    )
    one = alone.invert(generator, video[[9]], Context.create(CPU))
    torch.testing.assert_close(found.ws[9:10], one.ws, atol=1e-5, rtol=1e-4)
    scene = found.scene_for(generator, video.camera[9], video.names[9:10])
    single = one.scene_for(generator, video.camera[9])
    torch.testing.assert_close(scene.parts["planes"], single.parts["planes"], atol=1e-4, rtol=1e-3)


def test_the_branches_of_triplanenet_take_turns() -> None:
    training = Training("triplanenet", tiny(EG3D), second_from=1, first_until=2, lr=1e-3)
    parts = ("psp_encoder.", "triplanenet_encoder.")
    moved = []
    for _ in range(3):
        before = states(training.trainer, *parts)
        training.steps(1)
        moved.append(changed(before, states(training.trainer, *parts)))
    # a branch that stays as it is keeps its statistics too
    assert moved == [[True, False], [True, True], [False, True]]
    idle = Training("triplanenet", tiny(EG3D), second_from=9, first_until=0)
    before = states(idle.trainer, *parts)
    assert idle.steps(1).taken[0].losses == {} and idle.trainer.done == 1
    assert changed(before, states(idle.trainer, *parts)) == [False, False]


def test_a_branch_that_is_never_trained_is_said() -> None:
    with pytest.warns(UserWarning, match="second_from is 9 of 3 steps: the second branch is never"):
        Training("triplanenet", tiny(EG3D), steps=3, second_from=9)


def test_confidence_needs_mirror_images(tmp_path: Path) -> None:
    kind = registry().load("methods", "dualencoder").Training
    options = {"confidence": str(tmp_path / "net.pth")}
    assert build_config(kind, {**options, "mirrored": 0.1}, "training").confidence
    with pytest.raises(ConfigError, match="confidence says how mirror images are compared"):
        build_config(kind, options, "training")


def test_the_mirror_image_counts_from_the_mirrored_camera() -> None:
    """A head that is its own mirror image has no loss against it."""
    generator = ToyGenerator(ToyConfig())
    from inv3d.plugins.methods.encoders.branches import Sided
    from inv3d.plugins.methods.encoders.learning import terms_of

    training = Training("psp", generator)
    lesson = replace(
        training.trainer.lesson,
        training=load_training("triplanenet", {"losses": {"mse": 1.0}, "mirrored": 0.5}),
    )
    batch = training.feed.batch(0, 0)
    camera = batch.capture.camera
    with torch.no_grad():
        scene = generator.synthesize(batch.ws)
        sided = Sided(lesson, batch)
        assert torch.equal(sided.sides.cameras[0].labels(), camera[0].labels())
        assert torch.equal(sided.sides.cameras[3].labels(), mirrored_camera(camera)[1].labels())
        found = sided.losses(scene, terms_of(generator, lesson.training.losses))
        other = generator.render(scene, mirrored_camera(camera)).require("image")
        squared = (other - batch.capture.images.flip(-1)).square().mean()
    torch.testing.assert_close(found["mirrored"], squared)
    torch.testing.assert_close(found["total"], found["mse"] + 0.5 * squared)
    symmetric = Scene({n: _mirrored(n, p) for n, p in scene.parts.items()}, scene.ws)
    with torch.no_grad():
        both = Camera.cat([camera, mirrored_camera(camera)])
        seen = generator.render(symmetric, both[[0, 2, 1, 3]])
    images = seen.require("image")
    torch.testing.assert_close(images[::2], images[1::2].flip(-1), atol=1e-4, rtol=0)


def _mirrored(name: str, part: torch.Tensor) -> torch.Tensor:
    """Half of the blobs as they are, half as their mirror images."""
    half = part[:, : part.shape[1] // 2]
    other = half * torch.tensor([-1.0, 1.0, 1.0]) if name == "centres" else half
    return torch.cat([half, other], dim=1)


def load_training(name: str, options: dict):
    from inv3d.core.registry.discovery import registry

    return registry().load("methods", name).Training.model_validate(options)


@pytest.mark.parametrize("kind", [EG3D, PanoHead])
def test_the_dual_encoder_stitches_and_trains_against_its_discriminator(kind, tmp_path) -> None:
    generator = tiny(kind)
    options = {"adversarial": 0.1, "r1_every": 2, "lr": 1e-3}
    training = Training("dualencoder", generator, **options)
    parts = ("encoders.first.", "encoders.second.", "critic.")
    before = states(training.trainer, *parts)
    training.steps(3)
    assert changed(before, states(training.trainer, *parts)) == [True, True, True]
    assert len(training.losses("critic/r1")) == 2 and len(training.losses("second/near")) == 3
    check = training.trainer.check(training.source.held_out())
    assert {"first total", "second from behind", "stitched total"} <= set(check.values)
    capture = one_picture(generator)
    method = load_method("dualencoder", {"weights": str(training.save(tmp_path))})
    found = method.invert(generator, capture, Context.create(CPU))
    network, average = training.trainer.network.eval(), training.trainer.lesson.average
    with torch.no_grad():
        stitched = network.encoders(generator, capture.images, capture.camera, average)
    scene = found.scene_for(generator, capture.camera)
    for name, part in stitched.scene.parts.items():
        torch.testing.assert_close(scene.parts[name], part, atol=1e-4, rtol=1e-3)
    assert len(method.diagnostics()[0].images) == 7


def test_without_a_discriminator_none_is_asked() -> None:
    training = Training("dualencoder", tiny(EG3D), adversarial=0.0)
    before = states(training.trainer, "critic.")
    training.steps(1)
    assert changed(before, states(training.trainer, "critic.")) == [False]  # statistics included
    assert not training.losses("second/near") and training.losses("second/total")


@pytest.mark.parametrize(("judged_by", "channels"), [("planes", 12), ("pictures", 3)])
def test_the_discriminator_sees_other_things(judged_by: str, channels: int) -> None:
    """It learns from whole planes, or from pictures of other cameras, and teaches encoder 2."""
    training = Training(
        "dualencoder", tiny(EG3D), {"judged_by": judged_by}, adversarial=0.1, r1_every=1, lr=1e-3
    )
    seen: list[torch.Tensor] = []
    critic = training.trainer.network.critic
    critic.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    before = states(training.trainer, "encoders.second.", "critic.")
    training.steps(1)
    assert changed(before, states(training.trainer, "encoders.second.", "critic.")) == [True, True]
    near, real, encoded = seen
    assert near.shape == real.shape and near.shape[:2] == (2, channels)
    torch.testing.assert_close(near, encoded)
    assert (near != 0).float().mean() > 0.99


def test_the_discriminator_has_the_labels_the_right_way_round() -> None:
    """High scores of encoded planes cost it much, and an encoder little."""

    class Mean(torch.nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return maps.mean((1, 2, 3))[:, None]

    training = Training("dualencoder", tiny(EG3D), r1=0.0, judged=0.5)
    encoded, visible = torch.ones(2, 12, 16, 16), torch.zeros(2, 3, 1, 16, 16)
    lesson, method = training.trainer.lesson, training.method

    def shown(scene: Scene) -> torch.Tensor:
        return occluded_maps(scene.parts["planes"], visible)

    high, low = (
        float(method._critic(lesson, Mean(), scale * encoded, shown, 0)["total"])
        for scale in (20.0, -20.0)
    )
    assert high == pytest.approx(low + 10, abs=0.01) and low < 1


def test_a_first_branch_begins_with_an_encoder_that_was_trained(tmp_path: Path) -> None:
    generator = tiny(EG3D)
    place = Training("psp", generator).steps(1).save(tmp_path)
    begun = Training("triplanenet", generator, first=str(place), first_until=0, second_from=0)
    kept = Training("psp", generator).steps(1).trainer.kept()
    found = begun.trainer.network.state_dict()
    assert all(torch.equal(t, found[f"psp_encoder.{name}"]) for name, t in kept.items())
    with pytest.raises(WeightsError, match="was trained for generator"):
        Training("triplanenet", untouched(EG3D, channels=(8, 8, 8)), first=str(place))
    sizes = {"encoder": {**ENCODER, "style_channels": 16}}
    with pytest.raises(MismatchError, match="weights of another architecture"):
        Training("triplanenet", generator, sizes, first=str(place))


def test_networks_that_are_nowhere_say_how_to_train_them() -> None:
    generator = ToyGenerator(ToyConfig())
    for name in ("psp", "e4e"):
        with pytest.raises(WeightsError, match=f"3dinv train {name} --generator toy -o"):
            load_method(name).invert(generator, one_picture(generator), Context.create(CPU))


def test_a_generator_without_planes_is_told() -> None:
    with pytest.raises(UnsupportedError, match="centres, looks, but no planes"):
        Training("triplanenet", ToyGenerator(ToyConfig()))
    with pytest.raises(UnsupportedError, match="no tri-planes or tri-grid"):
        Training("dualencoder", ToyGenerator(ToyConfig()))


def _published(path: Path, num_ws: int, average: bool, options: Any = ENCODER) -> Path:
    torch.manual_seed(0)
    encoder = make_encoder(EncoderOptions.model_validate(options), num_ws, 8)
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    checkpoint = {"state_dict": state, "opts": {"start_from_latent_avg": True}}
    torch.save(checkpoint | ({"latent_avg": torch.ones(8)} if average else {}), path)
    return path


def test_a_published_file_counts_from_its_average_or_the_generators(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    found = {}
    for average in (True, False):
        path = _published(tmp_path / f"{average}.pt", 4, average)
        context = Context.create(CPU)
        method = load_method("psp", {"encoder": ENCODER, "weights": str(path)})
        found[average] = method.invert(generator, one_picture(generator), context).ws
        assert any("doesn't say which generator" in text for text in context.state.notices)
        said = any("no latent_avg; the mean latent" in text for text in context.state.notices)
        assert said is not average
    difference = torch.ones(8) - latent_statistics(generator).mean
    torch.testing.assert_close(found[True] - found[False], difference.expand(1, 4, 8))


def test_the_average_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    """TriPlaneNet's is in that of its generator."""
    generator = ToyGenerator(ToyConfig())
    whole, bare = (_published(tmp_path / f"{own}.pt", 4, own) for own in (True, False))
    torch.save({"latent_avg": torch.ones(8)}, tmp_path / "companion.pt")
    options = {"encoder": ENCODER, "weights": str(bare), "average": str(tmp_path / "companion.pt")}
    context = Context.create(CPU)
    found = load_method("psp", options).invert(generator, one_picture(generator), context)
    assert not any("latent_avg" in text for text in context.state.notices)
    method = load_method("psp", {"encoder": ENCODER, "weights": str(whole)})
    own = method.invert(generator, one_picture(generator), Context.create(CPU))
    assert torch.equal(found.ws, own.ws)
    missing = load_method("psp", {**options, "average": str(bare)})
    with pytest.raises(WeightsError, match="latent_avg"):
        missing.invert(generator, one_picture(generator), Context.create(CPU))


@pytest.mark.parametrize("kind", ["psp", "w", "e4e"])
@pytest.mark.parametrize("own", [True, False])
def test_an_average_has_a_row_for_every_latent(kind: str, own: bool, tmp_path: Path) -> None:
    """Or one for all; a single latent is counted from the first row."""
    generator, encoder = ToyGenerator(ToyConfig()), {**ENCODER, "kind": kind}
    count, rows = {"psp": (4, 6), "w": (1, 6), "e4e": (6, 6)}[kind]
    path, average = _published(tmp_path / "x.pt", count, False, encoder), torch.rand(rows, 8)
    contents = torch.load(path, weights_only=True)
    torch.save(contents | ({"latent_avg": average} if own else {}), path)
    torch.save({"latent_avg": average}, tmp_path / "average.pt")
    options: dict[str, Any] = {"encoder": encoder, "weights": str(path)}
    if not own:
        options["average"] = str(tmp_path / "average.pt")
    if kind == "e4e":
        options["deltas"] = 0
    method = load_method("e4e" if kind == "e4e" else "psp", options)
    if kind == "psp":
        name = "x" if own else "average"
        with pytest.raises(WeightsError, match=rf"{name}\.pt: latent_avg has 6 rows, but the enc"):
            method.invert(generator, one_picture(generator), Context.create(CPU))
        return
    ws = method.invert(generator, one_picture(generator), Context.create(CPU)).ws
    torch.save(contents | {"latent_avg": average[0]}, path)
    plain = load_method(method.name, {**options, "average": None})
    assert torch.equal(plain.invert(generator, one_picture(generator), Context.create(CPU)).ws, ws)


def test_a_published_file_of_other_latents_is_refused(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    path = _published(tmp_path / "x.pt", 7, True)
    method = load_method("psp", {"encoder": ENCODER, "weights": str(path)})
    with pytest.raises(WeightsError, match=r"an encoder of 7 latents of 8 numbers.*takes 4 of 8"):
        method.invert(generator, one_picture(generator), Context.create(CPU))


@pytest.mark.parametrize("deltas", [None, 0, 2])
def test_e4e_may_be_asked_for_fewer_differences(deltas: int | None, tmp_path: Path) -> None:
    generator, encoder = ToyGenerator(ToyConfig()), {"kind": "e4e", **ENCODER}
    path = _published(tmp_path / "x.pt", 4, True, encoder)
    options = {"encoder": encoder, "weights": str(path), "deltas": deltas}
    found = load_method("e4e", options).invert(generator, one_picture(generator), Context.create())
    (ws,) = found.ws
    differ = [not torch.equal(row, ws[0]) for row in ws]
    assert differ == [False, *[i < (3 if deltas is None else deltas) for i in range(3)]]


def test_more_differences_than_latents_are_refused(tmp_path: Path) -> None:
    generator, encoder = ToyGenerator(ToyConfig()), {"kind": "e4e", **ENCODER}
    path = _published(tmp_path / "x.pt", 4, True, encoder)
    method = load_method("e4e", {"encoder": encoder, "weights": str(path), "deltas": 4})
    with pytest.raises(ConfigError, match="'deltas': 4, but of 4 latents at most 3 can differ"):
        method.invert(generator, one_picture(generator), Context.create(CPU))


def test_the_first_latent_alone_fits_any_generator_and_one_that_was_trained(tmp_path: Path) -> None:
    """Pose-Opt's encoder makes 18 latents for a generator of 14, of which the first one counts."""
    generator, encoder = ToyGenerator(ToyConfig()), {"kind": "e4e", **ENCODER}
    picture = one_picture(generator)
    path = _published(tmp_path / "x.pt", 7, False, encoder)
    options = {"encoder": encoder, "weights": str(path)}
    with pytest.raises(WeightsError, match="an encoder of 7 latents"):
        load_method("e4e", options).invert(generator, picture, Context.create())
    found = load_method("e4e", {**options, "deltas": 0})
    ws = found.invert(generator, picture, Context.create()).ws
    assert ws.shape == (1, 4, 8) and torch.equal(ws, ws[:, :1].expand(-1, 4, -1))
    place = Training("e4e", generator).steps(1).save(tmp_path)
    trained = load_method("e4e", {"weights": str(place), "deltas": 0})  # whatever its file says
    ws = trained.invert(generator, picture, Context.create()).ws
    assert torch.equal(ws, ws[:, :1].expand(-1, 4, -1))


@pytest.mark.parametrize("name", ["psp", "e4e"])
def test_generators_in_double_precision_are_encoded_for(name: str, tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    place = Training(name, generator).steps(1).save(tmp_path)
    picture = one_picture(generator)
    found = [
        load_method(name, {"weights": str(place)}).invert(one, picture, Context.create()).ws
        for one in (generator, generator.double())
    ]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def test_hybrid_begins_where_an_encoder_ends(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    place = Training("psp", generator).steps(1).save(tmp_path)
    options = {
        "encoder": "psp",
        "encoder_options": {"weights": str(place)},
        "latent": {"steps": 0, "samples": 50},
        "tuning": {"steps": 2},
    }
    capture = one_picture(generator)
    start = load_method("psp", {"weights": str(place)})
    begun = start.invert(generator, capture, Context.create(CPU))
    found = load_method("hybrid", options).invert(generator, capture, Context.create(CPU))
    torch.testing.assert_close(found.ws, begun.ws)
    assert found.generator_delta and [made.name for made in found.history] == ["psp", "hybrid"]
    given = Context.create(CPU, init=begun)
    fresh = ToyGenerator(ToyConfig())
    again = load_method("hybrid", {**options, "encoder": "e4e"}).invert(fresh, capture, given)
    torch.testing.assert_close(again.ws, begun.ws)  # --init takes the encoder's place


def test_hybrid_keeps_an_offset_and_refines_it(tmp_path: Path) -> None:
    generator = tiny(EG3D)
    place = Training("triplanenet", generator, second_from=0).steps(1).save(tmp_path)
    capture = one_picture(generator)
    start = load_method("triplanenet", {"weights": str(place)})
    begun = start.invert(generator, capture, Context.create(CPU))
    options = {
        "losses": {"mse": 1.0},
        "default_losses": False,
        "encoder": "triplanenet",
        "encoder_options": {"weights": str(place)},
        "latent": {"steps": 0, "samples": 50},
        "tuning": {"steps": 0},
    }
    kept = load_method("hybrid", options).invert(generator, capture, Context.create(CPU))
    torch.testing.assert_close(kept.offset["planes"], begun.offset["planes"])
    refining = load_method("hybrid", {**options, "offset": {"steps": 6}})
    totals: list[float] = []
    found = refining.invert(
        generator, capture, Context.create(CPU), lambda step: totals.append(step.losses["total"])
    )
    assert totals[-1] < 0.5 * totals[0] and found.ws.equal(kept.ws)
    assert not found.offset["planes"].allclose(kept.offset["planes"])
    scene = found.scene_for(generator, capture.camera)
    with torch.no_grad():
        image = generator.render(scene, capture.camera).require("image")
    assert float((image - capture.images).square().mean()) < totals[0]
    tuned = load_method("hybrid", {**options, "tuning": {"steps": 2}})
    last = tuned.invert(generator, capture, Context.create(CPU))
    assert last.generator_delta and last.offset["planes"].equal(kept.offset["planes"])


def test_hybrid_says_that_offsets_of_several_latents_are_left_out(tmp_path: Path) -> None:
    generator = tiny(EG3D)
    place = Training("triplanenet", generator, second_from=0).steps(1).save(tmp_path)
    picture = one_picture(generator)
    capture = Capture(
        picture.images.repeat(2, 1, 1, 1), Camera.cat([picture.camera] * 2), ("a", "b")
    )
    options = {
        "losses": {"mse": 1.0},
        "default_losses": False,
        "views": "all",
        "encoder": "triplanenet",
        "encoder_options": {"weights": str(place), "views": "all"},
        "latent": {"steps": 0, "samples": 50},
        "tuning": {"steps": 0},
    }
    context = Context.create(CPU)
    found = load_method("hybrid", options).invert(generator, capture, context)
    assert len(found.ws) == 1 and not found.offset
    assert any("an offset for each of 2 latents" in text for text in context.state.notices)


def test_an_offset_needs_planes() -> None:
    generator = ToyGenerator(ToyConfig())
    capture = one_picture(generator)
    wplus = load_method("wplus", {"latent": {"steps": 0, "samples": 50}})
    init = wplus.invert(generator, capture, Context.create(CPU))
    options = {"latent": {"steps": 0, "samples": 50}, "offset": {"steps": 1}}
    with pytest.raises(UnsupportedError, match="have centres, looks, but no planes"):
        context = Context.create(CPU, init=init)
        load_method("hybrid", options).invert(generator, capture, context)


def test_hybrid_takes_few_steps_and_no_method_with_steps() -> None:
    few = load_method("hybrid", {"latent": {"samples": 50}, "tuning": {"lr": 1e-3}}).config
    assert (few.latent.steps, few.tuning.steps) == (30, 60)
    with pytest.raises(ConfigError, match="are 130 together, expected at most 100"):
        load_method("hybrid", {"latent": {"steps": 70}})
    generator = ToyGenerator(ToyConfig())
    with pytest.raises(ConfigError, match="method wplus takes steps of its own"):
        method = load_method("hybrid", {"encoder": "wplus"})
        method.invert(generator, one_picture(generator), Context.create(CPU))


@pytest.mark.parametrize("name", ["psp", "e4e", "triplanenet", "dualencoder"])
def test_losses_of_a_training_may_ask_for_masks(name: str) -> None:
    """Nothing counts under masks that are black all over."""
    training = Training(name, tiny(EG3D), losses={"l1": {"weight": 1.0, "mask": True}})
    batch, trainer = training.feed.batch(0, 0), training.trainer
    with pytest.raises(InputError, match="the capture has no masks"):
        trainer.plugin.losses(trainer.lesson, batch)
    found = []
    for level in (0.0, 1.0):
        masks = torch.full_like(batch.capture.images[:, :1], level)
        masked = replace(batch, ws=None, capture=replace(batch.capture, masks=masks))
        made = trainer.plugin.losses(trainer.lesson, masked)
        found.append(float(next(iter(made.values()))["l1"].detach()))
        assert trainer.check(masked).values
    assert found[0] == 0 < found[1]


def test_mirrored_pixels_keep_what_their_loss_was_asked_for() -> None:
    asked = {"l1": {"weight": 2.0, "of": "raw", "resolution": 32, "mask": False}}
    asked["near"] = {"loss": "smooth_l1", "weight": 1.0, "beta": 0.1}
    asked["lpips"] = {"weight": 0.8}
    terms = {name: LossTerm.model_validate(term) for name, term in asked.items()}
    made = _mirror_terms(terms)
    assert made["l1"].of == "raw" and made["l1"].weight == 2.0
    assert made["l1"].options == {"form": "smooth_l1", "resolution": 32}
    assert made["near"].loss == "symmetry" and made["near"].options["beta"] == 0.1
    assert made["lpips"] is terms["lpips"]
