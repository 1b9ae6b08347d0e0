"""The tri-grid generator (PanoHead, CVPR 2023, arXiv 2303.13071): heads from all around.

Beyond the tri-plane generator: planes with depth, an empty margin of the box, a background made by
a second synthesis network, a raw image made of all features, and a learned shift of the camera.
Module names are those of the official state dicts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.scene import Scene
from inv3d.nn.choices import Precision
from inv3d.nn.eg3d.architecture import Architecture, TrigridArchitecture
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.planes.decoder import Decoder
from inv3d.nn.precision import run_in
from inv3d.nn.raymarch.field import PlaneField
from inv3d.nn.raymarch.planes import EMPTY
from inv3d.nn.resample import bilinear
from inv3d.nn.stylegan2 import MappingNetwork, SynthesisNetwork, ToRGB, default_channels
from inv3d.nn.volume import Field


class TrigridGenerator(TriplaneGenerator):
    """Mapping, backbone, background, volume renderer and super-resolution.

    Args:
        architecture: sizes of the networks and how rays are rendered.
        seed: of the random weights that the networks begin with.
    """

    architecture: TrigridArchitecture
    architecture_type: ClassVar[type[Architecture]] = TrigridArchitecture

    def __init__(self, architecture: TrigridArchitecture, seed: int = 0) -> None:
        super().__init__(architecture, seed)
        self.march = replace(self.march, signed=architecture.decoder_activation == "sigmoid")

    def _build(self) -> None:
        super()._build()
        a = self.architecture
        if a.torgb_raw:
            self.torgb = ToRGB(a.decoder_channels, 3, a.w_dim)
        if a.background:
            self.bcg_synthesis = _background(a)
        if a.camera_shift:
            self.t_mapping = _camera_mapping(a)

    def _decoder(self) -> Decoder:
        a = self.architecture
        return Decoder(
            a.plane_channels,
            a.decoder_channels,
            a.decoder_hidden,
            a.decoder_lr_mul,
            a.decoder_activation,
        )

    def synthesize(self, ws: Tensor, background: Tensor | None = None) -> Scene:
        """Make B scenes: "planes" [B, 3, C, D, R, R] and, if there is one, "background".

        The background, [B, features, S, S] at the resolution that super-resolution reads, doesn't
        depend on the camera.

        Args:
            ws: [B, num_ws, w_dim].
            background: [B, rows, w_dim], latents of the background, `ws` unless given. Rows that
                are too many are left out, the last one stands for those that are missing.
        """
        a = self.architecture
        image = self._synthesis(self.backbone.synthesis, ws)
        size = image.shape[-1]
        parts = {"planes": image.view(len(ws), 3, a.plane_channels, a.plane_depth, size, size)}
        if a.background:
            rows = _fit_rows(ws if background is None else background, self.bcg_synthesis.num_ws)
            parts["background"] = self._synthesis(self.bcg_synthesis, rows)
        return Scene(parts, ws)

    def field(self, scene: Scene) -> Field:
        """Return the volume, as `TriplaneGenerator.field` does, with an empty margin of the box.

        PanoHead leaves it empty in pictures but not in its shapes; here both are alike.
        """
        evaluate = super().field(scene)
        options = self.architecture.rendering
        if options.crop is None:
            return evaluate
        limit = options.box_warp / 2 - options.crop

        def cropped(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
            raw, features = evaluate(points, colour)
            outside = (points[..., ::2].detach().abs() > limit).any(dim=-1)
            return raw.masked_fill(outside, EMPTY), features

        if isinstance(evaluate, PlaneField):
            return evaluate.with_margin(cropped, limit)
        return cropped

    def shift(self, z: Tensor, camera: Camera, truncation: float = 1.0) -> Camera:
        """Return cameras moved by the learned shift, N = B cameras for z [B, z_dim].

        In training PanoHead lets the generator correct the cameras of its images (the paper's
        self-adaptive camera alignment). Inversion with known cameras needs none of it. Where
        `c_gen_conditioning_zero` is set the shift doesn't depend on the camera; the official code
        then loses the camera.

        Args:
            z: standard normal.
            camera: one, or B.
            truncation: 1 keeps the shift, 0 gives the mean shift.

        Raises:
            ValueError: where the architecture has no `camera_shift`.
        """
        if not self.architecture.camera_shift:
            raise ValueError("this network has no learned camera shift (camera_shift=false)")
        delta = self.t_mapping(z, self._label(z, camera))
        if truncation != 1:
            delta = torch.lerp(self.t_mapping.w_avg, delta, truncation)
        cam2world = camera.cam2world + F.pad(delta[..., None], (3, 0, 0, 1)).to(camera.cam2world)
        return Camera(cam2world, camera.intrinsics.expand(len(cam2world), 3, 3))

    def _behind(self, features: Tensor, opacity: Tensor, scene: Scene) -> Tensor:
        """Add the background where features [N, C, h, w] aren't opaque."""
        if "background" not in scene.parts:
            return features
        antialias = self.architecture.superresolution.antialias
        background = bilinear(scene.parts["background"], features.shape[-1], antialias)
        passed = (1 - opacity).reshape(len(scene), -1, *opacity.shape[1:])
        return features + (passed * background[:, None]).flatten(0, 1)

    def _rgb(self, features: Tensor, w: Tensor) -> Tensor | None:
        if not self.architecture.torgb_raw:
            return None
        # What 16 bits are for are the wide convolutions; this one makes three channels.
        precision: Precision = "tf32" if self.precision == "tf32" else "fp32"
        return run_in(precision, self.torgb, features, w)

    def _colour(self, features: Tensor, scene: Scene) -> Tensor:
        if self.march.signed:
            features = features * 2 - 1
        rgb = self._rgb(features.transpose(1, 2)[..., None], scene.ws[:, -1])
        colour = features[..., :3] if rgb is None else rgb[..., 0].transpose(1, 2)
        return ((colour + 1) / 2).clamp(0, 1)


def _background(a: TrigridArchitecture) -> SynthesisNetwork:
    """The network behind the head: half as wide as the backbone, one image of features."""
    channels = a.background_channels or default_channels(
        a.background_resolution, a.channel_base // 2, a.channel_max
    )
    return SynthesisNetwork(a.w_dim, channels, a.decoder_channels, a.conv_clamp, a.use_noise)


def _camera_mapping(a: TrigridArchitecture) -> MappingNetwork:
    """z and camera to a shift [3] in world units; its last layer is linear."""
    m = a.mapping
    sizes = (m.layers, m.embed_features, m.layer_features)
    return MappingNetwork(a.z_dim, a.c_dim, 3, *sizes, 1.0, m.normalize_z, activate_last=False)


def _fit_rows(ws: Tensor, rows: int) -> Tensor:
    """Cut [B, R, w_dim] to a number of rows, or repeat the last one."""
    missing = max(0, rows - ws.shape[1])
    return torch.cat([ws[:, :rows], ws[:, -1:].expand(-1, missing, -1)], dim=1)
