"""Scores of attributes: what the generator knows of its latents, or what a classifier sees."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from inv3d.core.errors import ConfigError, ContractError, PluginError, UnsupportedError, suggest
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hooks import Observers, hooks

# pictures [N, 3, H, W] in [-1, 1] -> attribute -> scores [N]
Classifier = Callable[[Tensor], Mapping[str, Tensor]]


def find_classifier(name: str) -> Classifier:
    """Return a classifier that a plugin offers.

    Raises:
        PluginError: where no plugin offers one of this name.
    """
    offered: dict[str, Classifier] = {}
    for found in Observers(hooks(), warnings.warn).call("inv3d_classifiers"):
        if not isinstance(found, Mapping) or not all(map(callable, found.values())):
            owners = " or ".join(record.distribution for record in registry().of_kind("hooks"))
            raise ContractError(
                f"hooks of {owners}: inv3d_classifiers returned something else than functions by "
                "name; report it to the plugin's author"
            )
        offered |= found
    if name not in offered:
        said = suggest(name, offered) or "; no plugin offers one"
        raise PluginError(f"option 'classifier': unknown '{name}'{said}")
    return offered[name]


@torch.no_grad()
def scored(
    generator: Generator, chunks: Sequence[Tensor], classifier: Classifier | None
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Yield w [n, w_dim] and scores by name of z [n, z_dim], on the CPU.

    All samples are mapped with one condition, and seen by one frontal camera, so that no pose gets
    into a direction.

    Args:
        generator: that maps, and renders where a classifier looks.
        chunks: of z.
        classifier: or None.

    Raises:
        UnsupportedError: where there's no classifier and the generator knows nothing.
    """
    for z in chunks:
        z = z.to(generator.device, generator.dtype)
        ws = generator.map(z, neutral_condition(generator, len(z)))
        found = generator.attributes(z) if classifier is None else _seen(generator, ws, classifier)
        if not found:
            raise UnsupportedError(
                f"editor interfacegan: generator {generator.spec.name} doesn't know attributes of "
                "its latents; name a classifier (option 'classifier'), which a plugin offers"
            )
        yield ws[:, 0].float().cpu(), {name: value.float().cpu() for name, value in found.items()}


def _seen(generator: Generator, ws: Tensor, classifier: Classifier) -> dict[str, Tensor]:
    camera = generator.spec.camera.front().to(generator.device, generator.dtype)
    scene = generator.synthesize(ws)
    images = generator.render(scene, camera.repeat_interleave(len(ws))).require("image")
    found = dict(classifier(images))
    for name, values in found.items():
        if values.shape != (len(ws),) or not bool(values.isfinite().all()):
            raise ContractError(
                f"the classifier's '{name}': scores of shape {tuple(values.shape)}, expected "
                f"{len(ws)} finite numbers; report it to its author"
            )
    return found


def chosen_attributes(found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the attributes that are looked for.

    Raises:
        ConfigError: where one that is wanted isn't scored.
    """
    for name in wanted:
        if name not in found:
            raise ConfigError(
                f"option 'attributes' of editor interfacegan: no '{name}'{suggest(name, found)}"
            )
    return list(wanted or found)
