"""Finding directions for a generator, and keeping them where later edits find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inv3d.core.border import check_tensors
from inv3d.core.editor import AnyEditor, Directions, directions_path
from inv3d.core.errors import ContractError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator


def fit_directions(
    editor: AnyEditor,
    generator: Generator,
    *,
    seed: int = 303,
    out: Path | None = None,
    on_step: Callable[[Progress], None] = lambda step: None,
) -> tuple[Directions, Path]:
    """Fit an editor to a generator and write its directions.

    Args:
        editor: that has something to fit.
        generator: untuned, on the device.
        seed: of all random numbers.
        out: the file; where later edits find it if None.
        on_step: is told of every step.

    Returns:
        The directions, and where they are.
    """
    steps = editor.fit(generator, Context.create(generator.device, seed))
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return _written(end.value, editor, generator, out)
        on_step(step)


def take_directions(
    editor: AnyEditor,
    source: Path,
    generator: Generator,
    *,
    seed: int = 303,
    out: Path | None = None,
) -> tuple[Directions, Path]:
    """Read directions of another project and write them as ours; see `fit_directions`."""
    found = editor.take(source, generator, Context.create(generator.device, seed))
    return _written(found, editor, generator, out)


def _written(
    found: object, editor: AnyEditor, generator: Generator, out: Path | None
) -> tuple[Directions, Path]:
    if not isinstance(found, Directions):
        raise ContractError(
            f"editor {editor.name}: its directions are a {type(found).__name__}, expected "
            "Directions; report it to the plugin's author"
        )
    check_tensors(f"editor {editor.name}: its directions", found.tensors)
    found.check_generator(generator)
    path = out or directions_path(editor.name, generator)
    found.save(path)
    return found, path
