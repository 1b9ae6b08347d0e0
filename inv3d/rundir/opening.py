"""Opening run directories: record, metrics, frames, inversion and the tuned generator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inv3d.core.arguments import PATH, expect
from inv3d.core.errors import PluginError, RunError, WeightsError
from inv3d.core.files import read_json
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import OWN_DISTRIBUTION, singular
from inv3d.rundir.files import METRICS, RECORD
from inv3d.rundir.record import (
    EDIT,
    GeneratorPart,
    InputPart,
    Metrics,
    PluginPart,
    Record,
    check_format,
    read_part,
    recorded_options,
)

# what needs torch is imported where it's used: tables of runs are made without it
if TYPE_CHECKING:
    import torch

    from inv3d.core.capture import Capture
    from inv3d.core.generator import Generator
    from inv3d.core.inversion import Inversion

_DIRECTORY = "the path of a run's directory"
_PARTS = {"method", "generator", "input"}


@dataclass(frozen=True)
class Run:
    """A run that is loaded and ready to render.

    Attributes:
        directory: where it lies.
        generator: tuned, in eval mode, on the device.
        inversion: the result.
        record: contents of run.json.
    """

    directory: Path
    generator: Generator = field(repr=False)
    inversion: Inversion = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)


def read_record(directory: Path) -> dict[str, Any]:
    """Return what run.json says of a run, finished or not.

    Raises:
        RunError: where there's no run, or its run.json isn't whole.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RunError(f"{directory}: no such directory; give the directory of a run")
    if not (directory / RECORD).is_file():
        raise RunError(f"{directory}: no {RECORD}, so it's no run; give what 'run --out' was given")
    record: dict[str, Any] = read_json(directory / RECORD, "start the run again")
    if not isinstance(record, dict) or not _PARTS <= set(record):
        raise RunError(f"{directory / RECORD}: not the record of a run; start the run again")
    check_format(record, directory / RECORD)
    read_part(Record, record, directory / RECORD)
    return record


def read_result(directory: Path) -> tuple[dict[str, Any], Inversion]:
    """Return what run.json says of a run, and its result.

    Raises:
        RunError: where there's no run, or one without a result yet.
        WeightsError: where the result is damaged.
    """
    from inv3d.core.inversion import Inversion

    directory = Path(directory)
    record = read_record(directory)
    check_result(record, directory)
    return record, Inversion.load(directory)


def check_result(record: Mapping[str, Any], directory: Path) -> None:
    """Refuse a run without a result.

    Raises:
        RunError: where it hasn't come so far, or has lost it since.
    """
    from inv3d.core.inversion import FILE

    if (directory / FILE).is_file():
        return
    status = record.get("status", "unknown")
    if status == "finished" and EDIT not in record:
        raise RunError(
            f"{directory}: {FILE} is missing, though the run is finished; put it back, or start "
            "the run again with --overwrite"
        )
    raise RunError(
        f"{directory}: the run isn't finished (status: {status}); {way_on(record, directory)}"
    )


def way_on(record: Mapping[str, Any], directory: Path) -> str:
    """Say how to go on with a run that was left before its end."""
    from inv3d.core.inversion import FILE

    if EDIT not in record:
        return f"go on with it by '3dinv run --resume {directory}'"
    if (directory / FILE).is_file():
        return f"make its report with '3dinv eval {directory} --save'"
    return "make the edit again with '3dinv edit' and --overwrite"


def read_metrics(directory: Path) -> dict[str, Any]:
    """Return the metrics of a run.

    Raises:
        ConfigError: where `directory` is no path.
        RunError: where there are none, or they don't say what they are.
    """
    expect("directory", directory, PATH, _DIRECTORY)
    path = Path(directory) / METRICS
    if not path.is_file():
        read_result(directory)
        raise RunError(f"{directory}: no {METRICS}; make it with '3dinv eval {directory} --save'")
    metrics: dict[str, Any] = read_json(
        path, f"measure the run again with '3dinv eval {directory} --save'"
    )
    if not isinstance(metrics, dict) or "columns" not in metrics:
        raise RunError(
            f"{path}: has no 'columns', which say what its numbers are; measure the run again "
            f"with '3dinv eval {directory} --save'"
        )
    read_part(Metrics, metrics, path, f"measure the run again with '3dinv eval {directory} --save'")
    return metrics


def method_of(record: Mapping[str, Any]) -> str:
    """Return the method's name and its preset, such as "multilatent (fast)"."""
    name, preset = record["method"]["name"], record["method"].get("preset")
    return f"{name} ({preset})" if preset else str(name)


def open_run(directory: Path | str, device: torch.device | str = "auto") -> Run:
    """Load a run that has a result, with its tuned generator.

    Args:
        directory: of the run.
        device: where it goes; a name means what `--device` means.

    Raises:
        ConfigError: where `directory` is no path, or there's no such device.
        RunError: where there's no such run.
        PluginError: where the generator's plugin is missing or broken.
        WeightsError: where the generator's weights are missing or others than those of the run.
    """
    from inv3d.core.device import as_device

    expect("directory", directory, PATH, _DIRECTORY)
    directory = Path(directory)
    record, inversion = read_result(directory)
    part = read_part(GeneratorPart, record["generator"], directory / RECORD)
    generator = open_generator(part, directory, as_device(device))
    inversion.tune(generator)
    return Run(directory, generator, inversion, record)


def open_generator(part: GeneratorPart, directory: Path, device: torch.device) -> Generator:
    """Build the untuned generator of a run, and see that it's the same as then.

    Raises:
        PluginError: where the generator's plugin is missing or broken.
        WeightsError: where its weights are missing or others than those of the run.
    """
    from inv3d.core.generator import add_metrics, load_generator

    weights = None if part.weights is None else directory / part.weights
    load_recorded("generators", part, directory)
    with recorded_options(directory):
        generator = load_generator(part.name, part.options, weights, device=device)
    if generator.spec.fingerprint != part.fingerprint:
        raise WeightsError(
            f"generator {part.name}: fingerprint {generator.spec.fingerprint}, but {directory} was "
            f"made with {part.fingerprint}; put its weights back, or start the run again with "
            "--overwrite"
        )
    add_metrics(generator, part.metrics)
    return generator


def load_recorded(kind: str, part: PluginPart, directory: Path) -> Any:
    """Import a plugin that a run was made with.

    Args:
        kind: of the plugin, in the plural.
        part: of `run.json`.
        directory: of the run.

    Raises:
        PluginError: naming the package that offered it then, where it can't be used here.
    """
    try:
        return registry().load(kind, part.name)
    except PluginError as error:
        package = "the package that offers it"
        if part.distribution and part.version and part.distribution != OWN_DISTRIBUTION:
            package = f"it again with 'pip install {part.distribution}=={part.version}'"
        elif part.distribution and part.distribution != OWN_DISTRIBUTION:
            package = f"the package, or name it in {part.distribution} again"
        raise PluginError(
            f"{directory}: made with {singular(kind)} '{part.name}', which can't be used here "
            f"({error}); install {package}"
        ) from error


def run_capture(
    run: Run, source: str | None = None, *, otherwise: str = ""
) -> tuple[Capture, list[int], list[int]]:
    """Read the frames of a run again, and see that they're what they were.

    Args:
        run: whose input.
        source: another capture instead, all of whose frames count as held out.
        otherwise: what the user can do where the frames aren't what they were, besides putting them
            back.

    Returns:
        The capture at the generator's resolution, the chosen and the held-out frames.

    Raises:
        InputError: where the input is gone or no longer has the frames, or cameras of another
            capture see nothing of the generator's volume.
        RunError: where images, cameras or masks aren't those that the run was made from.
    """
    from inv3d.core.framing import check_framing
    from inv3d.io.dataset import open_capture
    from inv3d.rundir.frames import load_input, located

    resolution = run.generator.spec.resolution
    if source is not None:
        files = open_capture(source)
        capture = files.load(resolution)
        for notice in files.notices.values():
            warnings.warn(notice, stacklevel=2)
        if capture.posed:
            check_framing(capture.camera, run.generator.spec, capture.names, f"--input {source}")
        return capture, [], list(range(len(capture)))
    part = read_part(InputPart, run.record["input"], run.directory / RECORD)
    frames = load_input(part, resolution, run=str(run.directory), otherwise=otherwise)
    return located(frames[0], run.inversion, *frames[1:])
