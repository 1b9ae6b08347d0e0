"""Curves: losses of every stage, metrics against the camera's angle."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inv3d.io.images import Frame

PALETTE = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#14b8a6", "#ca8a04", "#ec4899")
SIZE = (4.6, 3.0)
_TOTAL = "total"

Log = Sequence[Mapping[str, Any]]


def stages(log: Log) -> dict[str, list[Mapping[str, Any]]]:
    """Group the rows of a step log by stage, in order."""
    result: dict[str, list[Mapping[str, Any]]] = {}
    for row in log:
        result.setdefault(str(row["stage"]), []).append(row)
    return result


def loss_curves(log: Log) -> dict[str, Figure]:
    """Return a figure for every stage of a step log: the losses over the steps, logarithmic."""
    return {name: _stage_curve(rows) for name, rows in stages(log).items()}


def _stage_curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    figure, axes = _axes("step", "loss, summed over views")
    steps = [row["step"] for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row["losses"]))
    for i, name in enumerate(sorted(names, key=lambda n: n != _TOTAL)):
        values = [_positive(row["losses"].get(name)) for row in rows]
        if all(value != value for value in values):
            continue
        width = 2.0 if name == _TOTAL else 1.1
        axes.plot(steps, values, color=PALETTE[i % len(PALETTE)], linewidth=width, label=name)
    if axes.lines:
        axes.set_yscale("log")
        axes.legend(fontsize=8, frameon=False, ncols=2)
    return figure


def _positive(value: float | None) -> float:
    """What a logarithmic axis can show; NaN leaves a gap."""
    return value if value is not None and value > 0 else float("nan")


def angle_curve(
    frames: Sequence[Mapping[str, Any]],
    column: str,
    label: str,
    latent_yaws_deg: Sequence[float] = (),
) -> Figure | None:
    """Return a metric of every frame against the camera's yaw; None where it has no numbers.

    Args:
        frames: "per_frame" of the metrics.
        column: which metric.
        label: of the vertical axis.
        latent_yaws_deg: where latents have their cameras, marked below.
    """
    shown = sorted((f for f in frames if f[column] is not None), key=lambda f: f["yaw_deg"])
    if not shown:
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
    axes.legend(fontsize=8, frameon=False)
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
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
    """Return figures side by side as one picture on white."""
    import numpy as np
    from PIL import Image

    parts = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, facecolor="white")
        parts.append(np.asarray(Image.open(buffer).convert("RGB")))
    return np.concatenate(parts, axis=1)
