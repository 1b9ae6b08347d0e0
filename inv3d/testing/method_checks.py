"""What every method is held to: its result, seeds, chunks, resuming, what it leaves alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inv3d.core.capture import Capture
from inv3d.core.errors import (
    InterruptedRun,
    InvError,
    UnsupportedError,
    WeightsError,
)
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import AnyInverter, Diagnostic, Inverter, Single
from inv3d.testing import common_checks, training_checks
from inv3d.testing.subjects import Subject, finite, latents, near, shaped, taken
from inv3d.testing.suite import DoesntApply, Suite
from inv3d.testing.toy import toy_capture

SUITE: Suite[Subject] = Suite()
common_checks.installed(SUITE)
common_checks.described(SUITE)
MOST_VIEWS = 5
PICTURES = 2e-3
# what commands keep for themselves among a method's options
SHARED = ("generator",)


@dataclass(frozen=True)
class Run:
    """A method that was run to its end."""

    method: AnyInverter
    generator: Generator
    untouched: dict[str, Tensor]
    capture: Capture
    inversion: Inversion
    log: list[Progress]


def _capture(subject: Subject, generator: Generator) -> Capture:
    views = max(subject.target.min_views, min(subject.target.default_views, MOST_VIEWS))
    return toy_capture(generator, views, motion=0.2, yaw_deg=20.0)


def _run(subject: Subject, context: Context | None = None, **watch: Any) -> Run:
    """Run the method on views of a known head.

    Raises:
        DoesntApply: where its weights aren't here, or it can't work with this generator.
    """
    method, generator = subject.make(), subject.stage()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    capture, log = _capture(subject, generator), list[Progress]()
    chosen = capture[list(method.fitted(capture.cameras, len(capture)))]
    context = context or subject.context()
    generator.rng = context.state.generators["render"]
    on_step: Callable[[Progress], None] = watch.get("on_step", lambda step: None)

    def step(progress: Progress) -> None:
        log.append(progress)
        on_step(progress)

    try:
        found = taken(method.steps(generator, chosen, context), step)
    except (WeightsError, UnsupportedError) as error:
        raise DoesntApply(f"needs weights or another generator ({error})") from error
    return Run(method, generator, before, capture, found, log)


def _base(subject: Subject) -> Run:
    """The run that others are compared with; made once."""
    runs = subject.made
    if "base" not in runs:
        torch.manual_seed(54321)
        runs["base"] = _run(subject)
    base: Run = runs["base"]
    return base


def _picture(run: Run) -> Tensor:
    """What the result looks like, [N, 3, H, W]; the generator is tuned already."""
    camera = run.capture.camera.to(run.generator.device)
    with torch.no_grad():
        scene = run.inversion.scene_for(run.generator, camera, run.capture.names)
        return run.generator.render(scene, camera).require("image")


def _same(first: Inversion, second: Inversion) -> str:
    """Say where two results differ; empty where they're the same to the last bit."""
    ours, theirs = first.tensors(), second.tensors()
    if ours.keys() != theirs.keys():
        return f"has {sorted(ours.keys() ^ theirs.keys())[0]} in only one of two runs"
    others = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    most = {n: float((ours[n] - theirs[n]).abs().max()) for n in others}
    return "".join(f"{n} differs by {d:.2g}" for n, d in list(most.items())[:1])


@SUITE.check
def is_built_from_its_options(subject: Subject) -> None:
    """`create` gives an Inverter that knows its options."""
    method = subject.plugin
    assert isinstance(method, Inverter), f"create returns a {type(method).__name__}"
    assert method.config == subject.config, "its options aren't those that it was given"


@SUITE.check
def states_what_it_needs(subject: Subject) -> None:
    """Needs and numbers of views make sense."""
    target = subject.target
    unknown = sorted(set(target.needs) - {"cameras", "masks", "depths"})
    assert not unknown, f"needs names '{unknown[0]}'"
    assert 1 <= target.min_views <= target.default_views, (
        f"min_views is {target.min_views}, default_views {target.default_views}"
    )


@SUITE.check
def fits_views_that_were_chosen(subject: Subject) -> None:
    """`fitted` names positions among the chosen views, each once."""
    capture = _capture(subject, subject.stage())
    found = list(subject.plugin.fitted(capture.cameras, len(capture)))
    assert found and len(set(found)) == len(found), f"fitted returns {found}"
    assert set(found) <= set(range(len(capture))), f"fitted returns {found} of {len(capture)}"


@SUITE.check
def returns_an_inversion(subject: Subject) -> None:
    """Latents of the generator's size, finite, on the CPU, with a camera each."""
    run = _base(subject)
    assert isinstance(run.inversion, Inversion), f"returns a {type(run.inversion).__name__}"
    spec = run.generator.spec
    shaped("ws", run.inversion.ws, None, spec.num_ws, spec.w_dim)
    for name, tensor in run.inversion.tensors().items():
        finite(name, tensor)
        assert tensor.device.type == "cpu", f"{name} is on {tensor.device}, expected the CPU"
        assert not tensor.requires_grad, f"{name} hangs on a graph"


@SUITE.check
def says_how_it_was_made(subject: Subject) -> None:
    """The result names generator, fingerprint, and in its history the method with its options."""
    run = _base(subject)
    assert run.inversion.fingerprint == run.generator.spec.fingerprint, "another fingerprint"
    assert run.inversion.generator == type(run.generator).name, run.inversion.generator
    assert run.inversion.history, "its history is empty"
    last = run.inversion.history[-1]
    assert (last.kind, last.name) == ("method", subject.record.name), f"made by {last}"


@SUITE.check
def reports_every_step(subject: Subject) -> None:
    """Steps count from 0 in every stage; losses and rates are finite."""
    run, seen = _base(subject), dict[str, int]()
    if not run.log:
        raise DoesntApply("it takes no steps")
    for step in run.log:
        assert step.step == seen.get(step.stage, -1) + 1, f"step {step.step} of '{step.stage}'"
        seen[step.stage] = step.step
        numbers = torch.tensor([*step.losses.values(), *step.lr.values()])
        finite(f"a loss or rate of '{step.stage}'", numbers)


@SUITE.check
def repeats_itself_under_a_seed(subject: Subject) -> None:
    """The same seed gives the same result, whatever torch's own random numbers are."""
    base = _base(subject)
    torch.manual_seed(12345)
    said = _same(_run(subject).inversion, base.inversion)
    assert not said, f"{said}; draw from context.randn, context.randint or the generator's rng"


@SUITE.check
def doesnt_depend_on_the_chunk(subject: Subject) -> None:
    """Views that are rendered one at a time give the same head."""
    base = _base(subject)
    other = _run(subject, subject.context(view_chunk=1))
    difference = float((_picture(other) - _picture(base)).abs().mean())
    assert difference <= PICTURES, f"with one view at a time pictures differ by {difference:.2g}"


@SUITE.check
def resumes_to_the_same_result(subject: Subject) -> None:
    """Stopped after any step and gone on with, it ends where it would have ended."""
    base = _base(subject)
    if not base.log:
        raise DoesntApply("it takes no steps")
    with tempfile.TemporaryDirectory() as folder:
        for stop in sorted({1, len(base.log) // 2 + 1}):
            said = _same(_resumed(subject, Path(folder) / "checkpoint", stop), base.inversion)
            assert not said, f"stopped after {stop} of {len(base.log)} steps: {said}"


def _resumed(subject: Subject, checkpoint: Path, stop: int) -> Inversion:
    context, count = subject.context(checkpoint=checkpoint), [0]

    def watch(step: Progress) -> None:
        count[0] += 1
        context.state.stop_requested = count[0] >= stop

    try:
        return _run(subject, context, on_step=watch).inversion
    except InterruptedRun:
        again = subject.context(seed=99, checkpoint=checkpoint)
        again.state.restore()
        return _run(subject, again).inversion


@SUITE.check
def says_all_that_it_changed(subject: Subject) -> None:
    """The result put into an untouched generator gives the tuned one, to the last bit."""
    run, fresh = _base(subject), subject.stage()
    run.inversion.tune(fresh)
    now = run.generator.state_dict()
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, now[name]), (
            f"the generator's '{name}' isn't original + delta; take a Snapshot before tuning, "
            "settle() it afterwards and give it to self.inversion"
        )


@SUITE.check
def leaves_the_generator_frozen(subject: Subject) -> None:
    """Parameters want no gradient, and keep none, once it's done."""
    run = _base(subject)
    left = [name for name, p in run.generator.named_parameters() if p.requires_grad]
    assert not left, f"'{left[0]}' still wants a gradient"
    assert not run.generator.training, "the generator is in training mode"


@SUITE.check
def leaves_the_capture_alone(subject: Subject) -> None:
    """The pictures that it was given stay as they were."""
    run = _base(subject)
    fresh = _capture(subject, subject.stage())
    near("the pictures", run.capture.images, fresh.images, 0.0)


@SUITE.check
def is_saved_and_loaded(subject: Subject) -> None:
    """The result is the same after it was written and read."""
    run = _base(subject)
    with tempfile.TemporaryDirectory() as folder:
        run.inversion.save(Path(folder))
        again = Inversion.load(Path(folder))
    assert again.digest() == run.inversion.digest(), "read again, it's another result"


@SUITE.check
def renders_as_it_was_found(subject: Subject) -> None:
    """Pictures of the result are finite and have the generator's size."""
    run = _base(subject)
    side = run.generator.spec.resolution
    picture = _picture(run)
    shaped("the picture", picture, len(run.capture), 3, side, side)
    finite("the picture", picture)


@SUITE.check
def shows_diagnostics(subject: Subject) -> None:
    """Pictures for the report have titles, shapes, and a label each or none."""
    shown = _base(subject).method.diagnostics()
    if not shown:
        raise DoesntApply("it has none")
    for one in shown:
        assert isinstance(one, Diagnostic) and one.title, "a diagnostic without a title"
        shaped(f"'{one.title}'", one.images, None, 3, None, None)
        assert len(one.labels) in (0, len(one.images)), f"'{one.title}': labels don't match"


@SUITE.check
def starts_from_another_result(subject: Subject) -> None:
    """With `takes_init` it starts from a given result and names it in its history."""
    if not subject.target.takes_init:
        raise DoesntApply("it doesn't start from another result")
    generator = subject.stage()
    camera = generator.spec.camera.front()
    init = Inversion(
        latents(generator, 1).cpu().float(),
        camera,
        type(generator).name,
        generator.spec.fingerprint,
    )
    found = _run(subject, subject.context(init=init)).inversion
    assert found.history[-1].parent == init.digest(), "its history doesn't name the parent"


@SUITE.check
def inverts_several_as_each_by_itself(subject: Subject) -> None:
    """What `together` makes of two captures is what it makes of each, but for rounding."""
    if not subject.target.instant:
        raise DoesntApply("it takes steps")
    base = _base(subject)
    singles, views = [], base.capture[list(base.method.fitted(base.capture.cameras, 1))]
    for capture in (views, replace(views, images=views.images.flip(-1))):
        single = Single(subject.make(), subject.stage(), capture, subject.context())
        single.generator.rng = single.context.state.generators["render"]
        singles.append(single)
    found = subject.target.together(singles)
    assert len(found) == len(singles), f"returned {len(found)} results for {len(singles)} captures"
    for one, result in zip(singles, found, strict=True):
        method, generator, context = subject.make(), subject.stage(), subject.context()
        generator.rng = context.state.generators["render"]
        alone = method.invert(generator, one.capture, context)
        assert result.tensors().keys() == alone.tensors().keys(), "has other parts than alone"
        for name, expected in alone.tensors().items():
            near(f"{name} of a capture among others", result.tensors()[name], expected, PICTURES)


@SUITE.check
def refuses_pictures_of_another_size(subject: Subject) -> None:
    """An error of one line, before anything is optimised."""
    _base(subject)
    method, generator = subject.make(), subject.stage()
    capture = _capture(subject, generator)
    half = nn.functional.avg_pool2d(capture.images, 2)
    try:
        taken(method.steps(generator, replace(capture, images=half, masks=None), subject.context()))
    except InvError as error:
        assert "\n" not in str(error), "its error has several lines"
        return
    raise AssertionError("pictures of half the size are taken without a word")


@SUITE.check
def shadows_no_shared_option(subject: Subject) -> None:
    """Its options don't have names that commands use beside them."""
    taken_names = sorted(set(subject.target.Config.model_fields) & set(SHARED))
    assert not taken_names, f"option '{taken_names[0]}' is a table of its own in --set"


training_checks.trained(SUITE)
