"""What callers of `inv3d.invert` ask for, looked at before anything is loaded.

The command line has looked at its options by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from inv3d.core.arguments import shown
from inv3d.core.capture import Selection
from inv3d.core.errors import ConfigError, InputError, suggest
from inv3d.io.capturefiles import CaptureFiles
from inv3d.runs.prepare import Request


class _Expected(NamedTuple):
    fits: Callable[[Any], bool]
    text: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path) and value != ""


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 1


def _is_seed(value: Any) -> bool:
    return _is_number(value) and -(2**63) <= value < 2**63


def _is_held_out(value: Any) -> bool:
    text = str(value) if _is_number(value) else value
    return _is_text(text) and (text in ("all", "none") or (text.isascii() and text.isdigit()))


def _is_metrics(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, (*value, *value.values())))


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_SELECTIONS = get_args(Selection)
_COUNT = "a whole number, 1 or more"
_FLAG = _Expected(_is_flag, "True or False")
_PRESET = _Expected(_or_none(_is_text), "the name of a preset")
_EXPECTED = {
    "method": _Expected(_is_text, "text; give the name of the plugin, such as 'multiview'"),
    "generator": _Expected(_is_text, "text; give the name of the plugin, such as 'minihead'"),
    "options": _Expected(
        lambda value: isinstance(value, Mapping), "a table, such as {'latent': {'steps': 200}}"
    ),
    "preset": _PRESET,
    "generator_preset": _PRESET,
    "weights": _Expected(_or_none(_is_path), "the path of a file, or the name of known weights"),
    "views": _Expected(_or_none(_is_count), _COUNT),
    "selection": _Expected(
        lambda value: _is_text(value) and value in _SELECTIONS, " or ".join(map(repr, _SELECTIONS))
    ),
    "hold_out": _Expected(_is_held_out, "'all', 'none' or a whole number, 0 or more"),
    "seed": _Expected(_is_seed, "a whole number of 64 bits at most"),
    "device": _Expected(
        lambda value: isinstance(value, str | torch.device), "'auto', 'cpu', 'cuda' or 'cuda:1'"
    ),
    "view_chunk": _Expected(_or_none(_is_count), _COUNT),
    "checkpoint_every": _Expected(_is_count, _COUNT),
    "init": _Expected(
        _or_none(_is_path), "the path of a run or of a training, or the name of a method"
    ),
    "pictures": _FLAG,
    "metrics": _Expected(
        _is_metrics, "a table of roles and names of losses, such as {'soft': 'l1'}"
    ),
    "undistort": _FLAG,
    "camera": _Expected(_or_none(_is_text), "'auto' or 'auto:ESTIMATOR'"),
}
# what isn't part of a request
_BESIDE = {
    "out": _Expected(_or_none(_is_path), "the path of a directory to write, or None"),
    "overwrite": _FLAG,
    "on_step": _Expected(_or_none(callable), "a function that takes a Progress, or None"),
}


def asked(capture: str | Path | CaptureFiles, request: Mapping[str, Any]) -> Request:
    """Return what a caller asks for.

    Args:
        capture: folder, zip or sample, or one of them that was opened.
        request: the other fields of the request, by name.

    Raises:
        InputError: where the capture is something else.
        ConfigError: where there's no such field, or a value is of another type or out of range.
    """
    for name, value in request.items():
        _check(name, value)
    return Request(input=_source(capture), **{n: _typed(n, v) for n, v in request.items()})


def check_beside(**given: Any) -> None:
    """Look at arguments that aren't part of a request.

    Raises:
        ConfigError: where one is of another type.
    """
    for name, value in given.items():
        _check(name, value)


def _source(capture: Any) -> str:
    if isinstance(capture, CaptureFiles):
        return capture.source
    if not _is_path(capture):
        raise InputError(
            f"capture: found {shown(capture)}, expected the path of a folder or zip, or "
            "'sample:dynamic'; frames in memory are inverted by the invert() of a method"
        )
    return str(capture)


def _check(name: str, value: Any) -> None:
    known = _EXPECTED | _BESIDE
    if name not in known:
        raise ConfigError(f"invert has no argument '{name}'{suggest(name, known)}")
    expected = known[name]
    if not expected.fits(value):
        raise ConfigError(f"{name}: found {shown(value)}, expected {expected.text}")


def _typed(name: str, value: Any) -> Any:
    """Return a value as a request holds it: numbers of NumPy and paths in texts are taken."""
    if name in ("weights", "init") and value is not None:
        return Path(value)
    if name == "hold_out":
        return str(value)
    return int(value) if _is_number(value) else value
