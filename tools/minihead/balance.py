"""Scale every number of w by how much it changes the picture; the network computes the same.

    python -m tools.minihead.balance --weights out/minihead/minihead.safetensors \\
        --out inv3d/assets/minihead.safetensors

While training, known factors stand out in w, so that small ones are learned. Afterwards directions
of large variance, distances in W and steps of a search should mean what is seen: a number of w
that hardly changes pictures should hardly vary. What reads w divides by the same scales.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.weights.tensors import read_tensors
from inv3d.plugins.generators.minihead import MiniHead
from tools.minihead.factors import GAIN
from tools.minihead.layout import Z_DIM
from tools.minihead.network import LEARNED, build, write_weights

SAMPLES = 20_000
FLOOR = 0.1  # of the mean scale: what is seen by nobody keeps some room


@torch.no_grad()
def effects(network: MiniHead, heads: int, seed: int = 9, rays: int = 32) -> Tensor:
    """Root mean square change [w_dim] of a picture when a number of w moves by its spread.

    Args:
        network: in evaluation mode.
        heads: over which the mean is taken, each seen from one training camera.
        seed: draws heads.
        rays: a side.
    """
    rng = torch.Generator().manual_seed(seed)
    spread = spread_of(network)
    total = torch.zeros_like(spread)
    yaw = torch.randn(heads, generator=rng) * 0.6
    for number in range(heads):
        camera = network.spec.camera.orbit(yaw[number : number + 1])
        w = network.map(torch.randn(1, Z_DIM, generator=rng))[:, 0]
        moved = torch.cat([w, w + torch.diag(spread)])
        pictures = torch.cat([_picture(network, row[None], camera, rays) for row in moved])
        total += (pictures[1:] - pictures[:1]).square().mean((1, 2, 3))
    return (total / heads).sqrt()


def _picture(network: MiniHead, w: Tensor, camera: Camera, rays: int) -> Tensor:
    scene = network.synthesize(w[:, None].expand(-1, network.num_ws, -1))
    return network.render(scene, camera, outputs=("raw",), resolution=rays).require("raw")


@torch.no_grad()
def rescale(network: MiniHead, scales: Tensor) -> None:
    """Multiply the numbers of w by positive scales [w_dim], and divide what reads them."""
    mapping = network.backbone.mapping
    known, last = mapping.known, getattr(mapping, f"fc{mapping.layers - 1}")
    assert known is not None and (scales > 0).all()
    # Leaky ReLU behind the last layer lets positive factors through.
    last.weight *= scales[:LEARNED, None]
    last.bias *= scales[:LEARNED]
    known.gain *= scales[LEARNED:]
    mapping.w_avg *= scales
    for name, parameter in network.named_parameters():
        if name.endswith("affine.weight"):
            parameter /= scales


@torch.no_grad()
def spread_of(network: MiniHead) -> Tensor:
    """Spread [w_dim] of every number of w."""
    rng = torch.Generator().manual_seed(7)
    z = torch.randn(SAMPLES, Z_DIM, generator=rng).to(network.backbone.mapping.w_avg)
    return network.map(z)[:, 0].std(0)


@torch.no_grad()
def even_out(network: MiniHead) -> Tensor:
    """Let small factors stand out for training, as `balance` doesn't; return the scales [w_dim].

    Learned numbers get a spread of one, known factors of GAIN. A step of Adam moves every weight
    as far, so that what reads a number of small spread would hardly learn.
    """
    wanted = torch.ones_like(network.backbone.mapping.w_avg)
    wanted[LEARNED:] = GAIN
    scales = wanted / spread_of(network).clamp(min=1e-6)
    rescale(network, scales)
    return scales


@torch.no_grad()
def balance(network: MiniHead, heads: int = 12) -> Tensor:
    """Let the spread of every number of w be its effect on pictures; return the scales [w_dim].

    The mean spread becomes one.
    """
    spread = spread_of(network)
    wanted = effects(network, heads)
    wanted = (wanted / wanted.mean()).clamp(min=FLOOR)
    scales = wanted / wanted.mean() / spread.clamp(min=1e-6)
    rescale(network, scales)
    return scales


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="As trained.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--heads", default=12, show_default=True, help="Over which effects are measured.")
def main(weights: Path, out: Path, heads: int) -> None:
    """Write the same network with a balanced w."""
    network = MiniHead.create(MiniHead.Config(), weights)
    assert isinstance(network, MiniHead)
    scales = balance(network, heads)
    print(f"scales {float(scales.min()):.3f} to {float(scales.max()):.3f}")
    _, metadata = read_tensors(weights)
    own = build(0)
    own.load_state_dict(network.state_dict())
    write_weights(own, out, metadata["training"] | {"balanced": True})


if __name__ == "__main__":
    main()
