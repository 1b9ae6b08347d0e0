"""Plots: what's in the curves, and SVG that takes a page's colours."""

from __future__ import annotations

import io
import math
import re
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from inv3d.report.plots import (
    PALETTE,
    angle_curve,
    colours,
    histogram,
    inline_svg,
    loss_curves,
    loss_limits,
    raster,
    stages,
)


def log() -> list[dict]:
    rows = [("latent", s, {"total": 2.0 / (s + 1), "mse": 1.0 / (s + 1)}) for s in range(5)]
    rows += [("tuning", s, {"total": 1.0, "mse": 0.0, "depth/depth": None}) for s in range(3)]
    return [{"stage": n, "step": s, "losses": losses} for n, s, losses in rows]


def frames() -> list[dict]:
    values = [(30.0, 0.9, "chosen"), (-30.0, 0.5, "chosen"), (0.0, 0.7, "held out")]
    return [{"yaw_deg": y, "identity": v, "mse": None, "role": r} for y, v, r in values]


def lines(figure) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}


def test_every_stage_has_its_curves() -> None:
    assert [len(rows) for rows in stages(log()).values()] == [5, 3]
    figures = loss_curves(log())
    assert list(figures) == ["latent", "tuning"]
    drawn = lines(figures["latent"])
    assert drawn["total"] == [2.0, 1.0, 2 / 3, 0.5, 0.4]
    assert drawn["mse"][0] == 1.0
    assert figures["latent"].axes[0].get_yscale() == "log"


def test_what_a_logarithm_cannot_show_is_left_out() -> None:
    assert list(lines(loss_curves(log())["tuning"])) == ["total"]


def test_no_chart_is_empty() -> None:
    assert loss_curves([{"stage": "a", "step": s, "losses": {"total": 0.0}} for s in (0, 1)]) == {}
    assert loss_curves([{"stage": "a", "step": 0, "losses": {"total": 1.0}}]) == {}
    assert angle_curve(frames()[:1], "identity", "ID") is None


def updates() -> list[dict]:
    losses = {"total": 2.0, "w_dist": 0.1, "l1": 0.5, "depth/total": 0.02, "interpolation/l1": 0.4}
    rows = [{"stage": "latent", "step": s, "losses": dict(losses)} for s in range(20)]
    for row in rows[:2]:
        row["losses"]["w_dist"] = 1e-14
    for row in rows[::3]:
        row["losses"]["depth/total"] = None
    return rows


def test_updates_are_told_apart_and_a_loss_keeps_its_colour() -> None:
    figures = loss_curves(updates())
    assert list(figures) == ["latent", "latent: depth", "latent: interpolation"]
    assert list(lines(figures["latent"])) == ["total", "w_dist", "l1"]
    assert list(lines(figures["latent: depth"])) == ["total"]
    colour = {
        title: {line.get_label(): line.get_color() for line in figure.axes[0].lines}
        for title, figure in figures.items()
    }
    assert colour["latent"]["total"] == colour["latent: depth"]["total"]
    assert colour["latent"]["l1"] == colour["latent: interpolation"]["l1"]
    assert len(set(colour["latent"].values())) == 3


def test_steps_without_a_value_leave_no_gap() -> None:
    (line,) = loss_curves(updates())["latent: depth"].axes[0].lines
    assert len(line.get_xdata()) == 13
    assert 0 not in line.get_xdata()


def test_a_term_that_begins_with_nothing_does_not_squeeze_the_others() -> None:
    low, high = loss_curves(updates())["latent"].axes[0].get_ylim()
    assert 0.05 < low < 0.1
    assert 2.0 < high < 3.0
    assert loss_limits([[1e-14] * 9, [1.0] * 9])[0] > 1e-7
    assert loss_limits([[1e9, *[1.0] * 9]])[1] < 2.0


def test_a_histogram_marks_the_median_of_an_even_number() -> None:
    figure = histogram([1.0, 2.0, 4.0, 9.0], "MSE")
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [3.0, 3.0]


def test_colours_never_repeat() -> None:
    assert len(set(colours(40))) == 40
    assert colours(3) == list(PALETTE[:3])


def test_the_legend_is_outside_of_the_axes() -> None:
    for figure in (*loss_curves(updates()).values(), angle_curve(frames(), "identity", "ID")):
        assert figure.axes[0].get_legend() is None
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert legend.get_window_extent().y1 < figure.axes[0].get_window_extent().y0


def test_points_against_the_angle_are_in_order() -> None:
    figure = angle_curve(frames(), "identity", "ID", [-30.0, 30.0])
    drawn = lines(figure)
    assert drawn["chosen"] == [0.5, 0.9]
    assert drawn["other frames"] == [0.7]
    assert len(drawn["latents"]) == 2
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.5, 0.7, 0.9]


def test_no_numbers_no_plot() -> None:
    assert angle_curve(frames(), "mse", "MSE") is None


def test_svg_is_described_scales_and_takes_the_colour_around_it() -> None:
    text = inline_svg(angle_curve(frames(), "identity", "ID"), 'ID "against" <yaw>')
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'ID "against" <yaw>'
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert "currentColor" in text
    assert "#000000" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_the_same_numbers_give_the_same_svg() -> None:
    first, second = (inline_svg(loss_curves(log())["latent"], "a") for _ in range(2))
    assert first == second


def test_plots_side_by_side() -> None:
    figures = list(loss_curves(log()).values())
    one, two = raster(figures[:1]), raster(figures)
    assert two.shape == (one.shape[0], 2 * one.shape[1], 3)
    assert two.dtype == np.uint8
    assert raster(figures * 3).shape == (2 * one.shape[0], 4 * one.shape[1], 3)
    assert math.isclose(two[0, 0].mean(), 255)


def saved_by_matplotlib(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_a_raster_is_what_matplotlib_saves() -> None:
    expected = [saved_by_matplotlib(figure) for figure in loss_curves(updates()).values()]
    seen = raster(list(loss_curves(updates()).values()))
    np.testing.assert_array_equal(seen[: len(expected[0])], np.hstack(expected[:4]))


def drawn_at(svg: str) -> tuple[list[str], list[float]]:
    """The texts of an SVG, and all its coordinates."""
    texts = [element.text or "" for element in ElementTree.fromstring(svg).iter()]
    return texts, [float(number) for number in re.findall(r"(?<![\w.#])-?\d+\.\d+", svg)]


def test_a_figure_that_was_rastered_makes_the_same_svg() -> None:
    (fresh, *_), (rastered, *_) = (list(loss_curves(updates()).values()) for _ in range(2))
    raster([rastered])
    (texts, places), (same, near) = (drawn_at(inline_svg(f, "a")) for f in (fresh, rastered))
    assert same == texts
    np.testing.assert_allclose(near, places, atol=3)  # points, of a picture 331 wide
