"""The architecture of a tri-plane generator as plain, validated options."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inv3d.nn.planes.decoder import Activation
from inv3d.nn.planes.triplane import PlaneAxes
from inv3d.nn.stylegan2 import NoiseMode
from inv3d.nn.superresolution import KINDS, SuperresolutionName


class Options(BaseModel):
    """Base: unknown options are errors, numbers are finite, options never change.

    Weight files bring options too. What memory and time depend on and tensors don't show has an
    upper limit, far above what any known network uses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MappingOptions(Options):
    """The mapping network."""

    layers: int = Field(
        default=2, ge=1, description="fully connected layers (StyleGAN2: 8, EG3D: 2)"
    )
    embed_features: int | None = Field(
        default=None, ge=1, description="size of the embedded camera; w_dim"
    )
    layer_features: int | None = Field(
        default=None, ge=1, description="size of hidden layers; w_dim"
    )
    lr_multiplier: float = Field(
        default=0.01, gt=0, description="learning-rate multiplier of the layers"
    )
    normalize_z: bool = Field(
        default=True, description="scale z and camera to a mean square of one"
    )
    factors: int = Field(
        default=0,
        ge=0,
        description="known factors of z, of a layer that isn't trained, at the end of w (EG3D: 0)",
    )
    factor_ramps: int = Field(
        default=0, ge=0, le=65536, description="ramps of z that the factors are sums of"
    )

    @model_validator(mode="after")
    def _ramps(self) -> Self:
        if bool(self.factors) != bool(self.factor_ramps):
            raise ValueError("factors and factor_ramps must both be 0 or both be more")
        return self


class RenderingOptions(Options):
    """The volume renderer; names as in EG3D's rendering_kwargs."""

    ray_start: float | Literal["auto"] = Field(
        default=2.25,
        description="distance of the first sample, world units; auto: where rays enter the box",
    )
    ray_end: float | Literal["auto"] = Field(default=3.3, description="distance of the last sample")
    box_warp: float = Field(
        default=1.0, gt=0, description="side of the cube of the planes, world units"
    )
    depth_resolution: int = Field(default=48, ge=2, le=1024, description="coarse samples a ray")
    depth_resolution_importance: int = Field(
        default=48, ge=0, le=1024, description="fine samples a ray, 0: none"
    )
    disparity_space_sampling: bool = Field(
        default=False, description="coarse samples even in 1 / depth"
    )
    coarse: Literal["merge", "guide"] = Field(
        default="merge",
        description="merge: composite coarse and fine samples, as EG3D; guide: the coarse pass "
        "only places the fine samples (density only, no gradient)",
    )
    white_back: bool = Field(default=False, description="white behind the volume, in all features")
    clamp_mode: Literal["softplus"] = Field(
        default="softplus", description="activation of the density"
    )
    density_gain: float = Field(
        default=1.0, gt=0, description="density = scale softplus(gain x - 1)"
    )
    density_scale: float = Field(default=1.0, gt=0, description="factor of the density (EG3D: 1)")
    auto_over: Literal["view", "batch"] = Field(
        default="view",
        description="over which rays the limits of rays that miss the box are taken when ray_start "
        "is auto; EG3D: batch, which makes a view depend on its neighbours",
    )

    @model_validator(mode="after")
    def _limits(self) -> Self:
        auto = [value == "auto" for value in (self.ray_start, self.ray_end)]
        if any(auto) and not all(auto):
            raise ValueError("ray_start and ray_end must both be auto or both be numbers")
        if not any(auto) and self.ray_start >= self.ray_end:  # type: ignore[operator]
            raise ValueError("ray_start must be less than ray_end")
        if any(auto) and self.disparity_space_sampling:
            raise ValueError("auto ray limits don't go with disparity_space_sampling")
        if self.disparity_space_sampling and self.ray_start <= 0:  # type: ignore[operator]
            raise ValueError("disparity_space_sampling needs a ray_start above 0")
        if self.depth_resolution_importance and self.depth_resolution < 4:
            raise ValueError("importance sampling needs a depth_resolution of at least 4")
        if self.coarse == "guide" and self.depth_resolution_importance < 2:
            raise ValueError("coarse=guide needs a depth_resolution_importance of at least 2")
        return self


class SuperresolutionOptions(Options):
    """The super-resolution module."""

    module: SuperresolutionName = Field(
        default="8XDC", description="official module, SuperresolutionHybrid..."
    )
    num_fp16_res: int = Field(
        default=4,
        ge=0,
        description="official option; above 0 it limits activations to +-256, even in fp32",
    )
    antialias: bool = Field(default=True, description="filter when features are made smaller")
    noise_mode: NoiseMode = Field(default="none", description="noise added")
    use_noise: bool | None = Field(
        default=None, description="noise maps in its convolutions; as in the others unless given"
    )
    channels: tuple[int, int] | None = Field(
        default=None, description="of the two blocks; the official ones"
    )
    input_resolution: int | None = Field(
        default=None, ge=4, le=2048, description="pixels a side; the official one"
    )
    margin: int = Field(
        default=0,
        ge=0,
        le=64,
        description="pixels by which features are continued beyond their edges, cut off again "
        "from the picture; without them (EG3D) convolutions see zeros there, which tints the "
        "outermost pixels",
    )

    def noisy(self, others: bool) -> bool:
        """Whether its convolutions have noise maps, where the others have some or none."""
        return others if self.use_noise is None else self.use_noise


class Architecture(Options):
    """Everything that decides what a tri-plane generator computes from its weights.

    The defaults are those of EG3D's faces at 512 pixels. A generator with other planes inherits
    from it and says how many channels they need (`backbone_channels`).
    """

    z_dim: int = Field(default=512, ge=1, description="size of z")
    w_dim: int = Field(default=512, ge=1, description="size of w")
    c_dim: int = Field(
        default=25, ge=0, description="size of the conditioning camera label, 0: none"
    )
    mapping: MappingOptions = MappingOptions()
    channel_base: int = Field(
        default=32768, ge=1, description="channels = channel_base / resolution"
    )
    channel_max: int = Field(default=512, ge=1, description="most channels of a backbone block")
    channels: tuple[int, ...] | None = Field(
        default=None,
        description="channels of the backbone blocks from 4 x 4 upwards, instead of the rule",
    )
    conv_clamp: float | None = Field(
        default=None, gt=0, description="limit of backbone activations"
    )
    use_noise: bool = Field(default=True, description="noise maps in all convolutions")
    constant_maps: bool = Field(
        default=False,
        description="learned feature maps a resolution and a learned base plane (EG3D: no)",
    )
    base_resolution: int | None = Field(
        default=None, ge=4, description="pixels a side of the base plane; plane_resolution"
    )
    plane_resolution: int = Field(
        default=256, ge=4, le=2048, description="pixels a side of a plane"
    )
    plane_channels: int = Field(default=32, ge=1, description="channels of a plane")
    plane_axes: PlaneAxes = Field(
        default="eg3d",
        description="eg3d: XY, XZ, ZX as in published EG3D networks; corrected: XY, XZ, ZY; "
        "cyclic: XY, YZ, ZX; panohead: XY, XZ, YZ",
    )
    decoder_hidden: int = Field(default=64, ge=1, description="hidden width of the decoder")
    decoder_channels: int = Field(
        default=32, ge=3, description="rendered features, red, green, blue first"
    )
    decoder_lr_mul: float = Field(
        default=1.0, gt=0, description="learning-rate multiplier of the decoder"
    )
    img_resolution: int = Field(
        default=512, ge=8, le=4096, description="pixels a side of the final image"
    )
    neural_rendering_resolution: int = Field(default=128, ge=1, le=1024, description="rays a side")
    c_gen_conditioning_zero: bool = Field(
        default=False, description="ignore the conditioning camera"
    )
    c_scale: float = Field(
        default=1.0, description="factor of the conditioning label (missing in EG3D: 0)"
    )
    avg_camera_radius: float = Field(
        default=2.7, gt=0, description="of the training cameras, world units"
    )
    avg_camera_pivot: tuple[float, float, float] = Field(
        default=(0.0, 0.0, 0.2), description="what the training cameras look at, world units"
    )
    rendering: RenderingOptions = RenderingOptions()
    superresolution: SuperresolutionOptions = SuperresolutionOptions()

    @property
    def condition(self) -> Literal["none", "camera"]:
        """What the mapping network reads beside z."""
        return "camera" if self.c_dim else "none"

    @property
    def backbone_channels(self) -> int:
        """Channels of the backbone's image: everything that the planes hold at one texel."""
        return 3 * self.plane_channels

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        size = self.plane_resolution
        if self.base_resolution is not None and not self.constant_maps:
            raise ValueError("base_resolution needs constant_maps=true")
        if size & (size - 1):
            raise ValueError(f"plane_resolution must be a power of two, not {size}")
        if self.channels is not None and 4 << (len(self.channels) - 1) != size:
            raise ValueError(
                f"{len(self.channels)} backbone channels make planes of "
                f"{4 << (len(self.channels) - 1)} pixels, but plane_resolution is {size}"
            )
        if self.mapping.factors >= self.w_dim:
            raise ValueError(
                f"mapping.factors is {self.mapping.factors}, which leaves nothing of w_dim "
                f"{self.w_dim} to be learned"
            )
        if self.superresolution.margin and self.superresolution.noisy(self.use_noise):
            raise ValueError("superresolution.margin needs use_noise=false")
        kind = KINDS[self.superresolution.module]
        made = (self.superresolution.input_resolution or kind.input_resolution) * kind.factor
        if made != self.img_resolution:
            raise ValueError(
                f"img_resolution is {self.img_resolution}, but super-resolution "
                f"{self.superresolution.module} makes {made} pixels a side"
            )
        return self


class TrigridRenderingOptions(RenderingOptions):
    """The volume renderer of a tri-grid generator."""

    crop: float | None = Field(
        default=0.1,
        ge=0,
        description="margin of the box along x and z (not y) that stays empty, world units "
        "(PanoHead: 0.1); none: no margin",
    )

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.crop is not None and self.crop >= self.box_warp / 2:
            raise ValueError(f"crop must be less than half of box_warp ({self.box_warp:g})")
        return self


class TrigridArchitecture(Architecture):
    """PanoHead's additions: planes with depth, a background, colours by a ToRGB layer."""

    plane_axes: PlaneAxes = Field(
        default="panohead",
        description="width and height of each plane; the third axis runs along its depth. "
        "panohead: XY, XZ, YZ as in published PanoHead networks; corrected: XY, XZ, ZY; "
        "eg3d: XY, XZ, ZX",
    )
    plane_depth: int = Field(
        default=3, ge=1, description="slices of a plane along its third axis (PanoHead: 3)"
    )
    decoder_activation: Activation = Field(
        default="none",
        description="of the colour features; sigmoid: as EG3D, in [0, 1] and scaled to [-1, 1] "
        "when composited; none (PanoHead): composited as they are; lrelu: leaky ReLU with a slope "
        "of 0.2, times sqrt(2), less 0.5, then as none",
    )
    torgb_raw: bool = Field(
        default=True,
        description="the raw image is made of all features by a modulated 1 x 1 convolution; "
        "false: it is the first three features, as in EG3D",
    )
    background: bool = Field(
        default=True, description="a second synthesis network makes what lies behind the volume"
    )
    background_channels: tuple[int, ...] | None = Field(
        default=None,
        description="channels of its blocks from 4 x 4 upwards, instead of half of channel_base "
        "divided by the resolution",
    )
    camera_shift: bool = Field(
        default=True, description="a mapping network for PanoHead's learned camera shift"
    )
    rendering: TrigridRenderingOptions = TrigridRenderingOptions()

    @property
    def backbone_channels(self) -> int:
        """Channels of the backbone's image: everything that the planes hold at one texel."""
        return 3 * self.plane_channels * self.plane_depth

    @property
    def background_resolution(self) -> int:
        """Pixels a side of the background: what super-resolution reads."""
        kind = KINDS[self.superresolution.module]
        return self.superresolution.input_resolution or kind.input_resolution

    @model_validator(mode="after")
    def _background_sizes(self) -> Self:
        size = self.background_resolution
        if not self.background:
            return self
        if size & (size - 1):
            raise ValueError(
                f"a background network needs a superresolution.input_resolution that is a power "
                f"of two, not {size}"
            )
        channels = self.background_channels
        if channels is not None and 4 << (len(channels) - 1) != size:
            raise ValueError(
                f"{len(channels)} background_channels make {4 << (len(channels) - 1)} pixels, but "
                f"superresolution.input_resolution is {size}"
            )
        return self
