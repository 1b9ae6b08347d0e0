"""The contracts: Generator, Inverter, Loss, Editor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera, orbit
from inv3d.core.config import PluginConfig
from inv3d.core.discovery import API_VERSION
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.core.weight_files import WeightFile

if TYPE_CHECKING:
    from pathlib import Path

    from inv3d.core.capture import Capture
    from inv3d.core.context import Context
    from inv3d.core.inversion import Inversion
    from inv3d.core.optimize import Progress

Cache = Tensor | dict[str, Tensor]
Presets = Mapping[str, Mapping[str, Any]]


class Plugin:
    """What every plugin says of itself, as class attributes.

    Attributes:
        name: as in its entry point.
        summary: one line for `list-plugins`.
        api: version of the plugin API that it was written for, "major.minor".
        licence: of the code and, where there are any, of the weights.
        reference: paper and equation.
        requires: extra packages that it imports.
        Config: its options.
        presets: named sets of options; "default" is the empty set.
        weights: files that it can use and that aren't part of its package.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    api: ClassVar[str] = API_VERSION
    licence: ClassVar[str] = "Apache-2.0"
    reference: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[PluginConfig]] = PluginConfig
    presets: ClassVar[Presets] = {}
    weights: ClassVar[tuple[WeightFile, ...]] = ()


@dataclass(frozen=True)
class CameraPrior:
    """Where the cameras of a generator's training data stood.

    Attributes:
        radius: distance from the world's origin, world units.
        focal: focal length divided by the image size.
        pivot: the point looked at, world units.
        yaw_deg: half range of the yaw, degrees.
        pitch_deg: half range of the pitch, degrees.
    """

    radius: float
    focal: float
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_deg: float = 90.0
    pitch_deg: float = 30.0

    def orbit(self, yaw: Tensor, pitch: Tensor | float = 0.0) -> Camera:
        """Return cameras of this prior at angles in radians, [N]."""
        return orbit(yaw, pitch, radius=self.radius, focal=self.focal, pivot=self.pivot)

    def front(self) -> Camera:
        """Return the frontal camera."""
        return self.orbit(torch.zeros(1))


@dataclass(frozen=True)
class GeneratorSpec:
    """The facts about a generator that methods, metrics and reports need.

    Attributes:
        name: of the variant, such as "minihead".
        z_dim, w_dim, num_ws: sizes of the latents; ws is [B, num_ws, w_dim].
        resolution: of the final image, pixels a side.
        render_resolution: rays a side, before super-resolution.
        camera: where training cameras stood.
        depth_range: nearest and farthest rendered depth, world units.
        box: side of the cube around the origin that holds the volume, world units.
        domain: such as "human heads".
        default_losses: name -> weight, for methods that are told none.
        perceptual, identity: losses used as metrics, by name.
        fingerprint: of architecture and weights.
    """

    name: str
    z_dim: int
    w_dim: int
    num_ws: int
    resolution: int
    render_resolution: int
    camera: CameraPrior
    depth_range: tuple[float, float]
    box: float
    domain: str
    fingerprint: str
    default_losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)


class Generator(nn.Module, Plugin, ABC):
    """A 3D-aware generator: latents to scenes, scenes and cameras to images.

    `synthesize` is the expensive, view-independent part. One scene renders from any number of
    cameras; `render` pairs B scenes with N = B * V cameras, V consecutive cameras a scene.

    Attributes:
        spec: facts about it.
        method_options: method name -> options that suit it better than the method's defaults,
            such as weights for the scale of its latents; presets and users win over them.
        rays_option: its option for the rays a side, which is named where memory runs out; empty
            where it has none.
        rng: source of random samples and noise, where it uses any; set by the run.
    """

    spec: GeneratorSpec
    method_options: ClassVar[Presets] = {}
    rays_option: ClassVar[str] = ""
    rng: torch.Generator | None = None

    @classmethod
    @abstractmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Generator:
        """Build the generator with its weights, in eval mode, on the CPU.

        Raises:
            WeightsError: where the weights are missing or of another architecture.
        """

    @abstractmethod
    def map(self, z: Tensor, camera: Camera | None = None, truncation: float = 1.0) -> Tensor:
        """Map z [B, z_dim] (and a conditioning camera) to ws [B, num_ws, w_dim]."""

    @abstractmethod
    def synthesize(self, ws: Tensor) -> Scene:
        """Make B scenes from ws [B, num_ws, w_dim]."""

    @abstractmethod
    def render(
        self,
        scene: Scene,
        camera: Camera,
        *,
        outputs: Sequence[OutputName] = ("image",),
        resolution: int | None = None,
    ) -> Rendering:
        """Render scenes from cameras.

        Args:
            scene: B scenes.
            camera: N = B * V cameras, those of scene i at i * V to (i + 1) * V - 1.
            outputs: fields of the rendering that are wanted; depth alone skips colour and
                super-resolution.
            resolution: rays a side, the spec's `render_resolution` unless given.
        """

    @abstractmethod
    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [B, P] and colour [B, P, 3] in [0, 1] at world points [B, P, 3].

        The density is the opacity a world unit of length, so that 1 - exp(-density * length) is
        the opacity of a segment.
        """

    def noise_maps(self) -> dict[str, Tensor]:
        """The noise maps that can be optimised with a latent, by name; none by default."""
        return {}


@dataclass(frozen=True)
class Target:
    """What a loss compares with, for N views.

    Attributes:
        images: [N, 3, H, W] in [-1, 1], at the generator's resolution.
        masks: [N, 1, H, W] in [0, 1], or None.
        depths: [N, 1, h, w] distance along the unit ray, world units, or None.
        anchor: [num_ws, w_dim] (or [1, w_dim]), the latent that latent losses pull towards.
        noise: the generator's noise maps, where they are optimised.
    """

    images: Tensor
    masks: Tensor | None = None
    depths: Tensor | None = None
    anchor: Tensor | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)


class Loss(nn.Module, Plugin, ABC):
    """A difference between renderings and targets, one number a view."""

    needs: ClassVar[tuple[OutputName, ...]] = ("image",)

    @classmethod
    def create(cls, config: PluginConfig) -> Loss:
        """Build the loss with its networks, on the CPU."""
        return cls(config)

    def __init__(self, config: PluginConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def prepare(self, target: Target) -> Cache:
        """Compute once what the loss needs of the targets; leading dimension N views."""

    @abstractmethod
    def forward(self, rendering: Rendering, cache: Cache) -> Tensor:
        """Return the loss of every view, [N]."""

    def select(self, cache: Cache, views: slice) -> Cache:
        """Return the cache of some of the views; losses whose cache isn't by view override it."""
        if isinstance(cache, Tensor):
            return cache[views]
        return {name: value[views] for name, value in cache.items()}


class Inverter(Plugin, ABC):
    """A method: a capture goes in, an inversion comes out, step by step.

    Attributes:
        min_views: that it needs.
        default_views: that are chosen where the user names no number.
    """

    min_views: ClassVar[int] = 1
    default_views: ClassVar[int] = 9

    @classmethod
    def create(cls, config: PluginConfig) -> Inverter:
        """Build the method with its options."""
        return cls(config)

    def __init__(self, config: PluginConfig) -> None:
        self.config = config

    @abstractmethod
    def steps(self, generator: Generator, capture: Capture, context: Context) -> Iterator[Progress]:
        """Run the inversion, one item an optimisation step; drives CLI, viewers and tests."""

    @abstractmethod
    def result(self) -> Inversion:
        """Return the inversion as it stands after the steps taken so far."""

    def invert(self, generator: Generator, capture: Capture, context: Context) -> Inversion:
        """Run to the end and return the result."""
        for _ in self.steps(generator, capture, context):
            pass
        return self.result()


class Editor(Plugin, ABC):
    """Directions in latent or scene space, fitted to a generator and applied to inversions."""

    @classmethod
    def create(cls, config: PluginConfig) -> Editor:
        """Build the editor with its options."""
        return cls(config)

    def __init__(self, config: PluginConfig) -> None:
        self.config = config

    @abstractmethod
    def fit(self, generator: Generator, context: Context) -> Mapping[str, Tensor]:
        """Find directions, to be saved with the generator's fingerprint."""

    @abstractmethod
    def apply(
        self, inversion: Inversion, directions: Mapping[str, Tensor], **options: Any
    ) -> Inversion:
        """Return an edited inversion."""
