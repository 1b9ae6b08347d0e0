"""`3dinv info`: everything about a plugin, for people and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner, Result
from pydantic import Field

from inv3d.cli import main
from inv3d.commands.info import Option, options_of, type_name
from inv3d.core.config import PluginConfig
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import KINDS
from inv3d.testing.toy import ToyGenerator

TOY = "generators:toy=inv3d.testing.toy:ToyGenerator"


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", f"{TOY},losses:toy=inv3d.testing.toy:ToyGenerator")
    monkeypatch.setenv("INV3D_DISABLE", "")
    registry.cache_clear()
    yield
    registry.cache_clear()


def info(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["info", *arguments])


def facts(*arguments: str) -> Any:
    result = info(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_generator_says_what_it_is() -> None:
    found = facts("toy", "--kind", "generator")
    assert found["licence"] == "Apache-2.0"
    assert found["distribution"] == "INV3D_PLUGINS"
    assert found["spec"]["num_ws"] == 4
    assert found["spec"]["camera"]["radius"] == 2.7
    assert found["options"][0] == {
        "name": "seed",
        "type": "int",
        "default": "0",
        "description": "seed of its weights",
    }
    text = info("toy", "--kind", "generators").stdout
    assert text.startswith("toy (generator): coloured Gaussian blobs")
    assert "num_ws" in text


def test_no_licence_is_claimed_for_a_plugin_that_states_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(ToyGenerator, "licence")
    assert facts("toy", "--kind", "generator")["licence"] == "not stated"
    for plugin, kind in (("wplus", "method"), ("l1", "loss"), ("noise", "loss")):
        assert facts(plugin, "--kind", kind)["licence"] == "Apache-2.0"


def test_missing_weights_of_a_generator_that_reads_none_are_an_error() -> None:
    result = info("toy", "--kind", "generator", "--weights", "nowhere.pkl")
    assert result.exit_code == 1
    assert "nowhere.pkl: no such file, and generator toy reads none" in result.stderr


def test_a_generator_without_weights_says_why_its_facts_are_unknown() -> None:
    assert "--weights" in facts("eg3d")["spec"]["unknown"]


def test_weights_that_were_given_and_are_not_taken_are_an_error(tmp_path: Path) -> None:
    result = info("eg3d", "--weights", str(tmp_path / "none.pkl"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none.pkl: no such file" in result.stderr


def test_weights_of_something_else_than_a_generator_are_an_error() -> None:
    result = info("mse", "--weights", "none.pt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mse is a loss, and only generators take weights here" in result.stderr


def test_a_method_says_paper_options_and_presets() -> None:
    found = facts("multilatent")
    assert "section 3.2" in found["reference"]
    options = {option["name"]: option for option in found["options"]}
    assert options["latent.lr"]["type"] == "float, > 0"
    assert "paper" in options["latent.lr"]["description"]
    assert {"default", "paper", "official", "fast"} <= set(found["presets"])
    text = info("multilatent").stdout
    assert "latent.lr=0.1" in text
    assert "Multi-view Inversion for 3D-aware GANs" in text


def test_a_method_says_what_generators_suggest_and_a_generator_what_it_suggests() -> None:
    suggested = facts("multilatent")["suggested"]
    assert suggested == {"minihead": facts("minihead")["suggested"]["multilatent"]}
    text = info("multilatent").stdout
    (row,) = re.findall(r"^minihead  .*\n(?:  .*\n)*", text, re.MULTILINE)
    assert "distance=0.3" in row and "views_per_step=2" in row
    assert "with method" in info("minihead").stdout
    assert facts("mse")["suggested"] == {}


@pytest.mark.parametrize("name", ["multilatent", "minihead", "lpips", "eg3d"])
def test_what_is_said_fits_80_columns(name: str) -> None:
    text = info(name).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "type [default], what it is" in text


def test_hooks_say_what_they_implement() -> None:
    found = facts("tensorboard")
    assert found["kind"] == "hooks" and found["capabilities"] == ["inv3d_loggers"]
    assert "can:          inv3d_loggers" in info("tensorboard").stdout


def test_a_plugin_says_where_it_is_and_what_it_can() -> None:
    found = facts("wplus")
    assert found["status"] == "ok" and found["file"].endswith("wplus.py")
    assert "takes --init" in found["capabilities"] and found["seconds"] >= 0


def test_options_for_the_rays_exist() -> None:
    for record in registry().of_kind("generators"):
        generator = registry().load("generators", record.name)
        named = generator.rays_option
        assert named in generator.Config.model_fields if record.own else named == ""


@pytest.mark.parametrize(
    "record",
    [r for r in registry().records if r.own and r.kind in KINDS],
    ids=lambda record: record.name,
)
def test_every_option_of_every_own_plugin_is_described(record: Any) -> None:
    target = registry().load(record.kind, record.name)
    options = list(options_of(target.Config))
    assert [option.name for option in options if not option.description] == []
    assert target.licence


def test_a_name_of_two_kinds_needs_the_kind() -> None:
    result = info("toy")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: 'toy' is the name of generators and losses; choose one with --kind\n"
    )


def test_unknown_names_are_answered_with_the_nearest() -> None:
    result = info("multilatnt")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: unknown plugin 'multilatnt'; did you mean 'multilatent'?; see '3dinv "
        "list-plugins'\n"
    )
    assert "unknown plugin 'mse'" in info("mse", "--kind", "method").stderr


def test_a_broken_plugin_is_an_error() -> None:
    result = info("toy", "--kind", "loss")
    assert result.exit_code == 2
    assert "loss 'toy' can't be used: " in result.stderr


class Inner(PluginConfig):
    steps: int = Field(10, ge=1, lt=99, description="how many")


class Outer(PluginConfig):
    inner: Inner = Inner(steps=20)
    needed: float
    on: bool = True
    mode: Literal["a", "b"] | None = None
    sizes: tuple[int, ...] = (1, 2)
    table: dict[str, float] = Field(default_factory=lambda: {"x": 1.0})


def test_options_are_flat_with_the_defaults_that_hold() -> None:
    assert list(options_of(Outer)) == [
        Option("inner.steps", "int, >= 1, < 99", "20", "how many"),
        Option("needed", "float", "required", ""),
        Option("on", "bool", "true", ""),
        Option("mode", "'a' or 'b' or none", "none", ""),
        Option("sizes", "tuple of int", "1, 2", ""),
        Option("table", "table", "x=1.0", ""),
    ]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, "float"),
        (list[float], "list of float"),
        (int | str | None, "int or str or none"),
        (Literal["x"], "'x'"),
        (tuple[float, float], "tuple of float"),
        (Any, "any"),
    ],
)
def test_types_in_words(annotation: Any, text: str) -> None:
    assert type_name(annotation) == text


def test_an_editor_has_options_of_its_fit_and_of_an_edit() -> None:
    found = facts("ganspace")
    assert {"samples", "components"} <= {row["name"] for row in found["options"]}
    assert {"component", "strength"} <= {row["name"] for row in found["edit"]}
    shown = info("ganspace").stdout
    assert "option of 3dinv edit " in shown and "option of 3dinv editor fit" in shown
    assert "option of 3dinv edit" not in info("mse").stdout
