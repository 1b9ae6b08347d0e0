"""What `run.json` says: where a result comes from, and all that determines a run."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError, RunError, plain_text
from inv3d.core.registry.discovery import registry
from inv3d.rundir.files import RECORD

if TYPE_CHECKING:
    from inv3d.core.generator import Generator

FORMAT = 1
# unreported: the result is saved, but its report could not be made
Status = Literal["running", "interrupted", "failed", "unreported", "finished"]
# what the record of an edited run has besides: the editor, its edits and the runs they were made of
EDIT = "edit"
_VERSIONS = ("3dinv", "torch", "numpy", "pillow", "safetensors", "pydantic")
P = TypeVar("P", bound=BaseModel)


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
    """A generator: also its weight file, and the fingerprint of architecture and weights.

    Attributes:
        weights: where they are; a relative path lies within the run directory.
        metrics: losses that judge its pictures, role -> loss with options; the spec's, and what the
            user added.
    """

    weights: Path | None = None
    fingerprint: str
    metrics: dict[str, str] = {}


class InputPart(_Part):
    """The frames of a capture that a run reads.

    Attributes:
        path: of the capture, or "sample:NAME"; None for a result that was imported without it.
        views: names of the images that are read, in the order of the capture.
        chosen: those that are inverted, as positions in `views`.
        held_out: those that only the metrics see, likewise.
        digest: of the images and cameras, as they were when the run began.
        undistort: whether the lens distortion that the cameras name is taken out of the images.
        cameras: labels of 25 numbers, one a view, where an estimator told them; None takes the
            capture's own.
    """

    path: str | None
    views: tuple[str, ...]
    chosen: tuple[int, ...]
    held_out: tuple[int, ...]
    digest: str
    undistort: bool = False
    cameras: tuple[tuple[float, ...], ...] | None = None


class InitPart(_Part):
    """What a run starts from: another run, or what a method without steps makes of its views.

    Attributes:
        path: of the run, or of the training of the method.
        sha256: of the run's file.
        method: name of the method; empty where it starts from a run.
        digest: of the inversion that it makes.
    """

    path: Path | None = None
    sha256: str = ""
    method: str = ""
    digest: str = ""


class Origin(_Part):
    """What every result comes from, also one that another project made."""

    format: int = FORMAT
    method: PluginPart
    generator: GeneratorPart
    input: InputPart


class Plan(Origin):
    """Everything that the result of a run depends on.

    Attributes:
        threads: of the CPU, which the order of sums depends on.
        files: path -> SHA-256 of the files that method and losses read, such as weights.
        pictures: whether previews, video and mesh are made at the end.
    """

    seed: int
    device: str
    threads: int
    view_chunk: int | None
    checkpoint_every: int
    init: InitPart | None
    files: dict[str, str] = {}
    pictures: bool

    @staticmethod
    def read(record: Mapping[str, Any], where: Path) -> Plan:
        """Read the plan from the contents of `run.json`.

        Raises:
            RunError: where the file isn't one of this format.
        """
        check_format(record, where)
        return read_part(Plan, record, where)


class _Read(BaseModel):
    """What is read as it stands, so that a text of digits is no number."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Named(_Read):
    name: str
    preset: str | None = None


class _Source(_Read):
    path: str | None = None


class Record(_Read):
    """What tables, pages and commands read in `run.json` of every run, however far it has come."""

    method: _Named
    generator: _Named
    input: _Source
    status: Status = "running"
    seconds: dict[str, float] = {}
    warnings: list[str] = []
    started: str = ""


class _Column(_Read):
    key: str
    label: str
    better: Literal["lower", "higher", ""]
    digits: Annotated[int, Field(ge=0, le=20)]
    unit: str = ""


class _Counts(_Read):
    all: int
    chosen: int
    held_out: int


class Metrics(_Read):
    """What tables and pages read in `metrics.json`."""

    columns: list[_Column]
    run_columns: list[_Column]
    names: dict[str, str]
    size: int
    views: _Counts
    latents: int
    front: dict[str, float | str | None]
    chosen: dict[str, float | None]
    held_out: dict[str, float | None]
    rotation: dict[str, float | None]
    depth_consistency: float | None = None
    latent_distance: float | None = None
    notes: dict[str, str] = {}
    warnings: list[str] = []
    seconds: dict[str, float] = {}

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        texts = [c.key for c in self.columns if isinstance(self.front.get(c.key), str)]
        if texts:
            raise ValueError(f"front: '{texts[0]}' is a text, expected a number")
        return self


_START_AGAIN = "start the run again with --overwrite"


def read_part(kind: type[P], content: Any, where: Path, remedy: str = _START_AGAIN) -> P:
    """Read a part of `run.json` or `metrics.json`.

    Args:
        kind: of the part.
        content: plain values.
        where: the run, for the message.
        remedy: what the user can do.

    Raises:
        RunError: naming the first entry that isn't what it should be.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        name = plain_text(".".join(map(str, first["loc"])))
        raise RunError(
            f"{where}: '{name}': {first['msg'].lower()}; the file was changed, {remedy}"
        ) from None


@contextlib.contextmanager
def recorded_options(directory: Path) -> Iterator[None]:
    """Say that options which aren't valid are those of a run's record, and no user's.

    Raises:
        RunError: instead of a `ConfigError`.
    """
    try:
        yield
    except ConfigError as error:
        raise RunError(
            f"{directory / RECORD}: {error}; the file was changed, or made by another version, "
            f"{_START_AGAIN}"
        ) from error


def check_format(record: Mapping[str, Any], where: Path) -> None:
    """Refuse a record of a format that this version doesn't know.

    Raises:
        RunError: naming it.
    """
    found = record.get("format", FORMAT)
    if found != FORMAT:
        raise RunError(
            f"{where}: format {found!r}, expected {FORMAT}; use it with the version of 3dinv that "
            "made it"
        )


def new_record(
    origin: Origin,
    *,
    warnings: Sequence[str] = (),
    command: Sequence[str] = (),
    imported: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the contents of a new `run.json`.

    Args:
        origin: what the result comes from; the plan of a run that begins.
        warnings: what the user should know.
        command: the command line.
        imported: the files of another project that the result was read from; such a run is
            finished from the start.
    """
    started = timestamp()
    record = origin.model_dump(mode="json") | {
        "status": "running",
        "versions": {n: version(n) for n in _VERSIONS} | {"python": platform.python_version()},
        "platform": platform.platform(),
        "command": list(command),
        "started": started,
        "warnings": list(warnings),
    }
    if imported is not None:
        finished = {"status": "finished", "finished": started, "seconds": {}}
        record |= {"imported": dict(imported), **finished}
    return record


def timestamp() -> str:
    """Return the time, to the second, with its zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def generator_part(
    name: str,
    generator: Generator,
    given: PluginConfig,
    weights: Path | None,
    preset: str | None = None,
) -> GeneratorPart:
    """Describe a generator.

    Args:
        name: of the plugin.
        generator: that was built.
        given: options that it was built with.
        weights: the file that it was built with.
        preset: that options came from, or None.
    """
    return GeneratorPart(
        name=name,
        preset=preset,
        options=_resolved_options(generator, given),
        weights=weights,
        fingerprint=generator.spec.fingerprint,
        metrics=dict(generator.spec.metrics),
        **provenance("generators", name, type(generator)),
    )


def _resolved_options(generator: Generator, given: PluginConfig) -> dict[str, Any]:
    """A generator's options as plain values: with what its weight file says, if it knows."""
    config = generator.config
    resolved = config if isinstance(config, PluginConfig) else given
    return resolved.model_dump(mode="json")


def provenance(kind: str, name: str, plugin: Any) -> dict[str, str]:
    """Return where a plugin comes from and what its licence is, for a `PluginPart`."""
    record = registry().record(kind, name)
    return {
        "distribution": record.distribution,
        "version": record.version,
        "licence": plugin.licence,
        "reference": plugin.reference,
    }
