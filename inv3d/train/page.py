"""The page of a training: curves, numbers and pictures of the last evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inv3d.report.pictures import colour_frames, sized
from inv3d.report.plots import inline_svg, loss_curves
from inv3d.report.tables import flat
from inv3d.report.templating import render_template
from inv3d.train.evaluate import Grids

_SIDE = 128
_DIGITS = 5


def training_page(record: Mapping[str, Any], log: Sequence[Mapping[str, Any]], grids: Grids) -> str:
    """Return the HTML of a training's page.

    Args:
        record: contents of `train.json`.
        log: rows of its log.
        grids: pictures of the last evaluation.
    """
    evaluations = record["evaluations"]
    names = list(dict.fromkeys(n for row in evaluations for n in row["values"]))
    plugin, generator = record["plugin"]["name"], record["generator"]["name"]
    return render_template(
        "training.html",
        title=f"{plugin} for {generator}",
        facts={
            "steps": f"{evaluations[-1]['step']} of {record['training']['steps']}",
            "generator": f"{generator}, {record['generator']['fingerprint']}",
            "data": ", ".join(record["request"]["data"]),
        },
        warnings=record["warnings"],
        grids={
            source: {title: colour_frames(sized(images, _SIDE)) for title, images in rows.items()}
            for source, rows in grids.items()
        },
        labels=["step", *names],
        rows=[
            (str(row["step"]), [(_number(row["values"].get(name)), False) for name in names])
            for row in evaluations
        ],
        curves={
            title: inline_svg(figure, f"losses of {title}")
            for title, figure in loss_curves(log, "loss, mean over pictures").items()
        },
        tables=[
            (title, [(name, [(text, False)]) for name, text in flat(options)])
            for title, options in (
                ("Options of the training", record["training"]),
                ("Options of the plugin", record["plugin"]["options"]),
            )
            if options
        ],
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.{_DIGITS}f}"
