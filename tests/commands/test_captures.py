"""Captures as they lie about, through the commands: what is said, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.commands.eval import command as eval_command
from inv3d.commands.render import command as render
from tests.captures import content, noise_image, png, write, write_zip
from tests.commands.run_case import good, make_run
from tests.commands.run_cli import QUICK, fails, record, registered, run
from tests.io.test_mirrors import LABELS, mirrored
from tests.io.test_mirrors import capture as mirrors
from tests.io.test_transforms import capture, document
from tests.toy_runs import toy_registered

MASKED = ("--set", "losses.mse.mask=true")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


def masked(level: int) -> dict[str, bytes]:
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = level
    return content(3) | {f"masks/view{i}.png": png(mask) for i in range(3)}


def start(*arguments: object) -> str:
    """Start a short run; return what it says on stderr."""
    result = run("--input", "c", *QUICK, "--out", "run", "--no-report", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stderr


def test_black_masks_are_an_error_where_they_are_used(tmp_path: Path) -> None:
    write(masked(0), tmp_path / "c")
    result = run("--input", "c", *QUICK, "--out", "run", "--no-report", *MASKED)
    fails(result, 2, "c/masks/view1.png: the mask is black all over, so that nothing of view1.png")
    assert not (tmp_path / "run").exists()
    assert "c/masks/view0.png: reaches 0 of 255, black all over (3 of 3 masks)" in start()


@pytest.mark.parametrize(
    ("rows", "level", "message"),
    [(4, 100, "isn't white anywhere (reaches 100 of 255)"), (0, 255, "shows no head (0.0")],
)
def test_masks_that_are_hardly_white_are_too(
    tmp_path: Path, rows: int, level: int, message: str
) -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[: rows + 1, : rows + 1] = level
    pictures = {f"view{i}.png": png(noise_image(i, 48)) for i in range(3)}
    masks = {f"masks/{name}": png(mask) for name in pictures}
    write(content(3) | pictures | masks, tmp_path / "c")
    result = run("--input", "c", *QUICK, "--out", "run", "--no-report", *MASKED)
    fails(result, 2, f"c/masks/view1.png: the mask {message}")
    assert "so that nothing of view1.png would be inverted" in result.stderr
    start()


def test_masks_of_0_and_1_are_those_of_0_and_255(tmp_path: Path) -> None:
    write(masked(255), tmp_path / "c")
    start(*MASKED)
    expected = record(tmp_path / "run")["input"]["digest"]
    write(masked(1), tmp_path / "c")
    said = start(*MASKED, "--overwrite")
    assert "c/masks/view0.png: reaches 1 of 255, 1 was taken for the head (3 of 3 masks)" in said
    assert record(tmp_path / "run")["input"]["digest"] == expected


def test_alpha_channels_are_masks(tmp_path: Path) -> None:
    write(content(3), tmp_path / "c")
    for i in range(3):
        alpha = np.full((16, 16, 1), 255, np.uint8)
        alpha[:8] = 0
        pixels = np.concatenate([noise_image(i), alpha], 2)
        Image.fromarray(pixels).save(tmp_path / "c" / f"view{i}.png")
    said = start(*MASKED)
    assert (
        "view0.png, its alpha channel is its mask (3 of 3 pictures), which is put on white" in said
    )


def test_pictures_without_cameras_are_told_what_to_do(tmp_path: Path) -> None:
    write_zip({"me.png": png(noise_image(0))}, tmp_path / "c.zip")
    fails(
        run("--input", "c.zip", *QUICK),
        2,
        "has no cameras, which method wplus needs; give a capture with cameras (a dataset.json, a "
        "transforms.json or COLMAP's sparse/0 beside the pictures, or --camera auto, which "
        "estimates them), or take a method that does without (poseopt)",
    )
    # a folder of pictures alone is prepared, which a generator of faces is needed for
    write({"c/me.png": png(noise_image(0))}, tmp_path)
    fails(run("--input", "c", *QUICK), 2, "doesn't say where faces are in its pictures")


def test_undistorting_is_kept_with_the_run(tmp_path: Path) -> None:
    capture(tmp_path / "c", document(k1=-0.3))
    assert "lens distortion of 4 of 4 cameras is ignored" in start("--hold-out", "none")
    plain = record(tmp_path / "run")["input"]
    said = start("--hold-out", "none", "--undistort", "--overwrite")
    assert "the lens distortion is taken out" in said and "is ignored" not in said
    straight = record(tmp_path / "run")["input"]
    assert (plain["undistort"], straight["undistort"]) == (False, True)
    assert plain["digest"] != straight["digest"]
    # which reads the pictures again, and sees that they're the same
    assert good(eval_command, "run")


def test_render_takes_the_cameras_of_a_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture(tmp_path / "c", document(k1=-0.3))
    with toy_registered(monkeypatch):
        made = make_run(tmp_path)
        for out, source in (("a.png", "c"), ("b.png", "c/transforms.json")):
            with pytest.warns(UserWarning, match="distortion of 4 of 4 cameras is ignored"):
                good(render, made, "-o", out, "--camera", source)
    with Image.open("a.png") as a, Image.open("b.png") as b:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_too_few_views_because_mirror_images_were_left_out(tmp_path: Path) -> None:
    labels = {f"{i}.png": label for i, label in enumerate(LABELS)}
    labels |= {f"{i}_mirror.png": mirrored(label) for i, label in enumerate(LABELS)}
    mirrors(tmp_path / "c", labels)
    said = "the capture c (3 of 6 pictures are mirror images and left out, since they show another"
    fails(run("--input", "c", *QUICK, "--views", "5"), 2, said)
    assert "3 of 6 pictures are mirror images and left out" in start("--views", "3")
