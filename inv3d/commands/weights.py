"""`3dinv weights`: the weight files that plugins know, and getting them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.output import print_json, print_table
from inv3d.core.errors import WeightsError

if TYPE_CHECKING:
    from inv3d.core.registry.weight_index import KnownWeights
    from inv3d.core.weights.known import WeightFile

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("weights")
def command() -> None:
    """List, find, check and fetch the weight files that plugins know.

    They go into the folder that the variable INV3D_WEIGHTS names, or one in the user's cache. What
    is already in PyTorch's cache is used from there.
    """


@command.command("list")
@_AS_JSON
def list_files(as_json: bool) -> None:
    """List every weight file that a plugin knows, and whether it's here."""
    from inv3d.core.registry.weight_index import list_known_weights
    from inv3d.core.weights.known import searched_folders

    known = list_known_weights()
    if as_json:
        print_json([_facts(weights) for weights in known])
        return
    print_table(("file", "what it is"), map(_row, known), whole=("file",))
    own, *others = searched_folders()
    click.echo("\n* to be accepted before the file is fetched")
    click.echo(f"folder: {own}")
    for other in others:
        click.echo(f"also searched: {other}")


def _facts(weights: KnownWeights) -> dict[str, Any]:
    file = weights.file
    path = file.find()
    found = {"state": _state(file), "path": str(path) if path else None}
    return asdict(file) | {"used_by": list(weights.users)} | found


def _row(weights: KnownWeights) -> tuple[str, ...]:
    file = weights.file
    size = "?" if file.size is None else f"{file.size / 1e6:.0f} MB"
    lines = [
        f"{', '.join(weights.users)}: {file.purpose}",
        f"licence: {file.licence}{' *' if file.noncommercial else ''}",
    ]
    if file.fits:
        lines.append(f"fits: {', '.join(file.fits)}")
    return f"{file.name}\n{size}, {_state(file)}", "\n".join(lines)


def _state(file: WeightFile) -> str:
    path = file.find() if file.state == "here" else None
    return "other file" if path and _mistaken(file, path) else file.state


def _mistaken(file: WeightFile, path: Path) -> str:
    """Say what a file is that no weights are; a checksum tells more, where one is known."""
    from inv3d.core.weights.forms import mistaken

    return "" if file.sha256 else mistaken(path)


@command.command("path")
@click.argument("name", required=False)
def path(name: str | None) -> None:
    """Print where the file NAME is; without NAME, the folder that files go into."""
    from inv3d.core.weights.known import weights_dir

    click.echo(weights_dir() if name is None else _files((name,))[0].locate())


@command.command("verify")
@click.argument("names", nargs=-1)
@_AS_JSON
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Compare the files NAMES, or all that are here, with their known checksums.

    Where none is known, a file that is of no form that weights have differs, such as a web page.
    The exit code is 1 where a file differs or one that was named is missing.
    """
    files = [file for file in _files(names) if names or file.find()]
    checked = [_checked(file) for file in files]
    if as_json:
        print_json(checked)
    elif checked:
        rows = [(row["name"], row["result"], row["sha256"] or "") for row in checked]
        print_table(("file", "result", "SHA-256"), rows, whole=("file", "result"))
    else:
        click.echo("none of the known files is here")
    bad = [row for row in checked if row["result"] in ("missing", "differs")]
    if bad:
        said = [f"{row['name']} ({row['what']})" if row["what"] else row["name"] for row in bad]
        raise WeightsError(
            f"{', '.join(said)}: missing, damaged or another file; delete what is there and run "
            f"'3dinv weights fetch {bad[0]['name']}'"
        )


def _checked(file: WeightFile) -> dict[str, Any]:
    from inv3d.core.files import file_digest
    from inv3d.core.weights.fetch import progress_bar

    where = file.find()
    facts: dict[str, Any] = {"name": file.name, "path": str(where) if where else None}
    if where is None:
        return facts | {"result": "missing", "sha256": None, "what": ""}
    total = where.stat().st_size
    with progress_bar(file.name) as report:
        found = file_digest(where, lambda done: report(done, total))
    what = _mistaken(file, where)
    known = "as published" if file.sha256 else "no checksum known"
    result = "differs" if what or (file.sha256 and found != file.sha256) else known
    return facts | {"result": result, "sha256": found, "what": what}


@command.command("fetch")
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--accept-licence",
    "--accept-license",
    "accept",
    is_flag=True,
    help="Accept licences that don't allow all uses, without being asked.",
)
@_AS_JSON
def fetch(names: tuple[str, ...], accept: bool, as_json: bool) -> None:
    """Download the files NAMES; what came before an interruption isn't fetched again."""
    from inv3d.core.weights.fetch import fetch as download

    files = _files(names)
    asked = [f for f in files if f.url and f.noncommercial and not f.find()]
    for file in () if accept else asked:
        _ask(file)
    paths = {file.name: _whole(file) or download(file, accepted=True) for file in files}
    if as_json:
        print_json({name: str(path) for name, path in paths.items()})
        return
    for path in paths.values():
        click.echo(path)


def _whole(file: WeightFile) -> Path | None:
    """Return where a file lies, None where it's nowhere; refuse one that isn't it."""
    path = file.find()
    if path is None:
        return None
    file.verify(path)
    if what := _mistaken(file, path):
        raise WeightsError(f"{path}: {what}; delete it and run '3dinv weights fetch {file.name}'")
    return path


def _ask(file: WeightFile) -> None:
    """Let the user accept a licence, once for every file; nothing is assumed in a script."""
    from inv3d.core.weights.fetch import licence_refused

    if not _interactive():
        raise licence_refused(file)
    click.echo(f"{file.name}: {file.licence}; not free for all uses: {file.page}", err=True)
    if not click.confirm("Do you accept it?", err=True):
        raise licence_refused(file)


def _interactive() -> bool:
    return sys.stdin.isatty()


def _files(names: tuple[str, ...]) -> list[WeightFile]:
    """Return known files by name; all of them where none is named."""
    from inv3d.core.registry.weight_index import list_known_weights, pick_known_weights

    known = list_known_weights()
    if not names:
        return [weights.file for weights in known]
    return [pick_known_weights(Path(name).name, known).file for name in dict.fromkeys(names)]
