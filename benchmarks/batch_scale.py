"""How far one driver of `3dinv batch` goes: its time and memory an item, where work does nothing.

Everything but the work is real: the list of items, the hand-out, retries, rows, the look at run
directories of a second start. Times are CPU seconds of the driver's process.

    python -m benchmarks.batch_scale --out docs/images/batch_scale.png
"""

from __future__ import annotations

import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from inv3d.batch.driver import Driver, Policy
from inv3d.batch.facts import Facts
from inv3d.batch.items import Item, find_items
from inv3d.batch.messages import Greet, Greeting, Step, Task
from inv3d.batch.plan import Plan, look
from inv3d.core.executor import Event, Executor, Work
from inv3d.core.inversion import FILE
from inv3d.rundir.batch import PART, Row, add_row, run_of
from inv3d.rundir.files import METRICS, RECORD

SIZES = (100, 1_000, 10_000, 100_000)
WORKERS = 64
# so many run directories are looked at, at most: each costs the same
LOOKED = 2_000
_FACTS = Facts({}, "", (), "", 0)
_PLAN = Plan({}, "0" * 16, False)
# a run directory's record is of about this size
_RECORD_BYTES = 4000


class Nothing(Executor):
    """Workers that are done at once, each after a word on the way."""

    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        """Name the workers."""
        self._events: list[Event] = []
        return [f"worker-{number}" for number in range(WORKERS)]

    def submit(self, worker: str, task: Any) -> None:
        """Have it done."""
        if isinstance(task, Greet):
            self._events.append(Event(worker, "done", Greeting("here", 0, _FACTS)))
            return
        self._events.append(Event(worker, "said", Step("nothing", 1, 1)))
        self._events.append(Event(worker, "done", Row(task.item.name, "done")))

    def poll(self, seconds: float) -> Sequence[Event]:
        """Return what was done."""
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        """Do nothing."""

    def replace(self, worker: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Silent:
    """A monitor that shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, found: Mapping[str, int]) -> None:
        """Show nothing."""

    def joined(self, worker: str, host: str, pid: int) -> None:
        """Show nothing."""

    def began(self, worker: str, item: str) -> None:
        """Show nothing."""

    def stepped(self, worker: str, item: str, step: Step) -> None:
        """Show nothing."""

    def again(self, row: Row, seconds: float) -> None:
        """Show nothing."""

    def ended(self, row: Row) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Point:
    """What a number of items costs the driver.

    Attributes:
        items: how many.
        find, look, drive: CPU microseconds an item: reading the list, looking at a run directory
            that is done, handing out and writing the row.
        memory: bytes an item at most.
    """

    items: int
    find: float
    look: float
    drive: float
    memory: float


def measure(count: int, folder: Path) -> Point:
    """Measure a number of items.

    Args:
        count: how many.
        folder: empty.
    """
    source = folder / "list.txt"
    (folder / "captures/head000000").mkdir(parents=True)
    source.write_text("".join(f"captures/head{i:06d}\n" for i in range(count)))
    found, find = _timed(lambda: find_items(source, folder))
    some = found[:LOOKED]
    _write_runs(folder, some)
    _, looked = _timed(lambda: [look(folder, item, _PLAN) for item in some])

    def drive() -> None:
        driver = Driver(
            Nothing(), dict, Policy(), Silent(), lambda row: add_row(folder, row), _FACTS
        )
        driver.run([Task(item) for item in found])
        assert driver.counts["done"] == count

    _, driven = _timed(drive)
    tracemalloc.start()
    kept = find_items(source, folder)
    Driver(Nothing(), dict, Policy(), Silent(), lambda row: None, _FACTS).run(map(Task, kept))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    each = 1e6 / count
    return Point(count, find * each, looked * 1e6 / len(some), driven * each, peak / count)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return call(), time.process_time() - started


def _write_runs(folder: Path, items: Sequence[Item]) -> None:
    """Write run directories that are done, as small as they can be."""
    record = {"status": "finished", PART: _PLAN.part(items[0]), "padding": "x" * _RECORD_BYTES}
    text = json.dumps(record)
    for item in items:
        directory = run_of(folder, item.name)
        directory.mkdir(parents=True)
        (directory / RECORD).write_text(text)
        for name in (FILE, METRICS):
            (directory / name).touch()


def draw(points: Sequence[Point], out: Path) -> None:
    """Draw the curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [point.items for point in points]
    for name in ("find", "look", "drive"):
        left.plot(sizes, [getattr(point, name) for point in points], "o-", label=name)
    left.set(xscale="log", xlabel="items", ylabel="CPU microseconds an item")
    left.set_ylim(bottom=0)
    left.legend(frameon=False)
    right.plot(sizes, [point.memory * point.items / 2**20 for point in points], "o-")
    right.set(xscale="log", yscale="log", xlabel="items", ylabel="MiB of the driver")
    for axes in (left, right):
        axes.grid(True, alpha=0.3)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def table(points: Sequence[Point]) -> str:
    """Return the numbers as Markdown."""
    head = ["| items | find | look | hand out and write | bytes an item |", "| --- " * 5 + "|"]
    rows = [
        f"| {p.items} | {p.find:.0f} µs | {p.look:.0f} µs | {p.drive:.0f} µs | {p.memory:.0f} |"
        for p in points
    ]
    return "\n".join([*head, *rows])


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("batch_scale.png"))
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES)
def main(out: Path, sizes: tuple[int, ...]) -> None:
    """Measure the driver of `3dinv batch`, draw the curve and print the table."""
    points = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            points.append(measure(count, Path(folder)))
    draw(points, out)
    click.echo(table(points))


if __name__ == "__main__":
    main()
