"""`3dinv info PLUGIN`: what a plugin is, and all its options."""

from __future__ import annotations

import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import click

from inv3d.commands.kinds import kind_option
from inv3d.commands.output import print_json, print_table
from inv3d.commands.paths import PATH
from inv3d.core.errors import InvError, PluginError, UsageError, suggest
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.imports import import_plugin
from inv3d.core.registry.record import GROUPS, PluginRecord, singular


@dataclass(frozen=True)
class Option:
    """One option of a plugin.

    Attributes:
        name: dotted, as in --set.
        type: in words.
        default: as text; "required" where there's none.
        description: with unit and source.
    """

    name: str
    type: str
    default: str
    description: str


@click.command("info")
@click.argument("plugin")
@kind_option("Where plugins of several kinds share the name")
@click.option("--weights", type=PATH, help="Of a generator, to show what they hold.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(plugin: str, kind: str | None, weights: Path | None, as_json: bool) -> None:
    """Show what a plugin is and all its options."""
    record = find(plugin, kind)
    if weights is not None and record.kind != "generators":
        raise UsageError(
            f"--weights {weights}: {plugin} is a {singular(record.kind)}, and only generators take "
            "weights here; leave it out"
        )
    record, target = import_plugin(record)
    if record.status != "ok":
        raise PluginError(f"{singular(record.kind)} '{plugin}' can't be used: {record.reason}")
    facts = describe(record, target)
    if record.kind == "generators":
        facts["spec"] = _spec(target, weights)
    if as_json:
        print_json(facts)
    else:
        _show(facts)


def find(name: str, kind: str | None) -> PluginRecord:
    """Return the record of a name.

    Raises:
        PluginError: where it's unknown, can't be used, or several kinds have it.
    """
    known = [r for r in registry().records if r.kind in GROUPS and kind in (None, r.kind)]
    kinds = sorted({r.kind for r in known if r.name == name})
    if not kinds:
        names = {r.name for r in known}
        raise PluginError(
            f"unknown plugin '{name}'{suggest(name, names)}; see '3dinv list-plugins'"
        )
    if len(kinds) > 1:
        raise PluginError(f"'{name}' is the name of {' and '.join(kinds)}; choose one with --kind")
    return registry().record(kinds[0], name)


def describe(record: PluginRecord, target: Any) -> dict[str, Any]:
    """Return everything that a plugin says of itself, as plain values."""
    facts = {
        "name": record.name,
        "kind": record.kind,
        "status": record.status,
        "reason": record.reason,
        "summary": record.summary,
        "reference": record.reference,
        "licence": record.licence,
        "distribution": record.distribution,
        "version": record.version,
        "target": record.target,
        "file": record.file,
        "capabilities": list(record.capabilities),
        "seconds": record.seconds,
    }
    if record.kind == "hooks":
        return facts
    return facts | {
        "api": target.api,
        "requires": list(target.requires),
        "options": [asdict(option) for option in options_of(target.Config)],
        "edit": [asdict(option) for option in _edit_of(target)],
        "training": [asdict(option) for option in _training_of(target)],
        "presets": {name: dict(values) for name, values in _presets(target).items()},
        "suggested": {name: dict(values) for name, values in _suggested(record, target)},
    }


def _edit_of(target: Any) -> Iterator[Option]:
    """Yield the options of `3dinv edit` for an editor."""
    if hasattr(target, "Edit"):
        yield from options_of(target.Edit)


def _training_of(target: Any) -> Iterator[Option]:
    """Yield the options of `3dinv train` for a plugin that has networks to train."""
    if hasattr(target, "Training"):
        yield from options_of(target.Training, "training.")


def _presets(target: Any) -> dict[str, Mapping[str, Any]]:
    return {"default": {}, **target.presets}


def _suggested(record: PluginRecord, target: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what generators suggest: (generator, options) of a method, (method, options) of one."""
    if record.kind == "generators":
        yield from target.method_options.items()
    if record.kind != "methods":
        return
    for other in registry().of_kind("generators"):
        try:
            generator = registry().load("generators", other.name)
        except InvError:
            continue
        if record.name in generator.method_options:
            yield other.name, generator.method_options[record.name]


def options_of(config: Any, prefix: str = "", defaults: Any = None) -> Iterator[Option]:
    """Yield the options of a Config class, those of nested models with dotted names.

    Args:
        config: the class.
        prefix: before every name.
        defaults: an instance whose values are the defaults; those of the class if None.
    """
    from inv3d.core.config import nested_model

    for name, field in config.model_fields.items():
        required = field.is_required() and defaults is None
        default = getattr(defaults, name) if defaults is not None else _default(field)
        nested = nested_model(field.annotation)
        if nested is not None:
            yield from options_of(nested, f"{prefix}{name}.", default)
            continue
        kind = ", ".join([type_name(field.annotation), *_limits(field.metadata)])
        text = "required" if required else _text(default)
        yield Option(prefix + name, kind, text, field.description or "")


def _default(field: Any) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _limits(metadata: list[Any]) -> list[str]:
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    limits = ((sign, getattr(item, name, None)) for item in metadata for name, sign in signs)
    return [f"{sign} {value}" for sign, value in limits if value is not None]


def type_name(annotation: Any) -> str:
    """Return a type in words, such as "int", "'a' or 'b'" or "list of float"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is types.NoneType:
        return "none"
    if origin is None:
        return getattr(annotation, "__name__", str(annotation)).lower()
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments)
    if getattr(origin, "__name__", "") == "Literal" or str(origin) == "typing.Literal":
        return " or ".join(repr(argument) for argument in arguments)
    if origin is dict:
        return "table"
    if hasattr(annotation, "__metadata__"):
        return type_name(arguments[0])
    inner = [type_name(argument) for argument in arguments if argument is not ...]
    return f"{origin.__name__} of {', '.join(dict.fromkeys(inner))}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(item)}" for name, item in value.items()) or "none"
    if hasattr(value, "model_dump"):
        return _text(value.model_dump())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)


def _spec(generator: Any, weights: Path | None) -> dict[str, Any]:
    """Return the facts of a generator, or why they can't be known without weights.

    Raises:
        InvError: where there are weights, but not such as it takes.
    """
    from inv3d.core.generator import load_generator

    try:
        made = load_generator(generator.name, weights=weights)
    except InvError as error:
        if weights is not None:
            raise
        return {"unknown": str(error)}
    return asdict(made.spec)


def _show(facts: Mapping[str, Any]) -> None:
    headline = f"{facts['name']} ({singular(facts['kind'])}): {facts['summary']}"
    click.echo(f"{_wrapped(headline, '')}\n")
    rows = {
        "paper": facts["reference"],
        "licence": facts["licence"],
        "distribution": f"{facts['distribution']} {facts['version']}".strip(),
        "class": facts["target"],
        "file": facts["file"],
        "can": ", ".join(c for c in facts["capabilities"] if not c.startswith("preset ")),
        "needs": ", ".join(facts.get("requires", ())),
    }
    for name, value in rows.items():
        if value:
            click.echo(_wrapped(f"  {name + ':':14}{value}", " " * 16))
    click.echo()
    if "spec" in facts:
        spec = [(name, _text(value)) for name, value in facts["spec"].items()]
        print_table(("fact", "value"), spec)
        click.echo()
    if "options" not in facts:
        return
    for title, options in (
        ("option of 3dinv edit", facts["edit"]),
        ("option of 3dinv editor fit" if facts["edit"] else "option", facts["options"]),
        ("option of 3dinv train", facts["training"]),
    ):
        lines = [
            (row["name"], f"{row['type']} [{row['default']}]\n{row['description']}".strip())
            for row in options
        ]
        if lines:
            print_table((title, "type [default], what it is"), lines, whole=(title,))
            click.echo()
    print_table(("preset", "sets"), _sets(facts["presets"]))
    if facts["suggested"]:
        click.echo()
        other = "with method" if facts["kind"] == "generators" else "on generator"
        print_table((other, "defaults are replaced by"), _sets(facts["suggested"]))


def _wrapped(text: str, indent: str) -> str:
    """Break a text at the terminal's width, its further lines indented."""
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _sets(tables: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    from inv3d.core.config import flatten

    return [
        (name, ", ".join(f"{option}={_text(value)}" for option, value in flatten(values)))
        for name, values in tables.items()
    ]
