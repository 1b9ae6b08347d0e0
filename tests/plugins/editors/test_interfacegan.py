"""InterFaceGAN: golden boundaries and walks, fits, conditions, classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inv3d.core.editor import Directions
from inv3d.core.errors import ConfigError, InvError, PluginError, UnsupportedError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.generator import load_generator
from inv3d.core.registry.hooks import manager
from inv3d.core.registry.hookspecs import hookimpl
from inv3d.plugins.editors.interfacegan import InterFaceGAN
from inv3d.plugins.editors.interfacegan import scores as scores_module
from inv3d.plugins.editors.interfacegan.boundary import (
    chosen_count,
    find_boundary,
    linear_readings,
    shuffler,
)
from inv3d.plugins.editors.interfacegan.config import InterFaceGANConfig
from inv3d.plugins.editors.interfacegan.editor import Plane, moved_from
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.golden_cases import GoldenCase
from tests.plugins.editors.subjects import W_DIM, edit_of, fitted, subject_of, toy

SMALL = {"samples": 6000, "chosen": 0.1}


def editor(**options: Any) -> InterFaceGAN:
    return InterFaceGAN(InterFaceGANConfig(**{**SMALL, **options}))


def shuffled(count: int) -> Tensor:
    return shuffler(0)(count)


@pytest.fixture(scope="module")
def directions() -> Directions:
    return fitted(editor(), toy())[0]


@pytest.mark.parametrize("solver", ["libsvm", "liblinear"])
def test_the_boundary_is_that_of_the_official_code(solver: str) -> None:
    case = GoldenCase("interfacegan").tensors
    config = InterFaceGANConfig(chosen=0.2, split=0.7, solver=solver)
    found = find_boundary(case["codes"], case["scores"][:, 0], config, shuffler(0), "x")
    assert float(found.direction.float() @ case["boundary"][0]) > 0.999
    assert float(found.direction.norm()) == pytest.approx(1, abs=1e-6)
    assert found.chosen == 120 and found.accuracy is not None and found.accuracy > 0.9
    assert found.rest is not None and found.rest > 0.6


@pytest.mark.filterwarnings("ignore:attribute")
def test_the_walk_is_that_of_the_official_code() -> None:
    case = GoldenCase("interfacegan").tensors
    # a latent in Z or W has one layer, whose distance to the boundary is set
    for name, mode, walk in (("latent", "to", "walk"), ("latent_wplus", "by", "walk_wplus")):
        ws = case[name][:, None] if case[name].ndim == 2 else case[name]
        normal = case["primal"][0]
        plane = Plane(normal, normal, 0.0, 1.0, torch.zeros(12, dtype=torch.double))
        for step, expected in zip(range(-3, 4), case[walk], strict=True):
            edit = edit_of(editor(), strength=float(step), unit="raw", mode=mode)
            found = moved_from(ws, plane, edit)
            assert torch.allclose(found[0].squeeze(0), expected, atol=1e-6)


def test_a_factor_is_that_of_pti() -> None:
    golden = GoldenCase("pti_edits")
    case, kwargs = golden.tensors, golden.facts["kwargs"]
    plane = Plane(case["direction"][0], case["direction"][0], 0.0, 1.0, torch.zeros(16))
    edit = edit_of(editor(), strength=kwargs["factor"], unit="raw")
    found = moved_from(case["latents"][:1], plane, edit)
    assert torch.allclose(found, case["interfacegan_factor"], atol=1e-6)
    steps = [
        moved_from(case["latents"][:1], plane, edit.model_copy(update={"strength": float(f)}))
        for f in range(*kwargs["factor_range"])
    ]
    assert torch.allclose(torch.cat(steps), case["interfacegan_range"], atol=1e-6)


def test_scores_that_mean_nothing_are_left_out() -> None:
    case = GoldenCase("interfacegan").tensors
    scores = case["scores"][:, 0].clone()
    config = InterFaceGANConfig(chosen=0.2, invalid=-99.0)
    whole = find_boundary(case["codes"][:500], scores[:500], config, shuffled, "x")
    scores[500:] = -99.0
    found = find_boundary(case["codes"], scores, config, shuffled, "x")
    assert torch.equal(found.direction, whole.direction)


@pytest.mark.parametrize(("chosen", "count"), [(0.02, 20), (1.0, 500), (30, 30), (9999, 500)])
def test_a_share_or_a_number_is_chosen(chosen: float, count: int) -> None:
    assert chosen_count(1000, chosen, "x") == count


def test_scores_are_read_off_latents() -> None:
    rng = torch.Generator().manual_seed(1)
    codes = torch.randn(3000, 5, generator=rng) * torch.tensor([1.0, 2.0, 0.1, 3.0, 1.0]) + 4
    noise = torch.randn(3000, generator=rng)
    scores = torch.stack([5 * codes[:, 2], codes[:, 0] + noise], 1)
    readings, explained = linear_readings(codes, scores)
    assert torch.allclose(explained, torch.tensor([1.0, 0.5]), atol=0.05)
    assert float(readings[0, 2]) == pytest.approx(10, rel=0.05)
    assert float(readings[0, [0, 1, 3, 4]].abs().max()) < 0.05


def test_a_fit_finds_the_number_that_makes_an_attribute(directions: Directions) -> None:
    assert directions.facts["attributes"] == ["size", "shine"]
    rows = directions.tensors["directions"]
    assert float(rows[0, 0]) > 0.98 and float(rows[1, 1]) > 0.9
    assert torch.allclose(rows.norm(dim=1), torch.ones(2), atol=1e-5)
    said = directions.facts["boundaries"]["size"]
    assert said["accuracy"] > 0.98 and said["chosen"] == 600 and said["explained"] > 0.99
    assert fitted(editor(), toy())[1] == ["score", "separate", "separate"]


def test_a_fit_is_the_same_again(directions: Directions) -> None:
    again = fitted(editor(), toy())[0]
    assert torch.equal(again.tensors["directions"], directions.tensors["directions"])


def test_attributes_can_be_chosen() -> None:
    assert fitted(editor(attributes=("shine",)), toy())[0].facts["attributes"] == ["shine"]


@pytest.mark.parametrize("latents", [1, 3])
@pytest.mark.parametrize("unit", ["scores", "deviations", "raw"])
def test_strength_counts_in_its_unit(directions: Directions, latents: int, unit: str) -> None:
    subject = subject_of(toy(), latents)
    edit = edit_of(editor(), attribute="size", strength=1.5, unit=unit, start=1)
    change = editor().apply(subject, edit, directions).ws - subject.inversion.ws
    assert torch.equal(change[:, 0], torch.zeros(latents, W_DIM))
    assert torch.allclose(change[:, 1:], change[:1, 1:2].expand(latents, 3, W_DIM), atol=1e-6)
    row = directions.tensors["directions"][0]
    scale = {
        "raw": 1.0,
        "deviations": float(directions.tensors["deviations"][0]),
        "scores": 1 / float(directions.tensors["readings"][0] @ row),
    }[unit]
    assert torch.allclose(change[0, 1], 1.5 * scale * row, atol=1e-5)


def test_a_score_is_a_deviation_of_the_attribute(directions: Directions) -> None:
    generator = toy()
    size = generator.attributes(torch.randn(20_000, 8))["size"]
    subject = subject_of(generator)
    edit = edit_of(editor(), attribute="size", strength=1.0)
    change = editor().apply(subject, edit, directions).ws - subject.inversion.ws
    assert float(change[0, 0, 0]) == pytest.approx(float(size.std()), rel=0.05)


def test_moving_to_a_distance_from_the_boundary(directions: Directions) -> None:
    subject = subject_of(toy(), 3)
    row, offset = directions.tensors["directions"][0], float(directions.tensors["offsets"][0])
    for keep in ((), ("shine",)):
        edit = edit_of(editor(), attribute="size", strength=0.7, unit="raw", mode="to", keep=keep)
        found = editor().apply(subject, edit, directions).ws[:, 0]
        assert float((found @ row + offset).mean()) == pytest.approx(0.7, abs=1e-4)


def test_what_is_kept_does_not_move(directions: Directions) -> None:
    subject = subject_of(toy())
    edit = edit_of(editor(), attribute="size", strength=2.0, keep=("shine",))
    change = (editor().apply(subject, edit, directions).ws - subject.inversion.ws)[0, 0]
    shine, size = directions.tensors["directions"][1], directions.tensors["readings"][0]
    assert abs(float(change @ shine)) < 1e-5
    assert float(change @ size) == pytest.approx(2.0, rel=1e-4)
    other = Directions("x", "toy", directions.fingerprint, {"directions": shine[None]})
    alone = edit_of(editor(), attribute="size", strength=2.0)
    same = (editor().apply(subject, alone, directions, (other,)).ws - subject.inversion.ws)[0, 0]
    assert torch.allclose(same, change, atol=1e-6)


@pytest.mark.parametrize(("keep_from", "kept"), [(0.0, ["shine"]), (1.0, [])])
def test_named_edits_keep_what_is_near(keep_from: float, kept: list[str]) -> None:
    found = fitted(editor(keep_from=keep_from), toy())[0]
    assert found.names["size"]["keep"] == kept


def _fails(error: type[InvError], said: str, call: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_impossible_wishes_are_refused(directions: Directions) -> None:
    subject = subject_of(toy())
    apply = editor().apply
    wrong = {"attribute": "siz"}, {"attribute": "size", "keep": ("shin",)}
    for options, said in zip(
        wrong, ("'siz' .* mean 'size'", "'shin' .* mean 'shine'"), strict=True
    ):
        edit = edit_of(editor(), **options)
        _fails(
            ConfigError, f"no attribute {said}", lambda edit=edit: apply(subject, edit, directions)
        )
    vanish = edit_of(editor(), attribute="size", keep=("size",))
    _fails(ConfigError, "nothing of the direction", lambda: apply(subject, vanish, directions))
    _fails(
        WeightsError, "for generator toy",
        lambda: apply(subject_of(toy(1)), edit_of(editor(), attribute="size"), directions),
    )  # fmt: skip
    _fails(ConfigError, "no 'age'", lambda: fitted(editor(attributes=("age",)), toy()))
    _fails(
        ConfigError, "takes 1 from each end", lambda: fitted(editor(samples=20, chosen=0.05), toy())
    )
    with pytest.raises(ConfigError, match="every sample has the score 1"):
        find_boundary(torch.randn(500, 3), torch.ones(500), InterFaceGANConfig(), shuffled, "x")
    _fails(
        UnsupportedError, "doesn't know attributes .* name a classifier",
        lambda: fitted(editor(), ToyGenerator(ToyConfig())),
    )  # fmt: skip


def test_a_direction_of_another_project_is_taken(tmp_path: Path) -> None:
    row = np.arange(1, 9, dtype=np.float32)[None]
    np.save(tmp_path / "smile.npy", row)
    torch.save(torch.tensor(row), tmp_path / "age.pt")
    for name in ("smile.npy", "age.pt"):
        found = editor().take(tmp_path / name, toy(), Context.create())
        options = editor().named(found, name.partition(".")[0], 2.0)
        assert options["unit"] == "deviations" and options["strength"] == 2.0
        edit = edit_of(editor(), **{**options, "unit": "raw"})
        change = editor().apply(subject_of(toy()), edit, found).ws - subject_of(toy()).inversion.ws
        assert torch.allclose(
            change[0, 0], 2 * torch.tensor(row[0] / np.linalg.norm(row)), atol=1e-5
        )
        scored = edit_of(editor(), **{**options, "unit": "scores"})
        _fails(
            ConfigError, "no scores are known",
            lambda scored=scored, found=found: editor().apply(subject_of(toy()), scored, found),
        )  # fmt: skip
    np.save(tmp_path / "short.npy", row[:, :4])
    _fails(
        WeightsError, "no direction of 8 finite numbers",
        lambda: editor().take(tmp_path / "short.npy", toy(), Context.create()),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["device", "strength", "yaw-deg", "--"])
def test_a_direction_is_not_called_like_an_option(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.npy"
    np.save(path, np.ones(8, np.float32))
    _fails(ConfigError, "rename the file", lambda: editor().take(path, toy(), Context.create()))


class Offers:
    """A plugin that offers classifiers."""

    def __init__(self) -> None:
        self.offered: Any = {}

    @hookimpl
    def inv3d_classifiers(self) -> Any:
        """Return what is to be tried."""
        return self.offered


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Offers]:
    plugins, offers = manager(), Offers()
    plugins.register(offers)
    monkeypatch.setattr(scores_module, "hooks", lambda: plugins)
    known = SimpleNamespace(of_kind=lambda kind: [SimpleNamespace(distribution="theirs")])
    monkeypatch.setattr(scores_module, "registry", lambda: known)
    yield offers


def test_hook_classifiers_look_at_pictures(offers: Offers) -> None:
    sizes = []

    def look(images: Tensor) -> dict[str, Tensor]:
        sizes.append(tuple(images.shape[1:]))
        return {"red": images[:, 0].mean((1, 2))}

    offers.offered = {"colours": look}
    plain = ToyGenerator(ToyConfig())
    found = fitted(editor(classifier="colours", samples=400), plain)[0]
    assert set(sizes) == {(3, 32, 32)} and found.facts["attributes"] == ["red"]
    generator = plain
    subject = subject_of(generator)
    edited = editor().apply(subject, edit_of(editor(), attribute="red", strength=2.0), found)
    camera = generator.spec.camera.front()
    with torch.no_grad():
        before, after = (
            generator.render(i.scene_for(generator, camera), camera).require("image")[:, 0].mean()
            for i in (subject.inversion, edited)
        )
    assert float(after) > float(before)


def test_hook_classifiers_that_are_none_are_blamed(offers: Offers) -> None:
    offers.offered = {"colours": lambda images: {"red": images.mean()}}
    _fails(
        PluginError,
        "unknown 'colour'.*'colours'",
        lambda: fitted(editor(classifier="colour"), toy()),
    )
    _fails(
        PluginError, "'red': scores of shape", lambda: fitted(editor(classifier="colours"), toy())
    )
    offers.offered = ["colours"]
    _fails(PluginError, "hooks of theirs", lambda: fitted(editor(classifier="colours"), toy()))


def test_the_shipped_directions_fit_the_embedded_generator() -> None:
    generator = load_generator("minihead")
    path = InterFaceGAN.shipped(generator)
    assert path is not None
    found = Directions.load(path)
    found.check_generator(generator)
    assert {"smile", "beard", "age", "hair_length", "dark_skin"} <= set(found.names)
    z = torch.randn(2000, generator.spec.z_dim, generator=torch.Generator().manual_seed(0))
    w, known = generator.map(z)[:, 0], generator.attributes(z)
    for row, attribute in enumerate(found.facts["attributes"]):
        read = w @ found.tensors["readings"][row]
        together = torch.corrcoef(torch.stack([read, known[attribute]]))[0, 1]
        expected = found.facts["boundaries"][attribute]["explained"] ** 0.5
        assert float(together) == pytest.approx(expected, abs=0.08), attribute
