"""Pictures of edits: sheets of directions and strengths, before beside after, rising strength."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.border import check_edited
from inv3d.core.camera import Camera
from inv3d.core.config import build_config
from inv3d.core.editor import STRENGTH, AnyEditor, Directions, Subject, scaled
from inv3d.core.errors import UnsupportedError
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.io.images import Frame
from inv3d.report import pictures as pics
from inv3d.report.views import render_views

# the mode of edits that go to a strength, and so change the head at 0 too
_TO = "to"


@dataclass(frozen=True)
class Palette:
    """An editor with what it edits, for pictures of several edits.

    Attributes:
        editor: that edits.
        subject: what it edits.
        directions: that it needs, or None.
        others: directions that stay.
    """

    editor: AnyEditor
    subject: Subject
    directions: Directions | None = None
    others: Sequence[Directions] = ()

    def edited(self, options: Mapping[str, Any]) -> Inversion:
        """Return the inversion after an edit; warnings are left to whoever keeps the result."""
        edit = build_config(self.editor.Edit, options, f"editor {self.editor.name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = self.editor.apply(self.subject, edit, self.directions, self.others)
        subject = self.subject
        return check_edited(made, subject.inversion, subject.generator, self.editor.name)

    def check_strength(self, who: str) -> None:
        """Refuse an editor whose edits have no strength.

        Raises:
            UnsupportedError: where they haven't.
        """
        if STRENGTH not in self.editor.Edit.model_fields:
            raise UnsupportedError(
                f"{who}: edits of {self.editor.name} have no strength to change; take an editor of "
                "directions"
            )


def views(generator: Generator, inversion: Inversion, camera: Camera) -> Tensor:
    """Return pictures [N, 3, H, W] in [-1, 1] of N cameras, on the CPU."""
    parts = render_views(generator, inversion, camera)
    return torch.cat([seen.require("image").float().cpu() for _, seen in parts])


def tuned_for(
    palette: Palette, inversion: Inversion, reopen: Callable[[Inversion], Generator]
) -> Generator:
    """Return a generator that renders an edited inversion: the subject's, where that does.

    Args:
        palette: whose subject was edited.
        inversion: after the edit.
        reopen: builds the generator that an inversion needs.
    """
    subject = palette.subject
    same = inversion.generator_delta is subject.inversion.generator_delta
    return subject.generator if same else reopen(inversion)


def edit_sheet(
    palette: Palette,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    strengths: Sequence[float],
    camera: Camera,
    reopen: Callable[[Inversion], Generator],
    on_row: Callable[[str], None] = lambda title: None,
) -> Frame:
    """Return a picture of edits: a row an edit, a group of views a strength.

    Args:
        palette: the editor and what it edits.
        rows: title and options of strength 1.
        strengths: what the options are multiplied with; 0 is the head as it is, unless the edit
            goes to a strength.
        camera: views of every edit.
        reopen: builds the generator that an inversion needs.
        on_row: is told of every row.
    """
    palette.check_strength("--sheet")
    plain = pics.colour_frames(views(palette.subject.generator, palette.subject.inversion, camera))
    lines = []
    for title, options in rows:
        on_row(title)
        line: list[Frame] = []
        for strength in strengths:
            frames = plain
            if strength or options.get("mode") == _TO:
                inversion = palette.edited(scaled(options, strength))
                generator = tuned_for(palette, inversion, reopen)
                frames = pics.colour_frames(views(generator, inversion, camera))
            line += [
                pics.labelled(frame, f"{title} {strength:+g}" if i == 0 else " ")
                for i, frame in enumerate(frames)
            ]
        lines.append(line)
    return pics.tile(lines)


def side_by_side(first: Sequence[Frame], second: Sequence[Frame]) -> list[Frame]:
    """Return frames of two videos of one length beside each other."""
    return [np.concatenate(pair, axis=1) for pair in zip(first, second, strict=True)]


def rising(strength: float, frames: int) -> list[float]:
    """Return strengths that swing from 0 to a strength, to its opposite, and back to 0."""
    phase = np.arange(frames) * (2 * np.pi / frames)
    return [float(strength * value) for value in np.sin(phase)]


def strength_frames(
    palette: Palette,
    options: Mapping[str, Any],
    strengths: Sequence[float],
    camera: Camera,
    reopen: Callable[[Inversion], Generator],
) -> Iterator[Frame]:
    """Yield a frame a strength: all views of the edit beside each other.

    Args:
        palette: the editor and what it edits.
        options: of the edit; its strength is replaced.
        strengths: of the frames.
        camera: views.
        reopen: builds the generator that an inversion needs.
    """
    palette.check_strength("a video of rising strength")
    for strength in strengths:
        inversion = palette.edited({**options, STRENGTH: strength})
        generator = tuned_for(palette, inversion, reopen)
        yield np.concatenate(pics.colour_frames(views(generator, inversion, camera)), axis=1)
