"""`3dinv export`: the mesh of a finished run, and its cameras."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.given import options_given
from inv3d.commands.numbers import finite
from inv3d.commands.output import print_json
from inv3d.commands.paths import PATH
from inv3d.core.errors import ContractError, InputError, UsageError, suggest
from inv3d.core.registry.discovery import registry
from inv3d.io.formats import MESH_FORMATS
from inv3d.rundir.files import MESH

if TYPE_CHECKING:
    from inv3d.io.capturefiles import CaptureFiles
    from inv3d.rundir.opening import Run

NPZ = "eg3d-npz"
# as the tools of EG3D call it
LATENTS = "projected_w.npz"
_ENDINGS = {form: form for form in MESH_FORMATS} | {NPZ: "npz"}
_OF_MESHES = ("resolution", "level", "largest", "smooth", "yaw_deg")


@click.command("export")
@click.argument("run", type=PATH)
@click.option(
    "-o",
    "--out",
    type=PATH,
    help="File.  [default: RUN/mesh.glb, RUN/projected_w.npz]",
)
@click.option(
    "--format",
    "form",
    help="glb, obj, ply, stl, or eg3d-npz: latents and their cameras for tools of EG3D.  "
    "[default: the file's ending]",
)
@click.option(
    "--resolution",
    type=click.IntRange(8, 1024),
    default=128,
    show_default=True,
    help="Grid points a side of the generator's box.",
)
@click.option(
    "--level",
    type=click.FloatRange(0, min_open=True),
    callback=finite,
    help="Density (opacity a world unit) of the surface.  "
    "[default: a thirty-second of the box is half opaque]",
)
@click.option(
    "--largest-component/--all-components",
    "largest",
    default=True,
    show_default=True,
    help="Leave out loose pieces and hollows inside.",
)
@click.option(
    "--smooth", type=click.IntRange(0, 100), default=0, show_default=True, help="Taubin rounds."
)
@click.option(
    "--yaw-deg",
    type=float,
    callback=finite,
    default=0.0,
    show_default=True,
    help="Of the latent, for runs with several latents.",
)
@click.option(
    "--cameras",
    type=PATH,
    help="Also write the cameras that the method or an estimator found, else the capture's, into "
    "this folder: "
    "dataset.json and transforms.json.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    out: Path | None,
    form: str | None,
    resolution: int,
    level: float | None,
    largest: bool,
    smooth: int,
    yaw_deg: float,
    cameras: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Write the coloured mesh of the finished run in directory RUN: world units, y up.

    With --format eg3d-npz its latents instead: `ws`, `cs` of all, `w`, `c` of the most frontal one.
    """
    name = (form or (out or Path(MESH)).suffix.removeprefix(".")).lower()
    name = NPZ if name == "npz" else name
    out = out or run / (LATENTS if name == NPZ else f"{Path(MESH).stem}.{name}")
    exporter = None if name in (*MESH_FORMATS, NPZ) else _plugin_exporter(name, out)
    _check(ctx, out, name)
    if name == NPZ:
        _write_npz(run, out, cameras, as_json)
        return
    from inv3d.core.device import resolve_device
    from inv3d.rundir.opening import open_run, run_capture

    opened = open_run(run, resolve_device(device))
    if cameras is not None:
        if opened.record["input"]["path"] is None:
            raise UsageError(f"--cameras: {run} was imported without its capture; leave it out")
        _check_folder(cameras)
        run_capture(opened, otherwise="leave --cameras out")
    if exporter is not None:
        exporter(opened.inversion, opened.generator, out)
        if not out.exists():
            raise ContractError(
                f"format {name}: its exporter wrote nothing at {out}, expected a file; report it "
                "to the plugin's author"
            )
        facts: dict[str, Any] = {"out": str(out), "format": name}
    else:
        facts = _write_mesh(opened, out, name, yaw_deg, resolution, level, largest, smooth)
    if cameras is not None:
        facts["cameras"] = _write_cameras(opened, cameras)
    if as_json:
        print_json(facts)
        return
    size = f": {facts['vertices']} vertices, {facts['faces']} faces" if "faces" in facts else ""
    click.echo(f"{out}{size}")
    for path in facts.get("cameras", ()):
        click.echo(path)


def _check(ctx: click.Context, out: Path, form: str) -> None:
    """Refuse what doesn't go together."""
    ending, wanted = out.suffix.removeprefix(".").lower(), _ENDINGS.get(form)
    if wanted is not None and ending in _ENDINGS.values() and ending != wanted:
        raise UsageError(
            f"{out}: ends in {ending}, --format says {form}; leave --format out, or let the name "
            f"end in .{wanted}"
        )
    idle = [option for name, option in options_given(ctx).items() if name in _OF_MESHES]
    if idle and form not in MESH_FORMATS:
        raise UsageError(
            f"{out}: {idle[0]} has no effect on format {form}; leave it out, or write a mesh "
            f"({', '.join(MESH_FORMATS)})"
        )


def _write_npz(run: Path, out: Path, cameras: Path | None, as_json: bool) -> None:
    """Write the latents of a run; the generator isn't needed for that."""
    from inv3d.io.latents import write_latents
    from inv3d.rundir.opening import read_result

    if cameras is not None:
        raise UsageError(f"--cameras goes with meshes; {NPZ} has the latents' cameras in it")
    _, inversion = read_result(run)
    write_latents(out, inversion.ws, inversion.cameras)
    tuned = len(inversion.generator_delta)
    facts = {
        "out": str(out),
        "format": NPZ,
        "latents": len(inversion.ws),
        "tuned": bool(tuned),
        "offset": sorted(inversion.offset),
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{out}: {len(inversion.ws)} latent{'s' if len(inversion.ws) > 1 else ''}")
    if tuned:
        click.echo("note: the run also tuned its generator, which isn't in the file", err=True)
    if inversion.offset:
        parts = " and ".join(sorted(inversion.offset))
        click.echo(
            f"note: the run also has an offset of {parts}, which isn't in the file", err=True
        )


def _plugin_exporter(name: str, out: Path) -> Callable[..., Any]:
    """Return the exporter that a plugin offers for a format."""
    from inv3d.core.registry.hooks import Observers, hooks

    observers = Observers(hooks(), lambda text: click.echo(f"warning: {text}", err=True))
    offered: dict[str, Callable[..., Any]] = {}
    for formats in observers.call("inv3d_exporters"):
        if not isinstance(formats, dict) or not all(map(callable, formats.values())):
            owners = " or ".join(r.distribution for r in registry().of_kind("hooks"))
            raise ContractError(
                f"hooks of {owners}: inv3d_exporters returned something else than a dict of "
                "functions by format; report it to the plugin's author"
            )
        offered |= formats
    if name not in offered:
        known = (*MESH_FORMATS, NPZ, *offered)
        raise UsageError(f"unknown format '{name}' for {out}{suggest(name, known)}")
    return offered[name]


def _write_mesh(
    run: Run,
    out: Path,
    form: str,
    yaw_deg: float,
    resolution: int,
    level: float | None,
    largest: bool,
    smooth: int,
) -> dict[str, Any]:
    import torch

    from inv3d.io.mesh import extract_mesh, write_mesh

    camera = run.generator.spec.camera.orbit(torch.tensor([math.radians(yaw_deg)]))
    with torch.no_grad():
        scene = run.inversion.scene_for(run.generator, camera)
    mesh = extract_mesh(
        run.generator, scene, resolution=resolution, level=level, largest=largest, smooth=smooth
    )
    write_mesh(mesh, out, form)
    return {
        "out": str(out),
        "format": form,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "bounds": [mesh.vertices.min(0).tolist(), mesh.vertices.max(0).tolist()],
    }


def _check_folder(folder: Path) -> None:
    """Refuse a folder that isn't one, or has cameras already."""
    from inv3d.io.cameras import LABELS, TRANSFORMS

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--cameras {folder}: is a file; give a folder to write {LABELS} into")
    there = [name for name in (LABELS, TRANSFORMS) if (folder / name).exists()]
    if there:
        raise UsageError(
            f"--cameras {folder}: has a {there[0]} already, which stays; choose another folder, or "
            "remove it"
        )


def _write_cameras(run: Run, folder: Path) -> list[str]:
    import torch

    from inv3d.core.camera import Camera
    from inv3d.io.cameras import LABELS, TRANSFORMS, write_labels, write_transforms
    from inv3d.io.dataset import open_capture

    part = run.record["input"]
    files = open_capture(part["path"])
    if poses := run.inversion.poses:
        camera, names = Camera.from_labels(torch.stack(list(poses.values()))), tuple(poses)
    elif part.get("cameras") is not None:
        camera, names = Camera.from_labels(torch.tensor(part["cameras"])), tuple(part["views"])
    else:
        camera, names = files.camera, files.names
    write_labels(folder / LABELS, camera, names)
    sizes = _sizes(files, names, run.generator.spec.resolution)
    paths = [files.paths.get(name, name).removeprefix(files.root) for name in names]
    write_transforms(folder / TRANSFORMS, camera, paths, sizes)
    return [str(folder / LABELS), str(folder / TRANSFORMS)]


def _sizes(files: CaptureFiles, names: Sequence[str], own: int) -> list[tuple[int, int]]:
    """Width and height of every picture; the generator's of those that can't be read."""
    sizes = [_size(files, name) for name in names]
    lost = [name for name, size in zip(names, sizes, strict=True) if size is None]
    if lost:
        click.echo(
            f"note: {len(lost)} of {len(names)} cameras have no picture that can be read "
            f"({lost[0]}); their w, h, fl_x, fl_y, cx, cy are for {own} x {own} pixels, the "
            "generator's",
            err=True,
        )
    return [size or (own, own) for size in sizes]


def _size(files: CaptureFiles, name: str) -> tuple[int, int] | None:
    try:
        return files.size_of(name) if name in files.paths else None
    except InputError:
        return None
