"""The report page: one HTML file with everything in it, nothing fetched, no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inv3d.core.errors import ContractError
from inv3d.core.inversion import FILE
from inv3d.core.inverter import Diagnostic
from inv3d.io.images import Frame
from inv3d.report.columns import Column, frame_columns, run_columns
from inv3d.report.pictures import colour_frames
from inv3d.report.tables import (
    arrow,
    degrees,
    duration,
    flat,
    judges_said,
    labelled_notes,
    metric_labels,
    metric_rows,
    number,
)
from inv3d.report.templating import render_template
from inv3d.rundir.files import (
    BEFORE_AFTER,
    LOG,
    MESH,
    METRICS,
    RECORD,
    STRENGTH_VIDEO,
    VIDEO,
    VIDEO_WITHOUT_ENCODER,
)

LARGEST_VIDEO = 2 * 1024 * 1024
KINDS = {
    VIDEO: "turntable video",
    VIDEO_WITHOUT_ENCODER: "turntable video",
    BEFORE_AFTER: "turntable before and after the edit",
    STRENGTH_VIDEO: "the edit at rising and falling strength",
    MESH: "mesh with vertex colours, y up, world units",
    FILE: "latents, cameras and tuned weights",
    METRICS: "all numbers, frame by frame",
    RECORD: "options, versions and seed",
    LOG: "loss of every step",
}


@dataclass(frozen=True)
class Comparison:
    """One view: target, reconstruction and difference, with its row of "per_frame"."""

    target: Frame
    reconstruction: Frame
    difference: Frame
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class DiagnosticRow:
    """Pictures that show how a method got where it is.

    Attributes:
        title: over the pictures.
        pictures: of any size.
        labels: one under each picture, or none at all.
    """

    title: str
    pictures: Sequence[Frame]
    labels: Sequence[str] = ()

    def labelled(self) -> list[tuple[Frame, str]]:
        """Return every picture with its label; the label is empty where there are none."""
        labels = self.labels or [""] * len(self.pictures)
        return list(zip(self.pictures, labels, strict=True))


def diagnostic_row(diagnostic: Diagnostic) -> DiagnosticRow:
    """Return what the report shows of a method's diagnostic.

    Raises:
        ContractError: where the method gives some of the pictures a label, and others none.
    """
    pictures, labels = colour_frames(diagnostic.images), tuple(diagnostic.labels)
    if labels and len(labels) != len(pictures):
        raise ContractError(
            f"diagnostic '{diagnostic.title}': {len(labels)} labels for {len(pictures)} pictures; "
            "the method must give every picture one, or none at all"
        )
    return DiagnosticRow(diagnostic.title, pictures, labels)


@dataclass(frozen=True)
class NovelView:
    """One view from a new camera: colour, and depth and shaded shape where there is depth."""

    yaw_deg: float
    pitch_deg: float
    image: Frame
    depth: Frame | None = None
    shape: Frame | None = None

    @property
    def angle(self) -> str:
        """The pitch, or the yaw of a camera that isn't pitched: "yaw +15°"."""
        if round(self.pitch_deg):
            return f"pitch {degrees(self.pitch_deg)}"
        return f"yaw {degrees(self.yaw_deg)}"


@dataclass(frozen=True)
class Page:
    """All that the report shows.

    Attributes:
        title: headline.
        facts: label -> text under the headline.
        metrics: as `evaluate` returns them.
        seconds: stage -> seconds.
        config: of the method.
        record: the rest of run.json, for the page's end.
        warnings: sentences.
        comparisons, novel: pictures.
        diagnostics: the method's own pictures.
        diagnostics_title: over them.
        losses: stage -> SVG.
        angles: title -> SVG.
        video: an H.264 file to embed if it's small, or None.
        files: names in the run directory that exist.
    """

    title: str
    facts: Mapping[str, str]
    metrics: Mapping[str, Any]
    seconds: Mapping[str, float]
    config: Mapping[str, Any]
    record: Mapping[str, Any]
    warnings: Sequence[str] = ()
    comparisons: Sequence[Comparison] = ()
    diagnostics: Sequence[DiagnosticRow] = ()
    diagnostics_title: str = "How the method got there"
    novel: Sequence[NovelView] = ()
    losses: Mapping[str, str] = field(default_factory=dict)
    angles: Mapping[str, str] = field(default_factory=dict)
    video: Path | None = None
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Tile:
    """A number that is shown large."""

    value: str
    label: str
    where: str


def render_page(page: Page) -> str:
    """Return the HTML of a report."""
    return render_template(
        "report.html",
        page=page,
        columns=frame_columns(page.metrics),
        video=_video(page),
        tiles=list(_tiles(page.metrics)),
        number_labels=["", *metric_labels(page.metrics)],
        number_rows=[(title, _plain(cells)) for title, cells in metric_rows(page.metrics)],
        whole=" · ".join(_whole(page.metrics)),
        judges="; ".join(judges_said(page.metrics)),
        notes=labelled_notes(page.metrics),
        option_tables=_option_tables(page),
        kinds=KINDS,
    )


def _video(page: Page) -> str:
    """The video as a data URI; empty where there's none, or one that is too large."""
    if page.video is None or page.video.stat().st_size >= LARGEST_VIDEO:
        return ""
    return "data:video/mp4;base64," + base64.b64encode(page.video.read_bytes()).decode()


def _tiles(metrics: Mapping[str, Any]) -> Iterable[Tile]:
    """The key numbers: of held-out frames where there are any, then those of several latents."""
    group = "held_out" if metrics["views"]["held_out"] else "rotation"
    where = "held-out frames" if group == "held_out" else "all frames"
    for column in frame_columns(metrics):
        if metrics[group][column.key] is not None:
            yield _tile(column, metrics[group][column.key], where)
    for column in run_columns(metrics):
        if metrics[column.key] is not None and metrics["latents"] > 1:
            yield _tile(column, metrics[column.key], f"{metrics['latents']} latents")


def _tile(column: Column, value: float, where: str) -> Tile:
    return Tile(number(value, column.digits), f"{column.label} {arrow(column.better)}", where)


def _plain(cells: Iterable[str]) -> list[tuple[str, bool]]:
    """Cells of a table in which nothing is best."""
    return [(cell, False) for cell in cells]


def _whole(metrics: Mapping[str, Any]) -> list[str]:
    return [
        f"{column.label} {number(metrics[column.key], column.digits)} {arrow(column.better)}"
        for column in run_columns(metrics)
    ]


def _option_tables(page: Page) -> list[tuple[str, list[tuple[str, list[tuple[str, bool]]]]]]:
    """Title and rows of the tables at the page's end, those without rows left out."""
    tables = (
        ("Options of the method", flat(page.config)),
        ("Time", [(name, duration(value)) for name, value in page.seconds.items()]),
        ("Run", flat(page.record)),
    )
    return [
        (title, [(name, _plain([text])) for name, text in rows]) for title, rows in tables if rows
    ]
