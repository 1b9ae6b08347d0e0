"""The report page: one HTML file with everything in it, nothing fetched, no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from inv3d.core.inversion import FILE
from inv3d.report.pictures import Frame, data_uri
from inv3d.report.tables import (
    COLUMNS,
    GROUPS,
    WHOLE,
    arrow,
    duration,
    flat,
    metric_labels,
    metric_rows,
    number,
)
from inv3d.rundir.files import LOG, MESH, METRICS, RECORD, VIDEO, VIDEO_WITHOUT_ENCODER

LARGEST_VIDEO = 2 * 1024 * 1024
KINDS = {
    VIDEO: "turntable video",
    VIDEO_WITHOUT_ENCODER: "turntable video",
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
class NovelView:
    """One view from a new camera: colour, and depth and shaded shape where there are any."""

    yaw_deg: float
    pitch_deg: float
    image: Frame
    depth: Frame | None = None
    shape: Frame | None = None


@dataclass(frozen=True)
class DiagnosticRow:
    """Pictures that a method has to show, with a text under each or none."""

    title: str
    frames: Sequence[Frame]
    labels: Sequence[str] = ()


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
        comparisons, novel, diagnostics: pictures.
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
    novel: Sequence[NovelView] = ()
    diagnostics: Sequence[DiagnosticRow] = ()
    losses: Mapping[str, str] = field(default_factory=dict)
    angles: Mapping[str, str] = field(default_factory=dict)
    video: Path | None = None
    files: Sequence[str] = ()


def render_page(page: Page) -> str:
    """Return the HTML of a report."""
    parts = [
        _head(page),
        _warnings(page.warnings),
        _top(page),
        _comparisons(page.comparisons),
        _novel(page.novel),
        *map(_diagnostic, page.diagnostics),
        _numbers(page.metrics),
        _plots("Against the angle", "Every frame of the capture, fitted or not.", page.angles),
        _plots("Loss", "Summed over the views that a step renders.", page.losses),
        _options(page),
        _files(page.files),
    ]
    return document(page.title, "\n".join(part for part in parts if part))


def document(title: str, body: str) -> str:
    """Return a whole HTML document in the report's style."""
    style = resources.files("inv3d.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(page: Page) -> str:
    facts = "".join(
        f"<li><span>{escape(label)}</span> {escape(text)}</li>"
        for label, text in page.facts.items()
        if text
    )
    return (
        f'<header><p class="brand">3dinv report</p><h1>{escape(page.title)}</h1>'
        f'<ul class="facts">{facts}</ul></header>'
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text[:1].upper() + text[1:])}.</li>" for text in warnings)
    return f'<section class="warnings"><b>Worth knowing</b><ul>{items}</ul></section>'


def _top(page: Page) -> str:
    video = _video(page)
    tiles = "".join(_tile(*tile) for tile in _key_numbers(page.metrics))
    kind = "top" if video else "top plain"
    return f'<section class="{kind}">{video}<div class="tiles">{tiles}</div></section>'


def _video(page: Page) -> str:
    if page.video is None or page.video.stat().st_size >= LARGEST_VIDEO:
        return ""
    data = base64.b64encode(page.video.read_bytes()).decode()
    return (
        '<video controls loop muted autoplay playsinline aria-label="Turntable of the inverted '
        f'head" src="data:video/mp4;base64,{data}"></video>'
    )


def _key_numbers(metrics: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    group = "held_out" if metrics["views"]["held_out"] else "rotation"
    where = "held-out frames" if group == "held_out" else "all frames"
    for column in COLUMNS:
        value = metrics[group][column.key]
        if value is not None:
            yield number(value, column.digits), f"{column.label} {arrow(column.better)}", where
    for column in WHOLE:
        value = metrics[column.key]
        if value is not None and metrics["latents"] > 1:
            label = f"{column.label} {arrow(column.better)}"
            yield number(value, column.digits), label, f"{metrics['latents']} latents"


def _tile(value: str, label: str, where: str) -> str:
    return (
        f'<div class="tile"><b>{escape(value)}</b>'
        f"<span>{escape(label)}</span><span>{escape(where)}</span></div>"
    )


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    chosen = [c for c in comparisons if c.facts["role"] == "chosen"]
    others = [c for c in comparisons if c.facts["role"] != "chosen"]
    parts = ["<section><h2>Targets and reconstructions</h2>"]
    parts.append(
        '<p class="hint">Target, reconstruction, and their difference (bright: a quarter of the '
        "value range or more).</p>"
    )
    parts.append(f'<div class="cards">{"".join(map(_card, chosen))}</div>')
    if others:
        parts.append(
            "<h2>Frames that were held out</h2>"
            '<p class="hint">The method never saw these pictures; only their cameras were given to '
            "the renderer.</p>"
            f'<div class="cards">{"".join(map(_card, others))}</div>'
        )
    return "".join(parts) + "</section>"


def _card(comparison: Comparison) -> str:
    facts = comparison.facts
    name, yaw = facts["name"], degrees(facts["yaw_deg"])
    pictures = zip(
        ("target", "reconstruction", "difference"),
        (comparison.target, comparison.reconstruction, comparison.difference),
        strict=True,
    )
    cells = "".join(
        f'<div><div class="legend">{kind}</div>{_image(frame, f"{kind} {name}, yaw {yaw}")}</div>'
        for kind, frame in pictures
    )
    shown = [(c.label, number(facts[c.key], c.digits)) for c in COLUMNS[1:] if facts[c.key]]
    numbers = "".join(f"<span>{escape(label)} {value}</span>" for label, value in shown)
    return (
        f'<figure class="card"><div class="row">{cells}</div>'
        f"<figcaption><b>{escape(name)}</b><span>yaw {yaw}</span>{numbers}</figcaption></figure>"
    )


def degrees(angle: float) -> str:
    """Write an angle in whole degrees with its sign where it has one: "+15°", "0°", "180°"."""
    whole = round(angle)
    return f"{abs(whole)}°" if whole in (0, 180, -180) else f"{whole:+d}°"


def _image(frame: Frame, description: str) -> str:
    height, width = frame.shape[:2]
    return (
        f'<img src="{data_uri(frame)}" alt="{escape(description, quote=True)}" '
        f'width="{width}" height="{height}">'
    )


def _novel(views: Sequence[NovelView]) -> str:
    if not views:
        return ""
    figures = "".join(_novel_view(view) for view in views)
    return (
        "<section><h2>New views</h2>"
        '<p class="hint">Colour, depth (bright is near) and the shape that the depth shows, from '
        "cameras on the generator's own orbit. Positive yaw is the subject's left.</p>"
        f'<div class="strip">{figures}</div></section>'
    )


def _novel_view(view: NovelView) -> str:
    pitched = round(view.pitch_deg) != 0
    angle = f"pitch {degrees(view.pitch_deg)}" if pitched else f"yaw {degrees(view.yaw_deg)}"
    pictures = {"new view": view.image, "depth": view.depth, "shape": view.shape}
    cells = "".join(
        _image(frame, f"{kind}, {angle}") for kind, frame in pictures.items() if frame is not None
    )
    return f"<figure>{cells}<figcaption><b>{angle}</b></figcaption></figure>"


def _diagnostic(row: DiagnosticRow) -> str:
    labels = row.labels or [""] * len(row.frames)
    figures = "".join(
        f"<figure>{_image(frame, f'{row.title} {label}'.strip())}"
        f"<figcaption>{escape(label)}</figcaption></figure>"
        for frame, label in zip(row.frames, labels, strict=True)
    )
    return f'<section><h2>{escape(row.title)}</h2><div class="strip">{figures}</div></section>'


def _numbers(metrics: Mapping[str, Any]) -> str:
    rows = [(title, [(cell, False) for cell in cells]) for title, cells in metric_rows(metrics)]
    whole = " · ".join(
        f"{column.label} {number(metrics[column.key], column.digits)} {arrow(column.better)}"
        for column in WHOLE
    )
    notes = "".join(
        f"<li>{escape(_label(name))}: {escape(reason)}</li>"
        for name, reason in metrics["notes"].items()
    )
    notes = f'<ul class="hint">{notes}</ul>' if notes else ""
    return (
        "<section><h2>Numbers</h2>"
        f'<p class="hint">Means over the frames of a group, at {metrics["size"]} pixels a side; '
        "MSE of values in [-1, 1], depth in world units.</p>"
        f"{table(['', *metric_labels(metrics)], rows)}"
        f'<p style="margin-top:12px">{escape(whole)}</p>{notes}</section>'
    )


def _label(key: str) -> str:
    labels = {c.key: c.label for c in (*COLUMNS, *WHOLE)} | GROUPS
    return labels.get(key, key)


def table(
    labels: Sequence[str], rows: Iterable[tuple[str, Sequence[tuple[str, bool]]]], kind: str = ""
) -> str:
    """Return an HTML table.

    Args:
        labels: of the columns.
        rows: the first cell, then pairs of text and whether it's the best of its column.
        kind: CSS class.
    """
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    body = "".join(
        f"<tr><td>{escape(first)}</td>"
        + "".join(f"<td{_BEST if best else ''}>{escape(cell)}</td>" for cell, best in cells)
        + "</tr>"
        for first, cells in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(labels) else ""
    css = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{css}>{head}<tbody>{body}</tbody></table></div>'


_BEST = ' class="best"'


def _plots(title: str, hint: str, plots: Mapping[str, str]) -> str:
    if not plots:
        return ""
    figures = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>"
        for name, svg in plots.items()
    )
    return (
        f'<section><h2>{escape(title)}</h2><p class="hint">{escape(hint)}</p>'
        f'<div class="plots">{figures}</div></section>'
    )


def _options(page: Page) -> str:
    tables = [("Options of the method", flat(page.config))]
    tables.append(("Time", [(name, duration(value)) for name, value in page.seconds.items()]))
    tables.append(("Run", flat(page.record)))
    blocks = "".join(
        f"<details{' open' if i == 0 else ''}><summary>{escape(title)}</summary>"
        + table((), [(name, [(text, False)]) for name, text in rows], "options")
        + "</details>"
        for i, (title, rows) in enumerate(tables)
        if rows
    )
    return f"<section><h2>Options and origin</h2>{blocks}</section>" if blocks else ""


def _files(files: Sequence[str]) -> str:
    if not files:
        return ""
    items = "".join(
        f'<li><a href="{escape(name, quote=True)}">{escape(name)}</a> '
        f"<span>{escape(KINDS.get(name, ''))}</span></li>"
        for name in files
    )
    return (
        f'<section><h2>Files</h2><ul class="facts">{items}</ul></section>'
        "<footer>Made by 3dinv. Links work while this page stays in its run directory.</footer>"
    )
