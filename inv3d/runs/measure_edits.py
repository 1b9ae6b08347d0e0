"""Measuring named edits on finished runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inv3d.core.editor import Directions, directions_path
from inv3d.core.errors import WeightsError
from inv3d.core.generator import Generator
from inv3d.report.editability import READER, Reader, effect_of, fit_reader
from inv3d.rundir.opening import open_run
from inv3d.runs.edit import Editing


def measure_edits(
    editor: str,
    runs: Sequence[Path],
    edits: Sequence[tuple[str, float]],
    *,
    directions: Path | None = None,
    samples: int = 1500,
    device: torch.device,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measure named edits on runs.

    Args:
        editor: by name.
        runs: directories.
        edits: name and strength.
        directions: a file, or None for those that are known here.
        samples: heads that reading attributes is learned from.
        device: where everything runs.
        say: is told what happens.

    Returns:
        A row for every run and edit: what moved, what else, the identity that is kept, and the
        share of the attribute's variance that is read right.

    Raises:
        InvError: where a run can't be opened, or an edit isn't known.
    """
    rows: list[dict[str, Any]] = []
    for path in runs:
        editing = Editing(open_run(path, device), editor, directions=directions)
        reader = known_reader(editing.reopen_untuned(), samples, say)
        for name, strength in edits:
            options = editing.editor.named(editing.directions, name, strength)
            found = effect_of(editing.palette, options, name, reader, editing.reopen)
            trust = reader.trust[reader.names.index(name)] if name in reader.names else None
            rows.append(
                {
                    "run": str(path),
                    "edit": name,
                    "strength": strength,
                    "moved": found.moved,
                    "others": found.others,
                    "identity": found.identity,
                    "trust": trust,
                }
            )
    return rows


def known_reader(generator: Generator, samples: int, say: Callable[[str], None]) -> Reader:
    """Return the reader of a generator and so many samples: a kept one, else a new one to keep."""
    path = directions_path(f"{READER}{samples}", generator)
    try:
        found = Directions.load(path)
        found.check_generator(generator)
        return Reader.of(found)
    except (WeightsError, KeyError):
        say(f"learning to read attributes off pictures of {samples} heads")
    reader = fit_reader(generator, samples)
    reader.as_directions(generator).save(path)
    return reader
