"""What every editor is held to: directions of one generator, edits that leave their subject."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from inv3d.core.config import build_config
from inv3d.core.editor import Directions, Editor
from inv3d.core.editor import Subject as Edited
from inv3d.core.errors import InvError, UnsupportedError, WeightsError
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made, Snapshot
from inv3d.testing import common_checks
from inv3d.testing.subjects import Subject, cameras, finite, latents, shaped, taken
from inv3d.testing.suite import DoesntApply, Suite

SUITE: Suite[Subject] = Suite()
common_checks.installed(SUITE)
common_checks.described(SUITE)


def _directions(subject: Subject) -> Directions | None:
    """What the editor finds in the generator, once; None where it needs nothing."""
    if not subject.target.needs_directions:
        return None
    known = subject.made
    if "directions" not in known:
        torch.manual_seed(54321)
        known["directions"] = _fitted(subject)
    found: Directions = known["directions"]
    return found


def _fitted(subject: Subject) -> Any:
    generator = subject.stage()
    context = subject.context()
    generator.rng = context.state.generators["render"]
    try:
        return taken(subject.make().fit(generator, context))
    except (UnsupportedError, WeightsError) as error:
        raise DoesntApply(f"needs weights or another generator ({error})") from error


def _edit(subject: Subject) -> Any:
    try:
        return build_config(subject.target.Edit, subject.edit, f"an edit of {subject.owner}")
    except InvError as error:
        raise DoesntApply(f"give an edit to try it with, edit={{...}} ({error})") from error


def _head(generator: Generator) -> Inversion:
    """A head of the generator, as if a method had found it."""
    return Inversion(
        latents(generator, 1, seed=4).cpu().float(),
        generator.spec.camera.front(),
        type(generator).name,
        generator.spec.fingerprint,
        history=(Made("method", "toy"),),
    )


def _edited(subject: Subject, generator: Generator | None = None) -> tuple[Edited, Inversion]:
    """A head as it was, and edited."""
    generator = generator or subject.stage()
    inversion = _head(generator)
    whole = Edited(generator, inversion)
    try:
        editor: Editor[Any, Any] = subject.make()
        return whole, editor.apply(whole, _edit(subject), _directions(subject))
    except (UnsupportedError, WeightsError) as error:
        raise DoesntApply(f"needs weights or another generator ({error})") from error


@SUITE.check
def is_built_from_its_options(subject: Subject) -> None:
    """`create` gives an Editor that knows its options."""
    editor = subject.plugin
    assert isinstance(editor, Editor), f"create returns a {type(editor).__name__}"
    assert editor.config == subject.config, "its options aren't those that it was given"


@SUITE.check
def describes_every_option_of_an_edit(subject: Subject) -> None:
    """Each field of Edit has a description."""
    bare = list(common_checks.undescribed(subject.target.Edit))
    assert not bare, f"option '{bare[0]}' of an edit has no description"


@SUITE.check
def refuses_unknown_options_of_an_edit(subject: Subject) -> None:
    """A misspelt one is an error."""
    try:
        subject.target.Edit.model_validate({"no_such_option": 1})
    except ValidationError:
        return
    raise AssertionError("an option of an edit that doesn't exist is taken without a word")


@SUITE.check
def finds_directions(subject: Subject) -> None:
    """`fit` gives Directions that name editor and generator, with finite tensors."""
    found = _directions(subject)
    if found is None:
        raise DoesntApply("it needs no directions")
    assert isinstance(found, Directions), f"fit returns a {type(found).__name__}"
    assert found.editor == subject.record.name, f"directions of '{found.editor}'"
    found.check_generator(subject.stage())
    assert found.tensors, "the directions have no tensors"
    for name, tensor in found.tensors.items():
        finite(f"'{name}'", tensor)


@SUITE.check
def finds_the_same_directions_again(subject: Subject) -> None:
    """The same seed gives the same directions, whatever torch's own random numbers are."""
    found = _directions(subject)
    if found is None:
        raise DoesntApply("it needs no directions")
    torch.manual_seed(12345)
    again = _fitted(subject)
    for name, tensor in found.tensors.items():
        assert torch.equal(tensor, again.tensors[name]), f"'{name}' is another one the second time"


@SUITE.check
def keeps_its_directions_in_a_file(subject: Subject) -> None:
    """Directions are the same after they were written and read."""
    found = _directions(subject)
    if found is None:
        raise DoesntApply("it needs no directions")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "directions.safetensors"
        found.save(path)
        again = Directions.load(path)
    assert dict(again.facts) == dict(found.facts), "its facts are others after reading"
    for name, tensor in found.tensors.items():
        assert torch.equal(tensor.cpu(), again.tensors[name]), f"'{name}' is another one"


@SUITE.check
def leaves_the_generator_alone(subject: Subject) -> None:
    """Neither fitting nor an edit changes the generator."""
    generator = subject.stage()
    before = Snapshot(generator)
    _edited(subject, generator)
    changed = list(before.delta())
    assert not changed, f"the generator's '{changed[0]}' has changed"


@SUITE.check
def returns_an_edited_inversion(subject: Subject) -> None:
    """Of the same generator, finite, with the edit at the end of its history."""
    whole, edited = _edited(subject)
    assert isinstance(edited, Inversion), f"apply returns a {type(edited).__name__}"
    spec = whole.generator.spec
    shaped("ws", edited.ws, None, spec.num_ws, spec.w_dim)
    for name, tensor in edited.tensors().items():
        finite(name, tensor)
    assert edited.fingerprint == spec.fingerprint, "another fingerprint"
    assert len(edited.history) == len(whole.inversion.history) + 1, "its history isn't one longer"
    last = edited.history[-1]
    assert (last.kind, last.name) == ("editor", subject.record.name), f"made by {last}"
    assert last.parent == whole.inversion.digest(), "its history doesn't name the parent"


@SUITE.check
def leaves_its_subject_alone(subject: Subject) -> None:
    """The inversion that is edited stays as it was."""
    whole, edited = _edited(subject)
    untouched = _head(subject.stage())
    assert torch.equal(whole.inversion.ws, untouched.ws), "the subject's latents have changed"
    assert whole.inversion.digest() == untouched.digest(), "the subject has changed"
    assert edited is not whole.inversion, "it returns the subject itself"


@SUITE.check
def makes_the_same_edit_again(subject: Subject) -> None:
    """An edit is the same whenever it's made."""
    torch.manual_seed(1)
    _, first = _edited(subject)
    torch.manual_seed(2)
    _, second = _edited(subject)
    assert first.digest() == second.digest(), "the second time it's another edit"


@SUITE.check
def edits_can_be_seen(subject: Subject) -> None:
    """The edited head renders: finite, of the generator's size."""
    whole, edited = _edited(subject)
    camera = cameras(whole.generator, 2)
    with torch.no_grad():
        scene = edited.scene_for(whole.generator, camera)
        picture = whole.generator.render(scene, camera).require("image")
    finite("the picture", picture)


@SUITE.check
def is_saved_and_loaded(subject: Subject) -> None:
    """The edited inversion is the same after it was written and read."""
    _, edited = _edited(subject)
    with tempfile.TemporaryDirectory() as folder:
        edited.save(Path(folder))
        assert Inversion.load(Path(folder)).digest() == edited.digest(), "read again, another one"


@SUITE.check
def refuses_directions_of_another_generator(subject: Subject) -> None:
    """Directions with another fingerprint are a WeightsError."""
    found = _directions(subject)
    if found is None:
        raise DoesntApply("it needs no directions")
    whole, _ = _edited(subject)
    other = replace(found, fingerprint="0" * 16)
    try:
        subject.make().apply(whole, _edit(subject), other)
    except WeightsError:
        return
    raise AssertionError("directions of another generator are taken; see check_generator()")


@SUITE.check
def refuses_to_work_without_directions(subject: Subject) -> None:
    """Where it needs directions and is given none, an error of one line says so."""
    if not subject.target.needs_directions:
        raise DoesntApply("it needs no directions")
    whole, _ = _edited(subject)
    try:
        subject.make().apply(whole, _edit(subject), None)
    except InvError as error:
        assert "\n" not in str(error), "its error has several lines"
        return
    raise AssertionError("it edits without directions, though it says that it needs some")
