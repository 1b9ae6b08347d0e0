"""Triton's programs for rays through planes: in its interpreter here, and on a GPU where one is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from inv3d.nn.raymarch import field as field_module
from inv3d.nn.raymarch import proof
from inv3d.nn.raymarch.field import PlaneField
from inv3d.nn.raymarch.plain import march_plain
from inv3d.nn.volume import March, Rays, accumulate, finish, render_rays
from inv3d.plugins.generators.eg3d import EG3D
from tests.nn import raymarch_cases
from tests.nn.raymarch_cases import (
    BOX,
    KINDS,
    Case,
    Found,
    by_programs,
    plainly,
    plainly_rounded,
    rendered,
)
from tests.tiny_generators import latents, untouched

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("triton") is None, reason="no GPU, or no Triton"
)
CASES = {
    "planes": Case(rays=33, samples=19),
    "groups": Case(rays=3, samples=51, margin=True),
    "grid": Case(slices=3, axes="panohead", activation="none", margin=True),
    "lrelu, side by side": Case(activation="lrelu", side_by_side=True, axes="corrected", scenes=2),
    "no colours": Case(colour=False, axes="cyclic"),
    "frozen decoder": Case(weights=False, march=March(4, 4, density_gain=3.0, density_scale=0.5)),
    "wide": Case(channels=17, hidden=20, out=18, rays=1, samples=2),
    "in order": Case(ordered=True, rays=5, samples=18, scenes=2),
    "grid in order": Case(ordered=True, slices=2, rays=5, samples=2),
}


def errors(found: Found, expected: Found) -> list[float]:
    """Largest difference of each tensor, in units of its largest number."""
    pairs = [(found.raw, expected.raw)]
    pairs += zip(found.sums, expected.sums, strict=True)
    pairs += zip(found.gradients, expected.gradients, strict=True)
    assert all(value.shape == wanted.shape for value, wanted in pairs)
    return [float((value - wanted).abs().max() / wanted.abs().max()) for value, wanted in pairs]


def check(found: Found, expected: Found, tolerance: float) -> None:
    """Compare in units of the largest number."""
    assert all(error < tolerance for error in errors(found, expected))


@pytest.mark.parametrize("name", CASES)
def test_programs_find_what_plain_torch_finds(name: str, interpreter: Callable[..., Found]) -> None:
    case = CASES[name]
    expected = plainly(case)
    assert min(float(value.abs().max()) for value in expected.gradients) > 0
    check(interpreter(by_programs, case), expected, 1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_generators_render_the_same_by_programs(
    kind: str, interpreter: Callable[..., list[Tensor]]
) -> None:
    """Pictures, depths, masks, and gradients to the latent and to the decoder."""
    for value, wanted in zip(interpreter(rendered, kind, True), rendered(kind, False), strict=True):
        assert wanted.abs().max() > 0
        error = (value - wanted).abs().max() / wanted.abs().max()
        assert error < 1e-4


def test_rounding_to_tf32_alone_passes_a_kink() -> None:
    """Which is why each case is allowed what its products' rounding is worth."""
    worth = {}
    for name in ("planes", "lrelu, side by side"):
        case = raymarch_cases.full_tiles(CASES[name], True)
        worth[name] = max(errors(plainly_rounded(case), plainly(case)))
    assert 5e-4 < worth["planes"] < 5e-3
    assert 1e-2 < worth["lrelu, side by side"] < 5e-2


def test_programs_prove_themselves(interpreter: Callable[..., str | None]) -> None:
    assert interpreter(raymarch_cases.fault, False) is None
    said = interpreter(raymarch_cases.fault, True)
    assert said is not None and said.startswith("distance is off by") and "\n" not in said


def test_cpus_never_meet_the_programs() -> None:
    """A fit's step and a mesh's points leave Triton alone."""
    code = (
        "import sys, torch\n"
        "from tests.nn.raymarch_cases import rendered\n"
        "rendered('merge', False)\n"
        "rendered('panohead', False)\n"
        "print([n for n in sys.modules if n.split('.')[0] == 'triton' or n in "
        "('inv3d.nn.raymarch.node', 'inv3d.nn.modulated.epilogue_programs')])\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_a_field_is_asked_for_whole_rays_first() -> None:
    seen: list[bool] = []

    class Knows:
        def __call__(self, points: Tensor, colour: bool) -> tuple[Tensor, None]:
            return points.sum(-1), None

        def render_rays(self, rays: Rays, march: March, colour: bool) -> None:
            seen.append(colour)

    ones = torch.ones(1, 2, 1)
    towards = torch.tensor([0.0, 0.0, 1.0]).expand(1, 2, 3)
    rays = Rays(torch.zeros(1, 2, 3), towards, ones, 2 * ones, ones / 2, ones / 2)
    assert render_rays(Knows(), rays, March(4, 0), False).depth.shape == (1, 2)
    assert seen == [False]


def field_of(case: Case) -> tuple[PlaneField, Rays]:
    """A field whose function is a guess, and rays through it."""
    lines, _ = case.rays_of("cpu")
    limits = torch.ones(1, case.rays, 1)
    rays = Rays(lines.origins, lines.directions, limits, 2 * limits, limits / 2, limits / 2)
    decoder = raymarch_cases.decoder_of(case)
    planes = case.volume("cpu").planes
    return PlaneField(lambda x, colour: (x.sum(-1), None), planes, decoder, "eg3d", BOX), rays


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain torch stands for programs on a GPU that pass their trial."""
    monkeypatch.setattr(field_module, "may_run", lambda planes: True)
    monkeypatch.setattr(field_module, "proven", lambda volume: True)
    monkeypatch.setattr(
        field_module, "march_rays", lambda volume, rays, march, colour: "by programs"
    )


def test_cpus_leave_rays_to_the_function() -> None:
    field, rays = field_of(Case())
    assert field.render_rays(rays, March(4, 4), False) is None


def _doubled(field: PlaneField, rays: Rays) -> tuple[PlaneField, Rays]:
    return replace(field, planes=field.planes.double()), rays


def _turned(field: PlaneField, rays: Rays) -> tuple[PlaneField, Rays]:
    return field, replace(rays, directions=rays.directions.clone().requires_grad_())


def _hooked(field: PlaneField, rays: Rays) -> tuple[PlaneField, Rays]:
    field.decoder.net[0].register_forward_hook(lambda *given: None)
    return field, rays


def _off(field: PlaneField, rays: Rays) -> tuple[PlaneField, Rays]:
    return replace(field, programs=False), rays


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("change", [_doubled, _turned, _hooked, _off])
def test_what_programs_arent_made_for_is_left_to_the_function(
    change: Callable[[PlaneField, Rays], tuple[PlaneField, Rays]],
) -> None:
    field, rays = field_of(Case())
    assert field.render_rays(rays, March(4, 4), False) == "by programs"
    field, rays = change(field, rays)
    assert field.render_rays(rays, March(4, 4), False) is None


@pytest.mark.usefixtures("on_gpu")
def test_wide_decoders_are_left_to_the_function() -> None:
    field, rays = field_of(Case(hidden=200))
    assert field.render_rays(rays, March(4, 4), False) is None


@pytest.mark.parametrize("wanted", [True, False])
def test_an_option_leaves_programs_out(wanted: bool) -> None:
    generator = untouched(EG3D, triton=wanted, precision="tf32")
    field = generator.field(generator.synthesize(latents(1, generator)))
    assert isinstance(field, PlaneField)
    assert (field.programs, field.tf32) == (wanted, True)


def test_sums_finish_to_what_composite_finds() -> None:
    """Rays without opacity end far; white and sign come last."""
    case = Case(samples=4)
    lines, depths = case.rays_of("cpu")
    march = March(4, 0, white_back=True)
    seen = finish(march_plain(case.volume("cpu"), lines, depths, march, True), depths, march)
    assert seen.features is not None and seen.features.shape == (1, case.rays, case.out)
    empty = accumulate(torch.full_like(depths, -1e4), None, depths, march)
    assert torch.equal(finish(empty, depths, march).depth, depths[..., -1])


@pytest.mark.cuda
@needs_cuda
class TestOnCuda:
    """For whoever has a GPU: `pytest -m cuda tests/nn`."""

    @pytest.mark.parametrize("name", CASES)
    def test_programs_find_what_plain_torch_finds(self, name: str) -> None:
        case = raymarch_cases.full_tiles(CASES[name], False)
        check(by_programs(case, "cuda"), plainly(case), 1e-4)

    @pytest.mark.parametrize("name", CASES)
    def test_with_tf32_they_round_no_more_than_its_products_do(self, name: str) -> None:
        """A colour near the kink of `lrelu` takes the other slope by rounding alone."""
        case = raymarch_cases.full_tiles(CASES[name], True)
        expected = plainly(case)
        rounding = errors(plainly_rounded(case), expected)
        for error, due in zip(errors(by_programs(case, "cuda"), expected), rounding, strict=True):
            assert error < 1e-3 + 4 * due

    def test_gradients_in_order_are_the_same_bits_every_time(self) -> None:
        case = raymarch_cases.full_tiles(CASES["in order"], False)
        first, second = by_programs(case, "cuda"), by_programs(case, "cuda")
        for one, other in zip(first.gradients, second.gradients, strict=True):
            assert torch.equal(one, other)

    @pytest.mark.parametrize("kind", list(KINDS))
    def test_generators_render_the_same(self, kind: str) -> None:
        by, plain = rendered(kind, True, "cuda"), rendered(kind, False, "cuda")
        for value, wanted in zip(by, plain, strict=True):
            assert (value - wanted).abs().max() < 1e-3 * wanted.abs().max()

    def test_the_proof_lets_them_pass(self) -> None:
        assert proof.fault_of(Case().volume("cuda")) is None
        assert proof.fault_of(Case(slices=3, tf32=True).volume("cuda")) is None
