"""Typed options of plugins: pydantic models, `--set a.b=c` overrides and presets."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from inv3d.core.errors import ConfigError, ContractError, suggest

Options = dict[str, Any]
LOSSES = "losses"
# numbers that JSON has no words for
_NUMBER = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?")
_LONGEST_VALUE = 60
C = TypeVar("C", bound="PluginConfig")


class PluginConfig(BaseModel):
    """Base of every plugin's options.

    Each field carries a description with its unit, the paper's default, and where the official
    code differs. Unknown options are errors, and so are defaults that don't fit their type. Options
    never change after they were read.

    Attributes:
        of_training: those that trained networks were built with, and that their file decides.
    """

    of_training: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a path without a name, which would be that of the working directory."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if value == "" and Path in (kind, *get_args(kind)):
            raise ValueError("expected the path of a file or folder; leave the option out for none")
        return value


def found_again(value: Path | None) -> Path | None:
    """Return a path that a run finds when it goes on from another working directory."""
    return value.absolute() if value is not None and value.exists() else value


def build_config(
    kind: type[C], options: Mapping[str, Any], owner: str, beside: Iterable[str] = ()
) -> C:
    """Validate options.

    Args:
        kind: the plugin's Config class.
        options: nested plain values.
        owner: whose options they are, for the message, such as "method multilatent".
        beside: further names that may stand there, for suggestions.

    Raises:
        ConfigError: naming the option, what was found and what was expected.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, owner, beside)) from error


def build_suited(
    kind: type[C], suited: Mapping[str, Any], options: Mapping[str, Any], owner: str, source: str
) -> C:
    """Validate options of a user and what a generator suggests for the rest.

    Args:
        kind: the plugin's Config class.
        suited: nested plain values, which the generator suggests.
        options: nested plain values, which win over them.
        owner: whose options they are, for the message, such as "method multilatent".
        source: where the suggestions are, such as "generator toy: its method_options".

    Raises:
        ContractError: where a suggestion is wrong.
        ConfigError: where another option is.
    """
    whole = merge(suited, options) if isinstance(options, Mapping) else options
    try:
        return kind.model_validate(whole)
    except ValidationError as error:
        said, first = explain(error, kind, owner), error.errors()[0]
        unknown = first["type"] == "extra_forbidden"
        path = tuple(map(str, first["loc"])) if unknown else _option(kind, first["loc"]).split(".")
        if _gives(suited, path) and not _gives(options, path):
            raise ContractError(f"{source}: {said}; report it to the plugin's author") from error
        raise ConfigError(said) from error


def _gives(options: Any, path: Iterable[str]) -> bool:
    """Whether nested options say anything of one of them; a number stands for all of a table."""
    for name in filter(None, path):
        if not isinstance(options, Mapping):
            return True
        if name not in options:
            return False
        options = options[name]
    return bool(options != {})


def explain(
    error: ValidationError, kind: type[BaseModel], owner: str, beside: Iterable[str] = ()
) -> str:
    """Say in one line which option is wrong, what was found and what was expected."""
    first, *others = error.errors()
    path = _option(kind, first["loc"])
    if first["type"] == "extra_forbidden":
        known = [*_fields_at(kind, first["loc"][:-1]), *(beside if len(first["loc"]) == 1 else ())]
        name = str(first["loc"][-1])
        option = ".".join(map(str, first["loc"]))
        return f"unknown option '{option}' of {owner}{suggest(name, known)}"
    # a value that fits none of several types is an error of each
    same = [first, *(e for e in others if _option(kind, e["loc"]) == path)]
    message = ", or ".join(dict.fromkeys(map(_expected, same)))
    if not path:  # of several options together
        return f"options of {owner}: {message}"
    if first["type"] == "missing":
        return f"option '{path}' of {owner}: {message}"
    return f"option '{path}' of {owner}: {as_typed(first['input'])} is not valid: {message}"


def _expected(error: Any) -> str:
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "input should be a table of options, each given as NAME.OPTION=VALUE"
    message: str = error["msg"][0].lower() + error["msg"][1:]
    return message.removeprefix("value error, ")


def as_typed(value: Any) -> str:
    """Return a value as it's typed in --set, short enough for a message; tables in words."""
    if isinstance(value, Mapping):
        return f"a table ({', '.join(map(str, value)) or 'empty'})"[:_LONGEST_VALUE]
    if isinstance(value, float | int | None) and not isinstance(value, bool):
        return "null" if value is None else str(value)
    try:
        text = f"'{value}'" if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."


def _option(kind: type[BaseModel], location: Iterable[int | str]) -> str:
    """Return the dotted name of an option, without the names of types that pydantic adds."""
    names: list[str] = []
    level: Any = kind
    for part in location:
        if isinstance(level, type) and issubclass(level, BaseModel) and part in level.model_fields:
            level = level.model_fields[str(part)].annotation
        elif get_origin(level) is dict:  # its keys are names that the user chose
            level = get_args(level)[1]
        elif isinstance(part, int):
            level = None
        else:
            break
        names.append(str(part))
        level = nested_model(level) or level
    return ".".join(names)


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

    Numbers may also be written as `.1` and `1.`, which JSON doesn't know.

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
            value = float(text) if _NUMBER.fullmatch(text) else text
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
        text = path.read_text(encoding="utf-8-sig")
        options = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"--config {path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        yaml = ", and YAML isn't read" if path.suffix in (".yaml", ".yml") else ""
        raise ConfigError(f"--config {path}: not valid TOML or JSON ({error}){yaml}") from error
    if not isinstance(options, dict):
        raise ConfigError(f"--config {path}: holds a {type(options).__name__}, expected an object")
    return options
