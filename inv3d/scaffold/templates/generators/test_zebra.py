"""What the generator is for, and all that generators are held to."""

import torch
from inv3d_zebra import Zebra, ZebraConfig

from inv3d import Context, load_generator, load_method, toy_capture
from inv3d.testing.conformance import check_plugin


def test_it_conforms():
    report = check_plugin("zebra", "generators", options={"size": 16})
    print(report)
    report.require()


def test_it_is_found_by_its_name():
    assert isinstance(load_generator("zebra"), Zebra)


def test_a_head_that_it_made_is_found_again():
    generator = Zebra.create(ZebraConfig(size=16))
    views = toy_capture(generator, 3)
    options = {"latent": {"steps": 20, "optimizer": "lbfgs", "samples": 200, "pull": 0.0}}
    method = load_method("wplus", {"views": "all", **options})
    found = method.invert(generator, views, Context.create())
    with torch.no_grad():
        image = generator.render(generator.synthesize(found.ws), views.camera).require("image")
    assert float((image - views.images).square().mean()) < 1e-3
