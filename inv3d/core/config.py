"""Typed options of plugins: pydantic models, `--set a.b=c` overrides and presets."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from inv3d.core.errors import ConfigError, suggest

Options = dict[str, Any]
LOSSES = "losses"
_LONGEST_VALUE = 60
C = TypeVar("C", bound="PluginConfig")


class PluginConfig(BaseModel):
    """Base of every plugin's options.

    Each field carries a description with its unit, the paper's default, and where the official
    code differs. Unknown options are errors. Options never change after they were read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def build_config(kind: type[C], options: Mapping[str, Any], owner: str) -> C:
    """Validate options.

    Args:
        kind: the plugin's Config class.
        options: nested plain values.
        owner: whose options they are, for the message, such as "method multilatent".

    Raises:
        ConfigError: naming the option, what was found and what was expected.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, owner)) from error


def explain(error: ValidationError, kind: type[BaseModel], owner: str) -> str:
    """Say in one line which option is wrong, what was found and what was expected."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, first["loc"][:-1])
        return f"unknown option '{path}' of {owner}{suggest(str(first['loc'][-1]), known)}"
    message = first["msg"][0].lower() + first["msg"][1:]
    if not path:  # of several options together
        return f"options of {owner}: {message.removeprefix('value error, ')}"
    if first["type"] == "missing":
        return f"option '{path}' of {owner}: {message}"
    value = repr(first["input"])
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "..."
    return f"option '{path}' of {owner}: {value} is not valid: {message}"


def _fields_at(kind: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(str(part))
        nested = nested_model(field.annotation) if field else None
        if nested is None:
            return []
        kind = nested
    return list(kind.model_fields)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an option's type holds, alone or as one side of a union."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def preset_options(plugin: Any, preset: str | None, owner: str) -> Options:
    """Return the options of a preset; "default" is the empty one.

    Args:
        plugin: a plugin class.
        preset: its name, or None for "default".
        owner: whose preset it is, for the message.

    Raises:
        ConfigError: where there's no preset of that name.
    """
    presets: Mapping[str, Mapping[str, Any]] = {"default": {}, **plugin.presets}
    name = preset or "default"
    if name not in presets:
        raise ConfigError(f"{owner} has no preset '{name}'{suggest(name, presets)}")
    return dict(presets[name])


def parse_overrides(pairs: Iterable[str]) -> Options:
    """Turn `a.b=c` texts into nested options; values are read as JSON where they are JSON.

    Raises:
        ConfigError: where a text has no `=` or an empty name.
    """
    result: Options = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        keys = name.strip().split(".")
        if not sign or not all(keys):
            raise ConfigError(f"--set {pair!r}: expected NAME=VALUE, such as latent.steps=200")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        for key in reversed(keys):
            value = {key: value}
        result = merge(result, value)
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Options:
    """Return nested options in which `over` wins.

    In a table called `losses` a number is short for the option `weight`, so that a weight and the
    other options of a loss can come from different places.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merge(_terms(old), _terms(value)) if key == LOSSES else merge(old, value)
        result[key] = value
    return result


def _terms(losses: Mapping[str, Any]) -> Options:
    return {
        name: {"weight": value} if isinstance(value, int | float) else value
        for name, value in losses.items()
    }


def flatten(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested options as dotted names, those of --set, and their values."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_config_file(path: Path) -> Options:
    """Read options from a TOML or JSON file.

    Raises:
        ConfigError: where the file is missing or can't be parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        options = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"--config {path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"--config {path}: not valid TOML or JSON ({error})") from error
    if not isinstance(options, dict):
        raise ConfigError(f"--config {path}: holds a {type(options).__name__}, expected an object")
    return options
