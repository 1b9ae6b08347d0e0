"""What independent captures gain by sharing one batch: packed W+ steps, a pass of an encoder.

The same work is done one capture after the other and in one batch, in turns within one process, on
one thread; gradients and latents are compared. Times are CPU seconds, or those of the GPU.

    python -m benchmarks.batch_shared
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import click
import torch
from torch import Tensor

import inv3d
from inv3d.core.capture import Capture
from inv3d.core.fit.company import Company
from inv3d.core.fit.context import Context
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.latent import latent_statistics
from inv3d.nn.encoders.encode import encode, make_encoder
from inv3d.nn.encoders.options import EncoderOptions

COUNTS, ROUNDS = (2, 4), 6


@dataclass(frozen=True)
class Shared:
    """What a number of captures takes, and how far apart the results are.

    Attributes:
        what: is done.
        count: captures.
        apart, together: least seconds a capture, one after the other and in one batch.
        difference: largest, relative to the largest value.
    """

    what: str
    count: int
    apart: float
    together: float
    difference: float

    def row(self) -> str:
        """Return the numbers as a row of Markdown."""
        return (
            f"| {self.what} | {self.count} | {self.apart:.3f} s | {self.together:.3f} s | "
            f"{self.apart / self.together:.2f} | {self.difference:.0e} |"
        )


def compare(
    what: str, count: int, one: Callable[[int], Tensor], all_: Callable[[], Tensor], device: str
) -> Shared:
    """Time both ways in turns.

    Args:
        what: is done.
        count: captures.
        one: does the work for one of them and returns its result.
        all_: does it for all at once and returns their results in order.
        device: where.
    """
    apart, together = [], []
    for _ in range(ROUNDS):
        found, seconds = _timed(lambda: torch.cat([one(i) for i in range(count)]), device)
        apart.append(seconds)
        joint, seconds = _timed(all_, device)
        together.append(seconds)
    difference = float((found - joint).abs().max() / found.abs().max())
    # the least is what other work on the machine has disturbed least
    least = [min(times[1:]) / count for times in (apart, together)]
    return Shared(what, count, least[0], least[1], difference)


def _timed(call: Callable[[], Tensor], device: str) -> tuple[Tensor, float]:
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    made = call()
    if device != "cpu":
        torch.cuda.synchronize()
    return made, clock() - started


def heads(generator: Generator, count: int) -> list[Capture]:
    """Return pictures of heads that the generator makes, each from a side of its own."""
    yaws = torch.linspace(-0.3, 0.3, count)
    found = []
    for number in range(count):
        rng = torch.Generator().manual_seed(number)
        z = torch.randn(1, generator.spec.z_dim, generator=rng).to(generator.device)
        camera = generator.spec.camera.orbit(yaws[[number]]).to(generator.device)
        with torch.no_grad():
            scene = generator.synthesize(generator.map(z, inv3d.neutral_condition(generator)))
            image = generator.render(scene, camera).require("image")
        found.append(Capture(image, camera, (f"{number}.png",)))
    return found


def step(generator: Generator, captures: Sequence[Capture], device: str) -> Shared:
    """Compare gradients of W+ steps with the generator's own losses, as `--pack` shares them."""
    context = Context.create(device)
    terms = {n: LossTerm(weight=w) for n, w in generator.spec.default_losses.items()}
    mean = latent_statistics(generator, 200).mean.expand(1, generator.spec.num_ws, -1)

    def gradient(capture: Capture) -> Tensor:
        ws = mean.clone().requires_grad_()
        context.backward(generator, ws, looks[capture.names])
        assert ws.grad is not None
        return ws.grad

    looks = {
        one.names: inv3d.Look(one.camera, context.objective(terms, inv3d.target_of(generator, one)))
        for one in captures
    }
    company = Company(len(captures))
    return compare(
        "a step of `wplus`",
        len(captures),
        lambda i: gradient(captures[i]),
        lambda: torch.cat(company.run([partial(gradient, one) for one in captures])),
        device,
    )


def encoding(generator: Generator, captures: Sequence[Capture], device: str) -> Shared:
    """Compare passes of an encoder of the sizes of e4e, with fresh weights."""
    spec, options = generator.spec, EncoderOptions(kind="e4e")
    torch.manual_seed(0)
    network = make_encoder(options, spec.num_ws, spec.w_dim).eval().to(device)
    images = torch.cat([one.images for one in captures])

    @torch.no_grad()
    def latents(rows: slice) -> Tensor:
        return encode(network, images[rows], options, spec.num_ws, None)

    count = len(captures)
    return compare(
        f"a pass of `e4e`, {options.size} pixels",
        count,
        lambda i: latents(slice(i, i + 1)),
        lambda: latents(slice(count)),
        device,
    )


@click.command()
@click.option("--generator", "name", default="minihead", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--count", "counts", type=int, multiple=True, default=COUNTS, show_default=True)
def main(name: str, device: str, counts: tuple[int, ...]) -> None:
    """Print what several captures gain by sharing a batch."""
    torch.set_num_threads(1)
    generator = inv3d.load_generator(name, device=device)
    click.echo("| work | captures | one by one, each | together, each | gain | difference |")
    click.echo("| --- " * 6 + "|")
    for count in counts:
        captures = heads(generator, count)
        for measure in (step, encoding):
            click.echo(measure(generator, captures, device).row())


if __name__ == "__main__":
    main()
