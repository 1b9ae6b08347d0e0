"""Writing a package of one plugin: small, complete, tested."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from inv3d.core.errors import UsageError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import singular

TEMPLATES = Path(__file__).parent / "templates"
# the plugin that the templates are of; its name becomes the new one's, in all its spellings
WORD = "zebra"
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_USE = {
    "generators": "3dinv run --generator {name} --method multiview",
    "methods": "3dinv run --method {name}",
    "losses": "3dinv run --set losses.{name}=0.5",
    "editors": "3dinv run --method wplus --out runs/tried\n"
    "3dinv editor fit {name}\n"
    "3dinv edit runs/tried --editor {name} --strength 0.5 --out runs/edited",
    "estimators": "3dinv run --method wplus --input FOLDER_OF_PICTURES --camera auto:{name}",
    "hooks": "3dinv run --method wplus --out runs/tried\n3dinv {name} runs/tried",
}


def write_package(name: str, kind: str, folder: Path) -> list[Path]:
    """Write a package whose plugin works, with tests that it passes.

    Args:
        name: of the plugin: small letters, digits, and - or _ between them.
        kind: of the plugin, in the plural.
        folder: that is made; it mustn't be there.

    Returns:
        The files that were written.

    Raises:
        UsageError: where the name can't be used, or the folder is there.
    """
    _check(name, kind, folder)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        files = list(_write(name, kind, unfinished))
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UsageError(
            f"--out {folder}: can't be written ({error.strerror}); choose another folder"
        ) from error
    return [folder / file for file in files]


def commands(name: str, kind: str) -> str:
    """Return the commands that use a new plugin, a line each."""
    return _USE[kind].format(name=name)


def _check(name: str, kind: str, folder: Path) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"NAME {name!r}: expected small letters, digits and - or _ between them, beginning "
            "with a letter, such as my-method"
        )
    owner = next((r.distribution for r in registry().of_kind(kind) if r.name == name), None)
    if owner is not None:
        raise UsageError(
            f"NAME {name}: {owner} has a {singular(kind)} of this name; choose another one"
        )
    if folder.exists():
        raise UsageError(f"--out {folder}: is there already; choose another folder")


def _write(name: str, kind: str, folder: Path) -> list[Path]:
    """Write all files and return them, relative to the folder."""
    written = []
    for file, place in _sources(kind):
        place = Path(_named(str(place), name))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        text = _filled(file.read_text(encoding="utf-8"), name, kind)
        (folder / place).write_text(text, encoding="utf-8")
        written.append(place)
    return written


def _sources(kind: str) -> list[tuple[Path, Path]]:
    """Return the templates of a kind, and where each goes."""
    common = TEMPLATES / "common"
    shared = [(f, f.relative_to(common)) for f in sorted(common.rglob("*")) if f.is_file()]
    own = [f for f in sorted((TEMPLATES / kind).iterdir()) if f.suffix == ".py"]
    return shared + [
        (f, Path("tests", f.name) if f.name.startswith("test_") else Path(f.name)) for f in own
    ]


def _filled(text: str, name: str, kind: str) -> str:
    target = f"inv3d_{WORD}" if kind == "hooks" else f"inv3d_{WORD}:{WORD.title()}"
    use = f"```sh\n{commands(name, kind)}\n```"
    known = {"KINDS": kind, "KIND": singular(kind), "TARGET": target, "USE": use}
    text = re.sub(r"\b(KINDS?|TARGET|USE)\b", lambda found: known[found[1]], text)
    return _named(text, name)


def _named(text: str, name: str) -> str:
    """Put a name in the place of the templates' own, as module, class, distribution, or itself."""
    module, plain = name.replace("-", "_"), name.replace("_", "-")
    title = "".join(part.capitalize() for part in re.split("[-_]", name))
    for old, new in (
        (f"inv3d_{WORD}", f"inv3d_{module}"),
        (f"test_{WORD}", f"test_{module}"),
        (f"inv3d-{WORD}", f"inv3d-{plain}"),
        (WORD.title(), title),
        (WORD, name),
    ):
        text = text.replace(old, new)
    return text
