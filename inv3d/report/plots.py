"""Curves: losses of every stage, metrics against the camera's angle."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inv3d.io.images import Frame

PALETTE = (
    *("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#ca8a04", "#ec4899", "#0e7490"),
    *("#84cc16", "#78716c"),
)
SIZE = (4.6, 3.3)
COLUMNS = 4
DPI = 110
_TOTAL = "total"
# what an axis of losses shows: this far around each one's median, and of the chart's largest value
_AROUND, _DEEPEST = 300.0, 1e-6
_TURN = 0.618

Log = Sequence[Mapping[str, Any]]
Points = dict[str, tuple[list[int], list[float]]]


def stages(log: Log) -> dict[str, list[Mapping[str, Any]]]:
    """Group the rows of a step log by stage, in order."""
    result: dict[str, list[Mapping[str, Any]]] = {}
    for row in log:
        result.setdefault(str(row["stage"]), []).append(row)
    return result


def loss_curves(log: Log, axis: str = "loss, summed over views") -> dict[str, Figure]:
    """Return figures of the losses over the steps, logarithmic; those without a curve are left out.

    A stage has one for its first update and one for each further update, "latent: depth". A loss
    has the same colour in all of them.

    Args:
        log: rows of a step log.
        axis: label of the vertical axis.
    """
    charts: dict[str, Points] = {}
    for stage, rows in stages(log).items():
        for name in dict.fromkeys(name for row in rows for name in row["losses"]):
            update, _, loss = name.rpartition("/")
            points = _points(rows, name)
            if len(points[0]) > 1:
                charts.setdefault(f"{stage}: {update}" if update else stage, {})[loss] = points
    names = dict.fromkeys([_TOTAL, *(loss for chart in charts.values() for loss in chart)])
    colour = dict(zip(names, colours(len(names)), strict=True))
    return {title: _curves(chart, colour, axis) for title, chart in charts.items()}


def _points(rows: Log, name: str) -> tuple[list[int], list[float]]:
    """Steps and values that a logarithmic axis can show."""
    found = [(row["step"], row["losses"].get(name)) for row in rows]
    shown = [(step, value) for step, value in found if value is not None and value > 0]
    return [step for step, _ in shown], [value for _, value in shown]


def _curves(chart: Points, colour: Mapping[str, str], axis: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes("step", axis)
    for name in sorted(chart, key=lambda n: n != _TOTAL):
        width = 2.0 if name == _TOTAL else 1.1
        axes.plot(*chart[name], color=colour[name], linewidth=width, label=name)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.set_ylim(*loss_limits([values for _, values in chart.values()]))
    _legend(figure)
    return figure


def loss_limits(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the limits of a logarithmic axis that a few odd values don't stretch.

    Of each curve what is near its median counts, and nothing that is minute beside the largest.

    Args:
        curves: positive values.
    """
    near = []
    for values in curves:
        middle = sorted(values)[len(values) // 2]
        near += [v for v in values if middle / _AROUND <= v <= middle * _AROUND]
    top = max(near)
    return max(min(near), top * _DEEPEST) / 1.3, top * 1.3


def colours(count: int) -> list[str]:
    """Return colours that all differ."""
    more = [((i * _TURN) % 1, 0.9 - 0.4 * (i % 2), 0.75) for i in range(count - len(PALETTE))]
    mixed = ("#" + bytes(round(255 * part) for part in hsv_to_rgb(*hsv)).hex() for hsv in more)
    return [*PALETTE[:count], *mixed]


def _legend(figure: Figure) -> None:
    """Put the legend below the axes, where it hides no curve."""
    figure.legend(fontsize=8, frameon=False, ncols=4, loc="outside lower center")


def angle_curve(
    frames: Sequence[Mapping[str, Any]],
    column: str,
    label: str,
    latent_yaws_deg: Sequence[float] = (),
) -> Figure | None:
    """Return a metric of every frame against the camera's yaw; None for less than two numbers.

    Args:
        frames: "per_frame" of the metrics.
        column: which metric.
        label: of the vertical axis.
        latent_yaws_deg: where latents have their cameras, marked below.
    """
    shown = sorted((f for f in frames if f[column] is not None), key=lambda f: f["yaw_deg"])
    if len(shown) < 2:
        return None
    figure, axes = _axes("yaw, degrees (subject's right to left)", label)
    axes.plot(
        [f["yaw_deg"] for f in shown],
        [f[column] for f in shown],
        color=PALETTE[0],
        linewidth=1.2,
        alpha=0.6,
    )
    for role, marker, filled in (("chosen", "o", True), ("held out", "o", False)):
        part = [f for f in shown if (f["role"] == "chosen") == (role == "chosen")]
        if part:
            axes.plot(
                [f["yaw_deg"] for f in part],
                [f[column] for f in part],
                marker,
                color=PALETTE[1] if filled else PALETTE[0],
                markerfacecolor=PALETTE[1] if filled else "none",
                markersize=5 if filled else 4,
                label=role if filled else "other frames",
            )
    if len(latent_yaws_deg) > 1:
        axes.plot(
            latent_yaws_deg,
            [0.02] * len(latent_yaws_deg),
            "|",
            color=PALETTE[3],
            markersize=9,
            transform=axes.get_xaxis_transform(),
            label="latents",
        )
    _legend(figure)
    return figure


def coverage_plot(
    kept_deg: Sequence[float], left_out_deg: Sequence[float], reach_deg: float
) -> Figure:
    """Return a figure of the angles from which frames show a head.

    Args:
        kept_deg: yaws of the frames that are kept.
        left_out_deg: yaws of the others.
        reach_deg: how far the generator's training cameras went.
    """
    from matplotlib.ticker import MultipleLocator

    figure, axes = _axes("yaw, degrees (subject's right to left)", "")
    figure.set_size_inches(SIZE[0], 1.6)
    axes.plot(left_out_deg, [0] * len(left_out_deg), "|", color=PALETTE[9], markersize=12)
    axes.plot(kept_deg, [1] * len(kept_deg), "|", color=PALETTE[0], markersize=18)
    reach = max([45.0, *(abs(yaw) for yaw in (*kept_deg, *left_out_deg))]) + 5
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MultipleLocator(15 if reach < 100 else 45))
    axes.set_ylim(-0.6, 1.6)
    axes.set_yticks([0, 1], ["left out", "kept"])
    if reach_deg < reach:
        for side in (-reach_deg, reach_deg):
            axes.axvline(side, color=PALETTE[1], linewidth=1, linestyle="--")
    return figure


def histogram(values: Sequence[float], label: str) -> Figure:
    """Return a figure of how numbers are spread.

    Args:
        values: two or more.
        label: of the horizontal axis.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(label, "items")
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    bins = min(30, max(5, round(math.sqrt(len(values)) * 2)))
    axes.hist(values, bins=bins, color=PALETTE[0], alpha=0.75)
    axes.axvline(median(values), color=PALETTE[1], linewidth=1.4)
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(True, color="#888888", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def inline_svg(figure: Figure, description: str) -> str:
    """Return a figure as SVG text for a page; lines and text take the page's colours."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace("#000000", "currentColor")
    text = re.sub(r"'?DejaVu Sans'?[^;\"]*", "inherit", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    label = html.escape(description, quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def raster(figures: Sequence[Figure]) -> Frame:
    """Return figures as one picture on white, four in a row.

    Their layout is settled by it: `inline_svg` afterwards takes half of the time.
    """
    import numpy as np

    parts = [_drawn(figure) for figure in figures]
    height, width = parts[0].shape[:2]
    rows, columns = math.ceil(len(parts) / COLUMNS), min(len(parts), COLUMNS)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, part in enumerate(parts):
        top, left = i // COLUMNS * height, i % COLUMNS * width
        sheet[top : top + height, left : left + width] = part
    return sheet


def _drawn(figure: Figure) -> Frame:
    """Return the picture of a figure, which is drawn once, and keep the layout that it found."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine(None)
    return np.array(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
