"""`3dinv render`: pictures, depth maps and videos of a finished run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.given import options_given
from inv3d.commands.numbers import finite
from inv3d.commands.output import print_json
from inv3d.commands.paths import PATH
from inv3d.core.errors import UsageError, suggest

if TYPE_CHECKING:
    from torch import Tensor

    from inv3d.core.camera import Camera, CameraPrior
    from inv3d.core.scene import Rendering
    from inv3d.io.images import Frame
    from inv3d.rundir.opening import Run

_STILLS = ("png", "npy")
_MOVING = ("mp4", "gif", "")
_COLUMNS = 8
# a GIF counts in hundredths of a second, and browsers slow frames of a single one down
_GIF_FPS = 50


@click.command("render")
@click.argument("run", type=PATH)
@click.option(
    "-o",
    "--out",
    required=True,
    type=PATH,
    help=".png, .mp4, .gif, .npy (raw depth), or a new folder for PNG files.",
)
@click.option(
    "--yaw-deg",
    type=float,
    callback=finite,
    multiple=True,
    help="Camera angle; repeat for more views.",
)
@click.option(
    "--pitch-deg",
    type=float,
    callback=finite,
    multiple=True,
    help="One, or one for every --yaw-deg.",
)
@click.option("--orbit", help="front-sweep, full or ellipse.  [default for videos: by generator]")
@click.option(
    "--camera",
    "camera_file",
    type=PATH,
    help="Cameras of a file (dataset.json, transforms.json, ...) or of a capture's folder or zip.",
)
@click.option(
    "--depth",
    is_flag=True,
    help="Render depth: bright is near; .npy holds distances along the unit ray in world units, 0 "
    "where there's no surface.",
)
@click.option(
    "--resolution",
    type=click.IntRange(8, 1024),
    help="Rays a side that are cast; the picture keeps its size.  [default: the generator's]",
)
@click.option(
    "--size",
    type=click.IntRange(8, 4096),
    help="Pixels a side of the pictures, which are resampled to it.  [default: the generator's]",
)
@click.option(
    "--frames", type=click.IntRange(1), default=96, show_default=True, help="Of an orbit."
)
@click.option(
    "--fps",
    type=click.FloatRange(1, 120),
    callback=finite,
    default=24,
    show_default=True,
    help="Pictures a second of a video.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    out: Path,
    yaw_deg: tuple[float, ...],
    pitch_deg: tuple[float, ...],
    orbit: str | None,
    camera_file: Path | None,
    depth: bool,
    resolution: int | None,
    size: int | None,
    frames: int,
    fps: float,
    device: str,
    as_json: bool,
) -> None:
    """Render views or a video of the finished run in directory RUN."""
    form = _form(out)
    _check(ctx, form)
    from inv3d.core.device import resolve_device
    from inv3d.core.framing import check_framing
    from inv3d.rundir.opening import open_run

    opened = open_run(run, resolve_device(device))
    prior = opened.generator.spec.camera
    moving = form in _MOVING
    camera, names = _camera(prior, yaw_deg, pitch_deg, orbit, camera_file, frames, moving)
    where = f"--camera {camera_file}" if camera_file else "render"
    for warning in check_framing(camera, opened.generator.spec, names, where):
        click.echo(f"warning: {warning}", err=True)
    own = opened.generator.spec.resolution
    if size is not None and size != own:
        click.echo(f"note: {_resampling(own, size)}", err=True)
    codec, side = _write(opened, camera, names, out, form, depth, resolution, size, fps)
    facts = {
        "out": str(out),
        "views": len(camera),
        "codec": codec,
        "size": side,
        "yaw_deg": [round(float(yaw), 3) for yaw in camera.yaw.rad2deg()],
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{out}: {len(camera)} view{'s' if len(camera) > 1 else ''}")


def _check(ctx: click.Context, form: str) -> None:
    """Refuse what doesn't go together before torch is imported."""
    options = ctx.params
    out, size, fps = options["out"], options["size"], options["fps"]
    if form == "npy" and not options["depth"]:
        raise UsageError(f"{out}: .npy holds raw depth; add --depth or write .png")
    if form == "npy" and size is not None:
        raise UsageError(f"{out}: --size is for pictures; --resolution sets the rays of raw depth")
    if form == "mp4" and size is not None and size % 2:
        raise UsageError(f"{out}: --size {size}: sides of an MP4 are even; give {size + 1}")
    angles, camera = bool(options["yaw_deg"] or options["pitch_deg"]), options["camera_file"]
    if sum((angles, options["orbit"] is not None, camera is not None)) > 1:
        raise UsageError("give one of --yaw-deg/--pitch-deg, --orbit and --camera")
    turns = options["orbit"] is not None or (form in _MOVING and not angles and camera is None)
    given = options_given(ctx)
    if "frames" in given and not turns:
        raise UsageError(f"{out}: --frames is for orbits; add --orbit NAME, or leave it out")
    if "fps" in given and form not in ("mp4", "gif"):
        raise UsageError(f"{out}: --fps is for videos; write .mp4 or .gif, or leave it out")
    if form == "gif" and fps > _GIF_FPS:
        raise UsageError(
            f"{out}: --fps {fps:g}: a GIF shows at most {_GIF_FPS} pictures a second; give fewer, "
            "or write .mp4"
        )


def _form(out: Path) -> str:
    form = out.suffix.removeprefix(".").lower()
    known = (*_STILLS, *_MOVING)
    if form not in known:
        raise UsageError(
            f"--out {out}: unknown format '{form}'{suggest(form, filter(None, known))} "
            "(.png, .mp4, .gif, .npy, or a folder)"
        )
    return form


def _camera(
    prior: CameraPrior,
    yaw_deg: tuple[float, ...],
    pitch_deg: tuple[float, ...],
    orbit: str | None,
    camera_file: Path | None,
    frames: int,
    moving: bool,
) -> tuple[Camera, tuple[str, ...]]:
    """Return the cameras, and their names where they have any."""
    if camera_file is not None:
        from inv3d.io.cameras import read_cameras

        return read_cameras(camera_file)
    if orbit is not None or (moving and not yaw_deg and not pitch_deg):
        from inv3d.report.orbit import default_orbit, orbit_path

        return orbit_path(orbit or default_orbit(prior), prior, frames), ()
    import torch

    yaws, pitches = yaw_deg or (0.0,), pitch_deg or (0.0,)
    if len(yaws) == 1:
        yaws = yaws * len(pitches)
    if len(pitches) == 1:
        pitches = pitches * len(yaws)
    if len(yaws) != len(pitches):
        raise UsageError(
            f"{len(pitches)} --pitch-deg for {len(yaws)} --yaw-deg; give one, or as many"
        )
    angles = (torch.tensor([math.radians(a) for a in given]) for given in (yaws, pitches))
    return prior.orbit(*angles), ()


def _resampling(own: int, size: int) -> str:
    """Say what a size that isn't the generator's means."""
    change = "enlarged, which adds no detail," if size > own else "made smaller"
    return f"the generator's pictures have {own} pixels a side; {change} to {size} (bicubic)"


def _write(
    run: Run,
    camera: Camera,
    names: tuple[str, ...],
    out: Path,
    form: str,
    depth: bool,
    resolution: int | None,
    size: int | None,
    fps: float,
) -> tuple[str, int | None]:
    """Render and write; return the codec, and the pixels a side of every picture."""
    from inv3d.io.video import write_video
    from inv3d.report.pictures import save_png
    from inv3d.report.views import render_views

    outputs: Any = ("depth", "mask") if depth else ("image",)
    run.generator.require(outputs, "--depth" if depth else "render")
    views = render_views(run.generator, run.inversion, camera, outputs, resolution, names)
    seen = (rendering for _, rendering in views)
    if form == "npy":
        return _write_npy(out, seen), None
    own = run.generator.spec.resolution
    frames = _depth_frames(seen, size, own) if depth else _colour_frames(seen, size)
    first = next(frames)
    frames, side = itertools.chain((first,), frames), len(first)
    if form == "png":
        save_png(out, _sheet(list(frames)))
        return "png", side
    codec = write_video(out, frames, fps)
    return codec, side + side % 2 if form == "mp4" else side


def _colour_frames(seen: Iterable[Rendering], size: int | None) -> Iterator[Frame]:
    """Resample and yield pictures one by one: large ones of all views don't fit into memory."""
    from inv3d.report.pictures import colour_frames, sized

    for rendering in seen:
        for image in rendering.require("image"):
            yield from colour_frames(sized(image[None], size))


def _depth_frames(seen: Iterable[Rendering], size: int | None, own: int) -> Iterator[Frame]:
    """Yield pictures of depth one by one; their one scale needs the maps of all views."""
    from inv3d.report.pictures import each_depth_frame

    maps, masks = _depth_maps(seen)
    return each_depth_frame(maps, masks, size or max(maps.shape[-1], own))


def _depth_maps(seen: Iterable[Rendering]) -> tuple[Tensor, Tensor]:
    """Return distances and masks of N views, [N, 1, h, w] each."""
    import torch

    maps, masks = zip(*((r.require("depth"), r.require("mask")) for r in seen), strict=True)
    return torch.cat(maps), torch.cat(masks)


def _sheet(frames: list[Frame]) -> Frame:
    from inv3d.report.pictures import tile

    return tile([frames[i : i + _COLUMNS] for i in range(0, len(frames), _COLUMNS)])


def _write_npy(out: Path, seen: Iterable[Rendering]) -> str:
    """Write distances [N, h, w] as captures have them: 0 where most of a pixel is background."""
    import numpy as np

    from inv3d.core.files import atomic_write

    maps, masks = _depth_maps(seen)
    surfaces = maps.float().where(masks >= 0.5, 0)
    with atomic_write(out) as temporary:
        np.save(temporary, surfaces[:, 0].cpu().numpy())
    return "npy"
