"""The networks that are measured, by size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from inv3d.core.config import build_config, merge
from inv3d.core.errors import ConfigError, UnsupportedError, WeightsError
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.nn.eg3d.generator import TriplaneGenerator

Size = Literal["full", "half", "mini"]
SIZES: tuple[Size, ...] = get_args(Size)
SEED = 303
EMBEDDED = "minihead"
RAYS = 32
# nine views at once take more than 10 GB at full size
CHUNK = 3
PIXELS = {"mse": 1.0, "l1": 1.0}
HALF: Mapping[str, Any] = {
    "channel_base": 16384,
    "channel_max": 256,
    "plane_resolution": 128,
    "img_resolution": 256,
    "superresolution": {"module": "4X"},
}


@dataclass(frozen=True)
class Case:
    """A network and how its steps are run.

    Attributes:
        name: of the size.
        generator: the network.
        losses: name -> weight, in both stages; the W+ stage adds the pull to the mean latent.
        chunk: views that our step renders at a time, None: all.
        note: what the reader must know.
    """

    name: str
    generator: TriplaneGenerator
    losses: Mapping[str, float]
    chunk: int | None
    note: str


@dataclass(frozen=True)
class Choice:
    """What a user chooses of a case.

    Attributes:
        size: full, half or mini.
        generator: whose network is the one of size mini.
        rays: a side; None for those of the size.
        losses: names, each with weight one; empty for those of the size.
        chunk: views that our step renders at a time; None for that of the size.
        options: of the generator, over all else.
    """

    size: Size
    generator: str = EMBEDDED
    rays: int | None = None
    losses: tuple[str, ...] = ()
    chunk: int | None = None
    options: Mapping[str, Any] | None = None


def build_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """Build a generator by name.

    Raises:
        InvError: where there's no such generator, option or weight file.
    """
    kind: type[Generator] = registry().load("generators", name)
    return kind.create(build_config(kind.Config, options, f"generator {name}"))


def make_case(choice: Choice) -> Case:
    """Build the network of a size.

    Raises:
        InvError: where it can't be built, or isn't one of tri-planes or tri-grids.
    """
    for loss in choice.losses:
        registry().record("losses", loss)
    embedded = choice.size == "mini"
    if not embedded and choice.generator != EMBEDDED:
        raise ConfigError(
            f"--generator {choice.generator}: sizes full and half are EG3D's; take --size mini "
            "with it, or leave it out"
        )
    name, options = (choice.generator, {}) if embedded else ("eg3d", _published(choice.size))
    kind: type[Generator] = registry().load("generators", name)
    if choice.rays is not None:
        if not kind.rays_option:
            raise ConfigError(f"--rays: generator {name} has no such option; leave it out")
        options = merge(options, {kind.rays_option: choice.rays})
    try:
        generator = build_generator(name, merge(options, choice.options or {}))
    except WeightsError as error:
        raise ConfigError(
            f"--generator {name}: has no embedded weights; add --set random_weights=true, which "
            "takes the same time"
        ) from error
    if not isinstance(generator, TriplaneGenerator):
        raise UnsupportedError(
            f"--generator {name}: the reference implementation reads networks of tri-planes and "
            "tri-grids only; take minihead"
        )
    losses = dict.fromkeys(choice.losses, 1.0) or _losses(generator, embedded)
    return Case(
        choice.size,
        generator,
        losses,
        choice.chunk or (None if embedded else CHUNK),
        _note(choice.size, name, generator, losses),
    )


def _published(size: Size) -> dict[str, Any]:
    """Options of EG3D for FFHQ with random weights and fewer rays than the published 128."""
    options = {"random_weights": True, "seed": SEED, "neural_rendering_resolution": RAYS}
    return merge(options, HALF) if size == "half" else options


def _losses(generator: Generator, embedded: bool) -> dict[str, float]:
    """The generator's own losses where their networks are embedded too, else those of pixels."""
    return dict(generator.spec.default_losses) if embedded else dict(PIXELS)


def _note(size: Size, name: str, generator: Generator, losses: Mapping[str, float]) -> str:
    what = {
        "full": "EG3D for FFHQ at 512 pixels, random weights",
        "half": "EG3D at 256 pixels with half the channels and plane resolution, random weights",
        "mini": f"generator {name}",
    }[size]
    rays = generator.spec.render_resolution
    return f"{what}; {rays} x {rays} rays; losses {', '.join(losses)}, for W+ also w_norm"
