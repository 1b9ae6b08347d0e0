"""The tri-plane generator: latents to planes, planes and cameras to images (EG3D, CVPR 2022).

A plugin inherits from it (or from `TrigridGenerator`) and says how it's built: `create` makes the
networks of an `Architecture`, fills them and states the facts (`spec_of`). Another volume, with
planes that lie otherwise, a sphere or a grid, only needs another `field`: pictures, depth, masks,
`sample`, chunks and meshes all ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as run_checkpointed

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.errors import UnsupportedError
from inv3d.core.generator import Generator
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.nn.choices import Precision, Sampling
from inv3d.nn.eg3d.architecture import Architecture
from inv3d.nn.modulated.winograd import winograd
from inv3d.nn.planes.decode import decode_planes
from inv3d.nn.planes.decoder import Decoder
from inv3d.nn.planes.gather import TexelTables
from inv3d.nn.precision import run_in
from inv3d.nn.raymarch.field import PlaneField
from inv3d.nn.stylegan2 import (
    MappingNetwork,
    NoiseMode,
    StyleGAN2Backbone,
    SynthesisNetwork,
    default_channels,
)
from inv3d.nn.superresolution import Superresolution
from inv3d.nn.trial import programs
from inv3d.nn.volume import (
    Composite,
    Field,
    March,
    Rays,
    box_limits,
    draw,
    fill_misses,
    render_chunked,
)

FP16_CLAMP = 256.0
COLOUR_OUTPUTS = frozenset({"image", "raw", "features"})
# numbers a sample, beside colours, where those and density alone are kept: distances, their order
_LIGHT_NUMBERS = 16


class TriplaneGenerator(Generator):
    """Mapping, backbone, volume renderer and super-resolution.

    What a plugin adds is `create`. What it may replace is `synthesize` and `field`, where a scene
    is something else than three planes; the rest follows.

    Args:
        architecture: sizes of the networks and how rays are rendered.
        seed: of the random weights that the networks begin with.

    Attributes:
        architecture_type: the options that it's built from.
        config: the plugin's options after the weight file had its say, which a run records; set by
            `create`.
        sampling: "deterministic" (bin centres) or "stochastic" (drawn from `rng`).
        noise_mode: noise that `synthesize` adds: the stored maps ("const"), "none", or "random",
            which is drawn from `rng`.
        rng: source of the stochastic samples and of random noise; it must be set for these.
        ray_chunk: rays a scene that are rendered at a time, from `memory_budget` unless given.
        view_chunk: images that pass super-resolution at a time, from `memory_budget` unless given.
        memory_budget: bytes that one chunk may take, roughly.
        checkpoint: recompute every chunk in the backward pass instead of keeping its activations.
        precision: of the convolutions of backbone and super-resolution, see `run_in`.
        triton: on NVIDIA GPUs, use Triton's programs where they work.
        winograd: let these convolutions take Winograd's algorithm where it's faster.
    """

    architecture_type: ClassVar[type[Architecture]] = Architecture
    config: PluginConfig

    def __init__(self, architecture: Architecture, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        self.sampling: Sampling = "deterministic"
        self.noise_mode: NoiseMode = "const"
        self.rng: torch.Generator | None = None
        self.ray_chunk: int | None = None
        self.view_chunk: int | None = None
        self.memory_budget = 2 << 30
        self.checkpoint = False
        self.precision: Precision = "fp32"
        self.triton = True
        self.winograd = True
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self._build()
        self.march = march_of(architecture)

    def _build(self) -> None:
        """Make the networks, in the order of the official classes."""
        a = self.architecture
        self.backbone = _backbone(a)
        self.superresolution = _superresolution(a)
        self.decoder = self._decoder()

    def _decoder(self) -> Decoder:
        a = self.architecture
        return Decoder(a.plane_channels, a.decoder_channels, a.decoder_hidden, a.decoder_lr_mul)

    @property
    def num_ws(self) -> int:
        """Rows of ws."""
        rows: int = self.backbone.synthesis.num_ws
        return rows

    def map(
        self,
        z: Tensor,
        condition: Camera | Tensor | None = None,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Map z [B, z_dim] and a conditioning camera to ws [B, num_ws, w_dim].

        Args:
            z: standard normal.
            condition: one camera, or B; None conditions on zeros. Where `spec.condition` is "none"
                it must be None.
            truncation: 1 keeps w, 0 gives the mean w.
            cutoff: rows that are truncated, all unless given; a negative number leaves out as many
                at the end, as in Python.

        Raises:
            UnsupportedError: where the condition isn't what `spec.condition` says.
            ValueError: where there are neither one nor B cameras.
        """
        self._check_condition(condition, len(z))
        w: Tensor = self.backbone.mapping(z, self._label(z, condition))
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if truncation == 1:
            return ws
        near = torch.lerp(self.backbone.mapping.w_avg, w, truncation)[:, None]
        rows = len(range(self.num_ws)[:cutoff])
        return torch.cat([near.expand(-1, rows, -1), ws[:, rows:]], dim=1)

    def _check_condition(self, given: Camera | Tensor | None, count: int) -> None:
        a = self.architecture
        if given is None:
            return
        if not isinstance(given, Camera) or a.condition != "camera":
            raise UnsupportedError(
                f"generator {self.name}: map was given a {type(given).__name__}, but its condition "
                f"is '{a.condition}'; give {'a Camera or ' if a.c_dim else ''}None"
            )
        if len(given) not in (1, count):
            raise ValueError(f"{len(given)} cameras for {count} latents: give one or {count}")

    def _label(self, z: Tensor, camera: Camera | Tensor | None) -> Tensor | None:
        """What the mapping network reads beside z: [B, c_dim], None where it reads nothing."""
        a = self.architecture
        if not a.c_dim:
            return None
        if not isinstance(camera, Camera) or a.c_gen_conditioning_zero:
            return z.new_zeros(len(z), a.c_dim)
        return (camera.labels().to(z) * a.c_scale).expand(len(z), -1)

    def synthesize(self, ws: Tensor) -> Scene:
        """Make B scenes, {"planes": [B, 3, C, H, W]}, from ws [B, num_ws, w_dim]."""
        planes = self._synthesis(self.backbone.synthesis, ws)
        size = planes.shape[-1]
        return Scene({"planes": planes.view(len(ws), 3, -1, size, size)}, ws)

    def render(
        self,
        scene: Scene,
        camera: Camera,
        *,
        outputs: Sequence[OutputName] = ("image",),
        resolution: int | None = None,
    ) -> Rendering:
        """Render B scenes from N = B * V cameras, V consecutive cameras a scene.

        Args:
            scene: B scenes.
            camera: N cameras.
            outputs: fields of the rendering that are wanted.
            resolution: rays a side, `neural_rendering_resolution` unless given.
        """
        size = resolution or self.architecture.neural_rendering_resolution
        seen = self.trace(scene, camera, size, colour=bool(COLOUR_OUTPUTS & set(outputs)))
        made: dict[str, Tensor] = {}
        if "depth" in outputs:
            made["depth"] = seen.depth.reshape(-1, 1, size, size)
        if "mask" in outputs:
            made["mask"] = seen.opacity.reshape(-1, 1, size, size)
        if seen.features is not None:
            channels = seen.features.shape[-1]
            features = seen.features.reshape(-1, size * size, channels).transpose(1, 2)
            features = features.reshape(-1, channels, size, size)
            features = self._behind(features, seen.opacity.reshape(-1, 1, size, size), scene)
            made |= self.images(features, scene.ws, outputs)
        ws = scene.ws.repeat_interleave(len(camera) // len(scene), 0)
        return Rendering(**made, ws=ws)

    def trace(
        self, scene: Scene, camera: Camera, resolution: int, colour: bool = True
    ) -> Composite:
        """Render every pixel's ray: [B, V * resolution^2, ...], views of a scene in a row."""
        if len(camera) % len(scene):
            raise ValueError(f"{len(camera)} cameras can't be shared by {len(scene)} scenes")
        camera = camera.to(dtype=scene.ws.dtype)
        rays = self.rays(*camera.rays(resolution), scenes=len(scene))
        return render_chunked(
            self.field(scene),
            rays,
            self.march,
            colour,
            self._ray_chunk(len(scene)),
            self.checkpoint,
            self._light_rays(len(scene)),
        )

    def rays(self, origins: Tensor, directions: Tensor, scenes: int) -> Rays:
        """Give rays their limits and random numbers.

        Args:
            origins: [N, R, 3].
            directions: [N, R, 3], unit length.
            scenes: B; N is a multiple of it.

        Returns:
            Rays with leading dimensions [B, N / B * R].
        """
        near, far = self._limits(origins, directions)
        origins, directions, near, far = (
            value.reshape(scenes, -1, value.shape[-1]) for value in (origins, directions, near, far)
        )
        shape = (scenes, origins.shape[1])
        jitter, positions = draw(shape, self.march, self.sampling, origins, self.rng)
        return Rays(origins, directions, near, far, jitter, positions)

    def _limits(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        options = self.architecture.rendering
        if options.ray_start == "auto":
            # as in EG3D, where rays begin and end is given: no gradient goes through it
            limits = box_limits(origins.detach(), directions.detach(), options.box_warp)
            if options.auto_over == "batch":
                near, far = fill_misses(*(value.flatten(0, 1)[None] for value in limits))
                return near.reshape(*origins.shape[:2], 1), far.reshape(*origins.shape[:2], 1)
            return fill_misses(*limits)
        shape = (*origins.shape[:2], 1)
        near, far = (
            origins.new_full((), value).expand(shape)
            for value in (float(options.ray_start), float(options.ray_end))
        )
        return near, far

    def field(self, scene: Scene) -> Field:
        """Return the volume: a function of points and whether colours are wanted.

        Everything that looks into a scene asks this function, so that another volume is another
        `field` and nothing else. It's given world points [B, P, 3] of B scenes and returns the raw
        density [B, P], to which `march.density` is applied, and features [B, P, C] (None unless
        colours are wanted), of which the first three are red, green and blue. It's called with a
        chunk of the points at a time and must treat each point by itself.
        """
        planes = scene.parts["planes"]
        a = self.architecture
        tables = TexelTables(planes)

        def evaluate(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
            box = a.rendering.box_warp
            return decode_planes(self.decoder, planes, points, a.plane_axes, box, colour, tables)

        return PlaneField(
            evaluate, planes, self.decoder, a.plane_axes, a.rendering.box_warp,
            tf32=self.precision == "tf32", programs=self.triton,
        )  # fmt: skip

    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [B, P] a world unit and colour [B, P, 3] in [0, 1] at points [B, P, 3]."""
        parts = self._evaluate(scene, points, True)
        density = torch.cat([self.march.density(raw) for raw, _ in parts], dim=1)
        colour = torch.cat([self._colour(c, scene) for _, c in parts if c is not None], dim=1)
        return density, colour

    def sample_density(self, scene: Scene, points: Tensor) -> Tensor:
        """Return density [B, P] a world unit at points [B, P, 3]: `sample` without its colours."""
        parts = self._evaluate(scene, points, False)
        return torch.cat([self.march.density(raw) for raw, _ in parts], dim=1)

    def _evaluate(
        self, scene: Scene, points: Tensor, colour: bool
    ) -> list[tuple[Tensor, Tensor | None]]:
        """What the field returns for points [B, P, 3], in chunks that fit the memory budget."""
        field = self.field(scene)
        chunk = max(1, self._ray_chunk(len(scene)) * (self.march.coarse + self.march.fine))
        return [field(part, colour) for part in torch.split(points, chunk, dim=1)]

    def _colour(self, features: Tensor, scene: Scene) -> Tensor:
        """Colours [B, P, 3] in [0, 1] of decoded features [B, P, C]."""
        return features[..., :3].clamp(0, 1)

    def _behind(self, features: Tensor, opacity: Tensor, scene: Scene) -> Tensor:
        """Add what lies behind the volume to features [N, C, h, w]; here there's nothing."""
        return features

    def _rgb(self, features: Tensor, w: Tensor) -> Tensor | None:
        """The raw image [N, 3, h, w], None where it is the first three features.

        Args:
            features: [N, C, h, w].
            w: [B, w_dim], N a multiple of B.
        """
        return None

    def noise_maps(self) -> dict[str, Tensor]:
        """The backbone's noise maps by name, live."""
        return {
            name: buffer
            for name, buffer in self.named_buffers()
            if name.startswith("backbone.") and name.endswith("noise_const")
        }

    def images(
        self, features: Tensor, ws: Tensor, outputs: Sequence[OutputName]
    ) -> dict[str, Tensor]:
        """Return the colour outputs among `outputs` for rendered features.

        Args:
            features: [N, C, h, w].
            ws: [B, num_ws, w_dim], N a multiple of B.
            outputs: fields of a rendering.
        """
        made = {}
        rgb = self._rgb(features, ws[:, -1]) if {"raw", "image"} & set(outputs) else None
        if "features" in outputs:
            made["features"] = features
        if "raw" in outputs:
            made["raw"] = features[:, :3] if rgb is None else rgb
        if "image" in outputs:
            made["image"] = self._superresolve(features, ws[:, -1], rgb)
        return made

    def _superresolve(self, features: Tensor, w: Tensor, rgb: Tensor | None) -> Tensor:
        """Final images of features [N, C, h, h] and w [B, w_dim], in chunks of views."""
        chunk = self.view_chunk or self._default_view_chunk()
        if chunk >= len(features) and not self.checkpoint:
            return self._superresolve_chunk(features, w, rgb)
        if len(w) > 1:
            w = w.repeat_interleave(len(features) // len(w), 0)
        images = []
        for start in range(0, len(features), chunk):
            part = features[start : start + chunk]
            w_part = w if len(w) == 1 else w[start : start + chunk]
            rgb_part = None if rgb is None else rgb[start : start + chunk]
            if self.checkpoint and torch.is_grad_enabled():
                images.append(
                    run_checkpointed(
                        self._superresolve_chunk,
                        part,
                        w_part,
                        rgb_part,
                        use_reentrant=False,
                        preserve_rng_state=False,
                    )
                )
            else:
                images.append(self._superresolve_chunk(part, w_part, rgb_part))
        return torch.cat(images)

    def _superresolve_chunk(self, features: Tensor, w: Tensor, rgb: Tensor | None) -> Tensor:
        mode = self.architecture.superresolution.noise_mode
        return self._convolve(self.superresolution, features, w, mode, self.rng, image=rgb)

    def _synthesis(self, network: SynthesisNetwork, ws: Tensor) -> Tensor:
        """What a synthesis network makes of ws, with the noise that's wanted."""
        return self._convolve(network, ws, self.noise_mode, self.rng)

    def _convolve(
        self, network: Callable[..., Tensor], x: Tensor, *others: Any, **options: Any
    ) -> Tensor:
        """Call a network of convolutions as the generator's attributes say."""
        with winograd(self.winograd), programs(self.triton):
            return run_in(self.precision, network, x, *others, **options)

    def _ray_chunk(self, scenes: int) -> int:
        """Rays a scene whose samples fit the memory budget."""
        if self.ray_chunk is not None:
            return self.ray_chunk
        a = self.architecture
        numbers = 8 * a.plane_channels + 3 * a.decoder_hidden + 3 * a.decoder_channels + 64
        samples = max(1, self.memory_budget // (4 * numbers))
        return max(1, samples // (scenes * (self.march.coarse + self.march.fine)))

    def _light_rays(self, scenes: int) -> int:
        """Rays a scene that fit the budget where density and colours of samples alone are kept."""
        numbers = self.architecture.decoder_channels + _LIGHT_NUMBERS
        samples = max(1, self.memory_budget // (4 * numbers))
        rays = samples // (scenes * (self.march.coarse + self.march.fine))
        return rays if self.ray_chunk is None else self.ray_chunk

    def _default_view_chunk(self) -> int:
        """Images whose super-resolution fits the memory budget."""
        block = self.superresolution.block1
        widths = block.conv0.weight.shape[0] + block.conv0.weight.shape[1]
        numbers = 6 * widths * self.superresolution.resolution**2
        return max(1, self.memory_budget // (4 * numbers))


def march_of(architecture: Architecture) -> March:
    """Return the sampling and compositing options of an architecture."""
    r = architecture.rendering
    return March(
        coarse=r.depth_resolution,
        fine=r.depth_resolution_importance,
        disparity=r.disparity_space_sampling,
        guide=r.coarse == "guide",
        density_gain=r.density_gain,
        density_scale=r.density_scale,
        white_back=r.white_back,
    )


def _backbone(a: Architecture) -> StyleGAN2Backbone:
    m = a.mapping
    channels = a.channels or default_channels(a.plane_resolution, a.channel_base, a.channel_max)
    return StyleGAN2Backbone(
        MappingNetwork(
            a.z_dim, a.c_dim, a.w_dim, m.layers, m.embed_features, m.layer_features,
            m.lr_multiplier, m.normalize_z, factors=m.factors, factor_ramps=m.factor_ramps,
        ),
        SynthesisNetwork(
            a.w_dim, channels, a.backbone_channels, a.conv_clamp, a.use_noise, a.constant_maps,
            a.base_resolution,
        ),
    )  # fmt: skip


def _superresolution(a: Architecture) -> Superresolution:
    s = a.superresolution
    return Superresolution(
        s.module,
        a.decoder_channels,
        a.w_dim,
        clamp=FP16_CLAMP if s.num_fp16_res > 0 else None,
        antialias=s.antialias,
        channels=s.channels,
        input_resolution=s.input_resolution,
        use_noise=s.noisy(a.use_noise),
        margin=s.margin,
    )
