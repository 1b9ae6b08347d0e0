"""From what a user asks for to a run that can take its first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inv3d.core.border import check_generator, is_foreign
from inv3d.core.capture import Capture, Selection, choose_views
from inv3d.core.config import PluginConfig, build_config, build_suited, merge, preset_options
from inv3d.core.device import resolve_device
from inv3d.core.errors import ContractError, InputError, UnsupportedError
from inv3d.core.fit.context import Context
from inv3d.core.framing import check_framing
from inv3d.core.generator import Generator, add_metrics, load_generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import AnyInverter, Steps
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hooks import hook_metrics
from inv3d.core.weights.known import known_as, resolve_path
from inv3d.io.capturefiles import CaptureFiles
from inv3d.io.dataset import open_capture
from inv3d.rundir.frames import describe_input, load_frames, load_input
from inv3d.rundir.opening import load_recorded, open_generator
from inv3d.rundir.record import Plan, PluginPart, generator_part, provenance, recorded_options
from inv3d.runs.estimate import with_estimated_cameras
from inv3d.runs.init import begin_again, begin_from, check_init, methods_that
from inv3d.runs.options import GENERATOR, check_options
from inv3d.runs.used_files import AFRESH, check_unchanged, used_files

# values of the options "mask" and "where" of losses that mean the masks of the capture
_MASKED = (True, "mask")
_CAMERAS = (
    "a dataset.json, a transforms.json or COLMAP's sparse/0 beside the pictures, or --camera auto, "
    "which estimates them"
)
# by which photographs are judged besides: networks of rendered heads know no real faces
_OF_PHOTOGRAPHS = {"faceid": "faceid"}


@dataclass(frozen=True)
class Request:
    """What a user asks for; the options of `3dinv run`.

    Attributes:
        options: of the method, and of the generator in a table "generator"; over the preset.
        views: how many frames are chosen; the method's own number if None.
        hold_out: "all", "none" or a number of the frames that aren't inverted.
        generator_preset: named set of the generator's options, below those in `options`.
        init: directory of a run to start from, of a training, or name of a method that takes no
            steps.
        metrics: role -> loss with options, besides or instead of the generator's own.
        undistort: take the lens distortion that the capture's cameras name out of its pictures.
        camera: "auto" or "auto:ESTIMATOR" where an estimator tells the cameras of a capture that
            has none; None takes those of the capture.
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
    metrics: Mapping[str, str] = field(default_factory=dict)
    undistort: bool = False
    generator_preset: str | None = None
    camera: str | None = None


def never() -> bool:
    """Let a run go on."""
    return False


@dataclass(frozen=True)
class Found:
    """What a method without steps has made of a run's views, together with those of other runs.

    Attributes:
        inversion: the result.
        context: that it was made in.
        seconds: its share of the time.
        runs: how many there were.
    """

    inversion: Inversion
    context: Context
    seconds: float
    runs: int


@dataclass
class PreparedRun:
    """A run that is ready to start, or to go on.

    Attributes:
        plan: everything that the result depends on.
        generator: on the device, frozen.
        method: built.
        capture: frames of the plan, at the generator's resolution.
        init: what the run starts from.
        notices: what the user should know of the input.
        halt: asked after every step; where it's true, the run stops as Ctrl-C makes it.
        found: the result, where it's there before the run begins; see `inv3d.runs.together`.
    """

    plan: Plan
    generator: Generator
    method: AnyInverter
    capture: Capture
    init: Inversion | None = None
    notices: list[str] = field(default_factory=list)
    halt: Callable[[], bool] = never
    found: Found | None = None

    @property
    def device(self) -> torch.device:
        """Where everything runs."""
        return torch.device(self.plan.device)

    def context(self, checkpoint: Path | None) -> Context:
        """Return the context of what was found, or a fresh one that the generator draws from.

        Args:
            checkpoint: file to write; None for none.
        """
        if self.found is not None:
            return self.found.context
        plan = self.plan
        context = Context.create(
            self.device,
            plan.seed,
            checkpoint=checkpoint,
            every=plan.checkpoint_every,
            view_chunk=plan.view_chunk,
            init=self.init,
            preset=plan.method.preset,
        )
        self.generator.rng = context.state.generators["render"]
        return context

    def steps(self, context: Context) -> Steps:
        """Return the method's steps, none where its result is there already.

        Args:
            context: of this run.
        """
        if self.found is not None:
            return _return(self.found.inversion)
        return self.method.steps(self.generator, self.chosen, context)

    @property
    def chosen(self) -> Capture:
        """The views that are inverted."""
        return self.capture[self.plan.input.chosen]


def _return(inversion: Inversion) -> Steps:
    return inversion
    yield


@dataclass(frozen=True)
class Plugins:
    """Method and generator that a user asks for, with their resolved options; nothing is loaded.

    Attributes:
        device: where everything runs.
        method, generator: the classes.
        config, generator_config: their options.
        weights: the generator's weight file.
    """

    device: torch.device
    method: type[AnyInverter]
    generator: type[Generator]
    config: PluginConfig
    generator_config: PluginConfig
    weights: Path | None

    @staticmethod
    def find(request: Request) -> Plugins:
        """Look up what a request names, and see that its options fit.

        Raises:
            InvError: of the kind that fits what's wrong.
        """
        check_options(request.method, request.generator, request.options)
        device = resolve_device(request.device)
        method: type[AnyInverter] = registry().load("methods", request.method)
        kind: type[Generator] = registry().load("generators", request.generator)
        config, generator_config = _configs(request, method, kind)
        check_init(request.init, method)
        weights = resolve_path(request.weights, kind.weights, f"generator {kind.name}")
        return Plugins(device, method, kind, config, generator_config, weights)

    def load_generator(self, name: str) -> Generator:
        """Build the generator, on the device.

        Args:
            name: under which it's registered.
        """
        made = load_generator(name, self.generator_config, self.weights, device=self.device)
        if is_foreign(made):
            check_generator(made)
        return made

    def used_files(self, generator: Generator) -> dict[str, str]:
        """Return path -> SHA-256 of the files that the method and its losses read."""
        return used_files(self.method, self.config, generator.spec.default_losses)


def prepare(request: Request) -> PreparedRun:
    """Check everything that a user asked for and load it; nothing is written.

    Raises:
        InvError: of the kind that fits what's wrong.
    """
    found = Plugins.find(request)
    method, config, weights = found.method, found.config, found.weights
    files = open_capture(request.input, undistort=request.undistort)
    _check_needs(request.method, method, files, given={"cameras"} if request.camera else set())
    built = method.create(config)
    said: list[str] = []
    generator: Generator | None = None
    if request.camera is not None:
        generator = found.load_generator(request.generator)
        files, told = with_estimated_cameras(files, generator, request.camera)
        said.append(told)
    frames, chosen, held_out, notice = _choose(request, built, files)
    generator = generator or found.load_generator(request.generator)
    usual = _OF_PHOTOGRAPHS if files.prepared else {}
    add_metrics(generator, usual | hook_metrics(said.append) | dict(request.metrics))
    used = found.used_files(generator)
    capture = load_frames(files, frames, generator.spec.resolution)
    begun = begin_from(request.init, generator, capture[chosen], request.seed)
    said += begun.notices
    if _uses_masks(config.model_dump()) or "masks" in method.needs:
        _check_masks(files, [frames[row] for row in chosen])
    plan = Plan(
        method=PluginPart(
            name=request.method,
            preset=request.preset,
            options=config.model_dump(mode="json"),
            **provenance("methods", request.method, method),
        ),
        generator=generator_part(
            request.generator, generator, found.generator_config, weights, request.generator_preset
        ),
        input=describe_input(
            request.input,
            capture,
            chosen,
            held_out,
            undistort=request.undistort,
            estimated=request.camera is not None,
        ),
        seed=request.seed,
        device=str(found.device),
        threads=torch.get_num_threads(),
        view_chunk=request.view_chunk,
        checkpoint_every=request.checkpoint_every,
        init=begun.part,
        files=used,
        pictures=request.pictures,
    )
    known = known_as(weights, found.generator.weights)
    notices = [*files.notices.values(), *said]
    if capture.posed:
        source = f"--input {files.source}"
        notices += check_framing(capture.camera, generator.spec, capture.names, source)
    notices += filter(None, [notice, known.misfit(generator.spec.name) if known else ""])
    return PreparedRun(plan, generator, built, capture, begun.inversion, notices)


def prepare_again(plan: Plan, directory: Path) -> PreparedRun:
    """Load everything that a run began with, and see that it's still the same.

    Args:
        plan: of the run.
        directory: of the run.

    Raises:
        RunError: where input, files of losses or the run to start from have changed.
        WeightsError: where the generator has.
        InvError: where something is missing.
    """
    device = resolve_device(plan.device)
    torch.set_num_threads(plan.threads)
    method = load_recorded("methods", plan.method, directory)
    with recorded_options(directory):
        config = build_config(method.Config, plan.method.options, f"method {plan.method.name}")
    generator = open_generator(plan.generator, directory, device)
    check_unchanged(plan.files, used_files(method, config, generator.spec.default_losses))
    resolution, run = generator.spec.resolution, str(directory)
    capture, chosen, _ = load_input(plan.input, resolution, run=run, otherwise=AFRESH)
    init = begin_again(plan, generator, capture[chosen])
    return PreparedRun(plan, generator, method.create(config), capture, init)


def _configs(
    request: Request, method: type[AnyInverter], kind: type[Generator]
) -> tuple[PluginConfig, PluginConfig]:
    """The options of method and generator: what suits the generator, the preset, the user's."""
    owner = f"method {request.method}"
    suited = kind.method_options.get(method.name, {})
    options = merge(preset_options(method, request.preset, owner), request.options)
    of_generator = options.pop(GENERATOR, {})
    source = f"generator {kind.name}: its method_options"
    config = build_suited(method.Config, suited, options, owner, source)
    owner = f"generator {kind.name}"
    of_generator = merge(preset_options(kind, request.generator_preset, owner), of_generator)
    return config, build_config(kind.Config, of_generator, owner)


def _check_needs(
    name: str, method: type[AnyInverter], files: CaptureFiles, given: Set[str]
) -> None:
    """Refuse a capture that lacks what the method needs, and name methods that do without.

    Args:
        name: of the method.
        method: its class.
        files: of the capture.
        given: what it will have besides.

    Raises:
        UnsupportedError: where it does.
    """
    has = files.extras | ({"cameras"} if files.posed else set()) | given
    lacking = sorted(method.needs - has)
    if not lacking:
        return
    others = methods_that(lambda other: other.needs <= has)
    remedy = (
        f"or take a method that does without ({', '.join(others)})"
        if others
        else "no installed method does without"
    )
    how = f" ({_CAMERAS})" if "cameras" in lacking else ""
    raise UnsupportedError(
        f"--input {files.source}: has no {' and no '.join(lacking)}, which method {name} needs; "
        f"give a capture with {' and '.join(lacking)}{how}, {remedy}"
    )


def _uses_masks(options: Mapping[str, Any]) -> bool:
    """Whether one of nested options has a loss weigh its pixels with the capture's masks."""
    return any(
        _uses_masks(value)
        if isinstance(value, Mapping)
        else name in ("mask", "where") and value in _MASKED
        for name, value in options.items()
    )


def _check_masks(files: CaptureFiles, names: Sequence[str]) -> None:
    """Refuse masks under which nothing would be inverted.

    Raises:
        InputError: naming the first one in which hardly anything is white.
    """
    for name in names:
        if name in files.blank_masks:
            where, what = files.blank_masks[name]
            raise InputError(
                f"{where}: the mask {what}, so that nothing of {name} would be inverted; give a "
                "mask with the head in white, or leave masks out"
            )


def _choose(
    request: Request, method: AnyInverter, files: CaptureFiles
) -> tuple[list[str], list[int], list[int], str]:
    """Return the names of the frames to read and, among them, those to invert and to hold out.

    The last item is what the user should know of it, empty if nothing.
    """
    views = request.views or min(method.default_views, len(files))
    chosen = choose_views(files.cameras, len(files), views, request.selection, files.described)
    if len(chosen) < method.min_views:
        raise InputError(
            f"--views {len(chosen)}: method {request.method} needs {method.min_views} or more "
            "views from different angles; give more, or take a method for one view such as pti"
        )
    fitted = _fitted(method, files, chosen)
    notice = ""
    if len(fitted) < len(chosen):
        notice = (
            f"method {request.method} fits {len(fitted)} of the {len(chosen)} views that were "
            "chosen, as its options say; the others count as not chosen"
        )
    held_out = split_views(len(files), fitted, request.hold_out, files.source)
    rows = sorted({*fitted, *held_out})
    position = {row: place for place, row in enumerate(rows)}
    return (
        [files.names[row] for row in rows],
        [position[row] for row in fitted],
        [position[row] for row in held_out],
        notice,
    )


def _fitted(method: AnyInverter, files: CaptureFiles, chosen: Sequence[int]) -> list[int]:
    """Return those of the chosen frames that the method says it fits, in the order of `chosen`.

    Raises:
        ContractError: where it names none, or any that wasn't chosen.
    """
    cameras = None if files.cameras is None else files.cameras[list(chosen)]
    places = set(method.fitted(cameras, len(chosen)))
    if not places or not places <= set(range(len(chosen))):
        raise ContractError(
            f"method {method.name}: its fitted() returned {sorted(places)}, expected one or more "
            f"of the positions 0 to {len(chosen) - 1}; report it to the method's author"
        )
    return [row for place, row in enumerate(chosen) if place in places]


def split_views(
    frame_count: int, chosen: Sequence[int], hold_out: str, source: str = ""
) -> list[int]:
    """Return the frames to hold out.

    Args:
        frame_count: frames of the capture.
        chosen: frames that are inverted.
        hold_out: "all" the others, "none", or a number of them, spread evenly.
        source: of the capture, for the message.

    Raises:
        InputError: where there aren't that many others.
    """
    others = sorted(set(range(frame_count)) - set(chosen))
    if hold_out == "all":
        return others
    count = 0 if hold_out == "none" else int(hold_out)
    if count > len(others):
        raise InputError(
            f"--hold-out {count}: the capture {source} has {len(others)} views besides the "
            f"{len(chosen)} that are inverted; give a smaller number, or all"
        )
    return [others[(2 * i + 1) * len(others) // (2 * count)] for i in range(count)]
