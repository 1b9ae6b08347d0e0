"""Train the embedded identity networks headid-a and headid-b with a margin softmax.

    python -m tools.minihead.train_identity --network a --device cuda --out out/headid

One person is one identity and appearance; clothes, light and expression change from face to face,
and every face is seen from several cameras. Progress is kept in OUT: the same command goes on
after a kill. The weights that are written are 16-bit floats, and those are evaluated, on people
of the evaluation seeds.
"""

from __future__ import annotations

import csv
import math
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.files import atomic_write
from inv3d.core.weights.tensors import load_state, read_tensors, write_tensors
from inv3d.nn.headid import EMBEDDING, NetworkName, build_headid
from tools.minihead.heads import Heads
from tools.minihead.identity_data import (
    SIZE,
    augment,
    evaluate,
    person_z,
    render_people,
    to_float,
)
from tools.minihead.layout import LAYOUT
from tools.minihead.seeds import EVALUATION, TRAINING

TRAINED_YAW, JUDGED_YAW = math.radians(90), math.radians(70)
WARMUP = 0.05
IDENTITY = LAYOUT["appearance"].stop  # numbers of z that make a person


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        network: a or b.
        seed: of weights, batches and augmentation; it also chooses the training people.
        steps: optimiser steps.
        people, faces, views: training persons, faces of each, cameras of each face.
        family: so many of them in turn are near-identical relatives, always in one batch.
        judged: persons of the evaluation.
        batch_people, batch_views: of one step.
        lr: highest learning rate.
        margin: taken off the cosine of the right person (CosFace).
        scale: of the cosines before the softmax.
        naming: weight of the error of a person's attributes, read off the embedding.
    """

    network: NetworkName
    seed: int
    steps: int
    people: int
    faces: int
    views: int
    judged: int
    batch_people: int
    batch_views: int
    family: int = 1
    lr: float = 2e-3
    margin: float = 0.2
    scale: float = 24.0
    naming: float = 1.0


def people_of(plan: Plan) -> range:
    """Return the seeds of the training people."""
    first = plan.seed * plan.people
    first -= (TRAINING.start + first) % plan.family
    seeds = TRAINING[first:][: plan.people]
    if len(seeds) < plan.people:
        raise click.ClickException(f"--seed {plan.seed}: no training people left; lower it")
    return seeds


def training_people(plan: Plan, device: torch.device, pool: Path | None) -> Tensor:
    """Return the training pictures: from the pool file, or rendered (and kept there)."""
    facts = {name: getattr(plan, name) for name in ("seed", "people", "faces", "views", "family")}
    if pool is not None and pool.exists():
        tensors, found = read_tensors(pool)
        if {name: found.get(name) for name in facts} != facts:
            raise click.ClickException(f"{pool}: holds {found}, expected {facts}; remove it")
        return tensors["rgb"].to(device)
    seeds = people_of(plan)
    shots = (plan.faces, plan.views, TRAINED_YAW)
    seen = render_people(Heads(device), seeds, *shots, plan.family)
    if pool is not None:
        write_tensors(pool, seen, facts)
    return seen["rgb"]


def margin_softmax(embeddings: Tensor, margin: float, scale: float) -> tuple[Tensor, Tensor]:
    """Tell the people of a batch apart by the cosine to the mean of their other pictures.

    CosFace (Wang et al., CVPR 2018, eq. 4) with means of the batch for class centres, which need
    no learning of their own.

    Args:
        embeddings: [P, V, D] of unit length.
        margin: taken off the cosine of the right person.
        scale: of the cosines before the softmax.

    Returns:
        The loss and the share of pictures told right.
    """
    people, views, _ = embeddings.shape
    total = embeddings.sum(1, keepdim=True)
    centres = F.normalize(total[:, 0], dim=1)
    own = (F.normalize(total - embeddings, dim=2) * embeddings).sum(2).flatten()
    cosines = embeddings.flatten(0, 1) @ centres.T
    labels = torch.arange(people, device=embeddings.device).repeat_interleave(views)
    right = F.one_hot(labels, people).bool()
    cosines = torch.where(right, own[:, None], cosines)
    loss = F.cross_entropy(scale * (cosines - margin * right), labels)
    return loss, (cosines.detach().argmax(1) == labels).float().mean()


class Trainer:
    """Network, reader of attributes, optimiser, random numbers, curve: all of a checkpoint."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device, self.step = plan, device, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network = build_headid(plan.network)
        self.network = network.to(device).train()
        self.attributes = nn.Parameter(torch.zeros(EMBEDDING, IDENTITY).to(device))
        self.truth = torch.stack([person_z(s, plan.family)[:IDENTITY] for s in people_of(plan)]).to(
            device
        )
        self.variables = [*self.network.parameters(), self.attributes]
        self.optimizer = torch.optim.AdamW(self.variables, lr=plan.lr, weight_decay=5e-4)
        self.rngs = {
            "batch": torch.Generator().manual_seed(plan.seed),
            "augment": torch.Generator(device).manual_seed(plan.seed),
        }
        self.curve: list[dict[str, float]] = []

    def batch(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented images [P * V, 3, R, R] of P people and their numbers [P].

        Families are drawn, and come whole.
        """
        plan, rng = self.plan, self.rngs["batch"]
        families = torch.randperm(len(pictures) // plan.family, generator=rng)
        members = families[: plan.batch_people // plan.family, None] * plan.family
        people = (members + torch.arange(plan.family)).reshape(-1, 1)
        order = torch.rand(len(people), pictures.shape[1], generator=rng).argsort(1)
        shots = order[:, : plan.batch_views]
        low = int(torch.randint(24, SIZE, (1,), generator=rng))
        chosen = pictures[people.to(self.device), shots.to(self.device)].flatten(0, 1)
        return augment(to_float(chosen), self.rngs["augment"], low), people[:, 0].to(self.device)

    def take(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; return its loss and the share of people told right."""
        plan, done = self.plan, self.step / self.plan.steps
        rate = plan.lr * min(1.0, (done + 1 / plan.steps) / WARMUP)
        self.optimizer.param_groups[0]["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * done))
        images, people = self.batch(pictures)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            embeddings = self.network(images)
        embeddings = embeddings.float().unflatten(0, (plan.batch_people, plan.batch_views))
        loss, right = margin_softmax(embeddings, plan.margin * min(1.0, done / 0.3), plan.scale)
        # Naming a person's attributes as well teaches faster than telling people apart alone.
        named = embeddings @ self.attributes * EMBEDDING**0.5
        truth = self.truth[people][:, None].expand_as(named)
        loss = loss + plan.naming * F.mse_loss(named, truth)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1
        return loss.detach(), right

    def begin(self, weights: Path) -> None:
        """Begin from weights that were written before."""
        load_state(self.network, read_tensors(weights)[0], weights)

    def save(self, path: Path) -> None:
        """Write everything to a checkpoint."""
        tensors = {f"network/{n}": v for n, v in self.network.state_dict().items()}
        tensors |= {f"rng/{n}": rng.get_state() for n, rng in self.rngs.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{key}": value for key, value in state.items()}
        facts = {"plan": asdict(self.plan), "step": self.step, "curve": self.curve}
        write_tensors(path, tensors | {"attributes": self.attributes}, facts)

    def load(self, path: Path) -> None:
        """Take everything from a checkpoint of the same plan."""
        tensors, facts = read_tensors(path)
        if facts["plan"] != asdict(self.plan):
            raise click.ClickException(f"{path}: of another plan ({facts['plan']}); remove it")
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "rng": {}, "optimizer": {}}
        self.attributes.data.copy_(tensors.pop("attributes"))
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = value
        self.network.load_state_dict(groups["network"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimizer"].items():
            number, _, key = name.partition("/")
            state.setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        for name, rng in self.rngs.items():
            rng.set_state(groups["rng"][name])
        self.step, self.curve = int(facts["step"]), facts["curve"]


def train(trainer: Trainer, pictures: Tensor, checkpoint: Path, every: int, until: int) -> None:
    """Go on from the trainer's step to step `until`, with a checkpoint every so many steps."""
    started, rows = time.monotonic(), []
    while trainer.step < until:
        rows.append(torch.stack(trainer.take(pictures)))
        if trainer.step % min(every, 50) == 0 or trainer.step == until:
            loss, right = torch.stack(rows).mean(0).tolist()
            trainer.curve.append({"step": trainer.step, "loss": loss, "right": right})
            seconds = time.monotonic() - started
            print(
                f"step {trainer.step} {seconds:.0f} s loss {loss:.3f} right {right:.3f}", flush=True
            )
            rows = []
        if trainer.step % every == 0 or trainer.step == until:
            trainer.save(checkpoint)


def finish(trainer: Trainer, heads: Heads, out: Path) -> dict[str, float]:
    """Write the 16-bit weights and the curve; return what the weights are worth."""
    plan = trainer.plan
    state = {
        n: v.half() if v.is_floating_point() else v for n, v in trainer.network.state_dict().items()
    }
    network = build_headid(plan.network).to(trainer.device).eval()
    network.load_state_dict(state)
    seeds = EVALUATION[: plan.judged]
    judged = render_people(heads, seeds, 12, 1, JUDGED_YAW, plan.family)
    values = evaluate(network, judged, plan.family)
    command = "python -m tools.minihead.train_identity " + " ".join(sys.argv[1:])
    facts: dict[str, Any] = {**asdict(plan), **values, "command": command}
    write_tensors(out / f"headid_{plan.network}.safetensors", state, facts)
    with (
        atomic_write(out / f"headid_{plan.network}.csv") as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, ["step", "loss", "right"])
        writer.writeheader()
        writer.writerows(trainer.curve)
    return values


def sizes(context: click.Context, option: click.Parameter, text: str) -> tuple[int, int]:
    """Return people and pictures of each, as a user gives them."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text, re.ASCII)
    if found is None:
        raise click.BadParameter(f"{text}: expected people x pictures, such as 64x4")
    return int(found[1]), int(found[2])


@click.command()
@click.option("--network", type=click.Choice(["a", "b"]), required=True, help="Which of the two.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--steps", default=4000, show_default=True, help="Optimiser steps.")
@click.option(
    "--batch",
    default="64x4",
    show_default=True,
    callback=sizes,
    help="People x pictures of a step.",
)
@click.option("--people", default=4000, show_default=True, help="Training people.")
@click.option("--faces", default=6, show_default=True, help="Faces of each person.")
@click.option("--views", default=4, show_default=True, help="Cameras of each face.")
@click.option("--family", default=4, show_default=True, help="People who are near-identical.")
@click.option("--judged", default=200, show_default=True, help="People of the evaluation.")
@click.option("--seed", type=int, help="Seed; 1 for network a and 2 for b unless given.")
@click.option("--every", default=500, show_default=True, help="Steps between checkpoints.")
@click.option("--lr", default=2e-3, show_default=True, help="Highest learning rate.")
@click.option("--margin", default=0.2, show_default=True, help="Off the right person's cosine.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights to begin from.")
@click.option("--pool", type=click.Path(path_type=Path), help="File to keep the pictures in.")
def main(
    network: str,
    out: Path,
    device: str,
    steps: int,
    batch: tuple[int, int],
    people: int,
    faces: int,
    views: int,
    family: int,
    judged: int,
    seed: int | None,
    every: int,
    lr: float,
    margin: float,
    weights: Path | None,
    pool: Path | None,
) -> None:
    """Train one identity network, or go on with it, and judge it."""
    batch_people, batch_views = batch
    name = cast(NetworkName, network)
    seed = {"a": 1, "b": 2}[network] if seed is None else seed
    if people % family or batch_people % family:
        raise click.UsageError(f"--family {family}: must divide --people and those of --batch")
    if judged <= family:
        raise click.UsageError(f"--judged {judged}: must be more than a family of {family}")
    counts = (steps, people, faces, views, judged, batch_people, batch_views, family)
    plan = Plan(name, seed, *counts, lr=lr, margin=margin)
    where = torch.device(device)
    out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    trainer, checkpoint = Trainer(plan, where), out / f"headid_{network}.checkpoint.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
        print(f"going on from {checkpoint} at step {trainer.step}", flush=True)
    elif weights is not None:
        trainer.begin(weights)
    if trainer.step < steps:
        train(trainer, training_people(plan, where, pool), checkpoint, every, steps)
    values = finish(trainer, Heads(where), out)
    print(" ".join(f"{key} {value:.4f}" for key, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
