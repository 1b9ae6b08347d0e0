"""What was found as tables: for the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inv3d.bench.results import MIB, Exact, Item, MethodRun, Profile, Report, Row, Turntable
from inv3d.bench.timing import Clock
from inv3d.report.tables import number

_WORDS = {"w+": "W+"}


@dataclass(frozen=True)
class Table:
    """Columns and rows of texts.

    Attributes:
        title: over it.
        columns: their titles.
        rows: a text for every column.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Return it for a page."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}\n\n{table}"


def tables(report: Report) -> Iterator[Table]:
    """Yield a table for everything that was found."""
    if report.rows:
        yield _stage_table(report.rows, report.settings.clock)
        yield _limit_table(report.rows)
    if report.exact:
        yield _exact_table(report.exact)
    if report.turntable:
        yield _turntable_table(report.turntable)
    yield from map(_profile_table, report.profiles)
    if report.methods:
        yield _method_table(report.methods)


def _stage_table(rows: Sequence[Row], clock: Clock) -> Table:
    title = (
        "Seconds of a call (median; wall and CPU) and ratio reference / ours by "
        f"{clock} seconds (median, smallest to largest); errors of outputs or losses, of gradients"
    )
    memory = any(row.memory for row in rows)
    columns = (
        *("stage", "views", "ours s", "CPU s", "reference s", "CPU s", "ratio", "range"),
        *(("ours MiB", "ref. MiB") if memory else ()),
        "same?",
    )
    return Table(title, columns, [_stage_row(row, memory) for row in rows])


def _stage_row(row: Row, memory: bool) -> tuple[str, ...]:
    a = row.agreement
    same = "same" if row.agrees else "DIFFERENT"
    errors = f"{max(a.loss, a.output):.0e}"
    if row.mode != "forward":
        errors += f", {a.gradient:.0e}"
    used = (
        (f"{row.memory.ours / MIB:.0f}", f"{row.memory.reference / MIB:.0f}")
        if row.memory
        else ("", "")
    )
    return (
        f"{row.stage} {word(row.mode)}",
        str(row.views),
        seconds(row.ours.wall.median),
        seconds(row.ours.cpu.median),
        seconds(row.reference.wall.median),
        seconds(row.reference.cpu.median),
        f"{row.ratio.median:.2f}x",
        f"{row.ratio.min:.2f}-{row.ratio.max:.2f}",
        *(used if memory else ()),
        f"{same} ({errors})",
    )


def _limit_table(rows: Sequence[Row]) -> Table:
    title = (
        "Least work of a stage, the seconds that it takes at the machine's rates, and which part "
        "of that limit is reached"
    )
    columns = ("stage", "views", "G operations", "MB", "limit s", "ours", "reference")
    made = [
        (
            f"{row.stage} {word(row.mode)}",
            str(row.views),
            f"{row.limit.operations / 1e9:.2f}",
            f"{row.limit.bytes / 1e6:.0f}",
            seconds(row.limit.seconds),
            f"{row.limit.ours:.0%}",
            f"{row.limit.reference:.0%}",
        )
        for row in rows
    ]
    return Table(title, columns, made)


def _exact_table(found: Sequence[Exact]) -> Table:
    rows = [
        (
            f"{one.stage} {word(one.mode)}",
            str(one.views),
            "same" if one.agrees else "DIFFERENT",
            f"{one.agreement.tensor:.0e}",
            one.agreement.worst,
        )
        for one in found
    ]
    return Table(
        "In double precision: every tensor's gradient against its own largest number",
        ("stage", "views", "same?", "largest error", "of"),
        rows,
    )


def _turntable_table(found: Turntable) -> Table:
    return Table(
        f"Turntable of {found.frames} frames from a scene that was made before",
        ("pictures", "a second"),
        [
            (f"{found.rays} x {found.rays}, as rendered", f"{found.raw:.2f}"),
            (f"{found.size} x {found.size}, final", f"{found.image:.2f}"),
        ],
    )


def _profile_table(found: Profile) -> Table:
    rows = [
        (one.name, str(one.calls), seconds(one.seconds), f"{one.share:.1%}")
        for one in found.operations
    ]
    way = "our" if found.way == "ours" else "the reference's"
    return Table(
        f"Profile of {way} step, {word(found.mode)}, {found.views} views",
        ("operation", "calls", "self s", "share"),
        rows,
    )


def _method_table(found: Sequence[MethodRun]) -> Table:
    names = list(found[0].held_out)
    rows = [
        (
            one.run,
            seconds(one.wall),
            seconds(one.cpu),
            f"{one.ratio:.2f}x",
            str(one.steps),
            *(number(one.held_out[name], 4) for name in names),
        )
        for one in found
    ]
    return Table(
        "Inversions, the first is 1; metrics of the frames that were held out (mse and perceptual: "
        "lower is better, identity: higher)",
        ("run", "s", "CPU s", "sooner", "steps", *names),
        rows,
    )


def headline(report: Report) -> list[str]:
    """Return what has to be known of the tables: date, machine, network."""
    m, s = report.machine, report.settings
    load = "" if m.load is None else f", load {m.load:g}"
    return [
        f"{report.date[:10]}, 3dinv {report.version}, torch {m.torch}, {m.processor} ({m.device}), "
        f"{m.threads} of {m.cores} cores{load}",
        f"rates: matrices {m.rates.matrices:g} and convolutions {m.rates.convolutions:g} "
        f"GFLOP/s, copy {m.rates.copy:g} GB/s",
        f"{s.size}: {s.note}; {s.chunk or 'all'} views at a time; {s.precision}; median of "
        f"{s.repeats}",
    ]


def markdown(report: Report) -> str:
    """Return everything for a page."""
    facts = "\n".join(f"- {line}" for line in headline(report))
    return "\n\n".join([facts, *(table.markdown() for table in tables(report))]) + "\n"


def line(item: Item) -> str:
    """Say in a line what was found, while the rest is measured."""
    if isinstance(item, Row):
        return "  ".join(_stage_row(item, item.memory is not None))
    if isinstance(item, Exact):
        verdict = "every gradient is the same" if item.agrees else "DIFFERENT"
        return f"{item.stage} {word(item.mode)} in double precision: {verdict}"
    if isinstance(item, Turntable):
        return f"turntable: {item.raw:.2f} and {item.image:.2f} pictures a second"
    if isinstance(item, Profile):
        return f"profile of {item.way} {word(item.mode)}: {item.operations[0].name} first"
    return f"{item.run}: {seconds(item.wall)} s"


def word(mode: str) -> str:
    """Return a mode as people write it."""
    return _WORDS.get(mode, mode)


def seconds(value: float) -> str:
    """Write seconds with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
