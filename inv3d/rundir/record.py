"""What determines a run: plugins, options, input and seed, as `run.json` keeps them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.errors import RunError
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.io.dataset import CaptureFiles, open_capture

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PluginPart(_Part):
    """A plugin with its resolved options, and where it comes from."""

    name: str
    preset: str | None = None
    options: dict[str, Any]
    distribution: str = ""
    version: str = ""
    licence: str = ""
    reference: str = ""


class GeneratorPart(PluginPart):
    """A generator: also its weight file, and the fingerprint of architecture and weights."""

    weights: Path | None = None
    fingerprint: str


class InputPart(_Part):
    """The frames of a capture that a run reads.

    Attributes:
        path: of the capture, or "sample:NAME".
        views: names of the images that are read, in the order of the capture.
        chosen: those that are inverted, as positions in `views`.
        held_out: those that only the metrics see, likewise.
        digest: of the images and cameras, as they were when the run began.
    """

    path: str
    views: tuple[str, ...]
    chosen: tuple[int, ...]
    held_out: tuple[int, ...]
    digest: str


class InitPart(_Part):
    """The run that another one starts from."""

    path: Path
    sha256: str


class Plan(_Part):
    """Everything that the result of a run depends on.

    Attributes:
        threads: of the CPU, which the order of sums depends on.
        pictures: whether previews, video and mesh are made at the end.
    """

    format: int = FORMAT
    method: PluginPart
    generator: GeneratorPart
    input: InputPart
    seed: int
    device: str
    threads: int
    view_chunk: int | None
    checkpoint_every: int
    init: InitPart | None
    pictures: bool

    @staticmethod
    def read(record: Mapping[str, Any], where: Path) -> Plan:
        """Read the plan from the contents of `run.json`.

        Raises:
            RunError: where the file isn't one of this format.
        """
        try:
            plan = Plan.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise RunError(
                f"{where}: '{name}': {first['msg'].lower()}; the file was changed, start the run "
                "again with --overwrite"
            ) from None
        if plan.format != FORMAT:
            raise RunError(
                f"{where}: format {plan.format}, expected {FORMAT}; "
                "continue it with the version of 3dinv that began it"
            )
        return plan


def provenance(kind: str, name: str, plugin: Any) -> dict[str, str]:
    """Return where a plugin comes from and what its licence is, for a `PluginPart`."""
    record = registry().record(kind, name)
    return {
        "distribution": record.distribution,
        "version": record.version,
        "licence": plugin.licence,
        "reference": plugin.reference,
    }


def resolved_options(generator: Generator, given: PluginConfig) -> dict[str, Any]:
    """Return a generator's options as plain values: with what its weight file says, if it knows.

    Args:
        generator: that was built.
        given: options that it was built with.
    """
    config = getattr(generator, "config", None)
    resolved = config if isinstance(config, PluginConfig) else given
    return resolved.model_dump(mode="json")


def split_views(camera_count: int, chosen: Sequence[int], hold_out: str) -> list[int]:
    """Return the frames to hold out.

    Args:
        camera_count: frames of the capture.
        chosen: frames that are inverted.
        hold_out: "all" the others, "none", or a number of them, spread evenly.
    """
    others = sorted(set(range(camera_count)) - set(chosen))
    count = len(others) if hold_out == "all" else 0 if hold_out == "none" else int(hold_out)
    if count >= len(others):
        return others
    return [others[(2 * i + 1) * len(others) // (2 * count)] for i in range(count)]


def load_input(
    part: InputPart | Mapping[str, Any], resolution: int
) -> tuple[Capture, list[int], list[int]]:
    """Read the frames of a run again.

    Args:
        part: "input" of `run.json`.
        resolution: of the generator, pixels a side.

    Returns:
        The capture, the positions of the chosen and those of the held-out frames in it.

    Raises:
        InputError: where the capture can't be read.
        RunError: where it has lost frames or isn't what it was.
    """
    if not isinstance(part, InputPart):
        part = InputPart.model_validate(part)
    capture = load_frames(open_capture(part.path), part.views, resolution)
    if digest(capture) != part.digest:
        raise RunError(
            f"{part.path}: its images or labels aren't those that the run began with; "
            "put them back, or start the run again with --overwrite"
        )
    return capture, list(part.chosen), list(part.held_out)


def load_frames(files: CaptureFiles, frames: Sequence[str], resolution: int) -> Capture:
    """Read frames by name."""
    position = {name: row for row, name in enumerate(files.names)}
    missing = [name for name in frames if name not in position]
    if missing:
        raise RunError(
            f"{files.source}: {missing[0]} was there when the run began; put it back, or start "
            "the run again with --overwrite"
        )
    return files.load(resolution, [position[name] for name in frames])


def digest(capture: Capture) -> str:
    """Return 16 hex digits that tell images, cameras and masks apart."""
    result = hashlib.sha256()
    for tensor in (capture.images, capture.camera.labels(), capture.masks):
        if tensor is not None:
            result.update(tensor.contiguous().numpy().data)
    return result.hexdigest()[:16]
