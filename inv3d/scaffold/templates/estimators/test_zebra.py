"""What the estimator is for, and all that estimators are held to."""

import torch
from inv3d_zebra import Zebra, ZebraConfig

from inv3d import latent_statistics
from inv3d.testing.conformance import check_plugin


def test_it_conforms():
    report = check_plugin("zebra", "estimators", options={"angles": 5})
    print(report)
    report.require()


def test_it_knows_the_mean_head_from_all_sides(inv3d_generator):
    generator, options = inv3d_generator, ZebraConfig(angles=7)
    cameras = generator.spec.camera.orbit(torch.linspace(-1, 1, 7) * torch.pi / 2)
    ws = latent_statistics(generator, options.samples).mean.repeat(1, generator.spec.num_ws, 1)
    images = generator.render(generator.synthesize(ws), cameras).require("image")
    found = Zebra(options).estimate(images, generator)
    assert torch.allclose(found.yaw, cameras.yaw, atol=1e-5)
