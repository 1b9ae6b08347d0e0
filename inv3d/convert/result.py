"""Results of other projects as run directories: latents and tuned generators.

What the projects leave behind: PTI and HFGI3D a pickled module and a latent, EG3D-projector a state
dict and a latent, SPI latent, camera and state dict in one file, PanoHead and multi-view inversion
a network pickle and .npz files, Pose-Opt latents and cameras as .npy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.convert.network import (
    ConvertOptions,
    RecognisedNetwork,
    check_named,
    read_recognised,
    write_recognised,
)
from inv3d.core.camera import Camera
from inv3d.core.config import build_config, merge
from inv3d.core.errors import InputError, UsageError, WeightsError
from inv3d.core.files import atomic_directory, file_digest, write_json
from inv3d.core.framing import check_framing
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.inversion import Inversion, Made
from inv3d.core.weights.forms import form_of
from inv3d.core.weights.tensors import check_state
from inv3d.io.arrays import SUFFIXES, wrote_numpy
from inv3d.io.cameras import read_cameras
from inv3d.io.dataset import open_capture
from inv3d.io.latents import (
    CAMERAS,
    LATENTS,
    Latents,
    holds,
    latents_of,
    read_labels,
    read_latents,
)
from inv3d.nn.eg3d.official import NoNetworkError
from inv3d.rundir.files import LOG, RECORD
from inv3d.rundir.frames import describe_input
from inv3d.rundir.record import InputPart, Origin, PluginPart, generator_part, new_record

METHOD = "imported"
OWN_WEIGHTS = "generator.safetensors"
# in the folder of a result, the first kind that is there; of several the largest number
TUNED = (
    "fintuned_generator.pkl",
    "finetuned_generator.pkl",
    "model_*.pt",
    "checkpoints/model_*.pt",
)
FOUND_LATENTS = (
    "*_projected_w_mult.npz", "projected_w.npz", "*_projected_w.npz", "*_w_plus.npy", "*_ws.npy",
    "embeddings/*/*/*/0.pt",
)  # fmt: skip
FOUND_CAMERAS = ("*_cam.npy",)
# rendering that others change while they invert, and that a tuned network therefore needs
_LIVE = ("rendering", "neural_rendering_resolution")
_SAME_CAMERA = 1e-3


@dataclass(frozen=True)
class Foreign:
    """What a user has of another project.

    Attributes:
        source: folder of a result, or a tuned generator, or latents.
        weights: the network before it was tuned.
        latent: latents, where they aren't in the source.
        cameras: of the latents, likewise.
        capture: that was inverted.
    """

    source: Path
    weights: Path | None = None
    latent: Path | None = None
    cameras: Path | None = None
    capture: str | None = None


@dataclass(frozen=True)
class Parts:
    """The files of a result."""

    tuned: Path | None
    latent: Path | None
    cameras: Path | None


def import_run(foreign: Foreign, directory: Path, options: ConvertOptions) -> dict[str, Any]:
    """Write a run directory.

    With the network before tuning, the run holds what tuning changed; without it, the whole tuned
    network.

    Args:
        foreign: the files.
        directory: to be made.
        options: what the user says of the networks.

    Returns:
        Facts about what was found and written.

    Raises:
        InvError: where something is missing, damaged, or doesn't go together.
    """
    check_named(options)
    parts = _parts(foreign)
    tuned = _tuned(parts.tuned, options) if parts.tuned else None
    notices: list[str] = []
    with atomic_directory(directory) as made:
        generator, weights = _generator(foreign, tuned, options, made, parts.latent, notices)
        latents = _latents(parts, tuned, generator, notices)
        if latents.cameras is not None:
            names = [f"latent {i}" for i in range(len(latents.ws))]
            where = str(parts.cameras or parts.latent or parts.tuned)
            notices += check_framing(latents.cameras, generator.spec, names, where)
        delta = _delta(tuned, generator, notices) if tuned and foreign.weights else {}
        inversion = Inversion(
            ws=latents.ws,
            cameras=latents.cameras or generator.spec.camera.front(),
            generator=type(generator).name,
            fingerprint=generator.spec.fingerprint,
            generator_delta=delta,
            history=(Made("import", METHOD),),
        )
        inversion.save(made)
        record = _record(foreign, parts, generator, weights, inversion, notices)
        write_json(made / RECORD, record)
        (made / LOG).touch()
    return {
        "directory": str(directory),
        "generator": generator.spec.name,
        "weights": str(weights) if foreign.weights else f"{directory / weights} (tuned)",
        "latent": str(parts.latent or parts.tuned),
        "latents": len(inversion.ws),
        "cameras": "from the file" if latents.cameras else "none: taken as frontal",
        "tuned": _changed(foreign, tuned, delta),
        "input": foreign.capture,
        "warnings": notices,
    }


def _generator(
    foreign: Foreign,
    tuned: RecognisedNetwork | None,
    options: ConvertOptions,
    made: Path,
    latent: Path | None,
    notices: list[str],
) -> tuple[Generator, Path]:
    """Return the generator that the run is of, and its weights: relative where they lie in it."""
    if foreign.weights is not None:
        weights = foreign.weights.absolute()
        kind = options.generator or (tuned.found.generator if tuned else None)
        base = read_recognised(weights, replace(options, entry=None, generator=kind))
        notices += base.doubts
        changed = merge(options.architecture, _live_changes(tuned, base))
        return _build(base, weights, changed), weights
    if tuned is not None:
        notices += tuned.doubts
        return write_recognised(tuned, made / OWN_WEIGHTS, options)[0], Path(OWN_WEIGHTS)
    if latent is not None:
        read_latents(latent)  # what is wrong with them is told before what else is missing
    raise UsageError(
        f"{foreign.source}: holds no tuned generator; give the network that the latents "
        "belong to with --weights"
    )


def _changed(foreign: Foreign, tuned: RecognisedNetwork | None, delta: Mapping[str, Tensor]) -> str:
    """Say what tuning changed."""
    if tuned is None:
        return "nothing"
    if foreign.weights is None:
        return "whole"
    return f"{len(delta)} tensors" if delta else "nothing: both networks are the same"


def _parts(foreign: Foreign) -> Parts:
    """Tell which file of a result is what."""
    source = Path(foreign.source)
    if os.path.isdir(source):
        tuned, latent, cameras = (
            _pick(source, patterns) for patterns in (TUNED, FOUND_LATENTS, FOUND_CAMERAS)
        )
        if tuned is None and latent is None:
            raise InputError(
                f"{source}: no result of another project in it (looked for "
                f"{', '.join((*TUNED[:3], *FOUND_LATENTS[:4]))}); name the file itself"
            )
        return Parts(tuned, foreign.latent or latent, foreign.cameras or cameras)
    of_numpy = source.suffix.lower() in SUFFIXES[:2] or wrote_numpy(source)
    if of_numpy or holds(source, LATENTS):
        return Parts(None, foreign.latent or source, foreign.cameras)
    form_of(source)
    return Parts(source, foreign.latent, foreign.cameras)


def _tuned(path: Path, options: ConvertOptions) -> RecognisedNetwork:
    """Read what isn't latents; where it isn't a network either, say how latents are known."""
    try:
        return read_recognised(path, options)
    except NoNetworkError as error:
        raise WeightsError(
            f"{error}; for latents: save them as 'w' or 'ws', as a tensor or a NumPy array"
        ) from None


def _pick(folder: Path, patterns: Sequence[str]) -> Path | None:
    for pattern in patterns:
        found = sorted(folder.glob(pattern), key=lambda path: (_number(path.name), path.name))
        if found:
            return found[-1]
    return None


def _number(name: str) -> int:
    return max((int(digits[:18]) for digits in re.findall(r"\d+", name)), default=-1)


def _live_changes(tuned: RecognisedNetwork | None, base: RecognisedNetwork) -> dict[str, Any]:
    """Rendering options of a tuned network that aren't those of the original."""
    if tuned is None or not tuned.network.settings:
        return {}
    new, old = (r.config.model_dump(mode="json", include=set(_LIVE)) for r in (tuned, base))
    return _difference(new, old)


def _difference(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            value, before = _difference(value, before), {}
        if value != before:
            changed[name] = value
    return changed


def _build(one: RecognisedNetwork, weights: Path, options: Mapping[str, Any]) -> Generator:
    """Build a generator; a guessed variant counts as chosen, so that it isn't guessed again."""
    chosen = {} if one.found.sure and not one.chosen else {"variant": one.found.variant}
    config = build_config(one.kind.Config, merge(options, chosen), f"generator {one.kind.name}")
    return one.kind.create(config, weights)


def _latents(
    parts: Parts, tuned: RecognisedNetwork | None, generator: Generator, notices: list[str]
) -> Latents:
    """Latents of the generator's shape, with cameras where there are any."""
    if parts.latent is not None:
        found = read_latents(parts.latent)
    elif tuned is not None and "w" in tuned.network.beside:
        found = latents_of(tuned.network.beside, tuned.network.path)
    else:
        raise UsageError(
            f"{parts.tuned}: has no latent beside the network; give one with --latent FILE"
        )
    ws = _fitted(found.ws, generator, parts.latent or parts.tuned)
    camera = found.cameras
    if parts.cameras is not None:
        camera = _cameras(parts.cameras)
        if len(camera) != len(ws):
            raise InputError(
                f"{parts.cameras}: {len(camera)} cameras for {len(ws)} latents; give one for each"
            )
    if camera is None and len(ws) > 1:
        raise UsageError(
            f"{parts.latent}: {len(ws)} latents without cameras; give them with --cameras FILE"
        )
    if camera is None:
        notices.append("the latent has no camera: taken as frontal")
    return Latents(ws, camera)


def _fitted(ws: Tensor, generator: Generator, path: Path | None) -> Tensor:
    spec = generator.spec
    if ws.shape[1] == 1:
        ws = ws.expand(-1, spec.num_ws, -1).clone()
    if ws.shape[1:] != (spec.num_ws, spec.w_dim):
        raise InputError(
            f"{path}: latents of {ws.shape[1]} rows of {ws.shape[2]} numbers, but generator "
            f"{spec.name} takes {spec.num_ws} of {spec.w_dim}; give the network that they belong to"
        )
    return ws


def _cameras(path: Path) -> Camera:
    of_latents = path.suffix.lower() == ".npy" or holds(path, CAMERAS)
    return read_labels(path) if of_latents else read_cameras(path)[0]


def _delta(tuned: RecognisedNetwork, generator: Generator, notices: list[str]) -> dict[str, Tensor]:
    """Return tuned minus original, for every tensor that changed."""
    path, tensors = tuned.network.path, tuned.network.used
    state = generator.state_dict()
    check_state(state, tensors, path)
    delta = {}
    for name, before in state.items():
        if before.is_floating_point():
            change = tensors[name].to(before) - before
            if not bool(change.isfinite().all()):
                raise WeightsError(f"{path}: {name} isn't finite; the tuning diverged")
            if bool(change.any()):
                delta[name] = change
    moved = [name for name in delta if name.startswith("backbone.mapping.")]
    if moved:
        notices.append(
            f"{path.name} and the network of --weights differ in {moved[0]}, which tuning leaves "
            "alone: it may have been tuned from another network"
        )
    return delta


def _record(
    foreign: Foreign,
    parts: Parts,
    generator: Generator,
    weights: Path,
    inversion: Inversion,
    notices: list[str],
) -> dict[str, Any]:
    files = {"tuned": parts.tuned, "latent": parts.latent, "cameras": parts.cameras}
    kind = type(generator)
    origin = Origin(
        method=PluginPart(name=METHOD, options={}),
        generator=generator_part(kind.name, generator, kind.Config(), weights),
        input=_input(foreign.capture, inversion, generator.spec, notices),
    )
    imported = {
        role: {"file": str(path.absolute()), "sha256": file_digest(path)}
        for role, path in files.items()
        if path is not None
    }
    return new_record(origin, warnings=notices, imported=imported)


def _input(
    capture: str | None, inversion: Inversion, spec: GeneratorSpec, notices: list[str]
) -> InputPart:
    """The frames of the capture; those from a latent's camera count as chosen."""
    if capture is None:
        return InputPart(path=None, views=(), chosen=(), held_out=(), digest="")
    files = open_capture(capture)
    frames = files.load(spec.resolution)
    notices += files.notices.values()
    notices += check_framing(frames.camera, spec, frames.names, f"--input {capture}")
    labels, theirs = frames.camera.labels().float(), inversion.cameras.labels().float()
    near = torch.cdist(labels, theirs, p=float("inf")).min(dim=1).values < _SAME_CAMERA
    rows = range(len(frames))
    chosen, held_out = [row for row in rows if near[row]], [row for row in rows if not near[row]]
    return describe_input(capture, frames, chosen, held_out)
