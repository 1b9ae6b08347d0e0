"""The frames of a run, read again: the same ones with the same pixels, or an error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from inv3d.core.errors import InputError, RunError
from inv3d.io.dataset import open_capture
from inv3d.rundir.frames import describe_input, load_input
from inv3d.rundir.record import InputPart
from tests.captures import SIZE, content, noise_image, png, write


def described(folder: Path) -> InputPart:
    """Two frames of four: the first one held out, the other chosen."""
    write(content(), folder)
    capture = open_capture(folder).load(SIZE, [0, 2])
    return describe_input(str(folder), capture, [1], [0])


def load(part: InputPart) -> tuple[torch.Tensor, list[int], list[int]]:
    capture, chosen, held_out = load_input(part, SIZE, run="the run")
    return capture.images, chosen, held_out


def test_frames_are_described_and_read_again(tmp_path: Path) -> None:
    part = described(tmp_path)
    assert part.path == str(tmp_path)
    assert part.views == ("view0.png", "view2.png")
    images, chosen, held_out = load(part)
    assert torch.equal(images, open_capture(tmp_path).load(SIZE, [0, 2]).images)
    assert (chosen, held_out) == ([1], [0])


def test_a_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(content(), tmp_path / "capture")
    monkeypatch.chdir(tmp_path)
    capture = open_capture("capture").load(SIZE)
    assert describe_input("capture", capture, [0], []).path == str(tmp_path / "capture")
    assert describe_input("sample:static", capture, [0], []).path == "sample:static"


def test_only_changes_of_frames_that_are_read_are_refused(tmp_path: Path) -> None:
    part = described(tmp_path)
    write({"view1.png": png(noise_image(9))}, tmp_path)
    load(part)
    write({"view2.png": png(noise_image(9))}, tmp_path)
    with pytest.raises(RunError, match=r"aren't those that the run was made from; put them back"):
        load(part)


def test_a_capture_that_is_gone_is_named(tmp_path: Path) -> None:
    part = described(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    said = f"the run: its capture {tmp_path / 'moved'} isn't there; put it back"
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        load(part)
    with pytest.raises(InputError, match=f"^{re.escape(said)}, or do without$"):
        load_input(part, SIZE, run="the run", otherwise="do without")


def test_a_frame_that_is_gone_is_named(tmp_path: Path) -> None:
    part = described(tmp_path).model_copy(update={"views": ("view9.png",)})
    with pytest.raises(InputError, match=r"no longer has view9\.png, which the run was made from"):
        load(part)
