"""Converting a network of others into a file of ours: read, recognised, written, proved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inv3d.core.camera import CameraPrior
from inv3d.core.config import PluginConfig, flatten
from inv3d.core.errors import MismatchError, UsageError, WeightsError, plain_text, printable
from inv3d.core.files import atomic_write, file_digest
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.eg3d.architecture import Architecture
from inv3d.nn.eg3d.official import Network, Recognised, read_network, recognise
from inv3d.nn.eg3d.official.opening import Opened, check_tensors
from inv3d.nn.eg3d.official.recognise import GENERATORS
from inv3d.nn.eg3d.published import PublishedOptions

FORMAT = 1
# sizes of the tensors, though a network may also have others than the rule makes
_CHANNELS = frozenset({"channel_base", "channel_max", "channels"})
# what tensors leave open: two of the modules look the same
_OPEN = "superresolution.module"
_ORIGIN = ("file", "sha256", "entry", "form")
UNKNOWN_LICENCE = "not stated when it was converted: that of its origin"


@dataclass(frozen=True)
class ConvertOptions:
    """What a user says of a network; the options of `3dinv convert`.

    Attributes:
        entry: which network of the file.
        generator, variant: instead of the guess.
        architecture: options of the generator, over those of the file.
        licence: of the weights.
    """

    entry: str | None = None
    generator: str | None = None
    variant: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None


@dataclass(frozen=True)
class RecognisedNetwork:
    """A network that was read, and that is known to be one of a generator's.

    Attributes:
        network: as the file holds it.
        found: what it is.
        kind: its generator.
        config: resolved options of that generator.
        camera: where training cameras stood.
        chosen: whether the user said the variant.
    """

    network: Network
    found: Recognised
    kind: type[Generator]
    config: PublishedOptions
    camera: CameraPrior
    chosen: bool

    @property
    def doubts(self) -> list[str]:
        """One line that says so where the variant is a guess, else none."""
        doubt = self.found.doubt(self.network.path, "--variant")
        return [doubt] if doubt else []


def check_named(options: ConvertOptions) -> None:
    """See that the generator that a user names is one whose networks can be converted.

    Raises:
        PluginError: where there's none of that name.
        UsageError: where its networks can't be converted.
    """
    if options.generator is not None and options.generator not in GENERATORS:
        registry().record("generators", options.generator)  # a misspelt name has its own answer
        raise UsageError(
            f"--generator {options.generator}: only networks of {' and '.join(GENERATORS)} can be "
            "converted"
        )


def read_recognised(path: Path, options: ConvertOptions) -> RecognisedNetwork:
    """Read a network and settle what it is.

    Raises:
        WeightsError: where it can't be read or is of no known architecture.
        PluginError: where the generator that it is for isn't installed.
        UsageError: where options that were asked for aren't valid, or aren't kept in a file.
    """
    check_named(options)
    network = read_network(path, options.entry)
    found = recognise(network, options.generator, options.variant)
    if found.generator not in GENERATORS:
        raise UsageError(
            f"{path}: a network for generator '{plain_text(found.generator)}'; those for "
            f"{' and '.join(GENERATORS)} can be converted"
        )
    kind: type[Generator] = registry().load("generators", found.generator)
    config_kind = _published(kind)
    _check_kept(options, found, config_kind)
    stored, wanted = found.architecture, options.architecture
    if options.variant is not None:
        wanted = {**wanted, "variant": options.variant}
    elif found.variant:
        stored = stored | {"variant": found.variant}
    opened = Opened(path, network.used, stored, found.camera)
    config = opened.resolved(config_kind, wanted, f"generator {found.generator}")
    check_tensors(path, network.tensors)
    camera = opened.prior(config.variants[config.variant].camera)
    return RecognisedNetwork(network, found, kind, config, camera, options.variant is not None)


def _published(kind: type[Generator]) -> type[PublishedOptions]:
    """Return the options of a generator of published networks."""
    if not issubclass(kind.Config, PublishedOptions):
        raise UsageError(f"{kind.name}: networks of this generator can't be converted")
    return kind.Config


def _check_kept(options: ConvertOptions, found: Recognised, config: type[PublishedOptions]) -> None:
    """Refuse options that a file can't hold: its tensors decide them, or each use does."""
    sizes = {*dict(flatten(found.sizes)), *_CHANNELS} - {_OPEN}
    for name, _ in flatten(options.architecture):
        if name in sizes:
            raise UsageError(f"--set {name}: follows from the tensors; leave it out")
        if name in config.model_fields and name not in _kept(config):
            raise UsageError(
                f"--set {name}: says how a network is used, which isn't stored with it; leave it "
                f"out, and give '3dinv run' --set generator.{name}=VALUE"
            )


def _kept(config: type[PublishedOptions]) -> set[str]:
    """Return the options that decide what a network computes."""
    bases = [base for base in config.__mro__ if issubclass(base, Architecture)]
    return set(next(b for b in bases if not issubclass(b, PluginConfig)).model_fields)


def convert(path: Path, out: Path, options: ConvertOptions) -> dict[str, Any]:
    """Write a network as a .safetensors file that its generator was seen to take.

    Args:
        path: a file of any form.
        out: the file to write, whole or not at all.
        options: what the user says of it.

    Returns:
        Facts about what was found and written.

    Raises:
        MismatchError: where its tensors aren't those of the architecture.
        InvError: as `read_recognised`, or where the file can't be written.
    """
    path, out = Path(path), Path(out)
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors")
    if os.path.exists(path) and os.path.exists(out) and out.samefile(path):
        raise UsageError(f"--out {out}: is the file to convert; choose another name")
    recognised = read_recognised(path, options)
    generator, metadata = write_recognised(recognised, out, options)
    return {"out": str(out), **_facts(recognised, metadata, generator)}


def write_recognised(
    recognised: RecognisedNetwork, out: Path, options: ConvertOptions
) -> tuple[Generator, dict[str, Any]]:
    """Write a network as a .safetensors file, whole or not at all.

    Returns:
        The generator that read it back, and the metadata in it.

    Raises:
        MismatchError: where its tensors aren't those of the architecture.
        InvError: where the file can't be written.
    """
    metadata = _metadata(recognised, options)
    with atomic_write(out) as temporary:
        write_tensors(temporary, recognised.network.used, metadata)
        return _read_back(recognised, temporary), metadata


def _read_back(recognised: RecognisedNetwork, written: Path) -> Generator:
    """Load what was written, as everybody will; that its variant is a guess is said elsewhere."""
    variant = recognised.config.model_dump(include={"variant"})
    try:
        return recognised.kind.create(recognised.kind.Config(**variant), written)
    except WeightsError as error:
        message = str(error).replace(str(written), str(recognised.network.path))
        if isinstance(error, MismatchError):
            raise MismatchError(message, error.missing, error.extra, error.shapes) from None
        raise WeightsError(message) from None


def _metadata(recognised: RecognisedNetwork, options: ConvertOptions) -> dict[str, Any]:
    network, found, config = recognised.network, recognised.found, recognised.config
    names = _kept(type(config))
    said = {name: value for name, value in config.given("json").items() if name in names}
    plain = config.model_dump(mode="json")
    stored = network.metadata
    return {
        "format": FORMAT,
        "kind": "generator",
        "name": found.generator,
        "variant": plain["variant"],
        "guess": "" if found.sure else found.because,
        "licence": options.licence or _line(stored.get("licence")) or UNKNOWN_LICENCE,
        # not what the variant adds: another one can still be chosen
        "architecture": said,
        "plane_axes": plain["plane_axes"],
        "camera": asdict(recognised.camera),
        "origin": _stored_origin(stored.get("origin")) or _origin(network),
    }


def _origin(network: Network) -> dict[str, str]:
    """Say which file it is, to whom has only what is made of it."""
    return {
        "file": network.path.name,
        "sha256": file_digest(network.path),
        "entry": network.entry,
        "form": network.form,
    }


def _stored_origin(value: Any) -> dict[str, str]:
    """Return what an earlier conversion wrote, nothing unless all of it is there."""
    if not isinstance(value, dict) or not all(isinstance(value.get(n), str) for n in _ORIGIN):
        return {}
    return {name: _line(value[name]) for name in _ORIGIN}


def _line(value: Any) -> str:
    """Return a text of a file as it may be shown; nothing in place of anything else."""
    return printable(" ".join(value.split())) if isinstance(value, str) else ""


def _facts(
    recognised: RecognisedNetwork, metadata: Mapping[str, Any], generator: Generator
) -> dict[str, Any]:
    network, found = recognised.network, recognised.found
    taken = network.used
    return {
        "generator": metadata["name"],
        "variant": metadata["variant"],
        "because": found.because,
        "sure": found.sure,
        "warnings": recognised.doubts,
        "class": network.kind,
        "tensors": len(taken),
        "parameters": sum(p.numel() for p in generator.parameters()),
        "left_out": sorted(set(network.tensors) - set(taken)),
        "types": sorted({str(t.dtype).removeprefix("torch.") for t in taken.values()}),
        "plane_axes": metadata["plane_axes"],
        "resolution": generator.spec.resolution,
        "render_resolution": generator.spec.render_resolution,
        "camera": asdict(generator.spec.camera),
        "licence": metadata["licence"],
        "origin": metadata["origin"],
        "fingerprint": generator.spec.fingerprint,
    }
