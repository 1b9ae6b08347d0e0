"""What the source text of our own plugins says: read without importing them, or torch."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inv3d.core.registry.record import PluginRecord

_ROOT = Path(__file__).resolve().parents[3]
_CONFIG = "Config"


@dataclass(frozen=True)
class Source:
    """A class in a module of this package.

    Attributes:
        module: its name.
        node: of the class.
    """

    module: str
    node: ast.ClassDef


def find_class(module: str, name: str) -> Source | None:
    """Find a class in a module of this package, or where that module has it from."""
    tree = _tree(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Source(module, node)
    origin = _origin(tree, name)
    return find_class(origin, name) if origin else None


def text_of(source: Source, name: str) -> str:
    """Return a class attribute that is written down as a plain text, there or in a base class."""
    at: Source | None = source
    while at is not None:
        value = _value(at.node, name)
        if value is not None:
            plain = isinstance(value, ast.Constant) and isinstance(value.value, str)
            return str(value.value) if plain else ""  # type: ignore[attr-defined]
        module, bases = at.module, at.node.bases
        at = next(filter(None, (_base(module, base) for base in bases)), None)
    return ""


def options_of(record: PluginRecord) -> Any:
    """Return the Config class of one of our own plugins, if it stands in a module of its own.

    That module is imported, the plugin isn't. None where the plugin is another's, or its options
    stand beside it.
    """
    module, _, name = record.target.partition(":")
    source = find_class(module, name) if record.own else None
    while source is not None:
        value = _value(source.node, _CONFIG)
        if isinstance(value, ast.Name):
            origin = _origin(_tree(source.module), value.id)
            return getattr(importlib.import_module(origin), value.id) if origin else None
        bases = (_base(source.module, base) for base in source.node.bases)
        source = next(filter(None, bases), None)
    return None


def _base(module: str, base: ast.expr) -> Source | None:
    """Find a base class, written down with or without its types."""
    name = base.value if isinstance(base, ast.Subscript) else base
    local = isinstance(name, ast.Name) and find_class(module, name.id)
    return local or None


def file_of(module: str) -> str:
    """Return the file of a module of this package; empty where there's none."""
    base = _ROOT.joinpath(*module.split("."))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((str(file) for file in files if file.is_file()), "")


def summary_of(module: str) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(_tree(module)) or "").partition("\n")[0]


@lru_cache(maxsize=32)
def _tree(module: str) -> ast.Module:
    file = file_of(module)
    return ast.parse(Path(file).read_bytes() if file else b"")


def _origin(tree: ast.Module, name: str) -> str:
    """Return the module of this package that a name is imported from; empty where there's none."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    package = __name__.partition(".")[0]
    found = (
        node.module
        for node in imports
        if node.module and node.module.partition(".")[0] == package
        if name in [alias.name for alias in node.names]
    )
    return next(found, "")


def _value(node: ast.ClassDef, name: str) -> ast.expr | None:
    """Return what a class attribute is set to."""
    return next((value for found, value in _attributes(node) if found == name), None)


def _attributes(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for item in node.body:
        match item:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, value
