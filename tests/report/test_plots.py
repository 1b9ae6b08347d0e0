"""Plots: what's in the curves, and SVG that takes a page's colours."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np

from inv3d.report.plots import angle_curve, inline_svg, loss_curves, raster, stages


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
    nothing = loss_curves([{"stage": "a", "step": 0, "losses": {"total": 0.0}}])
    assert "<svg" in inline_svg(nothing["a"], "empty")


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
    assert math.isclose(two[0, 0].mean(), 255)
