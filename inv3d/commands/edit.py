"""`3dinv edit`: change the head of a finished run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import click

from inv3d.commands.numbers import finite
from inv3d.commands.output import print_json
from inv3d.commands.paths import PATH
from inv3d.core.errors import ConfigError, PluginError, UsageError, WeightsError, suggest
from inv3d.core.registry.discovery import registry

if TYPE_CHECKING:
    from inv3d.core.editor import AnyEditor, Directions
    from inv3d.core.generator import Generator
    from inv3d.rundir.opening import Run
    from inv3d.runs.edit import Edit, Editing

_SHEET_YAWS = (0.0, 45.0)
# options of a named edit that may be given over those that the name stands for
_WITH_NAMES = {"keep", "unit", "mode", "start", "end"}


@click.command("edit", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="RUN [--NAME VALUE]...")
@click.option("--editor", help="How to edit.  [default: the one whose directions have the names]")
@click.option("-o", "--out", type=PATH, help="Directory of the edited run.")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
@click.option(
    "--with",
    "partners",
    multiple=True,
    type=PATH,
    help="Another run that takes part; of the editors of directions, that of a latent at which the "
    "change is made.",
)
@click.option("--directions", type=PATH, help="File of the editor's directions.")
@click.option(
    "--keep-directions",
    "others",
    multiple=True,
    type=PATH,
    help="File of directions that must stay as they are.",
)
@click.option(
    "--sheet",
    is_flag=True,
    help="Write a picture of directions and strengths instead.  [default: RUN/edits-EDITOR.png]",
)
@click.option(
    "--rows", type=click.IntRange(1, 200), default=10, show_default=True, help="Of the sheet."
)
@click.option(
    "--strengths",
    help="Columns of the sheet.  [default: the editor's, mostly -3,-1.5,0,1.5,3]",
)
@click.option(
    "--yaw-deg",
    type=float,
    callback=finite,
    multiple=True,
    help="View of the sheet; repeat.  [default: 0, 45]  Without --sheet the editor's own option.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-report", is_flag=True, help="Skip numbers, pictures, videos and mesh.")
def command(words: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Edit the head of the finished run in directory RUN; the run stays as it is.

    The editor's options are given by their names, such as --component 7 --strength 2, and so are
    edits that its directions name, such as --smile 1.5: several of these are made one after
    another. '3dinv info EDITOR' shows an editor's options, '3dinv editor show EDITOR' the names.
    """
    run, given = _words(words)
    if options["editor"]:
        registry().record("editors", options["editor"])
    if options["out"] is None and not options["sheet"]:
        raise UsageError("give the directory of the edited run with -o, or --sheet for a picture")

    from inv3d.core.device import resolve_device
    from inv3d.rundir.opening import open_run

    opened = open_run(run, resolve_device(options["device"]))
    editing, edits = _editing(opened, given, options)
    facts = (
        _sheet(editing, given, edits, options)
        if options["sheet"]
        else _edit(editing, edits, options)
    )
    if as_json:
        print_json(facts)
    elif options["sheet"]:
        click.echo(f"{facts['out']}: {len(facts['rows'])} edits")
    else:
        _show(facts)


def _words(words: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """Tell the run from options by name; an option without a value is "true"."""
    given: dict[str, str] = {}
    runs: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            runs.append(word)
            continue
        name, sign, value = word.removeprefix("--").partition("=")
        if not sign:
            value = left.pop(0) if left and not left[0].startswith("--") else "true"
        name = name.replace("-", "_")
        given[name] = f"{given[name]},{value}" if name in given else value
    if len(runs) != 1:
        found = f"{len(runs)} ({', '.join(runs)})" if runs else "none"
        raise UsageError(f"expected one run to edit, found {found}; see '3dinv edit --help'")
    return Path(runs[0]), given


def _editing(
    run: Run, given: Mapping[str, str], options: Mapping[str, Any]
) -> tuple[Editing, list[Edit]]:
    from inv3d.runs.edit import Editing

    name = options["editor"] or _editor_of(run.generator, given, options["directions"])
    editing = Editing(
        run,
        name,
        directions=options["directions"],
        others=options["others"],
        partners=options["partners"],
    )
    given = {**given, **_view(editing.editor, options)}
    return editing, _edits(editing.editor, editing.directions, given, options["sheet"])


def _view(editor: AnyEditor, options: Mapping[str, Any]) -> dict[str, str]:
    """Return --yaw-deg where it's an option of the edit, rather than of the sheet."""
    yaws = options["yaw_deg"]
    if options["sheet"] or not yaws:
        return {}
    if "yaw_deg" not in editor.Edit.model_fields:
        raise UsageError(
            f"--yaw-deg: of a sheet, and editor {editor.name} has no such option; add --sheet, or "
            "leave it out"
        )
    if len(yaws) > 1:
        raise UsageError(f"--yaw-deg: given {len(yaws)} times, an edit takes one")
    return {"yaw_deg": str(yaws[0])}


def _editor_of(generator: Generator, given: Mapping[str, str], path: Path | None) -> str:
    """Return the editor whose directions have the names that were given, of several the richest."""
    from inv3d.core.editor import Directions, find_directions, load_editor

    if path is not None:
        return Directions.load(path).editor
    wanted = [name for name in given if name not in _WITH_NAMES]
    found: dict[str, dict[str, Any]] = {}
    taken: dict[str, int] = {}
    for record in registry().of_kind("editors"):
        try:
            editor = load_editor(record.name)
            if not editor.needs_directions:
                continue
            directions = find_directions(editor, generator)
        except (PluginError, ConfigError, WeightsError):  # another one may do
            continue
        names = found[record.name] = directions.names if directions else {}
        taken[record.name] = len(set(given) & {*names, *editor.Edit.model_fields})
    named = {n: names for n, names in found.items() if set(wanted) & set(names) or not wanted}
    if not named:
        known = {name for names in found.values() for name in names}
        words = [name for name in wanted if name not in known]
        hint = suggest(words[0], known) if words and known else ""
        raise UsageError(
            f"no editor's directions for generator {generator.spec.name} name "
            f"{' or '.join(wanted) or 'anything'}{hint}; give --editor NAME, see '3dinv "
            "list-plugins --kind editors'"
        )
    return max(named, key=lambda n: (taken[n], len(named[n])))


def _edits(
    editor: AnyEditor, directions: Directions | None, given: Mapping[str, str], sheet: bool
) -> list[Edit]:
    """Return what is to be done: an edit by its options, or named ones with a strength each."""
    from inv3d.runs.edit import Edit

    fields = editor.Edit.model_fields
    names = {} if directions is None else directions.names
    if "set" in given and "set" not in fields:
        raise UsageError(
            "--set: options of an edit are given by their names, such as "
            f"--{next(iter(fields), 'strength').replace('_', '-')} VALUE; see '3dinv info "
            f"{editor.name}'"
        )
    for name in given:
        if name not in fields and name not in names:
            raise ConfigError(
                f"unknown option '--{name.replace('_', '-')}' of editor {editor.name}"
                f"{suggest(name, {*fields, *names})}"
            )
    shared = {name: _typed(fields[name], v) for name, v in given.items() if name in fields}
    named = {name: _number(name, v) for name, v in given.items() if name not in fields}
    if sheet and named:
        raise UsageError(
            f"--{next(iter(named))}: a sheet shows every strength of --strengths; leave it out"
        )
    if not named:
        return [Edit(shared)]
    for name in named:
        twice = sorted(set(shared) & set(names[name]) - _WITH_NAMES)
        if twice:
            raise UsageError(
                f"--{twice[0].replace('_', '-')}: the edit '{name}' says it already; leave one of "
                "them out"
            )
    return [
        Edit({**editor.named(directions, name, strength), **shared}, name)
        for name, strength in named.items()
    ]


def _typed(field: Any, text: str) -> Any:
    """Read a value as JSON where it is JSON; a comma-separated text for fields of several."""
    several = any(
        get_origin(kind) in (tuple, list)
        for kind in (field.annotation, *get_args(field.annotation))
    )
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if several and not isinstance(value, list):
        parts = [part.strip() for part in text.split(",")] if text else []
        return [_typed_part(part) for part in parts]
    return value


def _typed_part(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0.0:
        raise ConfigError(f"--{name.replace('_', '-')} {text}: expected a strength, such as 1.5")
    return value


def _edit(editing: Editing, edits: Sequence[Edit], options: Mapping[str, Any]) -> dict[str, Any]:
    from inv3d.runs.display import Lines
    from inv3d.runs.edit import write_edited

    directory, metrics = write_edited(
        editing,
        edits,
        options["out"],
        overwrite=options["overwrite"],
        pictures=not options["no_report"],
        report=not options["no_report"],
        command=["3dinv", *sys.argv[1:]],
        say=Lines().say,
    )
    return {"directory": str(directory.path), "run": directory.record, "metrics": metrics}


def _show(facts: Mapping[str, Any]) -> None:
    from inv3d.rundir.files import REPORT

    edit = facts["run"]["edit"]
    for each in edit["edits"]:
        said = ", ".join(f"{n} {value}" for n, value in each["options"].items()) or "its defaults"
        click.echo(f"{edit['editor']}: {each['name'] + ': ' if each['name'] else ''}{said}")
    click.echo(f"everything is in {facts['directory']}")
    if facts["metrics"] is not None:
        click.echo(f"report: {Path(facts['directory']) / REPORT}")


def _strengths(editor: AnyEditor, text: str | None) -> list[float]:
    """Return the columns of a sheet, all of which the editor can take."""
    from inv3d.core.config import build_config

    if text is None:
        return list(editor.strengths)
    strengths = [_number("strengths", part) for part in text.split(",")]
    for strength in strengths:
        try:
            build_config(editor.Edit, {"strength": strength}, f"editor {editor.name}")
        except ConfigError as error:
            if "strength" in str(error):
                raise UsageError(f"--strengths {strength:g}: {error}") from None
    return strengths


def _sheet(
    editing: Editing,
    given: Mapping[str, str],
    edits: Sequence[Edit],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    from inv3d.report.edits import edit_sheet
    from inv3d.report.pictures import save_png
    from inv3d.runs.display import Lines
    from inv3d.runs.edit import shown_cameras

    say = Lines().say
    strengths = _strengths(editing.editor, options["strengths"])
    out = options["out"] or editing.run.directory / f"edits-{editing.editor.name}.png"
    if out.suffix.lower() != ".png":
        raise UsageError(f"-o {out}: a sheet is a picture; give a name that ends in .png")
    # options that pick an edit make a sheet of this one
    alone = bool(given) and not set(given) <= _WITH_NAMES
    rows = editing.editor.rows(editing.directions, options["rows"])
    rows = [("edit", {})] if alone else rows
    made = [(title, {**row, **edits[0].options}) for title, row in rows]
    camera = shown_cameras(editing.run.generator, options["yaw_deg"] or _SHEET_YAWS)
    frame = edit_sheet(
        editing.palette, made, strengths, camera, editing.reopen,
        lambda title: say(f"rendering {title}"),
    )  # fmt: skip
    save_png(out, frame)
    return {
        "out": str(out),
        "editor": editing.editor.name,
        "rows": [{"title": title, "options": row} for title, row in made],
        "strengths": strengths,
        "yaw_deg": [round(float(yaw), 3) for yaw in camera.yaw.rad2deg()],
    }
