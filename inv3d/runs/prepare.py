"""From what a user asks for to a run that can take its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inv3d.core.capture import Capture, Selection, choose_views
from inv3d.core.config import build_config, merge, preset_options
from inv3d.core.device import resolve_device
from inv3d.core.errors import InputError, RunError
from inv3d.core.files import file_digest
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import FILE, Inversion
from inv3d.core.inverter import Inverter
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.known import known_as, resolve_path
from inv3d.io.dataset import CaptureFiles, open_capture
from inv3d.rundir.record import (
    GeneratorPart,
    InitPart,
    InputPart,
    Plan,
    PluginPart,
    digest,
    load_frames,
    load_input,
    provenance,
    resolved_options,
    split_views,
)

GENERATOR = "generator"


@dataclass(frozen=True)
class Request:
    """What a user asks for; the options of `3dinv run`.

    Attributes:
        options: of the method, and of the generator in a table "generator"; over the preset.
        views: how many frames are inverted; the method's own number if None.
        hold_out: "all", "none" or a number.
    """

    method: str
    generator: str
    input: str
    options: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    weights: Path | None = None
    views: int | None = None
    selection: Selection = "angle"
    hold_out: str = "all"
    seed: int = 303
    device: str = "auto"
    view_chunk: int | None = None
    checkpoint_every: int = 50
    init: Path | None = None
    pictures: bool = True


@dataclass
class Job:
    """A run that is ready to start, or to go on.

    Attributes:
        plan: everything that the result depends on.
        generator: on the device, frozen.
        method: built.
        capture: frames of the plan, at the generator's resolution.
        init: what the run starts from.
        notices: what the user should know of the input.
    """

    plan: Plan
    generator: Generator
    method: Inverter
    capture: Capture
    init: Inversion | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where everything runs."""
        return torch.device(self.plan.device)

    def context(self, checkpoint: Path) -> Context:
        """Return a fresh context, and let the generator draw from its random numbers."""
        plan = self.plan
        context = Context.create(
            self.device,
            plan.seed,
            checkpoint=checkpoint,
            every=plan.checkpoint_every,
            view_chunk=plan.view_chunk,
            init=self.init,
        )
        self.generator.rng = context.state.generators["render"]
        return context


def prepare(request: Request) -> Job:
    """Check everything that a user asked for and load it; nothing is written.

    Raises:
        InvError: of the kind that fits what's wrong.
    """
    device = resolve_device(request.device)
    method: type[Inverter] = registry().load("methods", request.method)
    kind: type[Generator] = registry().load("generators", request.generator)
    owner = f"method {request.method}"
    suited = kind.method_options.get(method.name, {})
    options = merge(suited, preset_options(method, request.preset, owner))
    options = merge(options, request.options)
    generator_options = options.pop(GENERATOR, {})
    config = build_config(method.Config, options, owner)
    generator_config = build_config(kind.Config, generator_options, f"generator {kind.name}")
    files = open_capture(request.input)
    frames, chosen, held_out = _choose(request, method, files)
    weights = resolve_path(request.weights, kind.weights, f"generator {kind.name}")
    generator = kind.create(generator_config, weights).eval().requires_grad_(False).to(device)
    init = _load_init(request.init, generator)
    capture = load_frames(files, frames, generator.spec.resolution)
    plan = Plan(
        method=PluginPart(
            name=request.method,
            preset=request.preset,
            options=config.model_dump(mode="json"),
            **provenance("methods", request.method, method),
        ),
        generator=GeneratorPart(
            name=request.generator,
            options=resolved_options(generator, generator_config),
            weights=weights,
            fingerprint=generator.spec.fingerprint,
            **provenance("generators", request.generator, kind),
        ),
        input=InputPart(
            path=_absolute(request.input),
            views=tuple(frames),
            chosen=tuple(chosen),
            held_out=tuple(held_out),
            digest=digest(capture),
        ),
        seed=request.seed,
        device=str(device),
        threads=torch.get_num_threads(),
        view_chunk=request.view_chunk,
        checkpoint_every=request.checkpoint_every,
        init=_init_part(request.init),
        pictures=request.pictures,
    )
    known = known_as(weights, kind.weights)
    notices = list(files.notices.values())
    notices += filter(None, [known.misfit(generator.spec.name) if known else ""])
    return Job(plan, generator, method.create(config), capture, init, notices)


def prepare_again(plan: Plan) -> Job:
    """Load everything that a run began with, and see that it's still the same.

    Raises:
        RunError: where input, generator or the run to start from have changed.
        InvError: where something is missing.
    """
    device = resolve_device(plan.device)
    torch.set_num_threads(plan.threads)
    method: type[Inverter] = registry().load("methods", plan.method.name)
    kind: type[Generator] = registry().load("generators", plan.generator.name)
    config = build_config(method.Config, plan.method.options, f"method {plan.method.name}")
    generator_config = build_config(
        kind.Config, plan.generator.options, f"generator {plan.generator.name}"
    )
    generator = kind.create(generator_config, plan.generator.weights)
    if generator.spec.fingerprint != plan.generator.fingerprint:
        raise RunError(
            f"generator {kind.name}: fingerprint {generator.spec.fingerprint}, but the run began "
            f"with {plan.generator.fingerprint}; put its weights back, or start again with "
            "--overwrite"
        )
    if plan.init is not None and (
        not (plan.init.path / FILE).is_file()
        or file_digest(plan.init.path / FILE) != plan.init.sha256
    ):
        raise RunError(
            f"{plan.init.path / FILE}: isn't what the run began with; put it back, or start again "
            "with --overwrite"
        )
    init = _load_init(plan.init.path if plan.init else None, generator)
    generator = generator.eval().requires_grad_(False).to(device)
    capture, _, _ = load_input(plan.input, generator.spec.resolution)
    return Job(plan, generator, method.create(config), capture, init)


def _choose(
    request: Request, method: type[Inverter], files: CaptureFiles
) -> tuple[list[str], list[int], list[int]]:
    """Return the names of the frames to read and, among them, the chosen and the held-out ones."""
    views = request.views or min(method.default_views, len(files))
    chosen = choose_views(files.camera, views, request.selection, files.source)
    if len(chosen) < method.min_views:
        raise InputError(
            f"--views {len(chosen)}: method {request.method} needs {method.min_views} or more "
            "views from different angles; give more, or take a method for one view such as pti"
        )
    held_out = split_views(len(files), chosen, request.hold_out)
    rows = sorted({*chosen, *held_out})
    position = {row: place for place, row in enumerate(rows)}
    return (
        [files.names[row] for row in rows],
        [position[row] for row in chosen],
        [position[row] for row in held_out],
    )


def _load_init(path: Path | None, generator: Generator) -> Inversion | None:
    if path is None:
        return None
    init = Inversion.load(path)
    init.check(generator)
    return init


def _init_part(path: Path | None) -> InitPart | None:
    return InitPart(path=path.absolute(), sha256=file_digest(path / FILE)) if path else None


def _absolute(source: str) -> str:
    return source if source.startswith("sample:") else str(Path(source).absolute())
