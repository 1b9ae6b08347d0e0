"""The public face: what it names, that it stays, and that its examples work."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import inv3d

ROOT = Path(__file__).parents[1]


def load_make_api() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_make_api()
HINT = "if that is what you want, run python docs/make_api.py"


def test_public_names_and_signatures_are_those_that_are_written_down() -> None:
    assert MAKE.surface() == json.loads(MAKE.SURFACE.read_text()), HINT


def test_the_page_is_what_the_code_says() -> None:
    assert MAKE.PAGE.read_text() == MAKE.page(), HINT


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, inv3d; dir(inv3d); heavy = {'torch', 'numpy', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy; assert inv3d.API_VERSION"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_public_name_is_that_of_a_room() -> None:
    """Importing the room would put a module in its place."""
    rooms = {path.stem for path in Path(inv3d.__file__).parent.iterdir()}
    assert not rooms & set(inv3d.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = inv3d.Nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(inv3d.__all__))
def test_every_class_and_function_says_what_it_is(name: str) -> None:
    value = getattr(inv3d, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__.startswith("inv3d.")
        assert MAKE.first_sentence(value).endswith("."), name


MODULES = sorted(
    {
        value.__module__
        for value in (getattr(inv3d, name) for name in inv3d.__all__)
        if (inspect.isclass(value) or inspect.isfunction(value)) and ">>> " in (value.__doc__ or "")
    }
)


def test_there_are_examples() -> None:
    assert len(MODULES) > 9


@pytest.mark.parametrize("module", MODULES)
def test_examples_work(module: str) -> None:
    results = doctest.testmod(
        importlib.import_module(module),
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert results.attempted and not results.failed


def test_the_reference_of_the_site_has_every_class_and_function() -> None:
    spec = importlib.util.spec_from_file_location("make_site", MAKE.HERE / "make_site.py")
    assert spec is not None and spec.loader is not None
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    shown = {target.rpartition(".")[2] for _, targets in site.groups() for target in targets}
    described = {n for n in inv3d.__all__ if MAKE.first_sentence(getattr(inv3d, n))}
    assert not described - shown, "not found in their modules"
    assert {"Generator", "Inverter", "check_plugin", "hookimpl"} & shown
