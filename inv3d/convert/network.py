"""Converting a network of others into a file of ours: read, recognised, proved, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inv3d.core.config import PluginConfig, flatten
from inv3d.core.errors import MismatchError, UsageError, WeightsError, plain_text, printable
from inv3d.core.files import atomic_write, file_digest
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.eg3d.architecture import Architecture
from inv3d.nn.eg3d.official import Network, Recognised, read_network, recognise
from inv3d.nn.eg3d.official.opening import Opened, check_filters
from inv3d.nn.eg3d.official.recognise import GENERATORS

FORMAT = 1
# sizes of the tensors, though a network may also have others than the rule makes
_CHANNELS = frozenset({"channel_base", "channel_max", "channels"})
# what tensors leave open: two of the modules look the same
_OPEN = "superresolution.module"
_ORIGIN = ("file", "sha256", "entry", "form")
UNKNOWN_LICENCE = "not stated when it was converted: that of its origin"


@dataclass(frozen=True)
class Wish:
    """What a user says of a network; the options of `3dinv convert`.

    Attributes:
        entry: which network of the file.
        generator, variant: instead of the guess.
        options: of the generator, over those of the file.
        licence: of the weights.
    """

    entry: str | None = None
    generator: str | None = None
    variant: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None


@dataclass(frozen=True)
class Read:
    """A network that was read and recognised.

    Attributes:
        network: as the file holds it.
        found: what it is.
        config: resolved options of its generator.
        kind: its generator.
        chosen: whether the user said the variant.
    """

    network: Network
    found: Recognised
    config: PluginConfig
    kind: type[Generator]
    chosen: bool

    @property
    def doubts(self) -> list[str]:
        """One line that says so where the variant is a guess, else none."""
        doubt = self.found.doubt(self.network.path, "--variant")
        return [doubt] if doubt else []


def read(path: Path, wish: Wish) -> Read:
    """Read a network and settle what it is.

    Raises:
        WeightsError: where it can't be read or is of no known architecture.
        PluginError: where the generator that it is for isn't installed.
        UsageError: where options that were asked for aren't valid, or aren't kept in a file.
    """
    if wish.generator is not None and wish.generator not in GENERATORS:
        registry().record("generators", wish.generator)  # a misspelt name has its own answer
        raise UsageError(
            f"--generator {wish.generator}: only networks of {' and '.join(GENERATORS)} can be "
            "converted"
        )
    network = read_network(path, wish.entry)
    found = recognise(network, wish.generator, wish.variant)
    if found.generator not in GENERATORS:
        raise UsageError(
            f"{path}: a network for generator '{plain_text(found.generator)}'; those for "
            f"{' and '.join(GENERATORS)} can be converted"
        )
    kind: type[Generator] = registry().load("generators", found.generator)
    _check_kept(wish, found, kind)
    options, wanted = found.architecture, wish.options
    if wish.variant is not None:
        wanted = {**wanted, "variant": wish.variant}
    elif found.variant:
        options = options | {"variant": found.variant}
    owner = f"generator {found.generator}"
    config = Opened(path, {}, options, {}).resolved(kind.Config, wanted, owner)
    check_filters(path, network.tensors)
    return Read(network, found, config, kind, wish.variant is not None)


def _check_kept(wish: Wish, found: Recognised, kind: type[Generator]) -> None:
    """Refuse options that a file can't hold: its tensors decide them, or each use does."""
    kept = _architecture_of(kind.Config).model_fields
    sizes = {*dict(flatten(found.sizes)), *_CHANNELS} - {_OPEN}
    for name, _ in flatten(wish.options):
        if name in sizes:
            raise UsageError(f"--set {name}: follows from the tensors; leave it out")
        if name in kind.Config.model_fields and name not in kept:
            raise UsageError(
                f"--set {name}: says how a network is used, which isn't stored with it; leave it "
                f"out, and give '3dinv run' --set generator.{name}=VALUE"
            )


def convert(path: Path, out: Path, wish: Wish) -> dict[str, Any]:
    """Write a network as a .safetensors file that its generator was seen to take.

    Args:
        path: a file of any form.
        out: the file to write, whole or not at all.
        wish: what the user says of it.

    Returns:
        Facts about what was found and written.

    Raises:
        MismatchError: where its tensors aren't those of the architecture.
        InvError: as `read`, or where the file can't be written.
    """
    path, out = Path(path), Path(out)
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors")
    if out.exists() and out.samefile(path):
        raise UsageError(f"--out {out}: is the file to convert; choose another name")
    read_in = read(path, wish)
    metadata = _metadata(read_in, wish)
    with atomic_write(out) as temporary:
        write_tensors(temporary, read_in.network.used, metadata)
        generator = _proved(read_in, temporary)
        metadata["camera"] = asdict(generator.spec.camera)
        write_tensors(temporary, read_in.network.used, metadata)
        return {"out": str(out), **_facts(read_in, metadata, generator)}


def _proved(read_in: Read, written: Path) -> Generator:
    """Load what was written, as everybody will; that its variant is a guess is said elsewhere."""
    variant = read_in.config.model_dump(include={"variant"})
    try:
        return read_in.kind.create(read_in.kind.Config(**variant), written)
    except WeightsError as error:
        message = str(error).replace(str(written), str(read_in.network.path))
        if isinstance(error, MismatchError):
            raise MismatchError(message, error.missing, error.extra, error.shapes) from None
        raise WeightsError(message) from None


def _metadata(read_in: Read, wish: Wish) -> dict[str, Any]:
    network, found = read_in.network, read_in.found
    config = read_in.config
    names = set(_architecture_of(type(config)).model_fields)
    said = config.model_dump(mode="json", include=names, exclude_unset=True)
    plain = config.model_dump(mode="json")
    stored = network.metadata
    return {
        "format": FORMAT,
        "kind": "generator",
        "name": found.generator,
        "variant": plain["variant"],
        "guess": "" if found.sure else found.because,
        "licence": wish.licence or _line(stored.get("licence")) or UNKNOWN_LICENCE,
        # not what the variant adds: another one can still be chosen
        "architecture": said,
        "plane_axes": plain["plane_axes"],
        "camera": found.camera,
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


def _architecture_of(config: type[PluginConfig]) -> type[Architecture]:
    """Return the part of a generator's options that decides what it computes."""
    for base in config.__mro__:
        if issubclass(base, Architecture) and not issubclass(base, PluginConfig):
            return base
    raise UsageError(f"{config.__name__}: networks of this generator can't be converted")


def _facts(read_in: Read, metadata: Mapping[str, Any], generator: Generator) -> dict[str, Any]:
    network, found = read_in.network, read_in.found
    taken = network.used
    return {
        "generator": metadata["name"],
        "variant": metadata["variant"],
        "because": found.because,
        "sure": found.sure,
        "warnings": read_in.doubts,
        "class": network.kind,
        "tensors": len(taken),
        "parameters": sum(p.numel() for p in generator.parameters()),
        "left_out": sorted(set(network.tensors) - set(taken)),
        "types": sorted({str(t.dtype).removeprefix("torch.") for t in taken.values()}),
        "plane_axes": metadata["plane_axes"],
        "resolution": generator.spec.resolution,
        "render_resolution": generator.spec.render_resolution,
        "camera": metadata["camera"],
        "licence": metadata["licence"],
        "origin": metadata["origin"],
        "fingerprint": generator.spec.fingerprint,
    }
