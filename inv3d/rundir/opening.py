"""Opening run directories: record, inversion and the tuned generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inv3d.core.config import build_config
from inv3d.core.errors import InputError, PluginError, RunError
from inv3d.core.files import read_json
from inv3d.core.registry.discovery import registry

if TYPE_CHECKING:
    import torch

    from inv3d.core.capture import Capture
    from inv3d.core.generator import Generator
    from inv3d.core.inversion import Inversion

RECORD = "run.json"
METRICS = "metrics.json"
INVERSION = "inversion.safetensors"
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
    generator: Generator
    inversion: Inversion
    record: Mapping[str, Any]


def read_record(directory: Path) -> dict[str, Any]:
    """Return what run.json says of a finished run.

    Raises:
        RunError: where there's no run, or one that isn't finished.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RunError(f"{directory}: no such directory; give the directory of a run")
    if not (directory / RECORD).is_file():
        raise RunError(f"{directory}: no {RECORD}, so it's no run; give what 'run --out' was given")
    record = read_json(directory / RECORD)
    if not isinstance(record, dict) or not _PARTS <= set(record):
        raise RunError(f"{directory / RECORD}: not the record of a run; start the run again")
    if not (directory / INVERSION).is_file():
        raise RunError(
            f"{directory}: the run isn't finished (status: {record.get('status', 'unknown')}); "
            f"continue it with '3dinv run --resume {directory}'"
        )
    return record


def method_of(record: Mapping[str, Any]) -> str:
    """Return the method's name and its preset, such as "multilatent (fast)"."""
    name, preset = record["method"]["name"], record["method"].get("preset")
    return f"{name} ({preset})" if preset else str(name)


def open_run(directory: Path, device: torch.device) -> Run:
    """Load a finished run with its tuned generator.

    Raises:
        RunError: where there's no finished run.
        PluginError: where the generator's plugin is missing or broken.
        WeightsError: where the generator's weights are missing or others than those of the run.
    """
    from inv3d.core.inversion import Inversion

    directory = Path(directory)
    record = read_record(directory)
    inversion = Inversion.load(directory)
    generator = build_generator(record["generator"], directory).to(device)
    inversion.tune(generator)
    return Run(directory, generator, inversion, record)


def build_generator(described: Mapping[str, Any], directory: Path) -> Generator:
    """Build the generator that run.json describes by name, options and path of the weights."""
    name = described["name"]
    try:
        kind: type[Generator] = registry().load("generators", name)
    except PluginError as error:
        raise PluginError(
            f"{directory}: made with generator '{name}', which can't be used here ({error}); "
            "install the package that offers it"
        ) from error
    weights = described.get("weights")  # relative: within the run
    options = build_config(kind.Config, described.get("options") or {}, f"generator {name}")
    generator = kind.create(options, Path(directory) / weights if weights else None)
    return generator.eval().requires_grad_(False)


def run_capture(run: Run, source: str | None = None) -> tuple[Capture, list[int], list[int]]:
    """Read the frames of a run again.

    Args:
        run: whose input.
        source: another capture instead, all of whose frames count as held out.

    Returns:
        The capture at the generator's resolution, the chosen and the held-out frames.

    Raises:
        InputError: where the input is gone or no longer has the frames.
    """
    from inv3d.io.dataset import open_capture

    resolution = run.generator.spec.resolution
    described = run.record["input"]
    if source is not None:
        capture = open_capture(source).load(resolution)
        return capture, [], list(range(len(capture)))
    if described["path"] is None:
        raise InputError(
            f"{run.directory}: was imported without its capture; give the capture with --input"
        )
    files = open_capture(described["path"])
    rows = {name: row for row, name in enumerate(files.names)}
    names = described["views"]
    lost = [name for name in names if name not in rows]
    if lost:
        raise InputError(
            f"{described['path']}: no longer has {lost[0]}, which {run.directory} was made from; "
            "give the capture with --input"
        )
    capture = files.load(resolution, [rows[name] for name in names])
    return capture, list(described["chosen"]), list(described["held_out"])


def read_metrics(directory: Path) -> dict[str, Any]:
    """Return the metrics of a run.

    Raises:
        RunError: where there are none, or they don't say what they are.
    """
    path = Path(directory) / METRICS
    if not path.is_file():
        raise RunError(f"{directory}: no {METRICS}; make it with '3dinv eval {directory} --save'")
    metrics: dict[str, Any] = read_json(path)
    if "columns" not in metrics:
        raise RunError(
            f"{path}: has no 'columns', which say what its numbers are; measure the run again "
            f"with '3dinv eval {directory} --save'"
        )
    return metrics
