"""The contract of a generator: latents to scenes, scenes and cameras to pictures."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from inv3d.core.alignment import Alignment
from inv3d.core.arguments import PATH, expect
from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.config import PluginConfig, build_config
from inv3d.core.device import as_device
from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.plugin import Plugin, Presets
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import OUTPUTS, OutputName, Rendering, Scene
from inv3d.core.warm import is_keeping, kept, version_of
from inv3d.core.weights.known import resolve_path


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
        fingerprint: of architecture and weights.
        default_losses: name -> weight, for methods that are told none.
        metrics: role -> the loss that judges it, such as {"identity": "headid?network=b"}.
        condition: what `map` is conditioned on: nothing, a camera, or a vector.
        condition_dim: length of that vector; 0 unless `condition` is "vector".
        outputs: fields of a rendering that it can make.
        density: whether `sample` works, so that a mesh can be extracted.
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
    condition: Literal["none", "camera", "vector"] = "camera"
    condition_dim: int = 0
    outputs: tuple[OutputName, ...] = OUTPUTS
    density: bool = True


class Generator(nn.Module, Plugin, ABC):
    """A 3D-aware generator: latents to scenes, scenes and cameras to images.

    `synthesize` is the expensive, view-independent part. One scene renders from any number of
    cameras; `render` pairs B scenes with N = B * V cameras, V consecutive cameras a scene.

    Attributes:
        spec: facts about it.
        method_options: method name -> options that suit it better than the method's defaults,
            such as weights for the scale of its latents; presets and users win over them.
        training_options: name of a method or estimator -> options of its training for this
            generator, likewise.
        replayable: whether `synthesize` and `render` depend on their arguments, its tensors and
            `rng` alone, so that on a GPU a step may be recorded once and replayed; computed every
            time otherwise. A subclass says it anew.
        rays_option: its option for the rays a side, which is named where memory runs out; empty
            where it has none.
        signature: names of tensors that its networks have and no others, by which a weight file
            that's given to another generator is told.
        rng: source of random samples and noise, where it uses any; `load_generator` sets one of
            seed 0, a run its own.
        config: its options, as its weight file and those that were given settle them.
        tuned: whether its weights are no longer those of its fingerprint.
    """

    spec: GeneratorSpec
    method_options: ClassVar[Presets] = {}
    training_options: ClassVar[Presets] = {}
    replayable: ClassVar[bool] = False
    rays_option: ClassVar[str] = ""
    signature: ClassVar[tuple[str, ...]] = ()
    rng: torch.Generator | None = None
    config: PluginConfig | None = None
    tuned: bool = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.replayable = cls.__dict__.get("replayable", False)

    @classmethod
    @abstractmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Generator:
        """Build the generator with its weights, in eval mode, on the CPU.

        Raises:
            WeightsError: where the weights are missing or of another architecture.
        """

    @classmethod
    def alignment(cls, config: PluginConfig) -> Alignment | None:
        """Return where faces are in its pictures, which needs no weights; None for no faces.

        Args:
            config: its options.
        """
        return None

    @property
    def faces(self) -> Alignment | None:
        """Where faces are in its pictures, with the options that it has; None for no faces."""
        return self.alignment(self.Config() if self.config is None else self.config)

    @property
    def device(self) -> torch.device:
        """Where its tensors are; the CPU where it has none."""
        return self._first().device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of its tensors; torch's default where it has none."""
        return self._first().dtype

    def _first(self) -> Tensor:
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((t for t in tensors if t.is_floating_point()), torch.zeros(()))

    @abstractmethod
    def map(
        self, z: Tensor, condition: Camera | Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Map z to ws.

        Args:
            z: [B, z_dim], standard normal.
            condition: what `spec.condition` says: one camera or B of them, a vector
                [B or 1, condition_dim], or nothing. Without one, networks that want one are given
                zeros, which none was trained with; see `neutral_condition`.
            truncation: 1 keeps w, 0 gives the mean w.

        Returns:
            [B, num_ws, w_dim].

        Raises:
            UnsupportedError: where the condition is of another kind.
        """

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
            outputs: fields of the rendering that are wanted, among `spec.outputs`; depth alone
                skips colour and super-resolution.
            resolution: rays a side, the spec's `render_resolution` unless given.

        Raises:
            ValueError: where N isn't a multiple of B.
        """

    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [B, P] and colour [B, P, 3] in [0, 1] at world points [B, P, 3].

        The density is the opacity a world unit of length, so that 1 - exp(-density * length) is
        the opacity of a segment.

        Raises:
            UnsupportedError: where the generator has no density (`spec.density` is false).
        """
        raise UnsupportedError(
            f"generator {self.spec.name} has no density to sample; meshes need one that has"
        )

    def sample_density(self, scene: Scene, points: Tensor) -> Tensor:
        """Return the density [B, P] of `sample` at world points [B, P, 3], without colours.

        Meshes ask it at millions of points. A generator whose colours take time overrides it.

        Raises:
            UnsupportedError: where the generator has no density (`spec.density` is false).
        """
        return self.sample(scene, points)[0]

    def attributes(self, z: Tensor) -> dict[str, Tensor]:
        """What is known of the heads that z stands for, by name; nothing by default.

        Editors find directions by it and give them these names.

        Args:
            z: [B, z_dim].

        Returns:
            Name, such as "smile" -> scores [B]; more of it is a larger number, in any unit.
        """
        return {}

    def noise_maps(self) -> dict[str, Tensor]:
        """The noise maps that can be optimised with a latent, by name; none by default."""
        return {}

    def require(self, outputs: Iterable[OutputName], user: str) -> None:
        """See that the generator makes some outputs.

        Args:
            outputs: fields of a rendering.
            user: who wants them, for the message, such as "loss depth_consistency".

        Raises:
            UnsupportedError: naming the first one that it doesn't make.
        """
        for name in outputs:
            if name not in self.spec.outputs:
                raise UnsupportedError(
                    f"{user}: needs the output '{name}', but generator {self.spec.name} makes "
                    f"only {', '.join(self.spec.outputs)}; leave it out, or take another generator"
                )


def add_metrics(generator: Generator, metrics: Mapping[str, str]) -> None:
    """Let losses judge a generator's pictures, besides or instead of those of its spec.

    Args:
        generator: whose spec is changed.
        metrics: role -> loss with options, such as {"identity": "headid?network=b"}.
    """
    judges = {**generator.spec.metrics, **metrics}
    generator.spec = replace(generator.spec, metrics=judges)


def neutral_condition(generator: Generator, count: int = 1) -> Camera | Tensor | None:
    """Return what `map` is given where nobody asks for anything else, on the generator's device.

    Args:
        generator: whose `spec.condition` decides.
        count: how many.

    Returns:
        The frontal camera of the prior, zeros [count, condition_dim], or None.
    """
    spec = generator.spec
    if spec.condition == "camera":
        camera = spec.camera.front().to(generator.device, generator.dtype)
        return camera.repeat_interleave(count)
    if spec.condition == "vector":
        zeros = torch.zeros(count, spec.condition_dim)
        return zeros.to(generator.device, generator.dtype)
    return None


def load_generator(
    name: str,
    options: Mapping[str, Any] | PluginConfig | None = None,
    weights: Path | str | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Generator:
    """Build a generator by name: frozen, in eval mode, on a device.

    Args:
        name: of the plugin.
        options: nested plain values, or its Config; its defaults if None.
        weights: its weight file, or the bare name of one that the plugin knows.
        device: where it goes; a name means what `--device` means.

    Raises:
        PluginError: where the name is unknown or the plugin can't be used.
        ConfigError: where an option is unknown or out of range, or there's no such device.
        WeightsError: where the weights are missing or of another architecture.

    Example:
        >>> import inv3d
        >>> generator = inv3d.load_generator("minihead", {"render_resolution": 32})
        >>> generator.spec.resolution, generator.spec.render_resolution, generator.spec.domain
        (128, 32, 'human heads')
    """
    place = as_device(device)
    expect("weights", weights, (*PATH, type(None)), "the path of a file, or a known name")
    kind: type[Generator] = registry().load("generators", name)
    owner = f"generator {name}"
    if not isinstance(options, PluginConfig):
        options = build_config(kind.Config, options or {}, owner)
    config = options
    path = resolve_path(None if weights is None else Path(weights), kind.weights, owner)

    def make() -> Generator:
        generator = kind.create(config, path)
        if path is not None and not path.exists():
            raise WeightsError(f"{path}: no such file, and {owner} reads none; leave it out")
        generator.rng = torch.Generator().manual_seed(0)
        return generator.eval().requires_grad_(False).to(place)

    key = ("generator", kind, config.model_dump_json(), version_of(path), str(place))
    made = kept(key, make)
    return copy.deepcopy(made) if is_keeping() else made
