"""Several captures in one pass of an encoder: what each would have by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inverter import Single, load_method
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.plugins.methods.encoder_trainings import CPU, Training
from tests.tiny_generators import tiny


def toy() -> Generator:
    return ToyGenerator(ToyConfig())


def eg3d() -> Generator:
    torch.manual_seed(0)
    return tiny(EG3D)


def singles(name: str, make: Callable[[], Generator], options: dict[str, Any]) -> list[Single]:
    """Three captures of different heads, of one, two and three views."""
    made = []
    for seed in range(3):
        generator = make()
        capture = toy_capture(generator, seed + 1, seed)
        method = load_method(name, options, generator)
        made.append(Single(method, generator, capture, Context.create(CPU)))
    return made


@pytest.mark.parametrize(
    ("name", "make", "views"),
    [
        ("psp", toy, "front"),
        ("psp", toy, "all"),
        ("e4e", toy, "front"),
        ("triplanenet", eg3d, "front"),
        ("triplanenet", eg3d, "all"),
        ("dualencoder", eg3d, "front"),
    ],
)
def test_together_each_is_what_it_is_alone(
    name: str, make: Callable[[], Generator], views: str, tmp_path: Path
) -> None:
    weights = Training(name, make(), lr=1e-3).steps(2).save(tmp_path)
    options = {"weights": str(weights), "views": views}
    joint, alone = singles(name, make, options), singles(name, make, options)
    for one, other, found in zip(joint, alone, type(joint[0].method).together(joint), strict=True):
        expected = other.method.invert(other.generator, other.capture, other.context)
        torch.testing.assert_close(found.ws, expected.ws, rtol=1e-5, atol=1e-5)
        assert found.offset.keys() == expected.offset.keys()
        for part, offset in expected.offset.items():
            torch.testing.assert_close(found.offset[part], offset, rtol=1e-4, atol=1e-5)
        assert found.cameras.labels().equal(expected.cameras.labels())
        assert (found.blend, found.frames) == (expected.blend, expected.frames)
        assert found.history == expected.history
        assert one.context.state.notices == other.context.state.notices
        shown = [[d.images for d in run.method.diagnostics()] for run in (one, other)]
        assert len(shown[0]) == (0 if name in ("psp", "e4e") else 1)
        torch.testing.assert_close(*shown, rtol=1e-4, atol=1e-4)


def test_methods_that_know_nothing_of_it_are_asked_one_after_the_other() -> None:
    runs = singles("wplus", toy, {"latent": {"steps": 2, "samples": 20}})
    found = type(runs[0].method).together(runs)
    assert len(found) == 3 and len({one.digest() for one in found}) == 3
