"""The embedded encoders: small files that fit the generator and know heads they haven't seen."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.capture import Capture
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator, load_generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import load_method
from inv3d.core.latent import latent_statistics
from inv3d.core.weights.tensors import asset
from inv3d.io.dataset import open_capture
from inv3d.train.prepare import TrainRequest, prepare_training
from inv3d.train.team import Team

ENCODERS = ("psp", "e4e", "triplanenet", "dualencoder")


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator("minihead")


@pytest.fixture(scope="module")
def head() -> Capture:
    """The front view, and one that no encoder is given."""
    opened = open_capture("sample:static")
    yaw = opened.camera.yaw
    return opened.load(128, [int(yaw.abs().argmin()), int((yaw - 0.5).abs().argmin())])


def _error(generator: Generator, found: Inversion, view: Capture) -> float:
    with torch.no_grad():
        scene = found.scene_for(generator, view.camera)
        image = generator.render(scene, view.camera).require("image")
    return float((image - view.images).square().mean())


@pytest.mark.parametrize("name", ENCODERS)
def test_an_embedded_encoder_knows_the_sample(
    name: str, generator: Generator, head: Capture
) -> None:
    assert asset(f"{name}-minihead.safetensors").stat().st_size < 10e6
    context = Context.create("cpu", 1)
    found = load_method(name, {}, generator).invert(generator, head[[0]], context)
    assert not context.state.notices
    average = latent_statistics(generator, 2000).mean
    mean = Inversion(
        average.expand(1, generator.spec.num_ws, -1),
        head[[0]].camera,
        "minihead",
        str(generator.spec.fingerprint),
    )
    for row in (0, 1):
        mine, nobody = (_error(generator, one, head[[row]]) for one in (found, mean))
        assert mine < 0.5 * nobody, (row, mine, nobody)


def test_second_branches_add_what_latents_lack(generator: Generator, head: Capture) -> None:
    first, second = (
        load_method(name, {}, generator).invert(generator, head[[0]], Context.create("cpu", 1))
        for name in ("e4e", "triplanenet")
    )
    alone, both = (_error(generator, found, head[[0]]) for found in (first, second))
    assert both < alone


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_default_training_can_begin(name: str, begin: bool) -> None:
    """With embedded first branches, or from the embedded networks."""
    cpu, named = torch.device("cpu"), {"begin": str(asset(f"{name}-minihead.safetensors"))}
    request = TrainRequest(name, "minihead", options={"training": named if begin else {}})
    assert prepare_training(request, Team(), cpu).trainer.done == 0
