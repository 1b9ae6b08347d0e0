"""Our batched shared-scene step against the reference step, in one run and as ratios.

python -m benchmarks.multiview --size both --views 1,3,9
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import click
import torch

from benchmarks.reference import Upsampling
from benchmarks.steps import SEED, Case, Exact, Memory, Plan, Result, StageName, Timing, measure
from inv3d.commands.output import print_json, print_table
from inv3d.core.config import build_config
from inv3d.core.device import resolve_device
from inv3d.core.errors import InvError
from inv3d.core.files import write_json
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.tensors import asset
from inv3d.runs.process import settle_process

MEMORY_LIMIT = 1.5
FULL_CHUNK = 3
MIB = 2**20


def build_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """Build a generator by name."""
    kind: type[Generator] = registry().load("generators", name)
    return kind.create(build_config(kind.Config, options, f"generator {name}"))


def full_case(rays: int) -> Case:
    """Return the EG3D network of FFHQ at 512 pixels, random weights, with fewer rays."""
    options = {"random_weights": True, "seed": SEED, "neural_rendering_resolution": rays}
    note = (
        f"EG3D FFHQ 512, random weights, {rays} x {rays} rays (published: 128 x 128); losses mse, "
        "l1 and, for W+, w_norm (the weights of LPIPS and ArcFace aren't embedded)"
    )
    generator = build_generator("eg3d", options)
    return Case("full", generator, {"mse": 1.0, "l1": 1.0}, FULL_CHUNK, note)


def minihead_case(rays: int) -> Case:
    """Return the embedded generator as users run it; `rays` concerns the full size alone."""
    losses = {"mse": 1.0, "l1": 1.0}
    if asset("headid_a.safetensors").is_file():
        losses = {"mse": 1.0, "headfeat": 1.0, "headid": 0.1}
    generator = build_generator("minihead", {})
    size = generator.spec.render_resolution
    note = f"{size} x {size} rays; losses {', '.join(losses)} and, for W+, w_norm"
    return Case("minihead", generator, losses, None, note)


CASES: dict[str, Callable[[int], Case]] = {"full": full_case, "minihead": minihead_case}


@dataclass(frozen=True)
class Growth:
    """How the memory of our step, one view at a time, grows with the number of views."""

    size: str
    stage: StageName
    fewest: int
    most: int
    ratio: float

    def __str__(self) -> str:
        verdict = "doesn't grow linearly" if self.ratio <= MEMORY_LIMIT else "GROWS TOO MUCH"
        return (
            f"{self.size}, {self.stage}: {self.most} views take {self.ratio:.2f} times the memory "
            f"of {self.fewest}: {verdict} (limit {MEMORY_LIMIT})"
        )


@dataclass
class Report:
    """All that a run found; `facts` are device, threads and options."""

    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    steps: list[Timing] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    exact: list[Exact] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was measured and both ways agreed throughout."""
        same = [*(t.agrees for t in self.steps), *(e.agrees for e in self.exact)]
        return bool(self.steps) and all(same)

    def add(self, result: Result) -> None:
        """Take up a result and say so on stderr."""
        if isinstance(result, Timing):
            self.steps.append(result)
            click.echo(" ".join(_step_row(result)), err=True)
        elif isinstance(result, Memory):
            self.memory.append(result)
            click.echo(f"{' '.join(_memory_row(result))} MiB", err=True)
        else:
            self.exact.append(result)
            click.echo(_exact_line(result), err=True)

    def growth(self) -> list[Growth]:
        """Compare the largest number of views with the smallest, a size and stage at a time."""
        found = []
        for size, stage in dict.fromkeys((m.size, m.stage) for m in self.memory):
            peaks = {
                m.views: m.peak
                for m in self.memory
                if (m.size, m.stage, m.way) == (size, stage, "ours")
            }
            fewest, most = min(peaks), max(peaks)
            if fewest < most:
                found.append(Growth(size, stage, fewest, most, peaks[most] / peaks[fewest]))
        return found

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "growth": [asdict(g) for g in self.growth()]}

    def print(self) -> None:
        """Print the tables for people."""
        f = self.facts
        print_table(
            ["size", "stage", "views", "ours s", "reference s", "speed-up", "min - max", "result"],
            map(_step_row, self.steps),
            f"One step on {f['device']}, {f['threads']} threads, torch {f['torch']}, median of "
            f"{f['repeats']}; speed-up = reference / ours; result: error of losses / gradients",
        )
        for line in [*map(_exact_line, self.exact), *self.notes, *self.missing]:
            click.echo(line)
        if self.memory:
            click.echo()
            print_table(
                ["size", "stage", "step", "views", "peak MiB"],
                [_memory_row(m) for m in self.memory],
                "Peak memory of a step, one view at a time, beyond weights, targets and optimiser",
            )
        for verdict in self.growth():
            click.echo(str(verdict))


def _step_row(t: Timing) -> list[str]:
    same = "same" if t.agrees else "DIFFERENT"
    return [
        t.size,
        t.stage,
        str(t.views),
        f"{t.ours:.3f}",
        f"{t.reference:.3f}",
        f"{t.ratio_median:.2f}x",
        f"{t.ratio_min:.2f} - {t.ratio_max:.2f}",
        f"{same} ({t.agreement.loss:.0e} / {t.agreement.gradient:.0e})",
    ]


def _exact_line(found: Exact) -> str:
    verdict = "agrees" if found.agrees else "is DIFFERENT"
    return (
        f"{found.size}, {found.stage}, {found.views} views in double precision: every gradient "
        f"{verdict}, worst {found.agreement.worst} with {found.agreement.tensor:.0e} of its maximum"
    )


def _memory_row(m: Memory) -> list[str]:
    return [m.size, m.stage, m.way, str(m.views), f"{m.peak / MIB:.1f}"]


def _parse_views(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """Read "1,3,9"."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise click.BadParameter(f"{text!r} isn't a list of numbers from 1, such as 1,3,9")
    return tuple(sorted({int(part) for part in parts}))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


@click.command()
@click.option("--size", type=click.Choice([*CASES, "both"]), default="both", show_default=True)
@click.option("--views", callback=_parse_views, default="1,3,9", show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--rays",
    type=click.IntRange(min=8),
    default=32,
    show_default=True,
    help="Rays a side of the full size; minihead keeps its own.",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    help=f"Views that our step renders at a time [default: full {FULL_CHUNK}, minihead all].",
)
@click.option(
    "--upsampling",
    type=click.Choice(get_args(Upsampling)),
    default="transposed",
    show_default=True,
    help="Of the reference's convolutions: transposed, then filtered; or zeros inserted, "
    "filtered, and convolved at the doubled resolution.",
)
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure memory too.")
@click.option(
    "--exact/--no-exact",
    default=True,
    show_default=True,
    help="Compare every gradient in double precision too.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: torch's].")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to a file too.")
def main(
    size: str,
    views: tuple[int, ...],
    repeats: int,
    rays: int,
    chunk: int | None,
    upsampling: Upsampling,
    memory: bool,
    exact: bool,
    threads: int | None,
    device: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Compare our multi-view step with the reference step; exit 1 where their results differ."""
    torch.set_num_threads(threads or torch.get_num_threads())
    plan = Plan(views, repeats, memory, exact, upsampling)
    names = list(CASES) if size == "both" else [size]
    try:
        settle_process()  # as the program does; it serves both ways
        report = run(names, resolve_device(device), plan, rays, chunk)
        if out is not None:
            write_json(out, report.plain())
    except InvError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(report.plain())
    else:
        report.print()
    if not report.ok:
        raise SystemExit(1)


def run(
    names: Sequence[str],
    device: torch.device,
    plan: Plan,
    rays: int,
    chunk: int | None,
) -> Report:
    """Measure sizes by name; a size whose weights are missing is reported as such."""
    report = Report(
        {
            "device": _device_name(device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "seed": SEED,
            "repeats": plan.repeats,
            "upsampling": plan.upsampling,
        }
    )
    for name in names:
        try:
            case = CASES[name](rays)
        except InvError as error:
            report.missing.append(f"{name}: not measured: {error}")
            click.echo(report.missing[-1], err=True)
            continue
        case = replace(case, chunk=chunk or case.chunk)
        together = f"our step renders {case.chunk or 'all'} views at a time"
        report.notes.append(f"{name}: {case.note}; {together}")
        for result in measure(case, device, plan):
            report.add(result)
    return report


if __name__ == "__main__":
    main()
