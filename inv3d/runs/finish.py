"""What is written at the end of a run: metrics, pictures, video, mesh, report."""

from __future__ import annotations

import itertools
import re
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, evenly_by_angle
from inv3d.core.errors import InvError, UsageError
from inv3d.core.files import read_json, write_json, write_text
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Diagnostic
from inv3d.io.images import Frame
from inv3d.io.mesh import extract_mesh, write_mesh
from inv3d.io.video import write_video
from inv3d.report import pictures as pics
from inv3d.report import plots
from inv3d.report.columns import frame_columns
from inv3d.report.html import (
    KINDS,
    Comparison,
    DiagnosticRow,
    NovelView,
    Page,
    diagnostic_row,
    render_page,
)
from inv3d.report.metrics import evaluate
from inv3d.report.novel import novel_views
from inv3d.report.orbit import default_orbit, orbit_path, strip
from inv3d.report.tables import duration
from inv3d.report.views import first_alike, render_views
from inv3d.report.warnings import find_warnings
from inv3d.rundir.files import (
    LOG,
    MESH,
    METRICS,
    PREVIEWS,
    RECORD,
    REPORT,
    VIDEO,
    VIDEO_WITHOUT_ENCODER,
)
from inv3d.rundir.log import read_log
from inv3d.rundir.opening import method_of

CURVES = "curves"
ORBIT_FRAMES = 72
FPS = 24
SHOWN_CHOSEN = 12
SHOWN_OTHERS = 6
# shown elsewhere on the page
_RECORD_LEFT_OUT = ("config", "warnings", "seconds", "losses")


@dataclass(frozen=True)
class Ending:
    """What every piece of the ending needs."""

    directory: Path
    generator: Generator
    inversion: Inversion
    capture: Capture
    say: Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """Pictures that were made, for the report; nothing where none were wanted."""

    comparisons: Sequence[Comparison] = ()
    novel: Sequence[NovelView] = ()
    diagnostics: Sequence[DiagnosticRow] = ()
    codec: str = ""
    warnings: Sequence[str] = ()


class Shown:
    """Pictures of the frames that are shown, out of those that were rendered to be measured.

    Args:
        rows: numbers of the frames.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = list(rows)
        self._images: dict[int, Tensor] = {}

    def add(self, frames: slice, images: Tensor) -> None:
        """Keep those pictures [N, 3, H, W] of consecutive frames that are shown, on the CPU."""
        wanted = [row for row in self.rows if frames.start <= row < frames.stop]
        for row in wanted:
            self._images[row] = images[row - frames.start].to("cpu", copy=True)

    def images(self) -> Tensor:
        """Return the pictures of all rows, [R, 3, H, W]."""
        return torch.stack([self._images[row] for row in self.rows])


def finish_run(
    directory: Path,
    generator: Generator,
    inversion: Inversion,
    capture: Capture,
    chosen: list[int],
    held_out: list[int],
    *,
    device: torch.device,
    seconds: dict[str, float],
    pictures: bool = True,
    diagnostics: Sequence[Diagnostic] = (),
    diagnostics_title: str = "How the method got there",
    on_progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure an inversion and write metrics.json, previews, orbit.mp4, mesh.glb, report.html.

    Args:
        directory: of the run; run.json and steps.jsonl are read where they exist.
        generator: tuned for the inversion, on `device`.
        inversion: the result.
        capture: all frames at the generator's resolution.
        chosen: frames that were inverted.
        held_out: frames that the method never saw.
        device: where everything runs.
        seconds: stage -> seconds so far.
        pictures: also make previews, video and mesh.
        diagnostics: pictures that the method has to show; left out with the others.
        diagnostics_title: over them on the page.
        on_progress: is told what happens, a line a step.

    Returns:
        The contents of metrics.json.

    Raises:
        RunError: where a file can't be written.
        ContractError: where a diagnostic has more or fewer labels than images.
    """
    ending = Ending(Path(directory), generator, inversion, capture, on_progress)
    log = read_log(ending.directory / LOG)
    on_progress("measuring")
    started = time.perf_counter()
    shown = Shown(_shown_rows(capture, chosen, held_out) if pictures else [])
    metrics = evaluate(generator, inversion, capture, chosen, held_out, device, on_images=shown.add)
    metrics["seconds"] = {**seconds, "metrics": time.perf_counter() - started}
    said = _record(ending).get("warnings", [])
    found = find_warnings(generator, inversion, capture, metrics, log)
    # those of the cameras were said when the run began
    metrics["warnings"] = list(dict.fromkeys([*said, *found]))
    made = Made()
    if pictures:
        started = time.perf_counter()
        made = _make_pictures(ending, metrics, shown, diagnostics)
        metrics["seconds"]["pictures"] = time.perf_counter() - started
        metrics["warnings"] += made.warnings
    write_json(ending.directory / METRICS, metrics)
    on_progress("writing the report")
    _write_report(ending, metrics, made, log, diagnostics_title)
    return metrics


def _make_pictures(
    ending: Ending,
    metrics: Mapping[str, Any],
    shown: Shown,
    diagnostics: Sequence[Diagnostic],
) -> Made:
    ending.say("rendering views")
    comparisons = compare_views(ending, metrics, shown)
    novel = novel_views(ending.generator, ending.inversion)
    rows = [diagnostic_row(diagnostic) for diagnostic in diagnostics]
    _write_previews(ending, comparisons, novel, rows)
    warnings: list[str] = []
    codec = _write_orbit(ending, novel, warnings)
    _write_mesh(ending, warnings)
    return Made(comparisons, novel, rows, codec, warnings)


def _write_report(
    ending: Ending,
    metrics: Mapping[str, Any],
    made: Made,
    log: Sequence[Mapping[str, Any]],
    diagnostics_title: str,
) -> None:
    curves = plots.loss_curves(log)
    angles = _angle_figures(metrics, ending.inversion)
    figures = [*curves.values(), *angles.values()]
    if made.novel and figures:
        pics.save_png(ending.directory / PREVIEWS / f"{CURVES}.png", plots.raster(figures))
    page = Page(
        title=title_of(ending.inversion, Path(ending.capture.source).name),
        facts=_facts(ending, metrics),
        metrics=metrics,
        seconds=metrics["seconds"],
        config=ending.inversion.history[-1].options if ending.inversion.history else {},
        record=_shown_record(_record(ending)),
        warnings=metrics["warnings"],
        comparisons=made.comparisons,
        novel=made.novel,
        diagnostics=made.diagnostics,
        diagnostics_title=diagnostics_title,
        losses={n: plots.inline_svg(f, f"loss curves of stage {n}") for n, f in curves.items()},
        angles={n: plots.inline_svg(f, n) for n, f in angles.items()},
        video=ending.directory / VIDEO if made.codec == "h264" else None,
        files=[name for name in KINDS if (ending.directory / name).is_file()],
    )
    write_text(ending.directory / REPORT, render_page(page))


def compare_views(ending: Ending, metrics: Mapping[str, Any], shown: Shown) -> list[Comparison]:
    """Return target, reconstruction and difference of the frames that are shown."""
    if not shown.rows:
        return []
    targets, images = ending.capture.images[shown.rows], shown.images()
    frames = zip(
        pics.colour_frames(targets),
        pics.colour_frames(images),
        pics.difference_frames(images, targets),
        shown.rows,
        strict=True,
    )
    return [Comparison(t, r, d, metrics["per_frame"][i]) for t, r, d, i in frames]


def _shown_rows(capture: Capture, chosen: Sequence[int], held_out: Sequence[int]) -> list[int]:
    """The frames that are compared on the page: chosen, and some that were held out."""
    return [
        *_spread(capture, chosen, SHOWN_CHOSEN),
        *_spread(capture, held_out, SHOWN_OTHERS),
    ]


def _spread(capture: Capture, rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly by angle, from the subject's right to the left."""
    if len(rows) > count:
        yaw = capture.camera.yaw[torch.tensor(rows)]
        rows = [rows[i] for i in dict.fromkeys(evenly_by_angle(yaw, count))]
    return sorted(rows, key=lambda i: float(capture.camera.yaw[i]))


def orbit_frames(
    generator: Generator,
    inversion: Inversion,
    camera: Camera,
    known: tuple[Camera, Sequence[Frame]] | None = None,
) -> list[Frame]:
    """Return the pictures of a camera path; a camera that comes again isn't rendered again.

    Args:
        generator: tuned for the inversion.
        inversion: the result.
        camera: of the path.
        known: cameras whose pictures there are already, and these.
    """
    cameras, pictures = (
        (camera, []) if known is None else (Camera.cat([known[0], camera]), known[1])
    )
    frames = dict(enumerate(pictures))
    numbers = first_alike(cameras)
    missing = sorted(set(numbers) - set(frames))
    for views, seen in render_views(generator, inversion, cameras[missing]):
        made = pics.colour_frames(seen.require("image"))
        frames |= zip(missing[views], made, strict=True)
    return [frames[number] for number in numbers[len(pictures) :]]


def _write_orbit(ending: Ending, novel: Sequence[NovelView], warnings: list[str]) -> str:
    """Write the turntable and return its codec; a GIF where MP4 can't be made."""
    ending.say("rendering the turntable")
    prior = ending.generator.spec.camera
    camera = orbit_path(default_orbit(prior), prior, ORBIT_FRAMES)
    known = strip(prior), [view.image for view in novel]
    frames = orbit_frames(ending.generator, ending.inversion, camera, known)
    try:
        return write_video(ending.directory / VIDEO, frames, FPS)
    except UsageError as error:
        warnings.append(f"no {VIDEO} ({error}); {VIDEO_WITHOUT_ENCODER} was written instead")
        return write_video(ending.directory / VIDEO_WITHOUT_ENCODER, frames, FPS)


def _write_mesh(ending: Ending, warnings: list[str]) -> None:
    ending.say("extracting the mesh")
    front = ending.generator.spec.camera.front()
    scene = ending.inversion.scene_for(ending.generator, front)
    try:
        mesh = extract_mesh(ending.generator, scene)
    except InvError as error:  # no surface, or a generator without density
        warnings.append(f"no mesh: {error}")
        return
    write_mesh(mesh, ending.directory / MESH)


def _angle_figures(metrics: Mapping[str, Any], inversion: Inversion) -> dict[str, Any]:
    yaws = inversion.cameras.yaw.rad2deg().tolist()
    order = sorted(frame_columns(metrics), key=lambda column: column.key != "identity")
    figures = {
        f"{c.label} against the angle": plots.angle_curve(
            metrics["per_frame"], c.key, f"{c.label} ({c.unit})" if c.unit else c.label, yaws
        )
        for c in order
        if c.key not in ("psnr", "ms_ssim")
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _write_previews(
    ending: Ending,
    comparisons: Sequence[Comparison],
    novel: Sequence[NovelView],
    diagnostics: Sequence[DiagnosticRow],
) -> None:
    sheets = {"novel_views": [[view.image for view in novel]]}
    if comparisons:
        columns = [[c.target, c.reconstruction, c.difference] for c in comparisons]
        sheets["targets_vs_reconstructions"] = [list(row) for row in zip(*columns, strict=True)]
    depths = [view.depth for view in novel if view.depth is not None]
    if depths:
        sheets["depth"] = [depths, [view.shape for view in novel if view.shape is not None]]
    for row in diagnostics:
        if row.pictures:
            sheets[_file_name(row.title, {*sheets, CURVES})] = [_labelled(row)]
    for name, rows in sheets.items():
        pics.save_png(ending.directory / PREVIEWS / f"{name}.png", pics.tile(rows))


def _labelled(row: DiagnosticRow) -> list[Frame]:
    return [pics.labelled(frame, text) if text else frame for frame, text in row.labelled()]


def _file_name(title: str, taken: Collection[str]) -> str:
    """Return the name of a file for a title, one that no other picture has."""
    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "diagnostic"
    names = (name if count == 1 else f"{name}_{count}" for count in itertools.count(1))
    return next(name for name in names if name not in taken)


def _record(ending: Ending) -> dict[str, Any]:
    path = ending.directory / RECORD
    return read_json(path) if path.is_file() else {}


def _shown_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's end has of run.json: not what stands elsewhere, nor names by the hundred."""
    shown = {name: value for name, value in record.items() if name not in _RECORD_LEFT_OUT}
    if "method" in record:
        shown["method"] = {k: v for k, v in record["method"].items() if k != "options"}
    if "input" in record:
        names = record["input"]["views"]
        told = record["input"].get("cameras") is not None
        shown["input"] = record["input"] | {
            "cameras": "told by an estimator" if told else "the capture's",
            "views": f"{len(names)} frames",
            "chosen": ", ".join(names[row] for row in record["input"]["chosen"]),
            "held_out": f"{len(record['input']['held_out'])} frames",
        }
    if record.get("command"):
        shown["command"] = shlex.join(record["command"])
    return shown


def _losses(record: Mapping[str, Any]) -> str:
    """The losses that ran, each with its weight, or with those of several stages."""
    losses: Mapping[str, Sequence[float]] = record.get("losses", {})
    said = ((name, " or ".join(f"{weight:g}" for weight in ws)) for name, ws in losses.items())
    return ", ".join(f"{weights} × {name}" for name, weights in said)


def title_of(inversion: Inversion, source: str) -> str:
    """Say what a result is, such as "interfacegan edit of the pti inversion of grace.png".

    Args:
        inversion: with its history.
        source: name of what was inverted, or empty.
    """
    edits = list(dict.fromkeys(made.name for made in inversion.history if made.kind == "editor"))
    made = next((m.name for m in reversed(inversion.history) if m.kind != "editor"), "")
    title = f"{made} inversion".strip() + (f" of {source}" if source else "")
    return f"{' and '.join(edits)} edit of the {title}" if edits else title


def _facts(ending: Ending, metrics: Mapping[str, Any]) -> dict[str, str]:
    views, record = metrics["views"], _record(ending)
    return {
        "method": method_of(record) if record else ending.inversion.method,
        "generator": ending.inversion.generator,
        "views": f"{views['chosen']} of {views['all']} ({views['held_out']} held out)",
        "latents": str(metrics["latents"]),
        "losses": _losses(record),
        "device": str(record.get("device", "")),
        "seed": str(record.get("seed", "")),
        "time": duration(sum(metrics["seconds"].values())),
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
    }
