"""What `info` shows of the methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from inv3d.core.config import build_config, merge
from inv3d.core.registry.discovery import registry
from inv3d.plugins.generators.minihead import MiniHead
from tests.toy_fits import METHODS

PAPER = ("losses", "latent.losses", "tuning.losses", "default_losses", "latent.keep", "tuning.keep")
SOURCES = ("paper", "official", "pti-original", "pti-family")


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


@pytest.mark.parametrize("name", METHODS)
def test_every_option_says_what_it_is_and_where_its_default_comes_from(name: str) -> None:
    for path, field in _fields(METHODS[name].Config):
        text = field.description or ""
        assert len(text) > 20, path
        own = path == "init_tuned" or any(f".{path}".endswith(f".{shared}") for shared in PAPER)
        assert own or any(word in text for word in ("paper:", "official:", "PTI:", "PTI paper:")), (
            path
        )


@pytest.mark.parametrize("name", METHODS)
def test_presets_are_valid(name: str) -> None:
    kind = METHODS[name]
    assert {"paper", "fast"} <= set(kind.presets)
    for preset, options in kind.presets.items():
        build_config(kind.Config, options, f"preset {preset}")


@pytest.mark.parametrize("name", METHODS)
def test_presets_of_a_source_win_over_the_quick_way_that_suits_a_generator(name: str) -> None:
    kind = METHODS[name]
    search = {"views_per_step": 3, "latent": {"optimizer": "lbfgs"}}
    quick: dict[str, Any] = {
        **search,
        "start": search,
        "tuning": {"optimizer": "muon", "rampup": 0.3, "rampdown": 0.3},
    }
    if name == "poseopt":  # which has no line search
        quick["latent"] = {"rampup": 0.3}
    quick = {key: value for key, value in quick.items() if key in kind.Config.model_fields}
    for preset in set(SOURCES) & set(kind.presets):
        options = merge(quick, kind.presets[preset])
        found = build_config(kind.Config, options, preset).model_dump()
        own = build_config(kind.Config, kind.presets[preset], preset).model_dump()
        assert found == own, preset


@pytest.mark.parametrize("name", METHODS)
def test_presets_of_a_source_win_over_what_the_embedded_generator_suggests(name: str) -> None:
    kind = METHODS[name]
    for preset in set(SOURCES) & set(kind.presets):
        options = merge(MiniHead.method_options.get(name, {}), kind.presets[preset])
        own = build_config(kind.Config, kind.presets[preset], preset)
        assert build_config(kind.Config, options, preset) == own, preset


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_found_by_name(name: str) -> None:
    assert registry().load("methods", name) is METHODS[name]
    assert METHODS[name].reference and METHODS[name].summary


def test_paper_and_official_presets_of_multilatent_differ_where_the_sources_do() -> None:
    kind = METHODS["multilatent"]
    paper, official = (
        build_config(kind.Config, kind.presets[n], n).model_dump() for n in ("paper", "official")
    )
    differing = {key for key in paper if paper[key] != official[key]}
    assert differing == {"start", "latent", "distance_form", "interpolation_at", "depth_form"}
    assert (paper["latent"]["lr"], official["latent"]["lr"]) == (0.1, 0.01)
    assert paper["latent"]["steps"] == official["latent"]["steps"] == 500


TRAINED = ("psp", "e4e", "triplanenet", "dualencoder")


@pytest.mark.parametrize("name", TRAINED)
def test_trainings_of_a_paper_win_over_what_suits_the_embedded_generator(name: str) -> None:
    kind = registry().load("methods", name)
    suited = registry().load("generators", "minihead").training_options[name]
    given = merge(suited, kind.training_presets["paper"])
    training = build_config(kind.Training, given, name).model_dump()
    plain = kind.Training().model_dump()
    for option in ("steps", "batch", "lr", "latent", "average", "cooldown"):
        assert training[option] == plain[option], option
    assert training["latent"] == 0 and training.get("render_every", 1) == 1
    assert training.get("first") is None


@pytest.mark.parametrize("name", TRAINED)
def test_trainings_that_render_at_every_step_have_no_option_for_it(name: str) -> None:
    kind = registry().load("methods", name)
    assert ("render_every" in kind.Training.model_fields) is (name in ("psp", "e4e"))
    suited = registry().load("generators", "minihead").training_options[name]
    assert build_config(kind.Training, suited, name).latent == 1


def test_single_latents_of_original_pti_are_compared_as_it_does() -> None:
    for name, stage in (("pti", "latent"), ("pti", "tuning"), ("wplus", "latent")):
        kind, preset = registry().load("methods", name), {"wplus": "pti-family"}
        options = kind.presets[preset.get(name, "pti-original")]
        assert options["default_losses"] is False
        lpips = options[stage]["losses"]["lpips"]
        assert lpips["net"] == ("vgg" if stage == "latent" else "alex")
        assert lpips.get("resize", 256) == (256 if stage == "latent" else 0)
