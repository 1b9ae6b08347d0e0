"""From options to networks that are ready to encode, whoever trained them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from inv3d.nn.encoders.published import Published
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
    context: Context,
    make: Callable[[C], nn.Module],
    published: Callable[[Path], Published],
) -> Ready:
    """Return the networks that a method's options name.

    Args:
        plugin: name of the method.
        config: its options.
        generator: that they must be trained for.
        context: is told of what is uncertain.
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
            average = _average(found, generator, said)
            said.append(
                f"{path.name}: doesn't say which generator it was trained for; with another one "
                f"than {generator.spec.name} it makes other people"
            )
        network = network.to(device).eval().requires_grad_(False)
        return Ready(network, None if average is None else average.to(device), options), said

    key = (plugin, config.model_dump_json(), version_of(path), generator.spec.fingerprint, device)
    ready, notices = kept(("networks", *key), read)
    for notice in notices:
        context.notice(notice)
    return ready


def _sized(config: C, trained: Mapping[str, Any], place: Path) -> C:
    """Return options with the sizes that networks were trained with."""
    own = set(EncodingConfig.model_fields)
    sizes = {name: value for name, value in trained.items() if name not in own}
    kept = {name: getattr(config, name) for name in own}
    return build_config(type(config), {**sizes, **kept}, f"the networks in {place}")


def _average(found: Published, generator: Generator, said: list[str]) -> Tensor | None:
    if not found.counts_from_average or found.average is not None:
        return found.average if found.counts_from_average else None
    said.append(
        f"{found.path.name}: has no latent_avg; the mean latent of generator "
        f"{generator.spec.name}, seen from the front, was taken"
    )
    return latent_statistics(generator).mean[None]
