"""Editing a run: a new run directory, the parent stays."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.arguments import expect
from inv3d.core.border import check_edited
from inv3d.core.camera import Camera
from inv3d.core.config import build_config
from inv3d.core.editor import (
    STRENGTH,
    AnyEditor,
    Directions,
    Subject,
    check_partners,
    find_directions,
    load_editor,
)
from inv3d.core.errors import ConfigError, InvError, Note, UsageError
from inv3d.core.files import file_digest
from inv3d.core.generator import Generator
from inv3d.core.inversion import FILE, Inversion
from inv3d.core.inverter import Diagnostic
from inv3d.io.images import Frame
from inv3d.io.video import write_video
from inv3d.report import pictures as pics
from inv3d.report.edits import Palette, rising, side_by_side, strength_frames, views
from inv3d.report.orbit import default_orbit, orbit_path
from inv3d.report.tables import degrees
from inv3d.rundir.directory import RunDirectory, check_spared
from inv3d.rundir.files import BEFORE_AFTER, RECORD, STRENGTH_VIDEO
from inv3d.rundir.frames import Frames
from inv3d.rundir.lock import held
from inv3d.rundir.opening import Run, open_generator, open_run, run_capture
from inv3d.rundir.record import (
    EDIT,
    GeneratorPart,
    Origin,
    PluginPart,
    new_record,
    provenance,
    read_part,
)
from inv3d.runs import finish
from inv3d.runs.conclude import conclude

SHOWN_YAWS = (0.0, 40.0, -40.0)
VIDEO_FRAMES = 36
FPS = 18
# one or several
Paths = Path | str | Sequence[Path | str]


@dataclass(frozen=True)
class Edit:
    """One edit of several.

    Attributes:
        options: of the edit, plain values.
        name: that it was asked for by, or empty.
    """

    options: Mapping[str, Any]
    name: str = ""


@dataclass(frozen=True)
class Edited:
    """What edits made of a run.

    Attributes:
        subject: what went in.
        inversion: what came out.
        generator: tuned for it.
        notices: what the user should know.
    """

    subject: Subject
    inversion: Inversion
    generator: Generator
    notices: tuple[str, ...]


class Editing:
    """A run, and an editor that edits it.

    Args:
        run: loaded.
        editor: by name.
        options: of the editor itself.
        directions: a file of them, or None for those that are known here.
        others: files of directions that stay as they are; one or several.
        partners: other runs that take part; one or several.

    Raises:
        ConfigError: where `run` is no run.
        InvError: where the editor can't work on this run.
    """

    def __init__(
        self,
        run: Run,
        editor: str,
        options: Mapping[str, Any] | None = None,
        *,
        directions: Path | str | None = None,
        others: Paths = (),
        partners: Paths = (),
    ) -> None:
        expect("run", run, Run, "a Run, as inv3d.open_run(directory) returns it")
        self.run = run
        self.partners = _paths(partners)
        self.editor: AnyEditor = load_editor(editor, options)
        device = run.generator.device
        taking_part = tuple(_subject(open_run(path, device)) for path in self.partners)
        self.frames: Frames | None = None
        capture = None
        if self.editor.needs_capture:
            self.frames = run_capture(run)
            capture = self.frames[0][self.frames[1]]
        self.subject = replace(_subject(run), capture=capture, partners=taking_part)
        check_partners(self.editor, self.subject)
        own = None if directions is None else Path(directions)
        self.directions = find_directions(self.editor, run.generator, own)
        self.others = tuple(Directions.load(path) for path in _paths(others))
        for other in self.others:
            other.check_generator(run.generator)

    @property
    def palette(self) -> Palette:
        """The editor with what it edits, for pictures."""
        return Palette(self.editor, self.subject, self.directions, self.others)

    def reopen(self, inversion: Inversion) -> Generator:
        """Build the generator that an inversion needs, tuned for it."""
        generator = self.reopen_untuned()
        inversion.tune(generator)
        return generator

    def reopen_untuned(self) -> Generator:
        """Build the generator of the run as it was before any tuning."""
        record, where = self.run.record, self.run.directory
        part = read_part(GeneratorPart, record["generator"], where / RECORD)
        return open_generator(part, where, self.run.generator.device)

    def apply(self, edits: Sequence[Edit]) -> Edited:
        """Apply edits, one after another.

        Raises:
            ConfigError: where they aren't edits, or an option is unknown or out of range.
            InvError: where an edit can't be made.
        """
        subject, notices = self.subject, []
        for edit in _as_edits(edits):
            options = build_config(self.editor.Edit, edit.options, f"editor {self.editor.name}")
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                made = self.editor.apply(subject, options, self.directions, self.others)
            notices += [str(w.message) for w in said if _is_notice(w.category)]
            before = subject.inversion
            found = check_edited(made, before, subject.generator, self.editor.name)
            same = found.generator_delta is before.generator_delta
            generator = subject.generator if same else self.reopen(found)
            subject = replace(subject, inversion=found, generator=generator)
        return Edited(
            self.subject, subject.inversion, subject.generator, tuple(dict.fromkeys(notices))
        )


def _paths(given: Paths) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, str | Path) else tuple(map(Path, given))


def _as_edits(edits: Any) -> list[Edit]:
    """Return edits as a list, and refuse what isn't one.

    Raises:
        ConfigError: naming its type.
    """
    listed = list(edits) if isinstance(edits, Iterable) else None
    wrong = [edits] if listed is None else [e for e in listed if not isinstance(e, Edit)]
    if listed is None or wrong:
        among = "" if listed is None else " among them"
        raise ConfigError(
            f"edits: found a value of type {type(wrong[0]).__name__}{among}, expected a list, such "
            "as [inv3d.Edit({'strength': 1.0})]"
        )
    return listed


def _is_notice(category: type[Warning]) -> bool:
    return issubclass(category, UserWarning) and not issubclass(category, Note)


def _subject(run: Run) -> Subject:
    return Subject(run.generator, run.inversion)


def write_edited(
    editing: Editing,
    edits: Sequence[Edit],
    out: Path,
    *,
    overwrite: bool = False,
    pictures: bool = True,
    report: bool = True,
    command: Sequence[str] = (),
    say: Callable[[str], None],
) -> tuple[RunDirectory, dict[str, Any] | None]:
    """Apply edits and write a new run directory.

    Args:
        editing: the run and the editor.
        edits: one after another.
        out: the new directory.
        overwrite: replace a run that is there.
        pictures: make previews, videos and mesh.
        report: measure and write a report, where the frames can be had.
        command: the command line, for the record.
        say: is told what happens.

    Returns:
        The directory, and the metrics where there are any.

    Raises:
        InvError: where an edit can't be made, in which case no directory is left.
    """
    partners = {path: f"the run that --with {path} names" for path in editing.partners}
    check_spared(out, {**partners, editing.run.directory: "the run itself"})
    started = time.perf_counter()
    edited = editing.apply(edits)
    seconds = {EDIT: time.perf_counter() - started}
    for notice in edited.notices:
        say(f"warning: {notice}")
    record = _record(editing, edits, edited, command)
    directory = RunDirectory.create(out, record, overwrite=overwrite)
    try:
        with held(directory.path):
            edited.inversion.save(directory.path)
            directory.begun()
            frames = _frames(editing, say) if report else None
            if frames is None:
                directory.finished(seconds)
                return directory, None
            metrics = conclude(
                directory,
                lambda: _report(editing, edits, edited, directory, frames, seconds, pictures, say),
                seconds,
            )
            return directory, metrics
    except BaseException:
        directory.abandon()
        raise


def _frames(editing: Editing, say: Callable[[str], None]) -> Frames | None:
    """Read the frames of the run; nothing where they can't be had, which ends no edit."""
    try:
        return editing.frames or run_capture(editing.run)
    except InvError as error:
        say(f"warning: no report, for want of the frames ({error})")
        return None


def _report(
    editing: Editing,
    edits: Sequence[Edit],
    edited: Edited,
    directory: RunDirectory,
    frames: Frames,
    seconds: dict[str, float],
    pictures: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    shown: list[Diagnostic] = []
    if pictures:
        say("rendering before and after")
        shown = before_and_after(edited)
        write_turntables(edited, directory.path / BEFORE_AFTER)
        write_rising(editing, edits, directory.path / STRENGTH_VIDEO)
    return finish.finish_run(
        directory.path,
        edited.generator,
        edited.inversion,
        *frames,
        device=edited.generator.device,
        seconds=seconds,
        pictures=pictures,
        diagnostics=shown,
        diagnostics_title="What the edit changed",
        on_progress=say,
    )


def before_and_after(edited: Edited) -> list[Diagnostic]:
    """Return views before and after, for the report."""
    camera = shown_cameras(edited.generator, SHOWN_YAWS)
    labels = [f"yaw {degrees(yaw)}" for yaw in camera.yaw.rad2deg().tolist()]
    pairs = (("before", edited.subject.generator, edited.subject.inversion),
             ("after", edited.generator, edited.inversion))  # fmt: skip
    return [
        Diagnostic(title, views(generator, inversion, camera), labels)
        for title, generator, inversion in pairs
    ]


def shown_cameras(generator: Generator, yaws: Sequence[float]) -> Camera:
    """Return cameras at yaws (degrees), those beyond the generator's range at its end."""
    prior = generator.spec.camera
    angles: Tensor = torch.tensor(list(yaws)).clamp(-prior.yaw_deg, prior.yaw_deg)
    return prior.orbit(angles.deg2rad())


def write_turntables(edited: Edited, path: Path) -> None:
    """Write a video: the head before the edit beside the head after it, turning."""
    prior = edited.generator.spec.camera
    camera = orbit_path(default_orbit(prior), prior, VIDEO_FRAMES)
    both = (
        pics.colour_frames(views(generator, inversion, camera))
        for generator, inversion in (
            (edited.subject.generator, edited.subject.inversion),
            (edited.generator, edited.inversion),
        )
    )
    _write_video(path, side_by_side(*both))


def write_rising(editing: Editing, edits: Sequence[Edit], path: Path) -> None:
    """Write a video of the last edit's strength going up, down and back, where that's quick.

    Where a strength can't be negative, it goes up twice.
    """
    editor, options = editing.editor, edits[-1].options
    if STRENGTH not in editor.Edit.model_fields or not editor.quick:
        return
    palette = editing.palette
    if len(edits) > 1:
        before = editing.apply(edits[:-1])
        subject = replace(editing.subject, inversion=before.inversion, generator=before.generator)
        palette = replace(palette, subject=subject)
    strength = getattr(build_config(editor.Edit, options, f"editor {editor.name}"), STRENGTH)
    strengths = rising(strength, VIDEO_FRAMES)
    try:
        build_config(editor.Edit, {**options, STRENGTH: -strength}, f"editor {editor.name}")
    except ConfigError:
        strengths = [abs(value) for value in strengths]
    camera = shown_cameras(editing.run.generator, SHOWN_YAWS[:2])
    _write_video(path, list(strength_frames(palette, options, strengths, camera, editing.reopen)))


def _write_video(path: Path, frames: Sequence[Frame]) -> None:
    try:
        write_video(path, list(frames), FPS)
    except UsageError:
        write_video(path.with_suffix(".gif"), list(frames), FPS)


def _record(
    editing: Editing, edits: Sequence[Edit], edited: Edited, command: Sequence[str]
) -> dict[str, Any]:
    """Describe the edited run: its parent's origin, and what was done."""
    parent, where = editing.run.record, editing.run.directory
    name = editing.editor.name
    of_parent = read_part(PluginPart, {"options": {}, **parent["method"]}, where / RECORD)
    part = read_part(GeneratorPart, parent["generator"], where / RECORD)
    if part.weights is not None and not part.weights.is_absolute():
        part = part.model_copy(update={"weights": (where / part.weights).absolute()})
    history = edited.inversion.history
    made = PluginPart(
        name=f"{of_parent.name} + {name}",
        options=dict(history[-1].options) if history else {},
        **provenance("editors", name, type(editing.editor)),
    )
    origin = Origin.model_validate(
        {"method": made.model_dump(), "generator": part.model_dump(), "input": parent["input"]}
    )
    record = new_record(origin, warnings=edited.notices, command=command)
    own = {key: parent[key] for key in ("seed", "device", "losses") if key in parent}
    record |= own | {
        EDIT: {
            "editor": name,
            "edits": [{"name": e.name, "options": dict(e.options)} for e in edits],
            "parent": {"path": str(where.absolute()), "sha256": file_digest(where / FILE)},
            "partners": [
                {"path": str(path.absolute()), "sha256": file_digest(path / FILE)}
                for path in editing.partners
            ],
        }
    }
    return record
