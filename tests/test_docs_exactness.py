"""The page about numbers of the references names all golden cases, and things that there are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import inv3d
from inv3d.core.registry.discovery import registry
from tests.golden_cases import FOLDER

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "exactness.md").read_text(encoding="utf-8")
GENERATORS = (ROOT / "docs" / "generators.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]
# of our own networks
OWN = {"face_networks", "faceid"}


def test_every_case_is_on_one_of_the_pages() -> None:
    cases = {path.stem for path in FOLDER.glob("*.safetensors")} - OWN
    named = {n.removesuffix("_expected") for n in cases}
    listed = set(re.findall(r"`(\w+)`", "".join(row[0] for row in ROWS))) | set(
        re.findall(r"^\| `(\w+)`", GENERATORS, re.MULTILINE)
    )
    assert named - listed == set()


@pytest.mark.parametrize("row", ROWS, ids=[row[0].replace("`", "") for row in ROWS])
def test_what_computes_them_is_there(row: list[str]) -> None:
    """Each name is public, of a module that's named in its row, or a loss."""
    modules = re.findall(r"`(inv3d(?:\.\w+)+)`", row[1])
    places = [inv3d, *map(importlib.import_module, modules)]
    for name in re.findall(r"`([\w.]+)`", row[1]):
        if name in modules:
            continue
        first, *rest = name.split(".")
        found = next((getattr(p, first) for p in places if hasattr(p, first)), None)
        plugin = any(record.name == name for record in registry().of_kind("losses"))
        assert found is not None or plugin, name
        assert all(hasattr(found, attribute) for attribute in rest), name
