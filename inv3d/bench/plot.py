"""Bars: how many times sooner each stage is, and which part of the limit it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inv3d.bench.results import Report
from inv3d.bench.tables import headline, word
from inv3d.core.files import atomic_write
from inv3d.report.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = (".png", ".svg", ".pdf")
_BAR = 0.38


def write_plot(path: Path, report: Report) -> None:
    """Write the bars as a picture; its format follows from the name.

    Raises:
        RunError: where the file can't be written.
    """
    figure = bars(report)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, facecolor="white")


def bars(report: Report) -> Figure:
    """Return the figure: stages, or methods where no stage was measured."""
    from matplotlib.figure import Figure

    names, ratios = _ratios(report)
    figure = Figure(figsize=(9.0, 1.6 + 0.32 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True) if report.rows else (figure.subplots(), None)
    places = list(range(len(names)))
    left.barh(places, ratios, color=PALETTE[0])
    left.axvline(1.0, color="#555555", linewidth=0.8)
    for place, ratio in zip(places, ratios, strict=True):
        left.text(ratio, place, f" {ratio:.2f}x", va="center", fontsize=8)
    _style(left, names, "times as fast as the " + ("reference" if report.rows else "first run"))
    if right is not None:
        for shift, label, colour, parts in (
            (-_BAR / 2, "ours", PALETTE[0], [row.limit.ours for row in report.rows]),
            (_BAR / 2, "reference", PALETTE[9], [row.limit.reference for row in report.rows]),
        ):
            at = [place + shift for place in places]
            right.barh(at, [100 * part for part in parts], _BAR, color=colour, label=label)
        _style(right, names, "% of the limit of direct arithmetic")
        right.legend(fontsize=8, frameon=False)
    figure.suptitle("\n".join(headline(report)), fontsize=7)
    return figure


def _ratios(report: Report) -> tuple[list[str], list[float]]:
    if not report.rows:
        return [one.run for one in report.methods], [one.ratio for one in report.methods]
    names = [f"{row.stage} {word(row.mode)}, {row.views}" for row in report.rows]
    return names, [row.ratio.median for row in report.rows]


def _style(axes: Axes, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
