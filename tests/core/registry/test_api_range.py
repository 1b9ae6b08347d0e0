"""Versions of the plugin API that plugins say they work with."""

from __future__ import annotations

from typing import Any

import pytest

from inv3d.core.registry.api_range import api_fault, supported


@pytest.mark.parametrize("wanted", ["1.0", "1.2", ">=1", ">=1,<3", "~=1.1", "==1.*", ">0.9,!=1.3"])
def test_versions_that_will_do(wanted: str) -> None:
    assert api_fault(wanted, "1.2", "theirs") == ""


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        ("0.9", "upgrade theirs"),
        ("1.3", "upgrade 3dinv"),
        ("2.0", "upgrade 3dinv"),
        (">=2", "upgrade 3dinv"),
        ("<1.2", "upgrade theirs"),
        ("==1.1.*", "upgrade theirs"),
        ("~=1.4", "upgrade 3dinv"),
        ("!=1.2", "upgrade theirs"),
    ],
)
def test_versions_that_wont_do(wanted: str, remedy: str) -> None:
    said = api_fault(wanted, "1.2", "theirs")
    assert said == f"written for plugin API {wanted}, this 3dinv has 1.2; {remedy}"


@pytest.mark.parametrize("wanted", ["", "1", "one", ">=", ">=1,<", "1.0.0", 1.0, None, [">=1"]])
def test_what_is_neither_version_nor_range(wanted: Any) -> None:
    said = api_fault(wanted, "1.2", "theirs")
    assert said == (
        f"api is {wanted!r}, expected 'major.minor' such as '1.2', or a range such as '>=1.2,<3'; "
        "correct it in the class"
    )


def test_a_version_stands_for_all_later_ones_of_its_major() -> None:
    versions = ["0.9", "1.1", "1.2", "1.10", "2.0"]
    assert [version for version in versions if version in supported("1.2")] == ["1.2", "1.10"]
