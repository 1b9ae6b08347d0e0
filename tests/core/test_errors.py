"""Exit codes and suggestions."""

import pytest

from inv3d.core import errors
from inv3d.core.errors import first_line, suggest


def test_the_nearest_name_is_suggested() -> None:
    assert suggest("multilatnet", ["wplus", "multilatent"]) == "; did you mean 'multilatent'?"


def test_all_names_are_listed_where_none_is_near() -> None:
    assert suggest("xyz", ["wplus", "pti"]) == "; known: pti, wplus"


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert suggest("x", []) == ""


@pytest.mark.parametrize(
    ("name", "code"),
    [("InputError", 2), ("ConfigError", 2), ("PluginError", 2), ("ContractError", 1),
     ("WeightsError", 1), ("RunError", 1), ("DivergedError", 1), ("InterruptedRun", 130)],
)  # fmt: skip
def test_exit_codes(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.InvError)
    assert kind.exit_code == code


def test_a_key_error_of_several_lines_has_a_first_one() -> None:
    assert first_line(KeyError("no weights\nlook there")) == "no weights"
    assert first_line(KeyError("planes")) == "'planes'"
    assert first_line(KeyError(3)) == "3" and first_line(KeyError()) == ""
