"""The conformance suite on methods with trained networks: a few steps, for tiny generators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.generator import Generator
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.panohead import PanoHead
from inv3d.testing.conformance import CHECKS, check_plugin
from tests.plugins.methods.encoder_trainings import OPTIONS, Training
from tests.tiny_generators import tiny

torch.set_num_threads(1)
STEPS = 2
MAKERS: dict[str, Any] = {
    "psp": EG3D,
    "e4e": PanoHead,
    "triplanenet": EG3D,
    "dualencoder": PanoHead,
}


def conforms(name: str, options: Mapping[str, Any], generator: Generator) -> int:
    """See that a method conforms; return how many checks it passed."""
    report = check_plugin(name, "methods", options=options, generator=lambda: tiny(type(generator)))
    print(report)
    report.require()
    assert report.counts()["checks"] == CHECKS["methods"]
    return report.counts()["passed"]


@pytest.mark.parametrize("name", MAKERS)
def test_a_trained_encoder_conforms(name: str, tmp_path: Path) -> None:
    generator = tiny(MAKERS[name])
    place = Training(name, generator).steps(STEPS).save(tmp_path)
    # it takes no steps that could be reported or resumed, shows nothing, starts from nothing, and
    # the losses of its training need weights
    options = {**OPTIONS[name], "weights": str(place)}
    assert conforms(name, options, generator) >= CHECKS["methods"] - 5


def test_hybrid_conforms_from_a_trained_encoder(tmp_path: Path) -> None:
    generator = tiny(EG3D)
    place = Training("e4e", generator).steps(STEPS).save(tmp_path)
    options = {
        "encoder_options": {"weights": str(place)},
        "latent": {"samples": 50},
        "default_losses": False,  # they need weights
        "losses": {"mse": 1.0},
    }
    # it isn't trained itself, and has no pictures of its own
    assert conforms("hybrid", options, generator) >= CHECKS["methods"] - 5
