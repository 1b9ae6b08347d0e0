"""The methods on a network with a tri-grid and a background, all around the head."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from inv3d.core.capture import Capture
from inv3d.core.config import merge
from inv3d.core.inversion import Inversion
from inv3d.plugins.generators.panohead import PanoHead
from tests.tiny_generators import latents, tiny, views
from tests.toy_fits import fit

LOSSES = {"default_losses": False, "losses": {"mse": 1.0}}
OPTIONS: dict[str, dict[str, Any]] = {
    "multiview": {"latent": {"steps": 25, "samples": 200}, "tuning": {"steps": 5}},
    "multilatent": {
        "start": {"latent": {"steps": 20, "samples": 200}},
        "latent": {"steps": 3},
        "tuning": {"steps": 3},
    },
}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_methods_turn_around_the_head(name: str) -> None:
    generator = tiny(PanoHead)
    cameras = views(5, generator)
    with torch.no_grad():
        scene = generator.synthesize(0.5 * latents(1, generator))
        images = generator.render(scene, cameras).require("image")
    capture = Capture(images, cameras, tuple(f"{i}.png" for i in range(5)))
    before = {n: p.clone() for n, p in generator.state_dict().items()}
    run = fit(name, merge(LOSSES, OPTIONS[name]), capture, generator=generator)  # type: ignore[arg-type]
    inversion: Inversion = run.inversion
    assert inversion.ws.shape == (1 if name == "multiview" else 3, generator.num_ws, 10)
    totals = [p.losses["total"] for p in run.log if p.stage.endswith("latent")]
    assert totals[-1] < totals[0]
    # Tuning reaches the network behind the head too, and comes off again.
    tuned = set(inversion.generator_delta)
    assert any(n.startswith("bcg_synthesis.") for n in tuned) and tuned <= set(before)
    assert inversion.generator == "panohead"
    assert inversion.fingerprint == generator.spec.fingerprint
