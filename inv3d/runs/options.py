"""Options of a run, looked at before torch is imported: a mistake is answered at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from inv3d.core.config import LOSSES, explain
from inv3d.core.errors import ConfigError
from inv3d.core.fit.terms import LossTerm
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import PluginRecord
from inv3d.core.registry.source import options_of

GENERATOR = "generator"


def check_options(method: str, generator: str, options: Mapping[str, Any]) -> None:
    """Refuse options that can't be right, whatever preset and generator add to them.

    Those of plugins whose Config can't be had without torch are left to the plugins, and so is
    what concerns several options together.

    Args:
        method: name of the plugin.
        generator: name of the plugin.
        options: nested plain values, of the method, with those of the generator in a table
            "generator".

    Raises:
        PluginError: where method, generator or a loss is unknown.
        ConfigError: where an option is unknown or out of range.
    """
    of_method = {name: value for name, value in options.items() if name != GENERATOR}
    _check(registry().record("methods", method), of_method, f"method {method}")
    record = registry().record("generators", generator)
    of_generator = options.get(GENERATOR, {})
    if not isinstance(of_generator, Mapping):
        raise ConfigError("option 'generator': give its options as generator.NAME=VALUE")
    _check(record, of_generator, f"generator {generator}")
    for name, value in _terms(of_method):
        term = LossTerm.model_validate(value)
        record = registry().record("losses", term.loss or name)
        _check(record, term.options, f"loss {name}", tuple(LossTerm.model_fields))


def _check(
    record: PluginRecord, options: Mapping[str, Any], owner: str, beside: tuple[str, ...] = ()
) -> None:
    kind: type[BaseModel] | None = options_of(record)
    if kind is None:
        return
    try:
        kind.model_validate(options)
    except ValidationError as error:
        if all(map(_is_settled, error.errors())):
            raise ConfigError(explain(error, kind, owner, beside)) from error


def _is_settled(error: Any) -> bool:
    """Whether other options can't put it right."""
    together = error["type"] == "value_error" and isinstance(error["input"], Mapping | BaseModel)
    return not (together or error["type"] == "missing")


def _terms(options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all losses among nested options that take part, with their own options."""
    for name, value in options.items():
        if name == LOSSES and isinstance(value, Mapping):
            for loss, term in value.items():
                table = term if isinstance(term, Mapping) else {"weight": term}
                if table.get("weight") != 0:
                    yield loss, table
        elif isinstance(value, Mapping):
            yield from _terms(value)
