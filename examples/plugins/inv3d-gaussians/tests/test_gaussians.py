"""What the generator is for, and all that generators are held to."""

import pytest
import torch
from inv3d_gaussians import Gaussians, GaussiansConfig

from inv3d import Context, extract_mesh, load_method, toy_capture
from inv3d.testing.conformance import check_plugin

SMALL = {"size": 24, "count": 48}


def test_it_conforms():
    report = check_plugin("gaussians", "generators", options=SMALL)
    print(report)
    report.require()


def test_pictures_and_density_are_of_one_volume():
    generator = Gaussians.create(GaussiansConfig())
    front = generator.spec.camera.front()
    with torch.no_grad():
        scene = generator.synthesize(generator.map(torch.zeros(1, 12)))
        seen = generator.render(scene, front, outputs=("mask",), resolution=16)
        origins, directions = front.rays(16)
        depths = torch.linspace(1.9, 3.5, 200)
        points = origins[:, :, None] + directions[:, :, None] * depths[:, None]
        density, _ = generator.sample(scene, points.flatten(1, 2))
    optical = density.view(1, 256, 200).sum(-1) * (1.6 / 199)
    opacity = 1 - torch.exp(-optical).view(1, 1, 16, 16)
    agree = (opacity > 0.5) == (seen.require("mask") > 0.5)
    assert float(agree.float().mean()) > 0.9


@pytest.mark.parametrize("method", ["wplus", "multiview", "multilatent"])
def test_methods_invert_into_it(method):
    generator = Gaussians.create(GaussiansConfig(**SMALL))
    views = toy_capture(generator, 5, seed=3, motion=0.3)
    fit = {"steps": 12, "optimizer": "lbfgs"}
    latent = {**fit, "samples": 200, "pull": 0.0}
    options = {
        "wplus": {"views": "all", "latent": latent},
        "multiview": {"latent": latent, "tuning": {"steps": 4}},
        "multilatent": {
            "start": {"latent": latent, "tuning": {"steps": 0}},
            "latent": {"steps": 4},
            "tuning": {"steps": 2},
        },
    }[method]
    mean = generator.map(torch.zeros(1, 12))
    found = load_method(method, options).invert(generator, views, Context.create())
    with torch.no_grad():
        before = generator.render(generator.synthesize(mean), views.camera).require("image")
        scene = found.scene_for(generator, views.camera, views.names)
        after = generator.render(scene, views.camera).require("image")
    errors = [(image - views.images).square().mean() for image in (before, after)]
    assert errors[1] < errors[0] / 3


def test_a_mesh_comes_out_of_it():
    generator = Gaussians.create(GaussiansConfig())
    with torch.no_grad():
        scene = generator.synthesize(generator.map(torch.zeros(1, 12)))
    mesh = extract_mesh(generator, scene, resolution=32)
    assert len(mesh.vertices) > 100
