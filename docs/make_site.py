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
        if found := re.match(r"from \.(\S+) import", line):
            module = f"inv3d.{found[1]}"
        if " as " in line:
            name = line.split(" as ")[1].rstrip(",")
            if home := home_of(module, name):
                targets.append(f"{home}.{name}")
    yield title, targets


def home_of(module: str, name: str) -> str:
    """Return the module that a class or function is written in; empty for a mere value."""
    base = STUB.parents[1].joinpath(*module.split("."))
    file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module
        named = isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]
        if named and (node.module or "").startswith("inv3d."):
            return home_of(str(node.module), name)
    return ""
