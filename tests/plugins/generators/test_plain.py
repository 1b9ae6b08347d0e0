"""Options that no golden case has, against a second implementation by explicit formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.config import merge
from inv3d.nn.superresolution import KINDS
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.panohead import PanoHead
from tests.golden_images import ALL_OUTPUTS
from tests.plain_generators import Plain
from tests.tiny_generators import latents, tiny, views


def sr(module: Any, size: int = 4, **more: Any) -> dict[str, Any]:
    """Options of a super-resolution module that reads features of `size` pixels."""
    options = {"module": module, "input_resolution": size, "channels": (6, 4), **more}
    return {"superresolution": options, "img_resolution": size * KINDS[module].factor}


AUTO: dict[str, Any] = {"ray_start": "auto", "ray_end": "auto", "box_warp": 0.8}
PLAIN: dict[str, Any] = {"variant": "plain", "background_channels": None}
BEHIND: dict[str, Any] = {"background_channels": (6,)}
CASES: dict[str, tuple[type[EG3D], dict[str, Any]]] = {
    "8X with noise": (EG3D, sr("8X", noise_mode="const")),
    "8XDC without the backbone's noise": (EG3D, {**sr("8XDC"), "noise_mode": "none"}),
    "Deepfp32, one mapping layer": (EG3D, {**sr("Deepfp32"), "mapping": {"layers": 1}}),
    "Deepfp32 of more rays": (EG3D, sr("Deepfp32", noise_mode="none") | {"rays": 5}),
    "4X, no camera": (EG3D, {**sr("4X", noise_mode="const"), "c_dim": 0}),
    "2X made smaller without a filter": (EG3D, {**sr("2X", antialias=False), "rays": 5}),
    "limits of activations": (EG3D, {**sr("2X", num_fp16_res=4), "conv_clamp": 0.4}),
    "auto over a batch": (EG3D, {"rendering": {**AUTO, "auto_over": "batch", "white_back": True}}),
    "auto over a view": (EG3D, {"rendering": {**AUTO, "auto_over": "view"}, "c_scale": 0.0}),
    "disparity, cyclic": (
        EG3D,
        {"rendering": {"disparity_space_sampling": True}, "plane_axes": "cyclic"},
    ),
    "two slices": (PanoHead, {**BEHIND, **sr("2X"), "plane_depth": 2, "rays": 5}),
    "lrelu": (PanoHead, {**BEHIND, **sr("4X"), "decoder_activation": "lrelu", "plane_depth": 5}),
    "sigmoid and ToRGB": (
        PanoHead,
        {**PLAIN, **sr("2X"), "decoder_activation": "sigmoid", "torgb_raw": True},
    ),
    "background without ToRGB": (
        PanoHead,
        {**BEHIND, **sr("8X"), "torgb_raw": False, "rendering": {"white_back": True}},
    ),
    "sigmoid with a background": (
        PanoHead,
        {**BEHIND, **sr("8XDC"), "decoder_activation": "sigmoid", "plane_depth": 1},
    ),
    "no margin, auto, disparity off": (
        PanoHead,
        {**PLAIN, **sr("2X"), "rendering": {**AUTO, "crop": None}, "plane_axes": "corrected"},
    ),
    "no fine samples": (
        PanoHead,
        {**PLAIN, **sr("2X"), "rendering": {"depth_resolution_importance": 0}, "conv_clamp": 0.4},
    ),
}


def pair(kind: type[EG3D], options: dict[str, Any]) -> tuple[EG3D, Plain]:
    """A network with noise, biases and a mean latent, and its second implementation."""
    given = {name: value for name, value in options.items() if name != "rays"}
    torch.manual_seed(8)
    generator = tiny(kind, **merge({"neural_rendering_resolution": options.get("rays", 3)}, given))
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
            elif name.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
        generator.backbone.mapping.w_avg.normal_()
    architecture = generator.architecture.model_dump()
    return generator, Plain(
        generator.state_dict(), architecture, options.get("noise_mode", "const")
    )


def near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert float(error) < 1e-4


@pytest.mark.parametrize("case", CASES)
def test_every_option_computes_what_its_formula_says(case: str) -> None:
    kind, options = CASES[case]
    generator, plain = pair(kind, options)
    camera, z = views(2, generator), torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    seeing = camera if generator.architecture.c_dim else None
    labels = camera.labels().double()
    with torch.no_grad():
        ws = generator.map(z, seeing, 0.6, cutoff=2)
        near(ws.double(), plain.map(z.double(), labels, 0.6, 2, generator.num_ws))
        ws = latents(2, generator)
        found = generator.render(generator.synthesize(ws), camera, outputs=ALL_OUTPUTS)
        expected = plain.render(ws.double(), camera, options.get("rays", 3))
    for name in ("features", "raw", "mask", "image"):
        near(found.require(name).double(), expected[name])
    seen = expected["mask"] > 1e-2
    assert bool(seen.any())
    near(found.require("depth").double()[seen], expected["depth"][seen])


@pytest.mark.parametrize("case", ["8X with noise", "limits of activations", "lrelu", "two slices"])
def test_gradients_by_latents(case: str) -> None:
    kind, options = CASES[case]
    generator, plain = pair(kind, options)
    camera, ws = views(2, generator), latents(2, generator)
    first, second = ws.clone().requires_grad_(), ws.double().requires_grad_()
    seen = generator.render(generator.synthesize(first), camera, outputs=("image", "mask"))
    (seen.require("image").square().mean() + seen.require("mask").mean()).backward()
    made = plain.render(second, camera, options.get("rays", 3))
    (made["image"].square().mean() + made["mask"].mean()).backward()
    assert first.grad is not None and second.grad is not None
    error = (first.grad - second.grad).abs().max() / second.grad.abs().max()
    assert float(error) < 1e-3
