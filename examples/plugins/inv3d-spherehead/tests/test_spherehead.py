"""What the generator is for, and all that generators are held to."""

import torch
from inv3d_spherehead import SphereHead, SphereHeadConfig

from inv3d import Context, load_method, toy_capture
from inv3d.testing.conformance import check_plugin

RANDOM = {"keeps to the ranges": "random weights make pictures of any brightness"}


def test_it_conforms():
    report = check_plugin("spherehead", options={"rays": 12}, expected_failures=RANDOM)
    print(report)
    report.require()


def test_the_sphere_is_seen_and_has_no_seam():
    generator = SphereHead.create(SphereHeadConfig(rays=12))
    with torch.no_grad():
        scene = generator.synthesize(generator.map(torch.zeros(1, 16)))
        either_side = torch.tensor([[[1e-3, 0.1, -0.35], [-1e-3, 0.1, -0.35]]])
        left, right = generator.sphere(scene.parts["sphere"], either_side)[0]
        camera = generator.spec.camera.front()
        plain = generator.render(scene, camera).require("image")
        lifted = generator.render(scene + {"sphere": scene.parts["sphere"]}, camera)
    assert torch.allclose(left, right, atol=0.05)
    assert not torch.allclose(plain, lifted.require("image"))


def test_a_method_inverts_into_it():
    generator = SphereHead.create(SphereHeadConfig(rays=12))
    views = toy_capture(generator, 3)
    options = {"latent": {"steps": 6, "samples": 100, "optimizer": "lbfgs"}, "tuning": {"steps": 3}}
    log = []
    load_method("multiview", options).invert(generator, views, Context.create(), log.append)
    assert log[-1].losses["total"] < log[0].losses["total"]
