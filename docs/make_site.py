"""The reference of the site, made from docstrings when the site is: `mkdocs build --strict`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

STUB = Path(__file__).parents[1] / "inv3d" / "__init__.pyi"


def on_files(files: Files, config: Any) -> Files:
    """Add a page for every group of public names, those that are classes and functions."""
    from mkdocs.structure.files import File

    for title, targets in groups():
        name = re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
        text = "\n\n".join([f"# {title}", *(f"::: {target}" for target in targets)])
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def groups() -> Iterator[tuple[str, list[str]]]:
    """Yield the groups of names in the stub, whose comments are their titles, as dotted names."""
    title, targets, module = "", [], ""
    for line in STUB.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            if targets:
                yield title, targets
            title, targets = line[2:3].upper() + line[3:], []
        elif found := re.match(r"from \.(\S+) import", line):
            module = f"inv3d.{found[1]}"
        elif " as " in line:
            name = line.split(" as ")[1].rstrip(",")
            if documented(module, name):
                targets.append(f"{module}.{name}")
    yield title, targets


def documented(module: str, name: str) -> bool:
    """Whether a name is a class or a function of its module, and so has a docstring."""
    base = STUB.parents[1].joinpath(*module.split("."))
    file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    kinds = (ast.ClassDef, ast.FunctionDef)
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(node, kinds) and node.name == name for node in body)
