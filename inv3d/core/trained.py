"""Networks that were trained for a generator, in files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from inv3d.core.config import PluginConfig
from inv3d.core.errors import WeightsError, plain_text
from inv3d.core.generator import Generator
from inv3d.core.weights.forms import form_of
from inv3d.core.weights.known import weights_dir
from inv3d.core.weights.tensors import (
    asset,
    check_finite,
    load_state,
    read_metadata,
    read_tensors,
    under_prefix,
    write_tensors,
)

FILE = "trained.safetensors"
KIND = "trained"
_STATE, _LATENT_AVG = "state/", "latent_avg"


@dataclass(frozen=True)
class Trained:
    """Networks that were trained for a generator, in a file of their own.

    Attributes:
        plugin: name of the method or estimator.
        generator: name of the generator plugin.
        fingerprint: of the generator.
        tensors: state dict of the networks.
        latent_avg: [num_ws or 1, w_dim] that latents are counted from, or None.
        options: of the plugin.
        training: options of the training.
        steps: of training behind it.
        facts: what else is known, such as the command and the numbers of the last evaluation.
    """

    plugin: str
    generator: str
    fingerprint: str
    tensors: Mapping[str, Tensor]
    latent_avg: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def load_into(self, network: nn.Module, path: Path | str) -> None:
        """Put the tensors into networks.

        Raises:
            MismatchError: naming the first tensor that doesn't fit; `path` is named in it.
        """
        load_state(network, self.tensors, path)

    def check(self, generator: Generator, path: Path | str) -> None:
        """Refuse another generator than the one that the networks were trained for.

        Raises:
            WeightsError: naming both.
        """
        if generator.spec.fingerprint != self.fingerprint:
            raise WeightsError(
                f"{path}: {self.plugin} was trained for generator {self.generator}, "
                f"{self.fingerprint}, but this one is {generator.spec.name}, "
                f"{generator.spec.fingerprint}; {_how_to_train(self.plugin, generator)}"
            )

    def save(self, path: Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        tensors = {f"{_STATE}{name}": value for name, value in self.tensors.items()}
        if self.latent_avg is not None:
            tensors[_LATENT_AVG] = self.latent_avg
        metadata = {
            "kind": KIND,
            "plugin": self.plugin,
            "generator": self.generator,
            "fingerprint": self.fingerprint,
            "options": dict(self.options),
            "training": dict(self.training),
            "steps": self.steps,
            "facts": dict(self.facts),
        }
        write_tensors(path, tensors, metadata)

    @staticmethod
    def load(path: Path) -> Trained:
        """Read a file, or the one in the directory of a training.

        Raises:
            WeightsError: where it's missing, damaged, or holds anything else.
        """
        if path.is_dir() and not (path / FILE).exists():
            raise WeightsError(
                f"{path}: is a folder without {FILE}; give one that '3dinv train' wrote to its "
                "end, or a weight file"
            )
        path = path / FILE if path.is_dir() else path
        tensors, metadata = read_tensors(path)
        kinds: dict[str, type] = dict.fromkeys(("options", "training", "facts"), dict)
        kinds |= {"steps": int} | dict.fromkeys(("plugin", "generator", "fingerprint"), str)
        whole = all(isinstance(metadata.get(name), kind) for name, kind in kinds.items())
        if metadata.get("kind") != KIND or not whole:
            raise WeightsError(
                f"{path}: holds no trained networks; give a file that '3dinv train' wrote"
            )
        check_finite(tensors, path)
        return Trained(
            plugin=metadata["plugin"],
            generator=metadata["generator"],
            fingerprint=metadata["fingerprint"],
            tensors=under_prefix(tensors, _STATE),
            latent_avg=tensors.get(_LATENT_AVG),
            options=metadata["options"],
            training=metadata["training"],
            steps=metadata["steps"],
            facts=metadata["facts"],
        )


def begin_with(
    path: Path, plugin: str, config: PluginConfig, network: nn.Module, generator: Generator
) -> None:
    """Give networks the weights of an earlier training, for any weights of the generator.

    Args:
        path: file or directory of the earlier training.
        plugin: name of what is trained.
        config: its options.
        network: that was built by them.
        generator: that it's trained for.

    Raises:
        WeightsError: where the file is of another plugin or generator, or its networks were built
            by other options.
        MismatchError: where they have other sizes.
    """
    found, name = _checked(Trained.load(path), plugin, path), type(generator).name
    if found.generator != name:
        raise WeightsError(
            f"{path}: {plugin} was trained for generator {plain_text(found.generator)}, expected "
            f"{name}, with any weights; its latents mean nothing to another one"
        )
    found.load_into(network, path)
    options = config.model_dump(mode="json")
    for option in sorted(config.of_training):
        check_alike(found.options.get(option), options[option], option, path)


def check_alike(found: Any, wanted: Any, option: str, path: Path | str) -> None:
    """Refuse networks that were built by other options, which may fit by their shapes.

    Args:
        found: what they were built by, as plain values; what isn't said there is left out.
        wanted: what is asked for.
        option: its name.
        path: where the networks are from.

    Raises:
        WeightsError: naming the first option that differs.
    """
    if found is None or found == wanted:
        return
    if not (isinstance(found, Mapping) and isinstance(wanted, Mapping)):
        raise WeightsError(
            f"{path}: was trained with {option}={plain_text(str(found))}, and {wanted} is asked "
            f"for; give --set {option}={plain_text(str(found))}, or other networks"
        )
    for name, value in wanted.items():
        check_alike(found.get(name), value, f"{option}.{name}", path)


def is_trained(path: Path) -> bool:
    """Whether a path is of what '3dinv train' writes, by its contents, and not a file of others.

    Other files that are our own count too, as do folders: what they lack is said by `find_trained`.

    Raises:
        WeightsError: where there's no such file, or it's of no form that weights have.
    """
    return path.is_dir() or (form_of(path) == "safetensors" and "kind" in read_metadata(path))


def find_trained(
    plugin: str, generator: Generator, path: Path | None, option: str
) -> tuple[Trained, Path]:
    """Return the networks of a plugin for a generator, and where they're from.

    Without a path they are the embedded ones, or those in the folder for weights, as
    PLUGIN-GENERATOR.safetensors.

    Args:
        plugin: name of the method or estimator.
        generator: that they must be trained for.
        path: file or directory that `3dinv train` wrote, or None.
        option: how a user gives the path, for messages, such as "--set weights=PATH"; "" where
            nothing takes one.

    Raises:
        WeightsError: where there are none, or they're of another plugin or generator; it says how
            to train them.
    """
    if path is not None:
        found = _checked(Trained.load(path), plugin, path)
        found.check(generator, path)
        return found, path
    name, folder = f"{plugin}-{type(generator).name}", weights_dir()
    others = []
    for place in (asset(f"{name}.safetensors"), folder / f"{name}.safetensors"):
        if not place.is_file():
            continue
        found = _checked(Trained.load(place), plugin, place)
        if found.fingerprint == generator.spec.fingerprint:
            return found, place
        others.append(f"{place} is for {found.fingerprint}")
    given = f"give {option}, or " if option else ""
    raise WeightsError(
        f"{plugin}: no trained networks for generator {generator.spec.name}, "
        f"{generator.spec.fingerprint}{''.join(f' ({text})' for text in others)}; "
        f"{_how_to_train(plugin, generator)}, then {given}put {name}/{FILE} there as "
        f"{folder / name}.safetensors"
    )


def _how_to_train(plugin: str, generator: Generator) -> str:
    name = type(generator).name
    return f"train with '3dinv train {plugin} --generator {name} -o {plugin}-{name}'"


def _checked(found: Trained, plugin: str, path: Path) -> Trained:
    if found.plugin != plugin:
        raise WeightsError(
            f"{path}: networks of {plain_text(found.plugin)}, expected those of {plugin}; give the "
            "file of its own training"
        )
    return found
