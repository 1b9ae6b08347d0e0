"""Train the embedded generator: first the volume at surfaces, then whole pictures.

    python -m tools.minihead.train --out out/minihead --pool out/pool --pool out/pairs

z is known for every rendered head, so that the generator learns by supervision. Progress is kept
in OUT/checkpoint.pt: the same command goes on after a kill, with pools that are complete to the
same numbers as without it. It may go on with more pools, or to another end: `--plan
image_steps=...`. Files that `make_pool` writes meanwhile are taken at every report.

Two processes of one thread do more in the same time than one process of two threads:

    torchrun --nproc-per-node 2 -m tools.minihead.train --out out/minihead --pool out/pool
"""

from __future__ import annotations

import copy
import csv
import math
import os
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from inv3d.core.camera import Camera, intrinsics_matrix
from inv3d.core.errors import suggest
from inv3d.core.scene import Scene
from inv3d.plugins.generators.minihead import MiniHead
from inv3d.plugins.losses.headid import HeadFeatures
from inv3d.plugins.losses.options import HeadIDConfig
from inv3d.runs.process import settle_process
from tools.minihead.balance import even_out, rescale
from tools.minihead.heads import Heads
from tools.minihead.network import NAME, build, warm_start, with_factors, write_weights
from tools.minihead.pool import SIZE, Pool, Views, is_pairs

BEHIND = 0.04  # world units behind the surface that are solid
# Eyes and mouth: small in a picture, but what people look at; centre and width in world units.
FEATURES = (
    ((0.058, 0.015, 0.16), 0.03),
    ((-0.058, 0.015, 0.16), 0.03),
    ((0.0, -0.122, 0.184), 0.04),
)
FACIAL = 4.0
LAST_ROW = 3.0  # shoulders are cut there: what super-resolution makes of an edge is seen
# Raw densities: inside a head, just before its surface, and in free space, where a whole ray must
# stay clear.
SOLID, FRONT, FREE = 8.0, -4.0, -16.0
PATIENCE = timedelta(days=7)  # processes wait so long for one that stands still


@dataclass(frozen=True)
class Plan:
    """What a training run does; lengths in steps, never in seconds.

    Heads are counted in each of the processes that train together. Rates are constant, but fall to
    zero over the last `cooldown` steps: an end may be set when the rest is done. With `exact`
    convolutions aren't rounded to 16 bits, which takes longer. With `keep_mapping` the mapping
    network stays as it is, so that latents and directions of before keep their meaning.
    """

    seed: int = 1
    surface_steps: int = 1200
    image_steps: int = 30000
    cooldown: int = 3000
    surface_heads: int = 8
    surface_views: int = 2
    rays: int = 640
    image_heads: int = 8
    image_views: int = 2
    image_rays: int = 320
    fewest_rays: int = 48
    surfaces: float = 0.5
    pairs_every: int = 2
    difference: float = 0.25
    likeness: float = 0.05
    surface_lr: float = 4e-3
    image_lr: float = 2e-3
    pool: int = 5000
    pool_views: int = 5
    fresh: int = 0
    exact: int = 0
    keep_mapping: int = 0


def rank() -> int:
    """The number of this process among those that train together."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share_gradients(network: torch.nn.Module) -> None:
    """Average the gradients over the processes that train together."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, shared in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(shared.view_as(gradient))


def any_of_us(condition: bool) -> bool:
    """Whether a condition holds in any of the processes that train together."""
    if not distributed.is_initialized():
        return condition
    flag = torch.tensor(float(condition))
    distributed.all_reduce(flag)
    return bool(flag > 0)


class Trainer:
    """Networks, optimiser and everything else that a checkpoint holds."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.network = build(plan.seed).to(device).train()
        self.network.backbone.mapping.requires_grad_(not plan.keep_mapping)
        self.network.memory_budget = 64 << 30
        self.network.sampling = "stochastic"
        self.network.rng = torch.Generator(device=device)
        self.network.precision = "fp32" if plan.exact else "bf16"
        self.average = build(plan.seed).to(device).eval()
        self.judge = HeadFeatures.create(HeadIDConfig(network="a")).to(device)
        self.rng, self.common = torch.Generator(), torch.Generator()
        self.scales = torch.ones(self.network.architecture.w_dim, device=device)
        self.step = 0
        self.log: list[dict[str, float]] = []
        self.optimizer = self._optimizer()
        self.seed()

    def seed(self) -> None:
        """Draw the same in this step and process whenever it's made; `common` in all processes."""
        step = (self.plan.seed * 1_000_003 + self.step) % (1 << 28)
        self.common.manual_seed(step)
        self.rng.manual_seed((step << 4) + rank())
        assert self.network.rng is not None
        self.network.rng.manual_seed((step << 4) + rank())

    def _optimizer(self) -> torch.optim.Adam:
        """Constant maps learn 1.5 times as fast."""
        maps, rest = [], []
        for name, parameter in self.network.named_parameters():
            if not parameter.requires_grad:
                continue
            constant = name.endswith(("constant_map", "synthesis.base"))
            (maps if constant else rest).append(parameter)
        groups = [{"params": rest, "scale": 1.0}, {"params": maps, "scale": 1.5}]
        return torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def scene_of(self, views: Views) -> Scene:
        """Planes of the heads."""
        return self.network.synthesize(self.network.map(views.z))

    def update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        share_gradients(self.network)
        self.optimizer.step()
        decay = min(0.998, self.step / (self.step + 20))
        with torch.no_grad():
            pairs = [list(n.state_dict().values()) for n in (self.average, self.network)]
            torch._foreach_lerp_(*pairs, 1 - decay)

    def state(self) -> dict[str, Any]:
        return {
            "plan": asdict(self.plan),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scales": self.scales,
            "step": self.step,
            "log": self.log,
        }

    def begin(self, weights: Path | None, factor_steps: int = 3000) -> None:
        """Begin from weights that were written before, or with known factors that are fitted."""
        if weights is None:
            with_factors(self.network, factor_steps)
        else:
            warm_start(self.network, weights)
            self.scales = even_out(self.network)
        self.average.load_state_dict(self.network.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.scales = state.get("scales", self.scales)
        self.step, self.log = state["step"], state["log"]

    def result(self) -> MiniHead:
        """The averaged network; where the mapping is kept, w is scaled as before."""
        network = copy.deepcopy(self.average)
        if self.plan.keep_mapping:
            rescale(network, 1 / self.scales)
        return network


def camera_of(views: Views) -> Camera:
    return Camera(views.cam2world.flatten(0, 1), intrinsics_matrix(views.focal.flatten()))


def rate_at(step: int, steps: int, rate: float, cooldown: int, warmup: int = 60) -> float:
    """Warm up, stay, and fall to 2 % of the rate over the last `cooldown` of `steps`."""
    rest = min(1.0, (steps - step) / max(1, cooldown))
    return rate * min(1.0, (step + 5) / warmup) * max(0.02, rest)


def importance(views: Views) -> Tensor:
    """How much each pixel counts [B, V, 1, R, R]: 1, more at eyes and mouth and in the last row."""
    origins, directions = camera_of(views).rays(SIZE)
    points = origins + directions * views.depth.flatten(0, 1).flatten(2).transpose(1, 2)
    centres = points.new_tensor([place for place, _ in FEATURES])
    widths = points.new_tensor([width for _, width in FEATURES])
    near = torch.exp(-0.5 * (torch.cdist(points, centres[None]) / widths).square()).amax(-1)
    weight = 1 + FACIAL * near.reshape(views.depth.shape) * (views.depth > 0)
    weight[..., -1, :] += LAST_ROW
    return weight


def choose_pixels(views: Views, count: int, rng: torch.Generator) -> Tensor:
    """Pixels [B * V, count] of the pictures, likelier on and beside the head and its features."""
    cover = views.mask.flatten(0, 1)
    near = F.max_pool2d(cover, 5, 1, 2).flatten(1) > 0
    weight = torch.where(near, 3 * importance(views).flatten(0, 1).flatten(1), 1.0)
    draw = torch.rand(near.shape, generator=rng, device=near.device)
    # Weighted sampling without replacement: the largest u^(1 / weight).
    return draw.pow(1 / weight).topk(count, dim=1, sorted=False).indices


def surface_losses(trainer: Trainer, scene: Scene, views: Views, rays: int) -> dict[str, Tensor]:
    """Losses of points whose truth is known without rendering.

    Along the ray of a pixel the volume is empty before the surface, has the pixel's colour at it
    and is solid just behind it. This costs a quarter of the samples of a rendered ray.
    """
    network, rng = trainer.network, trainer.network.rng
    assert rng is not None
    heads = len(views.z)
    chosen = choose_pixels(views, rays, rng)
    rows = chosen[..., None].expand(-1, -1, 3)
    colour = views.rgb.flatten(0, 1).flatten(2).transpose(1, 2).gather(1, rows)
    mask = views.mask.flatten(0, 1).flatten(1).gather(1, chosen)
    truth = views.depth.flatten(0, 1).flatten(1).gather(1, chosen)
    origins, directions = (v.gather(1, rows) for v in camera_of(views).rays(SIZE))
    solid = (mask > 0.99) & (truth > 0)
    rendering = network.architecture.rendering
    near, far = float(rendering.ray_start), float(rendering.ray_end)

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(truth.shape, generator=rng, device=truth.device)
        return low + (high - low) * draw

    before = 0.005 + 0.02 * torch.randn(truth.shape, generator=rng, device=truth.device).abs()
    reach = torch.where(truth > 0, truth - 0.02, far)
    distances = (
        truth + uniform(0.001, 0.010),
        truth + uniform(0.010, BEHIND),
        torch.where(solid, truth - before, near + (far - near) * uniform(0, 1)),
        near + (reach - near) * uniform(0, 1),
    )
    points = [(origins + directions * d[..., None]).reshape(heads, -1, 3) for d in distances]
    field = network.field(scene)
    at_surface, made = field(points[0], True)
    assert made is not None
    others, _ = field(torch.cat(points[1:], dim=1), False)
    behind, front, free = (part.reshape(truth.shape) for part in others.chunk(3, dim=1))
    difference = (made[..., :3].reshape(colour.shape) * 2 - 1 - colour) * solid[..., None]
    empty = (mask < 0.01) | solid
    return {
        "l1": difference.abs().mean() / 2,
        "mse": difference.square().mean() / 4,
        "solid": (F.softplus(SOLID - at_surface.reshape(truth.shape)) * solid).mean(),
        "behind": (F.softplus(SOLID - behind) * solid).mean(),
        "front": (F.softplus(front - FRONT) * empty).mean(),
        "free": (F.softplus(free - FREE) * empty).mean(),
    }


# More than half of the squared error of a picture comes from outlines that are a pixel off: shape
# counts more than colour.
SURFACE_WEIGHTS = {
    "l1": 1.0, "mse": 2.0, "solid": 0.15, "behind": 0.03, "front": 0.15, "free": 0.15
}  # fmt: skip
IMAGE_WEIGHTS = {
    "l1": 2.0,
    "edges": 2.0,
    "texture": 2.0,
    "mse": 12.0,
    "raw": 1.0,
    "mask": 1.5,
    "depth": 2.0,
}
HARDLY_SEEN = 1e-4  # mean squared change of a picture below which a pair counts for little


def roughness(images: Tensor) -> Tensor:
    """How much colours change from pixel to pixel, in each place of 4 x 4, across and down.

    What lies a pixel beside where it should counts here, unlike for `edges`, which would rather
    have it blurred.
    """
    changes = (images.diff(dim=axis).abs() for axis in (2, 3))
    return torch.cat([F.avg_pool2d(change, 4)[..., :31, :31] for change in changes], 1)


def image_losses(
    trainer: Trainer, scene: Scene, views: Views
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Losses of whole pictures through the renderer that inference uses."""
    network, fewest = trainer.network, trainer.plan.fewest_rays // 8
    size = 8 * int(torch.randint(fewest, 9, (1,), generator=trainer.common))
    seen = network.render(
        scene, camera_of(views), outputs=("image", "raw", "mask", "depth"), resolution=size
    )
    wanted, mask = views.rgb.flatten(0, 1), views.mask.flatten(0, 1)
    small = F.interpolate(wanted, size=(size, size), mode="area")
    cover = F.interpolate(mask, size=(size, size), mode="area")
    hits = F.interpolate((views.depth.flatten(0, 1) > 0).float(), size=(size, size), mode="area")
    truth = F.interpolate(views.depth.flatten(0, 1), size=(size, size), mode="area")
    solid = (cover > 0.99) & (hits > 0.99)
    image, weight = seen.image, importance(views).flatten(0, 1)
    losses = {
        "l1": ((image - wanted).abs() * weight).mean() / 2,
        "edges": sum(
            ((image - wanted).diff(dim=axis).abs().mean() / 2 for axis in (2, 3)),
            image.new_zeros(()),
        ),
        "texture": (roughness(image) - roughness(wanted)).abs().mean() / 2,
        "mse": ((image - wanted).square() * weight).mean() / 4,
        "raw": (seen.raw - small).abs().mean() / 2,
        "mask": (seen.mask - cover).abs().mean(),
        "depth": ((seen.depth * seen.mask - truth).abs() * solid).mean(),
    }
    return losses, image, wanted


def difference_loss(image: Tensor, wanted: Tensor) -> Tensor:
    """How wrong the change within pairs is, relative to the true change; pictures [2 P, 3, R, R].

    Rows 2 k and 2 k + 1 are a pair. 1 where nothing changes that should.
    """
    made, true = (F.avg_pool2d(v, 2).unflatten(0, (-1, 2)) for v in (image, wanted))
    made, true = made[:, 1] - made[:, 0], true[:, 1] - true[:, 0]
    wrong = (made - true).square().mean((1, 2, 3)) / 4
    right = true.square().mean((1, 2, 3)) / 4
    return (wrong / (right + HARDLY_SEEN)).mean()


def likeness_loss(trainer: Trainer, image: Tensor, wanted: Tensor) -> Tensor:
    """Distance of the features of an identity network."""
    with torch.no_grad():
        features = trainer.judge.features(wanted)
    made = trainer.judge.features(image)
    return torch.stack(
        [(made[name] - features[name]).square().sum(1).mean() for name in made]
    ).sum()


def total(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()


def surface_step(trainer: Trainer, pool: Pool) -> dict[str, Tensor]:
    plan = trainer.plan
    trainer.set_rate(rate_at(trainer.step, plan.surface_steps, plan.surface_lr, 0))
    views = pool.draw(plan.surface_heads, plan.surface_views, trainer.rng)
    losses = surface_losses(trainer, trainer.scene_of(views), views, plan.rays)
    trainer.update(total(losses, SURFACE_WEIGHTS))
    return losses


def image_step(trainer: Trainer, pool: Pool) -> dict[str, Tensor]:
    """One whole picture of each head, and surface points of some views of the same planes."""
    plan, step = trainer.plan, trainer.step - trainer.plan.surface_steps
    trainer.set_rate(rate_at(step, plan.image_steps, plan.image_lr, plan.cooldown))
    views = pool.draw(plan.image_heads, plan.image_views, trainer.rng)
    # Random places along rays would change pictures by more than what pairs differ in.
    trainer.network.sampling = "deterministic" if pool.pairs else "stochastic"
    scene = trainer.scene_of(views)
    losses, image, wanted = image_losses(trainer, scene, views.only(1))
    points = surface_losses(trainer, scene, views, plan.image_rays)
    loss = total(losses, IMAGE_WEIGHTS) + plan.surfaces * total(points, SURFACE_WEIGHTS)
    losses |= {f"surface_{name}": value for name, value in points.items()}
    if plan.likeness:
        losses["likeness"] = likeness_loss(trainer, image, wanted)
        loss = loss + plan.likeness * losses["likeness"]
    if pool.pairs:
        losses["difference"] = difference_loss(image, wanted)
        loss = loss + plan.difference * losses["difference"]
    trainer.update(loss)
    return losses


def train_step(trainer: Trainer, pool: Pool, pairs: Pool) -> dict[str, Tensor]:
    """One step of the phase that it's time for; now and then one of pairs, where there are any."""
    plan = trainer.plan
    trainer.seed()
    if trainer.step < plan.surface_steps:
        return surface_step(trainer, pool)
    if pairs.filled and trainer.step % plan.pairs_every == 0:
        return image_step(trainer, pairs)
    return image_step(trainer, pool)


def report(trainer: Trainer, losses: list[dict[str, Tensor]], seconds: float) -> None:
    """Write the mean of the last steps to the log and the screen."""
    names = list(dict.fromkeys(name for row in losses for name in row))
    means = {
        name: float(torch.stack([row[name].detach() for row in losses if name in row]).mean())
        for name in names
    }
    trainer.log.append({"step": trainer.step, "seconds": round(seconds, 1), **means})
    numbers = " ".join(f"{name} {value:.4f}" for name, value in means.items())
    if not rank():
        print(f"step {trainer.step} {seconds:.0f} s {numbers}", flush=True)


def write_log(trainer: Trainer, path: Path) -> None:
    names = list(dict.fromkeys(name for row in trainer.log for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(trainer.log)


def save(trainer: Trainer, out: Path) -> None:
    """Keep the state, the averaged weights and the log."""
    if rank():
        return
    temporary = out / "checkpoint.tmp"
    torch.save(trainer.state(), temporary)
    temporary.replace(out / "checkpoint.pt")
    command = "python -m tools.minihead.train " + " ".join(sys.argv[1:])
    write_weights(
        trainer.result(),
        out / f"{NAME}.safetensors",
        {"command": command, "plan": asdict(trainer.plan), "steps": trainer.step},
    )
    write_log(trainer, out / "log.csv")


def fill(trainer: Trainer, files: Sequence[Path], pairs: bool) -> Pool:
    """Return heads or pairs of files; where there are none, no pairs, and heads rendered now."""
    plan, size = trainer.plan, 0 if pairs else trainer.plan.pool
    pool = Pool(Heads(trainer.device), size, plan.pool_views, SIZE, trainer.rng, pairs=pairs)
    mine = [file for file in files if is_pairs(file) == pairs]
    if distributed.is_initialized():
        mine = mine[rank() :: distributed.get_world_size()]
    if mine:
        pool.load(mine)
    if mine or pairs:
        return pool
    while pool.filled < min(plan.pool, 512):
        pool.add(32)
    return pool


class Arrivals:
    """Files that `make_pool` writes while training goes on.

    Processes that train together look at different moments, so that a file's name says whose it is.

    Args:
        folders: where.
        known: files that are in use.
    """

    def __init__(self, folders: Sequence[Path], known: Sequence[Path]) -> None:
        self._folders, self._known = folders, set(known)

    def take(self, *pools: Pool) -> None:
        """Let pools have what is new for them."""
        new = [file for file in files_of(self._folders) if file not in self._known]
        self._known.update(new)
        mine = [(file, is_pairs(file)) for file in new if _is_mine(file)]
        for pool in pools:
            chosen = [file for file, pairs in mine if pairs == pool.pairs]
            if chosen:
                pool.load(chosen)


def _is_mine(file: Path) -> bool:
    together = distributed.get_world_size() if distributed.is_initialized() else 1
    return zlib.crc32(str(file).encode()) % together == rank()


def files_of(folders: Sequence[Path]) -> list[Path]:
    """Return what `make_pool` has written; it gives files that aren't complete a hidden name."""
    return sorted(file for folder in folders for file in folder.glob("[!.]*.safetensors"))


def train(
    trainer: Trainer,
    pool: Pool,
    pairs: Pool,
    out: Path,
    time_limit: float = math.inf,
    every: float = 300.0,
    arrivals: Arrivals | None = None,
) -> None:
    """Go on from the trainer's step to the end of the plan, or until the time is up.

    Args:
        trainer: what learns.
        pool: heads.
        pairs: pairs of heads, may be empty.
        out: folder of the checkpoint.
        time_limit: seconds.
        every: seconds between checkpoints.
        arrivals: what more there is to learn from, looked for at every report.
    """
    plan, started = trainer.plan, time.monotonic()
    saved = started
    rows: list[dict[str, Tensor]] = []
    while trainer.step < plan.surface_steps + plan.image_steps:
        if plan.fresh:
            pool.add(plan.fresh)
        rows.append(train_step(trainer, pool, pairs))
        trainer.step += 1
        if trainer.step % 50 == 0:
            report(trainer, rows, time.monotonic() - started)
            rows = []
            if arrivals is not None:
                arrivals.take(pool, pairs)
        if time.monotonic() - saved > every:
            save(trainer, out)
            saved = time.monotonic()
        if any_of_us(time.monotonic() - started > time_limit):
            break
    save(trainer, out)


def planned(context: click.Context, option: click.Parameter, changes: tuple[str, ...]) -> Plan:
    """Return the plan with the changes that a user gives."""
    kinds = {name: type(value) for name, value in asdict(Plan()).items()}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in kinds:
            raise click.BadParameter(f"{change}: the plan has no '{name}'{suggest(name, kinds)}")
        try:
            values[name] = kinds[name](float(value))
        except (ValueError, OverflowError):
            raise click.BadParameter(f"{change}: expected a number, {name}=NUMBER") from None
    return Plan(**values)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--time-limit", default=math.inf, help="Stop cleanly after so many seconds.")
@click.option("--every", default=300.0, show_default=True, help="Seconds between checkpoints.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Weights to begin from, such as the embedded ones.",
)
@click.option(
    "--pool", type=click.Path(path_type=Path), multiple=True, help="Folders of make_pool."
)
@click.option(
    "--plan", multiple=True, metavar="NAME=VALUE", callback=planned, help="Change the plan."
)
def main(
    out: Path,
    device: str,
    time_limit: float,
    every: float,
    weights: Path | None,
    pool: tuple[Path, ...],
    plan: Plan,
) -> None:
    """Train the generator, or go on where OUT/checkpoint.pt stopped."""
    out.mkdir(parents=True, exist_ok=True)
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo", timeout=PATIENCE)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.set_flush_denormal(True)
    settle_process()
    trainer = Trainer(plan, torch.device(device))
    found = out / "checkpoint.pt"
    if found.exists():
        trainer.load(torch.load(found, map_location=device, weights_only=True))
        print(f"going on from {found} at step {trainer.step}", flush=True)
    else:
        trainer.begin(weights)
    files = files_of(pool)
    heads, pairs = (fill(trainer, files, wanted) for wanted in (False, True))
    train(trainer, heads, pairs, out, time_limit, every, Arrivals(pool, files))


if __name__ == "__main__":
    main()
