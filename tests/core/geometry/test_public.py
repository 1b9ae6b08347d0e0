"""A warp-and-inpaint method of somebody else, written with what the public face offers."""

from __future__ import annotations

from dataclasses import replace

import torch

import inv3d


class Sides(inv3d.Inverter[inv3d.PluginConfig]):
    """Fit a latent, carry the picture to both sides, fill the rest with the mirror image."""

    name = "sides"
    summary = "a warped picture, patched with its mirror image"
    api = "1.0"
    Config = inv3d.PluginConfig

    def steps(
        self, generator: inv3d.Generator, capture: inv3d.Capture, context: inv3d.Context
    ) -> inv3d.Steps:
        views = inv3d.prepare(generator, capture, context)
        camera = views.camera
        ws = inv3d.latent_statistics(generator, 50).mean.repeat(1, generator.spec.num_ws, 1)
        sides = inv3d.turned_camera(camera, torch.tensor([-0.3, 0.3]), torch.zeros(2))
        with torch.no_grad():
            scene = generator.synthesize(ws)
            own = generator.render(scene, camera, outputs=("image", "depth"))
            seen = generator.render(scene, sides, outputs=("image", "depth"))
        warped = inv3d.warp_view(
            views.images,
            camera,
            own.require("depth"),
            sides,
            seen.require("depth"),
            tolerance=0.05,
        )
        mirrored = inv3d.warp_view(
            inv3d.flipped(views.images),
            inv3d.mirrored_camera(camera),
            inv3d.flipped(own.require("depth")),
            sides,
            seen.require("depth"),
            tolerance=0.05,
        )
        mask = inv3d.soft_mask(warped.seen, shrink=1, feather=3)
        rest = torch.lerp(seen.require("image"), mirrored.image, mirrored.seen)
        self.made = inv3d.poisson_blend(warped.image, rest, mask)
        pseudo = replace(views, images=self.made, cameras=sides, names=("left", "right"))
        looks = [
            inv3d.Look(part.camera, context.objective({"mse": inv3d.LossTerm()}, target))
            for part in (views, pseudo)
            for target in [inv3d.Target(part.images)]
        ]
        groups = {"latent": inv3d.Group({"ws": ws}, inv3d.constant(0.02))}
        with inv3d.trainable({"ws": ws}):
            stage = inv3d.Stage(
                "sides", 5, groups, {"fit": lambda _: context.backward(generator, ws, *looks)}
            )
            yield from context.run(stage)
        return self.inversion(generator, context, ws, camera)


def test_a_method_of_somebody_else_warps_and_blends() -> None:
    generator = inv3d.ToyGenerator(inv3d.ToyConfig())
    capture = inv3d.toy_capture(generator, 1)
    method = Sides(inv3d.PluginConfig())
    log: list[inv3d.Progress] = []
    found = method.invert(generator, capture, inv3d.Context.create(), log.append)
    assert method.made.shape == (2, 3, 32, 32) and bool(method.made.isfinite().all())
    assert log[-1].losses["total"] < log[0].losses["total"]
    assert found.method == "sides"
