"""What is to go away warns where it's used."""

from __future__ import annotations

import inspect

import pytest

from inv3d.core.deprecation import deprecated


def test_a_call_warns_and_works() -> None:
    @deprecated("1.1", instead="plus", gone="2.0")
    def add(first: int, second: int = 1) -> int:
        """Add."""
        return first + second

    said = r"add is deprecated since plugin API 1\.1 and ends with 2\.0; use plus"
    with pytest.warns(DeprecationWarning, match=said) as caught:
        assert add(1, second=2) == 3
    assert caught[0].filename == __file__
    assert add.__doc__ == "Add." and list(inspect.signature(add).parameters) == ["first", "second"]
