"""What an item of a batch costs by method: CPU seconds of its parts, items an hour and core.

A few steps of each stage are timed in a real run and multiplied by the default number of steps;
measuring, pictures and report are timed whole. Networks are kept warm, as in a worker.

    python -m benchmarks.batch_costs
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch

from inv3d.core.fit.loop import Progress
from inv3d.core.generator import load_generator
from inv3d.core.inverter import load_method
from inv3d.core.warm import keeping
from inv3d.runs.execute import start
from inv3d.runs.prepare import Request, prepare

METHODS = ("wplus", "pti", "multiview", "multilatent", "spi", "poseopt", "hfgi3d")
TAKEN = 5
_STEPS, _MEASURING, _PICTURES = "steps", "measuring", "rendering views"


@dataclass
class Clock:
    """A display that reads the CPU's clock.

    Attributes:
        marks: what the run said it does -> time.
        steps: stage -> seconds of its steps but the first.
        last: time of the last step, and its stage.
    """

    marks: dict[str, float] = field(default_factory=dict)
    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    last: tuple[str, float] = ("", 0.0)

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def step(self, step: Progress) -> None:
        """Note how long a step took."""
        now = time.process_time()
        stage, before = self.last
        if stage == step.stage:
            self.steps[stage].append(now - before)
        self.last = (step.stage, now)

    def say(self, text: str) -> None:
        """Note when something begins."""
        self.marks.setdefault(text, time.process_time())


@dataclass(frozen=True)
class Cost:
    """CPU seconds of an item.

    Attributes:
        method: its name.
        inversion: with the default number of steps.
        measuring: of all frames.
        pictures: and everything after.
        steps: of all stages.
    """

    method: str
    inversion: float
    measuring: float
    pictures: float
    steps: int

    def row(self) -> str:
        """Return the numbers as a row of Markdown."""
        plain = self.inversion + self.measuring
        return (
            f"| `{self.method}` | {self.steps} | {self.inversion:.0f} s | {self.measuring:.0f} s | "
            f"{self.pictures:.0f} s | {3600 / (plain + self.pictures):.0f} | {3600 / plain:.0f} |"
        )


def steps_of(options: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where nested options say how many steps a stage takes."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from steps_of(value, (*path, name))
        elif name == _STEPS and value:
            yield (*path, name)


def at(options: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return a nested option."""
    value: Any = options
    for name in path:
        value = value[name]
    return value


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return an option within its tables."""
    for name in reversed(path):
        value = {name: value}
    found: dict[str, Any] = value
    return found


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return nested tables as one."""
    result: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            both = isinstance(value, dict) and name in result
            result[name] = merged([result[name], value]) if both else value
    return result


def measure(method: str, generator: str, source: str, taken: int) -> Cost:
    """Run a method with a few steps a stage, and say what it costs with all of them."""
    options = load_method(method, {}, load_generator(generator)).config.model_dump(mode="json")
    places = list(steps_of(options))
    few = merged([nested(place, min(taken, at(options, place))) for place in places])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        run = prepare(Request(method, generator, source, few, device="cpu"))
        start(run, Path(folder) / "run", clock, overwrite=False, command=[])
        ended = time.process_time()
    begun, pictures = clock.marks[_MEASURING], clock.marks[_PICTURES]
    inversion, total = begun - started, 0
    for stage, seconds in clock.steps.items():
        each = sum(seconds) / len(seconds)
        asked = at(options, (*stage.split("/"), _STEPS))
        inversion += each * (asked - len(seconds) - 1)
        total += asked
    return Cost(method, inversion, pictures - begun, ended - pictures, total)


@click.command()
@click.option("--generator", default="minihead", show_default=True)
@click.option("--input", "source", default="sample:static", show_default=True)
@click.option("--method", "methods", multiple=True, default=METHODS, show_default=True)
@click.option("--taken", default=TAKEN, show_default=True, help="Steps of each stage.")
def main(generator: str, source: str, methods: tuple[str, ...], taken: int) -> None:
    """Print what an item costs by method, on one thread."""
    torch.set_num_threads(1)
    names = ("method", "steps", "inversion", "measuring", "pictures")
    rates = ("items an hour", "with `--no-report`")
    click.echo(f"| {' | '.join((*names, *rates))} |")
    click.echo("| --- " * 7 + "|")
    with keeping({}):
        measure(methods[0], generator, source, 2)
        for method in methods:
            click.echo(measure(method, generator, source, taken).row())


if __name__ == "__main__":
    main()
