"""Reduced precision is near fp32, and each generator has its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import click
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from inv3d.commands.run import command
from inv3d.nn import precision
from inv3d.nn.choices import Precision
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.precision import run_in
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


def _seen(chosen: Precision) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures, depths, and the gradients to ws and to a kernel of the backbone."""
    config = MiniHeadConfig(precision=chosen)
    generator = MiniHead.create(config).requires_grad_(True)
    z = torch.randn(1, generator.spec.z_dim, generator=torch.Generator().manual_seed(5))
    ws = generator.map(z).detach().requires_grad_()
    camera = generator.spec.camera.orbit(torch.tensor([-0.4]))
    seen = generator.render(generator.synthesize(ws), camera, outputs=("image", "depth"))
    image, depth = seen.require("image"), seen.require("depth")
    kernel = generator.backbone.synthesis.b32.conv1.weight
    gradients = torch.autograd.grad((image - 0.3).square().mean(), [ws, kernel])
    return image.detach(), depth.detach(), *gradients


@pytest.mark.parametrize("chosen", ["bf16", "fp16"])
def test_reduced_precision_is_near_fp32(chosen: Precision) -> None:
    least_psnr, most_depth, least_cosine = LIMITS[chosen]
    (image, depth, *gradients), (near, near_depth, *near_gradients) = (
        _seen("fp32"),
        _seen(chosen),
    )
    assert not torch.equal(image, near)
    assert -10 * torch.log10(((image - near) / 2).square().mean()) > least_psnr
    assert (depth - near_depth).abs().mean() < most_depth
    for exact, other in zip(gradients, near_gradients, strict=True):
        assert other.dtype == torch.float32
        assert F.cosine_similarity(exact.flatten(), other.flatten(), 0) > least_cosine


@pytest.mark.parametrize("kind", [EG3D, PanoHead])
@pytest.mark.parametrize(("chosen", "most"), [("bf16", 0.02), ("fp16", 0.003)])
def test_published_architectures_too(
    kind: type[TriplaneGenerator], chosen: Precision, most: float
) -> None:
    """Relative error of pictures; measured 0.006 and 0.010 in bf16, 0.0007 and 0.0013 in fp16."""
    seen = []
    for which in ("fp32", chosen):
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


SETTINGS = [precision._EXACT, precision._ROUNDED]


def _setting() -> str:
    """What cuDNN's convolutions do just now: "tf32", "ieee" (exact) or "none" (not chosen)."""
    if hasattr(torch.backends.cudnn, "conv"):
        return str(torch.backends.cudnn.conv.fp32_precision)
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"


@pytest.fixture(params=[True, False], ids=["rounding process", "exact process"])
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A process that has chosen; on a CPU, whose convolutions don't care, the rule holds here."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = request.param
    monkeypatch.setattr(precision, "_rounding_matters", lambda x: True)
    yield _setting()
    torch.backends.cudnn.allow_tf32 = before


class Spy(TorchDispatchMode):
    """Notes the setting whenever a convolution runs, forwards or backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.forward: list[str] = []
        self.backward: list[str] = []
        self.fails = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        convolution = function is torch.ops.aten.convolution.default
        # a node's own backward may convolve too; so does what a checkpoint computes again
        backward = torch._C._current_graph_task_id() != -1
        if convolution and not backward:
            self.forward.append(_setting())
        if function is torch.ops.aten.convolution_backward.default or (convolution and backward):
            self.backward.append(_setting())
            if self.fails:
                raise torch.OutOfMemoryError
        return function(*args, **(kwargs or {}))


EXPECTED = {"fp32": "ieee", "tf32": "tf32"}


@pytest.mark.parametrize("chosen", ["fp32", "tf32"])
@pytest.mark.parametrize("kind", [EG3D, PanoHead])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_generators_convolutions_run_in_its_precision(
    kind: type[TriplaneGenerator], chosen: Precision, checkpoint: bool, outside: str
) -> None:
    generator = tiny(kind, precision=chosen, checkpoint=checkpoint).requires_grad_(True)
    ws = latents(1, generator).requires_grad_()
    with Spy() as spy:
        seen = generator.render(
            generator.synthesize(ws), views(2, generator), outputs=("image", "raw")
        )
        assert _setting() == outside
        forward = len(spy.forward)
        (seen.require("image").sum() + seen.require("raw").sum()).backward()
    assert forward == len(spy.forward) > 10
    assert len(spy.backward) > forward if checkpoint else len(spy.backward) == forward
    assert {*spy.forward, *spy.backward} == {EXPECTED[chosen]}
    assert _setting() == outside


def test_two_generators_and_a_loss_in_one_pass_keep_their_own(outside: str) -> None:
    images, loss = [], torch.nn.Conv2d(3, 2, 3)
    for chosen in ("fp32", "tf32"):
        generator = tiny(EG3D, precision=chosen)
        ws = latents(1, generator).requires_grad_()
        scene = generator.synthesize(ws)
        images.append(generator.render(scene, views(1, generator)).require("image"))
    with Spy() as spy:
        judged = loss(torch.cat(images)).sum()
        judged.backward()
    assert spy.forward == [outside]
    own = len(spy.backward[1:]) // 2
    assert spy.backward[0] == outside and own > 10
    assert sorted(spy.backward[1:]) == ["ieee"] * own + ["tf32"] * own
    assert _setting() == outside


def test_a_backward_pass_that_fails_leaves_nothing_behind(outside: str) -> None:
    kernel = torch.ones(1, 1, 3, 3, requires_grad=True)
    x, convolve = torch.rand(1, 1, 8, 8), torch.nn.functional.conv2d
    for chosen, other in (("fp32", "tf32"), ("tf32", "fp32")):
        spy = Spy()
        with spy, pytest.raises(torch.OutOfMemoryError):
            spy.fails = True
            run_in(chosen, convolve, x, kernel).sum().backward()
        assert spy.backward == [EXPECTED[chosen]]
        # Whatever comes next from a generator finds the process as it was.
        run_in(other, convolve, x, kernel).sum().backward()
        assert _setting() == outside


def test_what_was_made_before_keeps_its_precision(outside: str) -> None:
    """Only what a call makes itself is its own, not what its arguments were made by."""
    kernel = torch.ones(1, 1, 3, 3, requires_grad=True)
    convolve = torch.nn.functional.conv2d
    first = convolve(torch.rand(1, 1, 12, 12), kernel)
    second = run_in("fp32", convolve, first, kernel)
    third = run_in("tf32", lambda x, image: convolve(x, kernel) + image[..., 1:-1, 1:-1], second,
                   image=second)  # fmt: skip
    with Spy() as spy:
        third.sum().backward()
    assert spy.backward == ["tf32", "ieee", outside]


def test_building_and_using_a_generator_leave_a_cpus_process_alone() -> None:
    before = _setting()
    with Spy() as spy:
        generator = MiniHead.create(MiniHeadConfig(precision="fp32", render_resolution=16))
        ws = torch.zeros(1, generator.num_ws, generator.spec.w_dim, requires_grad=True)
        camera = generator.spec.camera.front()
        generator.render(generator.synthesize(ws), camera).require("image").sum().backward()
    assert {*spy.forward, *spy.backward, _setting()} == {before}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fp32_is_exact_on_cuda_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(4, 64, 32, 32, generator=draws).cuda()
    kernel = torch.randn(64, 64, 3, 3, generator=draws).cuda().requires_grad_()

    def error(chosen: Precision) -> float:
        made, true = run_in(chosen, F.conv2d, x, kernel), F.conv2d(x.double(), kernel.double())
        (found,) = torch.autograd.grad(made.square().sum(), kernel)
        (expected,) = torch.autograd.grad(true.square().sum(), kernel)
        return max(
            float((one - other).abs().max() / other.abs().max())
            for one, other in ((made, true), (found, expected))
        )

    assert error("fp32") < 1e-5
    if torch.cuda.get_device_capability() >= (8, 0):
        assert error("tf32") > 1e-4


def test_the_command_line_knows_every_precision() -> None:
    (option,) = [p for p in command.params if p.name == "precision"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Precision)


@pytest.mark.parametrize("matrices", SETTINGS)
@pytest.mark.parametrize("convolutions", SETTINGS)
def test_exact_is_what_rounds_nowhere(matrices: Any, convolutions: Any) -> None:
    with precision.rounding("fp32"):  # puts all back
        setattr(precision._MATRICES, precision._NAME, matrices)
        setattr(precision._HOME, precision._NAME, convolutions)
        assert precision.is_exact() == (precision._ROUNDED not in (matrices, convolutions))


def test_a_block_rounds_and_leaves_settings_as_they_were() -> None:
    before = _setting(), getattr(precision._MATRICES, precision._NAME)
    with precision.rounding("tf32"):
        assert not precision.is_exact()
        with precision.rounding("fp32"):
            assert precision.is_exact()
    assert (_setting(), getattr(precision._MATRICES, precision._NAME)) == before
