"""The contract of editors: what fit finds, what apply returns, and their record."""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pydantic import Field
from torch import Tensor

from inv3d.core.config import PluginConfig, build_config
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made
from inv3d.core.weights.tensors import write_tensors
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_latents

CHUNKS = 3


class AxesConfig(PluginConfig):
    samples: int = Field(60, description="draws of w")


class Move(PluginConfig):
    component: int = Field(0, ge=0, description="which")
    by: float = Field(1.0, description="standard deviations")


class Axes(Editor[AxesConfig, Move]):
    """Principal axes of W."""

    name = "axes"
    Config = AxesConfig
    Edit = Move

    def fit(self, generator: Generator, context: Context) -> Iteration[Progress, None, Directions]:
        rows: list[Tensor] = []
        for step in range(CHUNKS):
            z = context.randn(
                (self.config.samples // CHUNKS, generator.spec.z_dim), torch.zeros(())
            )
            rows.append(generator.map(z)[:, 0])
            yield Progress("sample", step, CHUNKS, {}, {}, 0.0)
        w = torch.cat(rows)
        _, scale, axes = torch.linalg.svd(w - w.mean(0), full_matrices=False)
        tensors = {"axes": axes, "scale": scale / len(w) ** 0.5}
        spec = generator.spec
        return Directions(self.name, type(generator).name, spec.fingerprint, tensors, {"w": len(w)})

    def apply(
        self,
        subject: Subject,
        edit: Move,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        assert directions is not None
        directions.check_generator(subject.generator)
        axis, scale = (directions.tensors[n][edit.component] for n in ("axes", "scale"))
        return self.edited(subject, edit, ws=subject.inversion.ws + edit.by * scale * axis)


def _fitted(generator: ToyGenerator) -> tuple[Axes, Directions, list[Progress]]:
    editor = Axes.create(build_config(AxesConfig, {}, "editor axes"))
    steps, log = editor.fit(generator, Context.create(seed=1)), []
    while True:
        try:
            log.append(next(steps))
        except StopIteration as end:
            return editor, end.value, log


def _subject(generator: ToyGenerator) -> Subject:
    inversion = Inversion(
        ws=toy_latents(generator, 3, motion=0.5),
        cameras=generator.spec.camera.orbit(torch.linspace(0.5, -0.5, 3)),
        generator="toy",
        fingerprint=generator.spec.fingerprint,
        history=(Made("method", "multilatent"),),
    )
    return Subject(generator, inversion)


@torch.no_grad()
def test_an_edit_is_an_inversion_that_says_what_made_it(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    editor, directions, log = _fitted(generator)
    assert [p.step for p in log] == [0, 1, 2]
    directions.save(tmp_path / "axes.safetensors")
    directions = Directions.load(tmp_path / "axes.safetensors")
    assert directions.facts == {"w": 60} and directions.editor == "axes"
    subject = _subject(generator)
    edited = editor.apply(subject, Move(component=1, by=2.0), directions)
    moved = edited.ws - subject.inversion.ws
    assert torch.allclose(moved.norm(dim=2), 2 * directions.tensors["scale"][1])
    assert subject.inversion.history == edited.history[:1]
    assert edited.history[1] == Made(
        "editor", "axes", None, {"component": 1, "by": 2.0}, subject.inversion.digest()
    )


@torch.no_grad()
def test_directions_of_another_generator_are_refused() -> None:
    editor, directions, _ = _fitted(ToyGenerator(ToyConfig()))
    other = _subject(ToyGenerator(ToyConfig(seed=1)))
    with pytest.raises(WeightsError, match=r"directions of axes: for generator toy, .*fit them"):
        editor.apply(other, Move(), directions)


def test_other_files_are_no_directions(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"x": torch.zeros(1)}, {"kind": "trained"})
    with pytest.raises(WeightsError, match=r"x\.safetensors: holds no directions of an editor"):
        Directions.load(tmp_path / "x.safetensors")


def test_an_editor_without_directions_says_so() -> None:
    class Paint(Editor[PluginConfig, PluginConfig]):
        name = "paint"
        needs_directions = False

        def apply(
            self,
            subject: Subject,
            edit: PluginConfig,
            directions: Directions | None = None,
            others: Sequence[Directions] = (),
        ) -> Inversion:
            return self.edited(subject, edit, offset={"looks": torch.ones(1, 8, 5)})

    generator = ToyGenerator(ToyConfig())
    editor = Paint.create(PluginConfig())
    with pytest.raises(UnsupportedError, match="editor paint: has nothing to fit"):
        next(editor.fit(generator, Context.create()))
    assert set(editor.apply(_subject(generator), PluginConfig()).offset) == {"looks"}
