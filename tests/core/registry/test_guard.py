"""What an import prints and changes: told, and put back."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

import pytest
import torch

from inv3d.core.registry.guard import guarded

CHANGES: dict[str, Callable[[], object]] = {
    "the working directory": lambda: os.chdir("/"),
    "the command line's words": lambda: sys.argv.append("--more"),
    "warnings, which become errors": lambda: warnings.simplefilter("error"),
    "the depth of recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 100),
    "the standard streams": lambda: setattr(sys, "stdout", None),
}


def state() -> tuple[object, ...]:
    errors = [entry for entry in warnings.filters if entry[0] == "error"]
    depth = sys.getrecursionlimit()
    return os.getcwd(), list(sys.argv), errors, depth, sys.stdin, sys.stdout, sys.stderr


@pytest.mark.parametrize("words", CHANGES)
def test_changes_are_told_and_put_back(words: str) -> None:
    before = state()
    with guarded() as guard:
        CHANGES[words]()
    assert guard.changes == (words,)
    assert state() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_default_device("meta"),
    ],
)
def test_torchs_defaults_stay(change: Callable[[], object]) -> None:
    with guarded() as guard:
        change()
    assert guard.changes == ("torch's defaults",)
    made = torch.ones(1, requires_grad=True) * 2
    assert made.dtype == torch.float32 and made.requires_grad and made.device.type == "cpu"


def test_an_error_comes_through_and_changes_are_put_back_all_the_same() -> None:
    before = state()
    with pytest.raises(ValueError, match="no"), guarded() as guard:
        os.chdir("/")
        raise ValueError("no")
    assert guard.changes and state() == before


def test_what_is_printed_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with guarded() as guard:
        print("printed")
        # what packages ask of a stream when they're imported
        assert sys.stdout.isatty() is False and sys.stdout.encoding
        sys.stdout.close()
        os.write(1, b"written\n")
        os.system("echo echoed")
    print("ours")
    assert guard.prints and guard.changes == ()
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert sorted(err.split()) == ["echoed", "printed", "written"]


def test_silence_is_silence() -> None:
    with guarded() as guard:
        pass
    assert not guard.prints and not guard.changes and not guard.stopped
