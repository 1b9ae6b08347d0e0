"""Reduced precision gives nearly the same pictures, depths and gradients as fp32."""

from __future__ import annotations

from typing import get_args

import click
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.commands.run import command
from inv3d.nn.eg3d.published import PublishedGenerator
from inv3d.nn.precision import Precision, run_in
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.minihead import MiniHead, MiniHeadConfig
from inv3d.plugins.generators.panohead import PanoHead
from tests.tiny_generators import latents, tiny, views

# least PSNR of pictures against fp32, largest mean difference of depths, least cosine of gradients;
# measured on minihead: 56.0 dB, 0.0006, 0.9995 in bf16, 75.6 dB, 0.00007, 0.9977 in fp16
LIMITS: dict[Precision, tuple[float, float, float]] = {
    "bf16": (48.0, 0.002, 0.999),
    "fp16": (60.0, 0.0005, 0.99),
}


def _seen(precision: Precision) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures, depths, and the gradients to ws and to a kernel of the backbone."""
    config = MiniHeadConfig(precision=precision)
    generator = MiniHead.create(config).requires_grad_(True)
    z = torch.randn(1, 64, generator=torch.Generator().manual_seed(5))
    ws = generator.map(z).detach().requires_grad_()
    camera = generator.spec.camera.orbit(torch.tensor([-0.4]))
    seen = generator.render(generator.synthesize(ws), camera, outputs=("image", "depth"))
    image, depth = seen.require("image"), seen.require("depth")
    kernel = generator.backbone.synthesis.b32.conv1.weight
    gradients = torch.autograd.grad((image - 0.3).square().mean(), [ws, kernel])
    return image.detach(), depth.detach(), *gradients


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_is_near_fp32(precision: Precision) -> None:
    least_psnr, most_depth, least_cosine = LIMITS[precision]
    (image, depth, *gradients), (near, near_depth, *near_gradients) = (
        _seen("fp32"),
        _seen(precision),
    )
    assert not torch.equal(image, near)
    assert -10 * torch.log10(((image - near) / 2).square().mean()) > least_psnr
    assert (depth - near_depth).abs().mean() < most_depth
    for exact, other in zip(gradients, near_gradients, strict=True):
        assert other.dtype == torch.float32
        assert F.cosine_similarity(exact.flatten(), other.flatten(), 0) > least_cosine


@pytest.mark.parametrize("kind", [EG3D, PanoHead])
@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.02), ("fp16", 0.003)])
def test_published_architectures_too(
    kind: type[PublishedGenerator], precision: Precision, most: float
) -> None:
    """Relative error of pictures; measured 0.006 and 0.010 in bf16, 0.0007 and 0.0013 in fp16."""
    seen = []
    for which in ("fp32", precision):
        generator = tiny(kind, precision=which)
        ws = latents(1, generator).requires_grad_()
        made = generator.render(generator.synthesize(ws), views(3, generator)).require("image")
        (gradient,) = torch.autograd.grad(made.square().mean(), ws)
        seen.append((made.detach(), gradient.flatten()))
    (image, exact), (near, other) = seen
    assert 0 < (image - near).norm() / image.norm() < most
    assert F.cosine_similarity(exact, other, 0) > 0.998


def test_fp32_computes_in_the_type_of_its_input() -> None:
    x = torch.rand(2, 3, dtype=torch.float64)
    assert run_in("fp32", torch.nn.functional.softplus, x).dtype == torch.float64
    reduced = run_in("bf16", torch.matmul, x.float(), x.float().t())
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, x.float() @ x.float().t())


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_only_tf32_lets_convolutions_round(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", precision != "tf32")
    MiniHead.create(MiniHeadConfig(precision=precision))
    assert torch.backends.cudnn.allow_tf32 is (precision == "tf32")


def test_the_command_line_knows_every_precision() -> None:
    (option,) = [p for p in command.params if p.name == "precision"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Precision)
