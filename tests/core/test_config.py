"""Options: overrides, presets, files, and what is said of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from inv3d.core.config import (
    PluginConfig,
    build_config,
    build_suited,
    merge,
    parse_overrides,
    preset_options,
    read_config_file,
)
from inv3d.core.errors import ConfigError, ContractError
from inv3d.core.fit.terms import LossTerms


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("entry", ["{}", '{{"weight": {}}}'])
def test_weights_of_losses_are_numbers_from_zero_on(value: float, entry: str) -> None:
    class Config(PluginConfig):
        losses: LossTerms = Field(default_factory=dict)

    entered = json.loads(entry.format(json.dumps(value)))
    with pytest.raises(ConfigError, match=r"losses\.mse"):
        build_config(Config, {"losses": {"mse": entered}}, "method x")
    assert build_config(Config, {"losses": {"mse": 0}}, "method x").losses["mse"].weight == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_every_number_is_finite(value: float) -> None:
    class Config(PluginConfig):
        rate: float = 1.0

    with pytest.raises(ConfigError, match="rate"):
        build_config(Config, {"rate": value}, "method x")


class Inner(PluginConfig):
    steps: int = Field(10, ge=1)
    mode: Literal["Angle", "index"] = "Angle"


class Outer(PluginConfig):
    inner: Inner = Inner()
    maybe: Inner | None = None
    lr: float = 0.1
    needed: int


class Plugin:
    presets = {"fast": {"lr": 0.5}}  # noqa: RUF012


def build(**options: Any) -> Outer:
    return build_config(Outer, {"needed": 1} | options, "method m")


def test_nested_options_are_built_and_frozen() -> None:
    config = build(inner={"steps": "20"})
    assert config.inner.steps == 20
    with pytest.raises(ValueError, match="frozen"):
        config.lr = 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lrr": 1}, "unknown option 'lrr' of method m; did you mean 'lr'?"),
        ({"inner": {"stepz": 1}},
         "unknown option 'inner.stepz' of method m; did you mean 'steps'?"),
        ({"maybe": {"stepz": 1}},
         "unknown option 'maybe.stepz' of method m; did you mean 'steps'?"),
        ({"xyz": 1}, "unknown option 'xyz' of method m; known: inner, lr, maybe, needed"),
        ({"lr": "fast"}, "option 'lr' of method m: 'fast' is not valid: input should be a valid "
         "number, unable to parse string as a number"),
        ({"inner": {"steps": 0}}, "option 'inner.steps' of method m: 0 is not valid: input should "
         "be greater than or equal to 1"),
        ({"inner": {"mode": "x"}}, "option 'inner.mode' of method m: 'x' is not valid: input "
         "should be 'Angle' or 'index'"),
        ({"inner": 3}, "option 'inner' of method m: 3 is not valid: input should be a table "
         "of options, each given as NAME.OPTION=VALUE"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(**options)
    assert str(error.value) == message


class Pair(PluginConfig):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError) as error:
        build_config(Pair, {"low": 3}, "method m")
    assert str(error.value) == "options of method m: low is above high"


def test_missing_and_long_values() -> None:
    with pytest.raises(ConfigError, match="option 'needed' of method m: field required"):
        build_config(Outer, {}, "method m")
    with pytest.raises(ConfigError) as error:
        build(lr="x" * 500)
    assert len(str(error.value)) < 250


class Files(PluginConfig):
    weights: Path | None = None
    text: str = ""


def test_a_path_without_a_name_is_refused() -> None:
    assert build_config(Files, {"text": ""}, "method m").weights is None
    with pytest.raises(ConfigError, match="option 'weights' of method m: '' is not valid: expec"):
        build_config(Files, {"weights": ""}, "method m")


def test_overrides_are_json_where_they_can_be() -> None:
    pairs = ["a=1", "b.c=0.5", "b.d=true", "b.e=none", 'f=[1, "x"]', "g=", "h=a=b", "i=null"]
    assert parse_overrides(pairs) == {
        "a": 1,
        "b": {"c": 0.5, "d": True, "e": "none"},
        "f": [1, "x"],
        "g": "",
        "h": "a=b",
        "i": None,
    }


def test_numbers_may_begin_or_end_with_a_point() -> None:
    found = parse_overrides(["a=.1", "b=-1.", "c=+2.5e-1", "d=.", "e=007", "f=1.2.3"])
    assert found == {"a": 0.1, "b": -1.0, "c": 0.25, "d": ".", "e": "007", "f": "1.2.3"}


def test_the_last_override_wins() -> None:
    assert parse_overrides(["a.b=1", "a.b=2"]) == {"a": {"b": 2}}
    assert parse_overrides(["a=1", "a.b=2"]) == {"a": {"b": 2}}
    assert parse_overrides(["a.b=2", "a=1"]) == {"a": 1}


@pytest.mark.parametrize("pair", ["a", "=1", ".a=1", "a..b=1", ""])
def test_overrides_need_a_name_and_a_sign(pair: str) -> None:
    with pytest.raises(ConfigError, match="expected NAME=VALUE"):
        parse_overrides([pair])


trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
).filter(lambda value: isinstance(value, dict))


@given(trees, trees)
def test_merging_keeps_what_isnt_overridden(base: Any, over: Any) -> None:
    before = json.dumps([base, over])
    merged = merge(base, over)
    assert merge(merged, over) == merged
    assert merge(base, {}) == base
    assert set(merged) == set(base) | set(over)
    assert json.dumps([base, over]) == before


def test_a_number_for_a_loss_is_its_weight() -> None:
    base = {"losses": {"lpips": 0.8, "mse": {"weight": 1.0}}}
    assert merge(base, {"losses": {"lpips": {"net": "vgg"}}})["losses"]["lpips"] == {
        "weight": 0.8,
        "net": "vgg",
    }
    assert merge(base, {"losses": {"mse": 2}})["losses"]["mse"] == {"weight": 2}
    assert merge({"stage": base}, {"stage": {"losses": {"mse": 3}}})["stage"]["losses"]["mse"] == {
        "weight": 3
    }


def test_presets() -> None:
    assert preset_options(Plugin, None, "method m") == {}
    assert preset_options(Plugin, "default", "method m") == {}
    assert preset_options(Plugin, "fast", "method m") == {"lr": 0.5}
    with pytest.raises(ConfigError, match="method m has no preset 'fats'; did you mean 'fast'"):
        preset_options(Plugin, "fats", "method m")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", "[a]\nb = 2"),
        ("c.toml", "\ufeff[a]\nb = 2"),  # as Windows's Notepad writes it
        ("c.json", '{"a": {"b": 2}}'),
    ],
)
def test_config_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_config_file(tmp_path / name) == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.toml", b"a = ", "not valid TOML or JSON"),
        ("c.toml", b"\xff", "not valid TOML or JSON"),
        ("c.yaml", b"a:\n  b: 2", "and YAML isn't read"),
        ("c.json", b"[1]", "holds a list, expected an object"),
        ("missing.toml", None, "can't be read (No such file or directory)"),
    ],
)
def test_bad_config_files(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_config_file(tmp_path / name)
    assert said in str(error.value)
    assert name in str(error.value)


class Term(PluginConfig):
    weight: float = Field(1.0, ge=0)


class Weighed(PluginConfig):
    inner: Inner = Inner()
    losses: dict[str, Term] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("suited", "options", "kind", "said"),
    [
        ({"inr": 1}, {}, ContractError, "generator g: its method_options: unknown option 'inr'"),
        ({"inner": {"steps": 0}}, {"inner": {"mode": "index"}}, ContractError, "'inner.steps' of"),
        ({"losses": {"l1": {"weigt": 1}}}, {}, ContractError, "report it to the plugin's author"),
        ({"inner": {"steps": 1}}, {"inner": {"steps": 0}}, ConfigError, "option 'inner.steps' of"),
        ({"inner": {"steps": 1}}, {"inner": 5}, ConfigError, "option 'inner' of method m: 5"),
        ({"losses": {"l1": 1.0}}, {"losses": {"l1": -1}}, ConfigError, "losses"),
        ({"losses": {"l1": {"weight": 1}}}, {"losses": {"l1": -1}}, ConfigError, "losses"),
        ({"inner": {"steps": 1}}, {"lrr": 1}, ConfigError, "unknown option 'lrr' of method m"),
    ],
)
def test_a_wrong_option_is_named_with_who_gave_it(
    suited: dict[str, Any], options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises((ConfigError, ContractError)) as raised:
        build_suited(Weighed, suited, options, "method m", "generator g: its method_options")
    assert type(raised.value) is kind and said in str(raised.value), raised.value


def test_what_suits_a_generator_is_overridden() -> None:
    suited, options = {"inner": {"steps": 0, "mode": "index"}}, {"inner": {"steps": 5}}
    found = build_suited(Weighed, suited, options, "method m", "generator g")
    assert (found.inner.steps, found.inner.mode) == (5, "index")
