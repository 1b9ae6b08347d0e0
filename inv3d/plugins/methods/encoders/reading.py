"""From options to networks that are ready to encode, whoever trained them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from inv3d.core.config import build_config
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.latent import latent_statistics
from inv3d.core.trained import find_trained, is_trained
from inv3d.core.warm import kept, version_of
from inv3d.core.weights.tensors import make_filled
from inv3d.nn.encoders.published import Published, check_rows, read_average
from inv3d.plugins.methods.encoders.options import EncodingConfig

OPTION = "--set weights=PATH"
C = TypeVar("C", bound=EncodingConfig)


@dataclass(frozen=True)
class Ready:
    """Networks for a generator, in eval mode, frozen, on its device.

    Attributes:
        network: as it was built.
        average: [1 or num_ws, w_dim] that latents are counted from, or None.
        options: that the network was built with.
    """

    network: nn.Module
    average: Tensor | None
    options: Any


def read_networks(
    plugin: str,
    config: C,
    generator: Generator,
    contexts: Sequence[Context],
    make: Callable[[C], nn.Module],
    published: Callable[[Path], Published],
) -> Ready:
    """Return the networks that a method's options name.

    Args:
        plugin: name of the method.
        config: its options.
        generator: that they must be trained for.
        contexts: are told of what is uncertain.
        make: builds the networks by options, whose sizes are those of the file.
        published: reads a file of others.

    Raises:
        WeightsError: where there are none, or they don't fit the generator.
    """
    path, device = config.weights, generator.device
    said: list[str] = []

    def read() -> tuple[Ready, list[str]]:
        if path is None or is_trained(path):
            trained, place = find_trained(plugin, generator, path, OPTION)
            options = _sized(config, trained.options, place)
            network = make_filled(lambda: make(options), trained.tensors, place)
            average = trained.latent_avg
        else:
            found = published(path)
            found.check(generator.spec)
            options, network = config, found.network
            average = _average(found, config.average, generator, said)
            said.append(
                f"{path.name}: doesn't say which generator it was trained for; with another one "
                f"than {generator.spec.name} it makes other people"
            )
        network = network.to(device, generator.dtype).eval().requires_grad_(False)
        average = None if average is None else average.to(device, generator.dtype)
        return Ready(network, average, options), said

    fitting = (generator.spec.fingerprint, device, generator.dtype)
    key = (plugin, config.model_dump_json(), version_of(path), version_of(config.average), *fitting)
    ready, notices = kept(("networks", *key), read)
    for context in contexts:
        for notice in notices:
            context.notice(notice)
    return ready


def _sized(config: C, trained: Mapping[str, Any], place: Path) -> C:
    """Return options with the sizes that networks were trained with."""
    sizes = {name: value for name, value in trained.items() if name in config.of_training}
    return build_config(type(config), {**config.model_dump(), **sizes}, f"the networks in {place}")


def _average(
    found: Published, path: Path | None, generator: Generator, said: list[str]
) -> Tensor | None:
    if not found.counts_from_average:
        return None
    average = found.average if path is None else read_average(path, found.w_dim)
    if average is not None:
        check_rows(average, found.num_ws, path or found.path)
        # of several rows a single latent is counted from the first one, as the official code does
        return average if found.num_ws > 1 else average[:1]
    said.append(
        f"{found.path.name}: has no latent_avg; the mean latent of generator "
        f"{generator.spec.name}, seen from the front, was taken; where another file has it, give "
        "that with --set average=PATH"
    )
    return latent_statistics(generator).mean[None]
