"""What a process would make results with: compared between driver and workers before the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from inv3d.core.config import build_suited
from inv3d.core.errors import UsageError
from inv3d.core.files import file_digest
from inv3d.core.generator import Generator
from inv3d.core.inversion import FILE as INVERSION
from inv3d.core.inverter import AnyInverter
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import singular
from inv3d.core.trained import FILE as TRAINED
from inv3d.runs.prepare import Plugins, Request
from inv3d.runs.used_files import used_files

_BYTES = 1 << 20
# what a process of torch takes, and how often a generator's parameters are there in an optimisation
_PROCESS, _COPIES = 1500 * _BYTES, 10


@dataclass(frozen=True)
class Facts:
    """What results depend on besides the options.

    Attributes:
        versions: of 3dinv and of the packages that offer method and generator.
        fingerprint: of the generator's architecture and weights.
        files: SHA-256 of the files that method and losses read, sorted.
        torch: version, on which the last digits may depend.
        memory: bytes that a worker takes on the CPU, estimated.
        init: SHA-256 of the files that --init stands for, sorted.
    """

    versions: Mapping[str, str]
    fingerprint: str
    files: tuple[str, ...]
    torch: str
    memory: int
    init: tuple[str, ...] = ()


def gather(request: Request) -> Facts:
    """Build what a request names and say what it is.

    Raises:
        InvError: where something is missing or doesn't fit.
    """
    found = Plugins.find(request)
    generator = found.load_generator(request.generator)
    versions = {"3dinv": version("3dinv")}
    for kind, name in (("methods", request.method), ("generators", request.generator)):
        record = registry().record(kind, name)
        versions[f"{singular(kind)} {name}"] = f"{record.distribution} {record.version}".strip()
    size = sum(p.numel() * p.element_size() for p in generator.parameters())
    return Facts(
        versions,
        generator.spec.fingerprint,
        tuple(sorted(set(found.used_files(generator).values()))),
        version("torch"),
        _PROCESS + _COPIES * size,
        _init_digests(request.init, generator),
    )


def _init_digests(init: Path | None, generator: Generator) -> tuple[str, ...]:
    """Return SHA-256 of a result or training, or of what a method without steps reads."""
    if init is None:
        return ()
    if init.exists():
        files = (init / name for name in (INVERSION, TRAINED))
        return tuple(file_digest(file) for file in files if file.is_file())
    name = str(init)
    if name not in {record.name for record in registry().of_kind("methods")}:
        return ()
    method: type[AnyInverter] = registry().load("methods", name)
    suited = generator.method_options.get(name, {})
    source = f"generator {type(generator).name}: its method_options"
    config = build_suited(method.Config, suited, {}, f"method {name}", source)
    return tuple(sorted(set(used_files(method, config, generator.spec.default_losses).values())))


def check_same(driver: Facts, worker: Facts, name: str) -> None:
    """See that a worker would make the same results.

    Args:
        driver: facts of this process.
        worker: of the worker.
        name: of the worker.

    Raises:
        UsageError: naming the first difference.
    """
    for what, ours in driver.versions.items():
        theirs = worker.versions.get(what, "nothing")
        if theirs != ours:
            raise UsageError(
                f"{name}: has {what} {theirs}, and this process {ours}; install the same there"
            )
    if worker.fingerprint != driver.fingerprint:
        raise UsageError(
            f"{name}: its generator has the fingerprint {worker.fingerprint}, and that of this "
            f"process {driver.fingerprint}; give both the same weights and options"
        )
    if worker.files != driver.files:
        raise UsageError(
            f"{name}: the weight files of its method and losses aren't those of this process; "
            "copy them there ('3dinv weights list' shows where)"
        )
    if worker.init != driver.init:
        raise UsageError(
            f"{name}: the files that --init stands for aren't those of this process; copy them "
            "there"
        )
