"""Tables on stdout: within the terminal's width, numbers whole, texts as they are."""

from __future__ import annotations

import pytest

from inv3d.commands.output import print_numbers, print_table

LABELS = ("MSE ↓", "PSNR ↑", "Perceptual ↓", "MS-SSIM ↑", "ID ↑", "Depth error ↓")
NUMBERS = ("0.0240", "22.21", "0.0837", "0.948", "0.989", "0.0061")


def test_metrics_of_any_name_fit_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_numbers("frames", LABELS, [(f"Front view ({'img' * 20}.png)", NUMBERS)])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("frames") == 1
    assert all(number in text for number in NUMBERS)


def test_numbers_that_do_not_fit_go_on_in_a_further_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = [f"Metric number {i} ↓" for i in range(12)]
    print_numbers("run", labels, [("a", [f"{i}.123456789" for i in range(12)])], title="Front")
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("Front") == 3
    assert [f"{i}.123456789" in text for i in range(12)] == [True] * 12


def test_the_width_can_be_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_table(("name", "what"), [("a", "word " * 30)])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_brackets_are_texts(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("type [default]",), [("[red]",)])
    text = capsys.readouterr().out
    assert "type [default]" in text
    assert "[red]" in text
