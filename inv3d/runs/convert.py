"""Converting a network of others into a file of ours: read, recognised, proved, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inv3d.core.config import PluginConfig, merge
from inv3d.core.discovery import registry
from inv3d.core.errors import MismatchError, UsageError, WeightsError
from inv3d.core.files import atomic_write, file_digest
from inv3d.core.interfaces import Generator
from inv3d.core.unpickle import shown
from inv3d.core.weights import write_tensors
from inv3d.nn.architecture import Architecture
from inv3d.nn.official import Network, Recognised, read_network, recognise
from inv3d.nn.official.opening import Opened, check_filters
from inv3d.nn.official.recognise import GENERATORS

FORMAT = 1
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
        ConfigError: where options that were asked for aren't valid.
    """
    network = read_network(path, wish.entry)
    if wish.generator:
        registry().record("generators", wish.generator)  # a misspelt name has its own answer
    found = recognise(network, wish.generator, wish.variant)
    if found.generator not in GENERATORS:
        raise UsageError(
            f"{path}: a network for generator '{shown(found.generator)}'; those for "
            f"{' and '.join(GENERATORS)} can be converted"
        )
    kind: type[Generator] = registry().load("generators", found.generator)
    guessed = {} if wish.variant or not found.variant else {"variant": found.variant}
    options = found.architecture | guessed
    wanted = merge(wish.options, {"variant": wish.variant} if wish.variant else {})
    owner = f"generator {found.generator}"
    config = Opened(path, {}, options, {}).resolved(kind.Config, wanted, owner)
    check_filters(path, network.tensors)
    return Read(network, found, config, kind, wish.variant is not None)


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
    """Load what was written, as everybody will."""
    try:
        return read_in.kind.create(read_in.kind.Config(), written)
    except WeightsError as error:
        message = str(error).replace(str(written), str(read_in.network.path))
        if isinstance(error, MismatchError):
            raise MismatchError(message, error.missing, error.extra, error.shapes) from None
        raise WeightsError(message) from None


def _metadata(read_in: Read, wish: Wish) -> dict[str, Any]:
    network, found = read_in.network, read_in.found
    config = read_in.config.model_dump(mode="json")
    names = _architecture_of(type(read_in.config)).model_fields
    stored = network.metadata
    return {
        "format": FORMAT,
        "kind": "generator",
        "name": found.generator,
        "variant": config.get("variant", found.variant),
        "licence": wish.licence or _line(stored.get("licence")) or UNKNOWN_LICENCE,
        "architecture": {name: config[name] for name in names},
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
    return "".join(c for c in value if c.isprintable()) if isinstance(value, str) else ""


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
        "plane_axes": metadata["architecture"]["plane_axes"],
        "resolution": generator.spec.resolution,
        "render_resolution": generator.spec.render_resolution,
        "camera": metadata["camera"],
        "licence": metadata["licence"],
        "origin": metadata["origin"],
        "fingerprint": generator.spec.fingerprint,
    }
