"""The page: texts are escaped, parts come and go with what there is, nothing is left undefined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jinja2
import numpy as np
import pytest
import torch

from inv3d.core.errors import PluginError
from inv3d.core.inverter import Diagnostic
from inv3d.report.html import (
    Comparison,
    DiagnosticRow,
    NovelView,
    Page,
    diagnostic_row,
    render_page,
)
from inv3d.report.metrics import evaluate
from inv3d.report.novel import novel_views
from inv3d.report.templating import environment, render_template
from tests.toy_runs import CPU, Case, flattened, toy_case

HOSTILE = "</title><script>alert(1)</script>\"'"
FRAME = np.zeros((4, 6, 3), np.uint8)


def metrics_of(case: Case) -> dict[str, Any]:
    return evaluate(case.generator, case.inversion, case.capture, case.chosen, case.held_out, CPU)


@pytest.fixture(scope="module")
def metrics() -> Mapping[str, Any]:
    return metrics_of(toy_case(3))


def page_of(metrics: Mapping[str, Any], **parts: Any) -> Page:
    plain: dict[str, Any] = {"title": "t", "facts": {}, "seconds": {}, "config": {}, "record": {}}
    return Page(**{**plain, "metrics": metrics, **parts})


def test_a_page_of_numbers_alone_has_no_empty_sections(metrics: Mapping[str, Any]) -> None:
    text = render_page(page_of(metrics))
    assert text.count("<h2>") == 1
    assert "<h2>Numbers</h2>" in text
    assert '<section class="top plain">' in text


def test_hostile_texts_stay_texts_wherever_they_come_from(metrics: Mapping[str, Any]) -> None:
    columns = [{**column, "label": HOSTILE} for column in metrics["columns"]]
    facts = {**metrics["per_frame"][0], "name": HOSTILE}
    text = render_page(
        page_of(
            {**metrics, "columns": columns, "notes": {HOSTILE: HOSTILE}},
            title=HOSTILE,
            facts={HOSTILE: HOSTILE},
            seconds={HOSTILE: 1.0},
            config={HOSTILE: HOSTILE},
            record={HOSTILE: HOSTILE},
            warnings=[HOSTILE],
            comparisons=[Comparison(FRAME, FRAME, FRAME, facts)],
            diagnostics=[DiagnosticRow(HOSTILE, [FRAME], [HOSTILE])],
            angles={HOSTILE: "<svg></svg>"},
            files=[HOSTILE],
        )
    )
    assert "<script" not in text
    assert text.count("<svg></svg>") == 1
    assert text.count("</title>") == 1


def test_warnings_are_as_they_are(metrics: Mapping[str, Any]) -> None:
    text = render_page(page_of(metrics, warnings=["my_head/a.png: too small"]))
    assert "<li>my_head/a.png: too small</li>" in text


def test_values_are_as_they_are_typed(metrics: Mapping[str, Any]) -> None:
    text = render_page(page_of(metrics, config={"default_losses": True}))
    assert "<td>default_losses</td><td>true</td>" in text


def test_the_methods_own_pictures_follow_the_comparisons(metrics: Mapping[str, Any]) -> None:
    shown = Comparison(FRAME, FRAME, FRAME, metrics["per_frame"][0])
    rows = [DiagnosticRow("Depth maps", [FRAME, FRAME], ["step 0", "step 9"])]
    rows += [DiagnosticRow("Weights", [FRAME])]
    novel = [NovelView(0.0, 0.0, FRAME)]
    text = render_page(page_of(metrics, comparisons=[shown], diagnostics=rows, novel=novel))
    titles = ["Targets and reconstructions", "How the method got there", "New views", "Numbers"]
    places = [text.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert text.index("<h3>Depth maps</h3>") < text.index("<h3>Weights</h3>")
    assert 'alt="Depth maps: step 9" width="6" height="4"' in text
    assert "<figcaption>step 9</figcaption>" in text
    assert 'alt="Weights: 1"' in text


def test_a_diagnostic_becomes_a_row_of_pictures() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 4, 6)
    row = diagnostic_row(Diagnostic("Levels", images, ["a", "b", "c"]))
    assert [(int(frame[0, 0, 0]), label) for frame, label in row.labelled()] == [
        *((0, "a"), (128, "b"), (255, "c")),
    ]
    bare = diagnostic_row(Diagnostic("Levels", images))
    assert [label for _, label in bare.labelled()] == ["", "", ""]
    with pytest.raises(PluginError, match="diagnostic 'Levels': 1 labels for 3 pictures"):
        diagnostic_row(Diagnostic("Levels", images, ["a"]))


def test_a_generator_without_depth_has_a_page() -> None:
    case = flattened(toy_case(3))
    views = novel_views(case.generator, case.inversion)
    text = render_page(page_of(metrics_of(case), novel=views))
    assert text.count("<img") == len(views)
    assert "Colour, from cameras on the generator" in text
    assert "Depth error: generator toy makes no depth" in text
    assert "Depth consistency – ↓" in text


def test_views_with_depth_are_explained(metrics: Mapping[str, Any]) -> None:
    view = NovelView(15.0, 0.0, FRAME, FRAME, FRAME)
    text = render_page(page_of(metrics, novel=[view, replace(view, pitch_deg=-20.0)]))
    assert "Colour, depth (bright is near) and the shape that the depth shows, from" in text
    assert 'alt="shape, yaw +15°"' in text
    assert 'alt="shape, pitch -20°"' in text


def test_a_number_that_is_zero_is_a_number(metrics: Mapping[str, Any]) -> None:
    facts = {**metrics["per_frame"][0], "depth_error": 0.0, "identity": None}
    text = render_page(page_of(metrics, comparisons=[Comparison(FRAME, FRAME, FRAME, facts)]))
    card = text[text.index("<figcaption>") : text.index("</figcaption>")]
    assert "Depth error 0.0000" in card
    assert "ID" not in card


def test_a_name_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_template("compare.html", runs=[], warnings=[], sections=[])


@pytest.mark.parametrize("name", ["report.html", "compare.html", "base.html", "macros.html"])
def test_templates_fetch_nothing_and_hold_no_script(name: str) -> None:
    source, _, _ = environment().loader.get_source(environment(), name)  # type: ignore[union-attr]
    assert "http" not in source
    assert "<script" not in source
    assert "javascript" not in source
