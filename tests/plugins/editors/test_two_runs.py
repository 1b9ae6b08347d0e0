"""Editors that take another run, or another network: interpolate, stylemix, generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.editor import Subject, check_partners
from inv3d.core.errors import ConfigError, InputError, InvError, MismatchError, WeightsError
from inv3d.core.generator import load_generator
from inv3d.core.inversion import Snapshot
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.plugins.editors import generator as other_generator
from inv3d.plugins.editors.generator import OtherGenerator
from inv3d.plugins.editors.interpolate import Interpolate, between
from inv3d.plugins.editors.stylemix import StyleMix
from inv3d.testing.toy import ToyGenerator
from tests.plugins.editors.subjects import edit_of, subject_of, toy

Two = Interpolate | StyleMix


def made(kind: Any) -> Any:
    return kind(kind.Config())


def pair(latents: int = 1, others: int = 1, **changes: Any) -> Subject:
    """Return a subject with a partner of other latents."""
    generator = toy()
    return subject_of(
        generator, latents, partners=(subject_of(generator, others, seed=7),), **changes
    )


@pytest.mark.parametrize("others", [1, 3])
@pytest.mark.parametrize("latents", [1, 4])
@pytest.mark.parametrize("kind", [Interpolate, StyleMix])
def test_the_share_goes_from_one_head_to_the_other(kind: Any, latents: int, others: int) -> None:
    subject = pair(latents, others)
    own, other = subject.inversion, subject.partners[0].inversion
    target = other.ws_for(own.cameras)
    for strength, expected in (
        (0.0, own.ws),
        (1.0, target),
        (0.25, torch.lerp(own.ws, target, 0.25)),
    ):
        found = made(kind).apply(subject, edit_of(made(kind), strength=strength))
        assert torch.allclose(found.ws, expected, atol=1e-6)
    found = made(kind).apply(subject, edit_of(made(kind), strength=1.0, start=1, end=3))
    assert torch.equal(found.ws[:, [0, 3]], own.ws[:, [0, 3]])
    assert torch.allclose(found.ws[:, 1:3], target[:, 1:3], atol=1e-6)
    assert found.history[-1].name == kind.name and found.cameras is own.cameras


def test_beyond_both_heads_is_said() -> None:
    with pytest.warns(UserWarning, match="strength 1.5 lies outside of both heads"):
        made(Interpolate).apply(pair(), edit_of(made(Interpolate), strength=1.5))


def test_mixing_has_no_more_than_all() -> None:
    with pytest.raises(ConfigError, match="strength"):
        edit_of(made(StyleMix), strength=1.5)


@pytest.mark.parametrize("tuning", [True, False])
def test_tuning_and_offsets_go_along(tuning: bool) -> None:
    subject = pair(offset={"looks": torch.ones(1, 8, 5)})
    subject = replace(
        subject,
        inversion=replace(subject.inversion, generator_delta={"tint.bias": torch.ones(3)}),
        partners=(
            replace(
                subject.partners[0],
                inversion=replace(
                    subject.partners[0].inversion,
                    generator_delta={"tint.bias": torch.zeros(3), "background": 4 * torch.ones(3)},
                    offset={"centres": torch.ones(1, 8, 3)},
                ),
            ),
        ),
    )
    edit = edit_of(made(Interpolate), strength=0.25, tuning=tuning)
    found = made(Interpolate).apply(subject, edit)
    assert torch.allclose(found.offset["looks"], torch.tensor(0.75))
    assert torch.allclose(found.offset["centres"], torch.tensor(0.25))
    delta = found.generator_delta
    if tuning:
        assert torch.allclose(delta["tint.bias"], torch.tensor(0.75))
        assert torch.allclose(delta["background"], torch.tensor(1.0))
    else:
        assert delta is subject.inversion.generator_delta
    mixed = made(StyleMix).apply(subject, edit_of(made(StyleMix)))
    assert mixed.offset is subject.inversion.offset
    assert mixed.generator_delta is subject.inversion.generator_delta


def test_offsets_of_several_latents_follow_the_cameras() -> None:
    subject = pair(3, 2)
    other = subject.partners[0]
    offset = {"looks": torch.stack([torch.zeros(8, 5), torch.ones(8, 5)])}
    partner = replace(other, inversion=replace(other.inversion, offset=offset))
    found = made(Interpolate).apply(
        replace(subject, partners=(partner,)), edit_of(made(Interpolate), strength=1.0)
    )
    assert torch.allclose(found.offset["looks"][:, 0, 0], torch.tensor([0.0, 0.5, 1.0]), atol=1e-5)


def test_between_takes_what_is_missing_as_zero() -> None:
    found = between({"a": torch.ones(1)}, {"b": torch.ones(1)}, 0.25)
    assert float(found["a"]) == 0.75 and float(found["b"]) == 0.25


def _fails(error: type[InvError], said: str, call: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_partners_must_be_as_many_and_of_the_same_generator() -> None:
    alone = subject_of(toy())
    _fails(
        ConfigError, "interpolate: 0 other runs, expected 1; give each with --with",
        lambda: check_partners(made(Interpolate), alone),
    )  # fmt: skip
    twice = pair()
    twice = replace(twice, partners=twice.partners * 2)
    _fails(ConfigError, "2 other runs", lambda: check_partners(made(StyleMix), twice))
    foreign = replace(alone, partners=(subject_of(toy(1)),))
    _fails(
        InputError, "the other run is of generator toy, .* but this one is of toy",
        lambda: check_partners(made(Interpolate), foreign),
    )  # fmt: skip
    check_partners(made(Interpolate), pair())


@pytest.fixture
def stylised(monkeypatch: pytest.MonkeyPatch) -> ToyGenerator:
    """A fine-tuned toy, which is what any weight file loads."""
    other = toy()
    with torch.no_grad():
        other.background += 0.5
        other.tint.weight += 0.25
    monkeypatch.setattr(other_generator, "load_generator", lambda name, config, path: other)
    return other


@torch.no_grad()
@pytest.mark.parametrize("tuning", [True, False])
def test_the_latents_are_shown_by_the_other_network(stylised: ToyGenerator, tuning: bool) -> None:
    generator = toy()
    before = Snapshot(generator)
    generator.background += 0.125
    before.settle()
    subject = subject_of(generator, generator_delta=before.delta())
    edit = edit_of(made(OtherGenerator), network="x", tuning=tuning)
    found = made(OtherGenerator).apply(subject, edit)
    fresh = toy()
    found.tune(fresh)
    wanted = stylised.background + (0.125 if tuning else 0.0)
    assert torch.allclose(fresh.background, wanted, atol=1e-6)
    assert torch.allclose(fresh.tint.weight, stylised.tint.weight, atol=1e-6)
    assert torch.equal(found.ws, subject.inversion.ws)


@torch.no_grad()
@pytest.mark.parametrize("tuning", [True, False])
def test_the_strength_goes_from_the_run_to_the_other_network(
    stylised: ToyGenerator, tuning: bool
) -> None:
    generator = toy()
    before = Snapshot(generator)
    generator.background += 0.125
    before.settle()
    subject = subject_of(generator, generator_delta=before.delta())
    backgrounds = []
    for strength in (0.0, 0.5, 1.0):
        edit = edit_of(made(OtherGenerator), network="x", tuning=tuning, strength=strength)
        fresh = toy()
        made(OtherGenerator).apply(subject, edit).tune(fresh)
        backgrounds.append(fresh.background.clone())
    first, half, last = backgrounds
    assert torch.equal(first, generator.background)
    assert torch.allclose(half, (first + last) / 2, atol=1e-6)


def test_no_strength_is_the_run_where_nothing_was_tuned(stylised: ToyGenerator) -> None:
    subject = subject_of(toy())
    edit = edit_of(made(OtherGenerator), network="x", strength=0.0)
    assert made(OtherGenerator).apply(subject, edit).generator_delta == {}


@torch.no_grad()
def test_half_a_style_and_some_parts_of_it(stylised: ToyGenerator) -> None:
    subject = subject_of(toy())
    edit = edit_of(made(OtherGenerator), network="x", strength=0.5, parts=("tint",))
    found = made(OtherGenerator).apply(subject, edit)
    assert set(found.generator_delta) == {"tint.weight"}
    assert torch.allclose(found.generator_delta["tint.weight"], torch.tensor(0.125), atol=1e-6)


def test_networks_that_do_not_fit_are_refused(
    stylised: ToyGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, apply = subject_of(toy()), made(OtherGenerator).apply
    edit = edit_of(made(OtherGenerator), network="x", parts=("head",))
    _fails(ConfigError, "no parameter begins with 'head'", lambda: apply(subject, edit))
    plain = edit_of(made(OtherGenerator), network="x")
    monkeypatch.setattr(other_generator, "load_generator", lambda name, config, path: toy())
    _fails(WeightsError, "is the network of the run itself", lambda: apply(subject, plain))
    larger = toy()
    larger.tint = torch.nn.Linear(9, 3)
    monkeypatch.setattr(other_generator, "load_generator", lambda name, config, path: larger)
    _fails(MismatchError, "weights of another architecture", lambda: apply(subject, plain))
    _fails(ConfigError, "network", lambda: edit_of(made(OtherGenerator)))


def test_a_weight_file_of_minihead_is_taken(tmp_path: Path) -> None:
    tensors, metadata = read_tensors(asset("minihead.safetensors"))
    name = next(n for n in tensors if n.startswith("decoder") and tensors[n].ndim == 2)
    tensors[name] = tensors[name].float() + 0.01
    write_tensors(tmp_path / "style.safetensors", tensors, metadata)
    generator = load_generator("minihead")
    subject = subject_of(generator)
    edit = edit_of(made(OtherGenerator), network=str(tmp_path / "style.safetensors"))
    found = made(OtherGenerator).apply(subject, edit)
    assert set(found.generator_delta) == {name}
    assert torch.allclose(found.generator_delta[name], torch.tensor(0.01), atol=2e-3)
