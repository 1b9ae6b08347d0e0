"""What the method is for, and all that methods are held to."""

import pytest
import torch
from inv3d_planelift import PlaneLift, PlaneLiftConfig

from inv3d import ConfigError, ToyConfig, ToyGenerator
from inv3d.testing.conformance import check_plugin


@pytest.mark.parametrize("start", ["mean", "wplus"])
def test_it_conforms(start):
    options = {"start": start}
    if start != "mean":
        options["start_options"] = {"latent": {"samples": 200}}
    report = check_plugin("planelift", "methods", options=options)
    print(report)
    report.require()


def test_the_offset_finds_what_no_latent_can(inv3d_capture, inv3d_context):
    other = ToyGenerator(ToyConfig(seed=5)).requires_grad_(False)
    log = []
    found = PlaneLift(PlaneLiftConfig()).invert(other, inv3d_capture, inv3d_context, log.append)
    first = next(step for step in log if step.stage == "offset")
    assert log[-1].losses["total"] < first.losses["total"] * 0.9
    assert set(found.offset) == {"centres", "looks"} and not found.generator_delta
    with torch.no_grad():
        scene = found.scene_for(other, inv3d_capture.camera)
        image = other.render(scene, inv3d_capture.camera).require("image")
    assert torch.isfinite(image).all()


def test_a_part_that_isnt_there_is_named(inv3d_generator, inv3d_capture, inv3d_context):
    method = PlaneLift(PlaneLiftConfig(parts=("planes",)))
    with pytest.raises(ConfigError, match="its parts are centres, looks"):
        method.invert(inv3d_generator, inv3d_capture, inv3d_context)
