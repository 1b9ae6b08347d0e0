"""Write docs/api.md, and the public names that a test compares: `python docs/make_api.py`."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inv3d

HERE = Path(__file__).parent
PAGE = HERE / "api.md"
SURFACE = HERE.parent / "tests" / "api_surface.json"
STUB = Path(inv3d.__file__).with_suffix(".pyi")

HEAD = """# The public face

Everything that a user of Python and an author of plugins needs is imported from `inv3d`; other
modules are 3dinv's own and change without notice. A name is imported when it's first used: `import
inv3d` itself takes no time and imports no torch. Type checkers see all of it.

```python
import inv3d

found = inv3d.invert("my_head/", method="multiview", views=5, out="runs/mine")
print(found.metrics["held_out"]["psnr"])
```

Docstrings say shapes, units, ranges and errors: `help(inv3d.Look)`. This page is written by
`python docs/make_api.py`.
"""


def groups() -> Iterator[tuple[str, list[str]]]:
    """Yield the groups of names in the stub, whose comments are their titles."""
    title, names = "", []
    for line in STUB.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            if names:
                yield title, names
            title, names = line.removeprefix("# "), []
        elif " as " in line:
            names.append(line.split(" as ")[1].rstrip(","))
    yield title, names


def first_sentence(value: Any) -> str:
    """Return what a docstring begins with; the type itself for an alias without any."""
    if not (inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value))):
        return ""
    text = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return " ".join(text.split())


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, names in groups():
        rows = [f"| `{name}` | {_what(name)} |" for name in names]
        head = f"## {title[:1].upper()}{title[1:]}"
        parts.append("\n".join([head, "", "| name | what it is |", "| --- | --- |", *rows]))
    return "\n".join(f"{part}\n" for part in parts)


def _what(name: str) -> str:
    value = getattr(inv3d, name)
    return first_sentence(value).replace("|", "\\|") or f"`{_alias(name)}`".replace("|", "\\|")


def _alias(name: str) -> str:
    """Return how a name that isn't a class or function is written down in its module."""
    module = next(m for m, names in _modules() if name in names)
    path = STUB.parent.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.unparse(node.value)  # type: ignore[attr-defined]
    return type(getattr(inv3d, name)).__name__


def _modules() -> list[tuple[str, list[str]]]:
    body = ast.parse(STUB.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    return [(node.module or "", [alias.name for alias in node.names]) for node in imports]


def surface() -> dict[str, Any]:
    """Return what users rely on: names, signatures, and the public members of classes."""
    return {name: _described(getattr(inv3d, name)) for name in sorted(inv3d.__all__)}


def _described(value: Any) -> Any:
    if inspect.isclass(value):
        own = {name for base in value.__mro__ if _ours(base) for name in _members(base)}
        return sorted(name for name in own if not name.startswith(("_", "model_")))
    if inspect.isfunction(inspect.unwrap(value)):
        return [
            name if p.default is p.empty else f"{name}="
            for name, p in inspect.signature(value).parameters.items()
        ]
    return "value"


def _ours(kind: type) -> bool:
    return kind.__module__.startswith("inv3d")


def _members(kind: type) -> set[str]:
    return {*vars(kind), *vars(kind).get("__annotations__", {})}


def text(names: dict[str, Any]) -> str:
    """Return the list as JSON, a line a name."""
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(what)}" for name, what in names.items())
    return f"{{\n{lines}\n}}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SURFACE.write_text(text(surface()), encoding="utf-8")
