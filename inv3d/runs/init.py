"""What a run begins from: `--init` names a run, a training, or a method that takes no steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inv3d.core.capture import Capture
from inv3d.core.errors import PluginError, RunError, UnsupportedError, suggest
from inv3d.core.files import file_digest
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import FILE, Inversion
from inv3d.core.inverter import AnyInverter, load_method
from inv3d.core.registry.discovery import registry
from inv3d.core.trained import FILE as TRAINED
from inv3d.core.trained import Trained
from inv3d.io.arrays import wrote_numpy
from inv3d.io.latents import LATENTS, holds
from inv3d.rundir.record import InitPart, Plan
from inv3d.runs.used_files import AGAIN, changed


@dataclass(frozen=True)
class Begun:
    """What a run begins from; nothing without `--init`.

    Attributes:
        inversion: that it starts from.
        part: of the run's plan, by which it's found again.
        notices: what the user should know.
    """

    inversion: Inversion | None = None
    part: InitPart | None = None
    notices: list[str] = field(default_factory=list)


def check_init(path: Path | None, method: type[AnyInverter]) -> None:
    """Refuse a result to start from where the method wouldn't look at it.

    Raises:
        UnsupportedError: where it wouldn't.
    """
    if path is None or method.takes_init:
        return
    others = ", ".join(methods_that(lambda other: other.takes_init)) or "none is installed"
    raise UnsupportedError(
        f"--init {path}: method {method.name} doesn't start from another result; leave --init out, "
        f"or take a method that does ({others})"
    )


def methods_that(suit: Callable[[type[AnyInverter]], bool]) -> list[str]:
    """Return the names of the methods that suit."""
    names = []
    for record in registry().of_kind("methods"):
        try:
            method: type[AnyInverter] = registry().load("methods", record.name)
        except PluginError:
            continue
        if suit(method):
            names.append(record.name)
    return names


def begin_from(path: Path | None, generator: Generator, capture: Capture, seed: int) -> Begun:
    """Return what a run starts from.

    Args:
        path: that `--init` gives: directory of a run or a training, or name of a method.
        generator: of the run.
        capture: the views that it inverts.
        seed: of the run.

    Raises:
        InvError: where it can't be had, or is of another generator.
    """
    if path is None:
        return Begun()
    if (named := _named_method(path)) is not None:
        init, said = _made_by(*named, generator, capture, seed)
        part = InitPart(path=named[1], method=named[0], digest=init.digest())
        return Begun(init, part, said)
    if not (path / FILE).is_file():
        raise _nothing_at(path)
    init = Inversion.load(path)
    init.check_generator(generator)
    return Begun(init, InitPart(path=path.absolute(), sha256=file_digest(path / FILE)))


def begin_again(plan: Plan, generator: Generator, capture: Capture) -> Inversion | None:
    """Return what a run started from; it's the same to the last byte.

    Args:
        plan: of the run.
        generator: of the run.
        capture: the views that it inverts.

    Raises:
        RunError: where it isn't any more.
    """
    part = plan.init
    if part is None:
        return None
    if part.method or part.path is None:
        init, _ = _made_by(part.method, part.path, generator, capture, plan.seed)
        if init.digest() != part.digest:
            raise RunError(
                f"--init {part.method}: no longer makes of the input what the run began with; "
                f"{AGAIN}"
            )
        return init
    file = part.path / FILE
    if not file.is_file() or file_digest(file) != part.sha256:
        raise changed(file)
    init = Inversion.load(part.path)
    init.check_generator(generator)
    return init


def _nothing_at(path: Path) -> RunError:
    """Return the error for a path that's neither a run nor a training, nor names a method."""
    if os.path.isfile(path):
        return RunError(f"--init {path}: is a file, not a run; {_instead_of(path)}")
    said = f"--init {path}: no {FILE} there; give the directory of a finished run or a training"
    if os.path.isdir(path):
        return RunError(said)
    known = suggest(str(path), methods_that(lambda method: method.instant))
    return RunError(f"{said}, or name a method that takes no steps{known}")


def _instead_of(path: Path) -> str:
    """Say what to give instead of a file."""
    if any((path.parent / name).is_file() for name in (FILE, TRAINED)):
        return f"give its folder, {path.parent}"
    if wrote_numpy(path) or holds(path, LATENTS):
        return f"make one of these latents with '3dinv convert {path} --as-run DIR', and give that"
    return "give the directory of a finished run or a training"


def _named_method(path: Path) -> tuple[str, Path | None] | None:
    """Return the method that --init names, or whose training, with that directory; else None."""
    if (path / TRAINED).is_file():
        return Trained.load(path).plugin, path.absolute()
    known = {record.name for record in registry().of_kind("methods")}
    return (str(path), None) if str(path) in known and not path.exists() else None


def _made_by(
    name: str, weights: Path | None, generator: Generator, capture: Capture, seed: int
) -> tuple[Inversion, list[str]]:
    """Return what a method without steps makes of the views that a run begins with.

    Args:
        name: of the method.
        weights: directory of its training, or None.
        generator: of the run.
        capture: the views.
        seed: of the run.

    Raises:
        UnsupportedError: where the method takes steps.
    """
    kind: type[AnyInverter] = registry().load("methods", name)
    if not kind.instant:
        others = ", ".join(methods_that(lambda other: other.instant)) or "none is installed"
        raise UnsupportedError(
            f"--init {name}: method {name} takes steps; run it first and give its directory, or "
            f"name one that takes none ({others})"
        )
    context = Context.create(generator.device, seed)
    options = {} if weights is None else {"weights": str(weights)}
    made = load_method(name, options, generator).invert(generator, capture, context)
    return made, context.state.notices
