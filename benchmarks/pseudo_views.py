"""What pseudo views cost: a tuning step that shares one synthesis, and the warp of a picture.

The step of HFGI3D's last stage sees the picture and a pseudo view of one scene; the reference way
synthesises the scene for each. Both are timed in turns and their gradients compared. The warp
carries one picture to all pseudo views by depth.

    python -m benchmarks.pseudo_views --size mini
    python -m benchmarks.pseudo_views --size full --rays 64 --pixels 512
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor

from inv3d.bench.cases import Choice, Size, make_case
from inv3d.bench.timing import finish
from inv3d.core.camera import Camera
from inv3d.core.device import resolve_device
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.geometry.warp import warp_view
from inv3d.core.latent import latent_statistics
from inv3d.core.loss import Target

SEED, VIEWS = 303, 30
# of the camera of a pseudo view, radians
_TURN = 0.4
_RADIUS = 0.3


class Step:
    """A tuning step of a generator for a picture and a pseudo view.

    Args:
        generator: whose parameters get gradients.
        losses: name -> weight.
    """

    def __init__(self, generator: Generator, losses: dict[str, float]) -> None:
        self.generator = generator
        self.context = Context.create(generator.device, SEED)
        mean = latent_statistics(generator, 64).mean
        self.ws = mean.expand(1, generator.spec.num_ws, -1).contiguous()
        camera = generator.spec.camera.orbit(torch.tensor([0.0, _TURN])).to(generator.device)
        terms = {name: LossTerm(weight=weight) for name, weight in losses.items()}
        with torch.no_grad():
            scene = generator.synthesize(self.ws + 0.3)
            images = generator.render(scene, camera).require("image").clamp(-1, 1)
        rays = generator.spec.render_resolution
        self.looks = [
            Look(camera[i], self.context.objective(terms, Target(images[i : i + 1], rays=rays)))
            for i in range(2)
        ]

    def shared(self) -> None:
        """Back-propagate both views through one scene."""
        self.context.backward(self.generator, self.ws, *self.looks)

    def apart(self) -> None:
        """Back-propagate each view through a scene of its own."""
        for look in self.looks:
            self.context.backward(self.generator, self.ws, look)

    def gradient(self, way: Callable[[], None]) -> Tensor:
        """Return what a way adds to the gradient of all parameters, in one row."""
        for parameter in self.generator.parameters():
            parameter.grad = None
        way()
        found = [p.grad.flatten() for p in self.generator.parameters() if p.grad is not None]
        return torch.cat(found)


def in_turns(
    ways: list[Callable[[], object]],
    repeats: int,
    device: torch.device,
    clock: Callable[[], float],
) -> list[float]:
    """Return the median seconds of each way; the first round isn't counted."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats + 1):
        for way, found in zip(ways, times, strict=True):
            finish(device)
            started = clock()
            way()
            finish(device)
            found.append(clock() - started)
    return [statistics.median(found[1:]) for found in times]


def ball(camera: Camera, pixels: int) -> Tensor:
    """Return what cameras see of a ball at the origin as depth [N, 1, pixels, pixels]."""
    origins, directions = camera.rays(pixels)
    along = -(origins * directions).sum(-1)
    off = (origins * origins).sum(-1) - along**2
    depth = along - (_RADIUS**2 - off).clamp_min(0).sqrt()
    hit = torch.where(off < _RADIUS**2, depth, torch.zeros_like(depth))
    return hit.reshape(len(camera), 1, pixels, pixels)


def warp(generator: Generator, pixels: int) -> Callable[[], object]:
    """Return the warp of a picture to 30 views, with depth of as many pixels."""
    turns = torch.linspace(-_TURN, _TURN, VIEWS + 1)
    camera = generator.spec.camera.orbit(turns).to(generator.device)
    depth = ball(camera, pixels)
    rng = torch.Generator().manual_seed(SEED)
    image = torch.rand(1, 3, pixels, pixels, generator=rng).to(generator.device)

    @torch.no_grad()
    def work() -> object:
        return warp_view(image, camera[0], depth[:1], camera[1:], depth[1:], tolerance=0.02)

    return work


@click.command()
@click.option("--size", type=click.Choice(["full", "half", "mini"]), default="mini")
@click.option("--rays", type=int, help="A side; 32, or the embedded generator's own.")
@click.option("--pixels", default=512, show_default=True, help="Of pictures that are warped.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--cpu-time", is_flag=True, help="CPU seconds of the process, on shared CPUs.")
def main(
    size: Size, rays: int | None, pixels: int, repeats: int, device: str, cpu_time: bool
) -> None:
    """Time a step with a pseudo view both ways on one thread, and the warp to 30 views."""
    torch.set_num_threads(1)
    place = resolve_device(device)
    clock = time.process_time if cpu_time else time.perf_counter
    case = make_case(Choice(size, rays=rays))
    generator = case.generator.to(place).eval().requires_grad_(True)
    step = Step(generator, dict(case.losses))
    one, two = (step.gradient(way) for way in (step.shared, step.apart))
    shared, apart = in_turns([step.shared, step.apart], repeats, place, clock)
    (warped,) = in_turns([warp(generator, pixels)], repeats, place, clock)
    off = float((one - two).abs().max() / two.abs().max())
    click.echo(
        f"step, one synthesis: {shared:.3f} s; one each: {apart:.3f} s; {apart / shared:.2f}x; "
        f"gradients differ by {off:.0e}"
    )
    click.echo(f"warp to {VIEWS} views of {pixels} pixels: {warped:.3f} s")


if __name__ == "__main__":
    main()
