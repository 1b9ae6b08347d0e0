"""Videos and photographs as the input of a run, which become captures first: which they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inv3d.core.errors import InputError
from inv3d.core.registry.discovery import registry
from inv3d.io.dataset import open_capture
from inv3d.io.formats import PICTURES, VIDEOS
from inv3d.io.naming import MASKS
from inv3d.photos.options import Options

if TYPE_CHECKING:
    from inv3d.core.inverter import AnyInverter


def is_raw(source: str, method: str, camera: str | None) -> bool:
    """Whether an input has to be prepared.

    A video has. Pictures have where they've no cameras, the method needs some, and `--camera`
    doesn't say how to get them: a single one, or a folder of them.

    Args:
        source: the input.
        method: name of the plugin.
        camera: what `--camera` says.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in VIDEOS and not path.is_dir():
        return True
    chosen: type[AnyInverter] = registry().load("methods", method)
    if camera is not None or "cameras" not in chosen.needs:
        return False
    return _without_cameras(path) if path.is_dir() else suffix in PICTURES and path.is_file()


def _without_cameras(folder: Path) -> bool:
    """Whether a folder holds pictures or videos, and no cameras for them."""
    suffixes = {path.suffix.lower() for path in folder.iterdir() if path.name[0] != "."}
    if not suffixes & PICTURES:
        return bool(suffixes & VIDEOS)
    try:
        return not open_capture(folder).posed
    except InputError:
        return False  # whoever reads it as a capture says what's wrong


def options_for(source: str, generator: str, options: Mapping[str, Any]) -> Options:
    """Return how an input is prepared for a run.

    Args:
        source: the input; masks in a folder of it are taken.
        generator: name of the plugin.
        options: of the generator.
    """
    masks = Path(source) / MASKS
    return Options(
        inputs=(Path(source),),
        generator=generator,
        generator_options=options,
        masks=masks if masks.is_dir() else None,
    )
