"""Plugins that runs meet: a method without steps, a generator without depth, and the like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inverter import Diagnostic, Inverter, Need, Steps
from inv3d.core.latent import latent_statistics
from inv3d.core.plugin import Presets
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.testing.toy import ToyConfig, ToyGenerator

INSTANT = "methods:instant=tests.runs.plugins:Instant"
ARTIST = "methods:artist=tests.runs.plugins:Artist"
CUTTER = "methods:cutter=tests.runs.plugins:Cutter"
BLIND = "methods:blind=tests.runs.plugins:Blind"
EMPTY = "methods:empty=tests.runs.plugins:Empty"
NONE_FITTED = "methods:nothing=tests.runs.plugins:Nothing"
FLAT = "generators:flat=tests.runs.plugins:Flat"


class Instant(Inverter):
    """Takes the mean latent for everybody, without a single step."""

    name = "instant"
    api = "1.0"
    default_views = 1

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Return at once."""
        yield from ()
        ws = latent_statistics(generator, 50).mean.expand(1, generator.spec.num_ws, -1)
        return self.inversion(generator, context, ws, generator.spec.camera.front())


class Artist(Instant):
    """Has pictures to show."""

    name = "artist"

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Three rows; two of one title, one without labels."""
        images = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
        return [
            Diagnostic("Depth", images, ("first <view>", "second")),
            Diagnostic("Where it looked", images),
            Diagnostic("where it looked", images[:1], ("once more",)),
        ]


class Cutter(Instant):
    """Can't do without masks."""

    name = "cutter"
    needs: frozenset[Need] = frozenset({"cameras", "masks"})


class Blind(Instant):
    """Needs images alone."""

    name = "blind"
    needs: frozenset[Need] = frozenset()


class Nothing(Instant):
    """Says that it fits no view."""

    name = "nothing"

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return none."""
        return []


class Empty(Inverter):
    """Forgets to return what it found."""

    name = "empty"
    api = "1.0"

    def steps(  # type: ignore[override]
        self, generator: Generator, capture: Capture, context: Context
    ) -> Iterator[None]:
        """Return nothing."""
        yield from ()


class Flat(ToyGenerator):
    """Makes colours alone: no depth, no masks, no density."""

    name = "flat"
    api = "1.0"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.spec = replace(self.spec, name="flat", outputs=("image", "raw"), density=False)

    @classmethod
    def create(cls, config: PluginConfig, weights: object = None) -> Flat:
        """Build the generator."""
        assert isinstance(config, ToyConfig)
        return cls(config)

    def render(
        self,
        scene: Scene,
        camera: Camera,
        *,
        outputs: Sequence[OutputName] = ("image",),
        resolution: int | None = None,
    ) -> Rendering:
        """Render what it has."""
        assert set(outputs) <= set(self.spec.outputs)
        return super().render(scene, camera, outputs=outputs, resolution=resolution)

    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Refuse, as generators without density do."""
        return Generator.sample(self, scene, points)


class PresetToy(ToyGenerator):
    """The toy with a named set of options."""

    name = "preset-toy"
    api = "1.0"
    presets: ClassVar[Presets] = {"coarse": {"seed": 5}}
