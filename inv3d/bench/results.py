"""What a benchmark found; docs/performance.md documents every field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inv3d.bench.agreement import Agreement
from inv3d.bench.cases import Size
from inv3d.bench.machine import Machine
from inv3d.bench.problem import Mode
from inv3d.bench.profiles import Operation
from inv3d.bench.timing import Clock, Seconds, Spread
from inv3d.bench.ways import StageName
from inv3d.nn.choices import Precision

FORMAT = 1
MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """What was measured.

    Attributes:
        what: a stage, "all" of them, or "methods".
        size: of the network.
        note: the network, its rays and losses.
        views: numbers of views.
        repeats: of the timing.
        chunk: views that our way renders at a time, None: all.
        precision: of the convolutions.
        upsampling: of the reference's convolutions.
        clock: whose seconds make ratios and fractions.
        options: of the generator, that were given.
        seed: of random numbers.
    """

    what: str
    size: Size
    note: str
    views: tuple[int, ...]
    repeats: int
    chunk: int | None
    precision: Precision
    upsampling: str
    clock: Clock
    options: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Memory:
    """Peak bytes of a call beyond what was held before it: weights, targets, optimiser state.

    Attributes:
        ours: of our way, as it was timed.
        reference: of the reference, one view after the other.
    """

    ours: int
    reference: int


@dataclass(frozen=True)
class Limit:
    """What the machine's rates allow.

    Attributes:
        operations: of the direct form: multiplications and additions of products and convolutions.
        bytes: of inputs, outputs and weights.
        seconds: the larger of operations / rate and bytes / rate.
        ours: fraction of the limit that our way reaches: these seconds / its median.
        reference: the same of the reference.
    """

    operations: int
    bytes: int
    seconds: float
    ours: float
    reference: float


@dataclass(frozen=True)
class Row:
    """A stage in one mode.

    Attributes:
        stage: backbone, render, superres or step.
        mode: forward, w+ or tuning.
        views: that were rendered.
        ours: seconds.
        reference: seconds.
        ratio: reference / ours of neighbouring repeats, by the clock.
        agreement: in the precision of the run.
        agrees: whether that is within its tolerance.
        memory: None where it wasn't measured.
        limit: what the machine allows.
    """

    stage: StageName
    mode: Mode
    views: int
    ours: Seconds
    reference: Seconds
    ratio: Spread
    agreement: Agreement
    agrees: bool
    memory: Memory | None
    limit: Limit


@dataclass(frozen=True)
class Exact:
    """A comparison in double precision, which no rounding blurs.

    Attributes:
        stage: as in `Row`.
        mode: w+ or tuning.
        views: that were rendered, one at a time.
        agreement: of losses or outputs, and of every tensor's gradient.
        agrees: whether each is within its tolerance.
    """

    stage: StageName
    mode: Mode
    views: int
    agreement: Agreement
    agrees: bool


@dataclass(frozen=True)
class Turntable:
    """Pictures a second of a scene that was made before.

    Attributes:
        frames: that were rendered.
        rays: a side of what is rendered.
        raw: pictures a second at that size.
        size: pixels a side of the final picture.
        image: final pictures a second.
    """

    frames: int
    rays: int
    raw: float
    size: int
    image: float


@dataclass(frozen=True)
class Profile:
    """What one step spends its time on.

    Attributes:
        mode: w+ or tuning.
        way: ours or reference.
        views: that were rendered.
        operations: the longest first.
    """

    mode: Mode
    way: str
    views: int
    operations: list[Operation]


@dataclass(frozen=True)
class MethodRun:
    """One inversion of a capture: how long it took and how good it is.

    Attributes:
        run: method, preset and settings, as they were given.
        wall: seconds of the inversion, without loading and measuring.
        cpu: seconds that the process used meanwhile.
        ratio: seconds of the first run / those of this one, by the clock.
        steps: that were taken.
        held_out: metrics of the frames that the method never saw, by name; None where there's none.
        notes: reasons for metrics that are missing.
    """

    run: str
    wall: float
    cpu: float
    ratio: float
    steps: int
    held_out: dict[str, float | None]
    notes: dict[str, str]


Item = Row | Exact | Profile | Turntable | MethodRun


@dataclass
class Report:
    """All that a run found.

    Attributes:
        date: of the run, ISO 8601.
        version: of 3dinv.
        machine: where.
        settings: what.
        rows: stages.
        exact: comparisons in double precision.
        turntable: pictures a second, where `render` was measured.
        profiles: of steps, where they were asked for.
        methods: inversions, where they were asked for.
        ok: whether both ways agreed throughout.
        format: of this file.
    """

    date: str
    version: str
    machine: Machine
    settings: Settings
    rows: list[Row] = field(default_factory=list)
    exact: list[Exact] = field(default_factory=list)
    turntable: Turntable | None = None
    profiles: list[Profile] = field(default_factory=list)
    methods: list[MethodRun] = field(default_factory=list)
    ok: bool = True
    format: int = FORMAT

    def add(self, item: Item) -> None:
        """Take up what was found."""
        if isinstance(item, Turntable):
            self.turntable = item
            return
        place: dict[type[Any], list[Any]] = {
            Row: self.rows,
            Exact: self.exact,
            Profile: self.profiles,
            MethodRun: self.methods,
        }
        place[type(item)].append(item)
        self.ok = not self.differing()

    def differing(self) -> list[str]:
        """Name what was different."""
        found = [f"{r.stage} {r.mode}, {r.views} views" for r in self.rows if not r.agrees]
        return found + [f"{e.stage} {e.mode} in double" for e in self.exact if not e.agrees]
