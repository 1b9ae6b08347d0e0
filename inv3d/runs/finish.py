"""What is written at the end of a run: metrics, pictures, video, mesh, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, evenly_by_angle
from inv3d.core.errors import InputError, UsageError
from inv3d.core.files import read_json, write_json, write_text
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.io.images import Frame
from inv3d.io.mesh import extract_mesh, write_mesh
from inv3d.io.video import write_video
from inv3d.report import pictures as pics
from inv3d.report import plots
from inv3d.report.columns import frame_columns
from inv3d.report.html import KINDS, Comparison, NovelView, Page, render_page
from inv3d.report.metrics import evaluate
from inv3d.report.novel import novel_views
from inv3d.report.orbit import default_orbit, orbit_path
from inv3d.report.tables import duration
from inv3d.report.views import render_views
from inv3d.report.warnings import find_warnings
from inv3d.rundir.log import read_log
from inv3d.rundir.opening import METRICS, RECORD, method_of

LOG = "steps.jsonl"
REPORT = "report.html"
PREVIEWS = "previews"
ORBIT_FRAMES = 72
FPS = 24
SHOWN_CHOSEN = 12
SHOWN_OTHERS = 6
_RECORD_LEFT_OUT = ("config", "warnings", "seconds")


@dataclass(frozen=True)
class Job:
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
    codec: str = ""
    warnings: Sequence[str] = ()


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
        on_progress: is told what happens, a line a step.

    Returns:
        The contents of metrics.json.

    Raises:
        RunError: where a file can't be written.
    """
    job = Job(Path(directory), generator, inversion, capture, on_progress)
    log = read_log(job.directory / LOG)
    on_progress("measuring")
    started = time.perf_counter()
    metrics = evaluate(generator, inversion, capture, chosen, held_out, device)
    metrics["seconds"] = {**seconds, "metrics": time.perf_counter() - started}
    metrics["warnings"] = [
        *_record(job).get("warnings", []),
        *find_warnings(generator, inversion, capture, metrics, log),
    ]
    made = Made()
    if pictures:
        started = time.perf_counter()
        made = _make_pictures(job, metrics, chosen, held_out)
        metrics["seconds"]["pictures"] = time.perf_counter() - started
        metrics["warnings"] += made.warnings
    write_json(job.directory / METRICS, metrics)
    on_progress("writing the report")
    _write_report(job, metrics, made, log)
    return metrics


def _make_pictures(
    job: Job, metrics: Mapping[str, Any], chosen: Sequence[int], held_out: Sequence[int]
) -> Made:
    job.say("rendering views")
    comparisons = compare_views(job, metrics, chosen, held_out)
    novel = novel_views(job.generator, job.inversion)
    _write_previews(job, comparisons, novel)
    warnings: list[str] = []
    codec = _write_orbit(job, warnings)
    _write_mesh(job, warnings)
    return Made(comparisons, novel, codec, warnings)


def _write_report(
    job: Job, metrics: Mapping[str, Any], made: Made, log: Sequence[Mapping[str, Any]]
) -> None:
    curves = plots.loss_curves(log)
    angles = _angle_figures(metrics, job.inversion)
    figures = [*curves.values(), *angles.values()]
    if made.novel and figures:
        pics.save_png(job.directory / PREVIEWS / "curves.png", plots.raster(figures))
    page = Page(
        title=_title(job),
        facts=_facts(job, metrics),
        metrics=metrics,
        seconds=metrics["seconds"],
        config=job.inversion.history[-1].options if job.inversion.history else {},
        record={k: v for k, v in _record(job).items() if k not in _RECORD_LEFT_OUT},
        warnings=metrics["warnings"],
        comparisons=made.comparisons,
        novel=made.novel,
        losses={n: plots.inline_svg(f, f"loss curves of stage {n}") for n, f in curves.items()},
        angles={n: plots.inline_svg(f, n) for n, f in angles.items()},
        video=job.directory / "orbit.mp4" if made.codec == "h264" else None,
        files=[name for name in KINDS if (job.directory / name).is_file()],
    )
    write_text(job.directory / REPORT, render_page(page))


def compare_views(
    job: Job, metrics: Mapping[str, Any], chosen: Sequence[int], held_out: Sequence[int]
) -> list[Comparison]:
    """Return target, reconstruction and difference of chosen and of some held-out frames."""
    rows = [
        *_spread(job.capture, chosen, SHOWN_CHOSEN),
        *_spread(job.capture, held_out, SHOWN_OTHERS),
    ]
    if not rows:
        return []
    targets = job.capture.images[rows]
    seen = render_views(job.generator, job.inversion, job.capture.camera[rows])
    images = torch.cat([rendering.require("image").cpu() for _, rendering in seen])
    frames = zip(
        pics.colour_frames(targets),
        pics.colour_frames(images),
        pics.difference_frames(images, targets),
        rows,
        strict=True,
    )
    return [Comparison(t, r, d, metrics["per_frame"][i]) for t, r, d, i in frames]


def _spread(capture: Capture, rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly by angle, from the subject's right to the left."""
    if len(rows) > count:
        yaw = capture.camera.yaw[torch.tensor(rows)]
        rows = [rows[i] for i in dict.fromkeys(evenly_by_angle(yaw, count))]
    return sorted(rows, key=lambda i: float(capture.camera.yaw[i]))


def orbit_frames(generator: Generator, inversion: Inversion, camera: Camera) -> list[Frame]:
    """Return the pictures of a camera path."""
    frames: list[Frame] = []
    for _, seen in render_views(generator, inversion, camera):
        frames += pics.colour_frames(seen.require("image"))
    return frames


def _write_orbit(job: Job, warnings: list[str]) -> str:
    """Write the turntable and return its codec; a GIF where MP4 can't be made."""
    job.say("rendering the turntable")
    prior = job.generator.spec.camera
    camera = orbit_path(default_orbit(prior), prior, ORBIT_FRAMES)
    frames = orbit_frames(job.generator, job.inversion, camera)
    try:
        return write_video(job.directory / "orbit.mp4", frames, FPS)
    except UsageError as error:
        warnings.append(f"no orbit.mp4 ({error}); orbit.gif was written instead")
        return write_video(job.directory / "orbit.gif", frames, FPS)


def _write_mesh(job: Job, warnings: list[str]) -> None:
    job.say("extracting the mesh")
    front = job.generator.spec.camera.front()
    scene = job.inversion.scene_for(job.generator, front)
    try:
        write_mesh(extract_mesh(job.generator, scene), job.directory / "mesh.glb")
    except InputError as error:
        warnings.append(f"no mesh: {error}")


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
    job: Job, comparisons: Sequence[Comparison], novel: Sequence[NovelView]
) -> None:
    folder = job.directory / PREVIEWS
    if comparisons:
        columns = [[c.target, c.reconstruction, c.difference] for c in comparisons]
        sheet = pics.tile([list(row) for row in zip(*columns, strict=True)])
        pics.save_png(folder / "targets_vs_reconstructions.png", sheet)
    pics.save_png(folder / "novel_views.png", pics.tile([[v.image for v in novel]]))
    depths = [view.depth for view in novel if view.depth is not None]
    shapes = [view.shape for view in novel if view.shape is not None]
    if depths:
        pics.save_png(folder / "depth.png", pics.tile([depths, shapes]))


def _record(job: Job) -> dict[str, Any]:
    path = job.directory / RECORD
    return read_json(path) if path.is_file() else {}


def _title(job: Job) -> str:
    source = Path(job.capture.source).name
    return f"{job.inversion.method} inversion" + (f" of {source}" if source else "")


def _facts(job: Job, metrics: Mapping[str, Any]) -> dict[str, str]:
    views, record = metrics["views"], _record(job)
    return {
        "method": method_of(record) if record else job.inversion.method,
        "generator": job.inversion.generator,
        "views": f"{views['chosen']} of {views['all']} ({views['held_out']} held out)",
        "latents": str(metrics["latents"]),
        "device": str(record.get("device", "")),
        "seed": str(record.get("seed", "")),
        "time": duration(sum(metrics["seconds"].values())),
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
    }
