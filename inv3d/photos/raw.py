"""Videos and photographs as the input of a run, which become captures first: which they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inv3d.core.config import build_config
from inv3d.core.registry.discovery import registry
from inv3d.io.formats import PICTURES, UNPREPARED, VIDEOS

if TYPE_CHECKING:
    from inv3d.core.generator import Generator
    from inv3d.core.inverter import AnyInverter


def is_raw(source: str, method: str, generator: str, options: Mapping[str, Any]) -> bool:
    """Whether an input has to be prepared: a video, or a picture without a camera.

    A method that needs no cameras takes pictures as they are; so does a generator of other things
    than faces, which can't be prepared for.

    Args:
        source: the input.
        method: name of the plugin.
        generator: name of the plugin.
        options: of the generator.
    """
    suffix = Path(source).suffix.lower()
    if suffix in VIDEOS:
        return True
    if suffix not in PICTURES | UNPREPARED or not Path(source).is_file():
        return False
    chosen: type[AnyInverter] = registry().load("methods", method)
    if "cameras" not in chosen.needs:
        return False
    kind: type[Generator] = registry().load("generators", generator)
    return kind.alignment(build_config(kind.Config, options, f"generator {generator}")) is not None
