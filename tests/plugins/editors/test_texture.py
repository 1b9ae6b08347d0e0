"""Texture: paint on the photo and see it from the side; what is done again and what isn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inv3d.core.editor import Subject
from inv3d.core.errors import ConfigError, InputError, InvError
from inv3d.core.inversion import Inversion, Snapshot
from inv3d.plugins.editors import texture
from inv3d.plugins.editors.texture import Texture, untuned
from inv3d.testing.toy import toy_capture
from tests.plugins.editors.subjects import edit_of, subject_of, toy
from tests.toy_runs import toy_registered

QUICK = {"path": {"views": 4}, "final": {"lr": 0.005}}


def editor() -> Texture:
    return Texture(Texture.Config())


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    with toy_registered(monkeypatch):
        yield


@pytest.fixture
def subject() -> Subject:
    """A tuned toy with its photo."""
    generator = toy()
    capture = toy_capture(generator, 1)
    before = Snapshot(generator)
    with torch.no_grad():
        generator.background += 0.01
    before.settle()
    found = subject_of(generator, generator_delta=before.delta())
    return replace(found, capture=capture)


def red(path: Path, size: int = 32) -> str:
    Image.fromarray(np.full((size, size, 3), (255, 0, 0), np.uint8)).save(path)
    return str(path)


def patch(path: Path, size: int = 32) -> str:
    levels = np.zeros((size, size), np.uint8)
    levels[10:22, 10:22] = 255
    Image.fromarray(levels).save(path)
    return str(path)


def frontal(inversion: Inversion) -> Tensor:
    generator = toy()
    inversion.tune(generator)
    camera = generator.spec.camera.front()
    with torch.no_grad():
        return generator.render(inversion.scene_for(generator, camera), camera).require("image")


def test_the_painted_photo_is_fitted(subject: Subject, tmp_path: Path) -> None:
    edit = edit_of(
        editor(), picture=red(tmp_path / "red.png"), mask=patch(tmp_path / "mask.png"), steps=25,
        method_options=QUICK,
    )  # fmt: skip
    before = {name: value.clone() for name, value in subject.generator.state_dict().items()}
    found = editor().apply(subject, edit)
    state = subject.generator.state_dict()
    assert all(torch.equal(state[name], value) for name, value in before.items())
    assert subject.generator.tuned
    assert subject.capture is not None
    painted = texture._painted(subject.capture, edit)
    before_it, after_it = (
        float((frontal(i) - painted).square().mean()) for i in (subject.inversion, found)
    )
    assert after_it < 0.8 * before_it
    assert torch.allclose(found.ws, subject.inversion.ws)
    assert [made.name for made in found.history] == ["multilatent", "texture"]


def test_only_the_final_tuning_is_done_again(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    load = texture.load_method

    def watched(*arguments: Any) -> Any:
        method = load(*arguments)
        invert = method.invert
        method.invert = lambda g, c, x: invert(g, c, x, lambda step: stages.append(step.stage))
        return method

    monkeypatch.setattr(texture, "load_method", watched)
    edit = edit_of(
        editor(), picture=red(tmp_path / "red.png"), steps=3, method_options=QUICK, strength=0.2
    )
    editor().apply(subject, edit)
    assert stages == ["final"] * 3


def test_opacity_and_mask_say_what_is_painted(subject: Subject, tmp_path: Path) -> None:
    capture = subject.capture
    assert capture is not None
    whole = edit_of(editor(), picture=red(tmp_path / "red.png"), strength=0.5)
    half = texture._painted(capture, whole)
    expected = (capture.images + torch.tensor([1.0, -1.0, -1.0])[:, None, None]) / 2
    assert torch.allclose(half, expected, atol=1e-6)
    masked = whole.model_copy(update={"mask": Path(patch(tmp_path / "mask.png")), "strength": 1.0})
    found = texture._painted(capture, masked)
    assert torch.equal(found[..., :10, :], capture.images[..., :10, :])
    assert float(found[0, 0, 15, 15]) == 1.0


def test_a_frame_can_be_chosen(subject: Subject) -> None:
    capture = toy_capture(toy(), 3)
    assert texture._row(capture, None) == 1
    assert texture._row(capture, "view002.png") == 2
    with pytest.raises(ConfigError, match=r"inverted no 'view02\.png'; did you mean"):
        texture._row(capture, "view02.png")


def test_a_generator_is_untuned_for_a_while(subject: Subject) -> None:
    generator = subject.generator
    with untuned(generator, subject.inversion):
        assert torch.allclose(generator.background, toy().background, atol=1e-6)
        assert not generator.tuned
    assert generator.tuned


def _fails(error: type[InvError], said: str, call: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_impossible_wishes_are_refused(subject: Subject, tmp_path: Path) -> None:
    picture = red(tmp_path / "red.png")
    plain = edit_of(editor(), picture=picture)
    bare = replace(subject, capture=None)
    _fails(InputError, "photo can't be had", lambda: editor().apply(bare, plain))
    nowhere = edit_of(editor(), picture=str(tmp_path / "none.png"))
    _fails(InputError, r"none\.png: can't be read", lambda: editor().apply(subject, nowhere))
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "black.png")
    black = edit_of(editor(), picture=picture, mask=str(tmp_path / "black.png"))
    _fails(InputError, "black all over", lambda: editor().apply(subject, black))
    _fails(
        ConfigError, "method_options.coarse: the coarse fit is the run's own",
        lambda: edit_of(editor(), picture=picture, method_options={"coarse": {}}),
    )  # fmt: skip
    _fails(ConfigError, "strength", lambda: edit_of(editor(), picture=picture, strength=2))
