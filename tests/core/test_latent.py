"""Statistics of W and paths between latents."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.core.inversion import Inversion
from inv3d.core.latent import between_angles, latent_statistics
from inv3d.testing.toy import W_DIM, ToyConfig, ToyGenerator
from tests.golden_cases import GoldenCase

GOLDEN = GoldenCase("multilatent_camera_lerp").tensors
SETS = ("one", "two", "even5", "seven", "uneven")


def _inversion(case: str) -> Inversion:
    return Inversion(
        ws=GOLDEN[f"{case}.latents"],
        cameras=Camera.from_labels(GOLDEN[f"{case}.cameras"]),
        generator="toy",
        fingerprint="",
    )


@pytest.mark.parametrize("case", SETS)
def test_latent_by_camera_is_the_references_except_where_it_is_one_sided(case: str) -> None:
    query = Camera.from_labels(GOLDEN[f"{case}.query_cameras"])
    found, expected = _inversion(case).ws_for(query), GOLDEN[f"{case}.result"]
    one_sided = GOLDEN[f"{case}.one_sided"]
    error = (found - expected).abs().amax((1, 2))
    assert error[~one_sided].max() <= 1e-6
    assert (error[one_sided] > 1e-3).all()


def test_the_uneven_set_has_one_sided_queries() -> None:
    assert GOLDEN["uneven.one_sided"].any()


def test_latents_in_any_order_give_the_same_path() -> None:
    sorted_case = _inversion("seven")
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    ws, camera = sorted_case.ws[order], sorted_case.cameras[order]
    shuffled = Inversion(ws, camera, "toy", "")
    query = Camera.from_labels(GOLDEN["seven.query_cameras"])
    assert torch.equal(shuffled.ws_for(query), sorted_case.ws_for(query))


def test_unsorted_reference_differs_only_beyond_the_list_ends() -> None:
    """The reference takes the list's first and last for the outermost; ours are the outermost."""
    query = Camera.from_labels(GOLDEN["unsorted.query_cameras"])
    found = _inversion("unsorted").ws_for(query)
    angles, asked = GOLDEN["unsorted.angles"], GOLDEN["unsorted.query_angles"]
    outermost = GOLDEN["unsorted.latents"][angles.argmax()]
    assert torch.equal(
        found[asked >= angles.max()], outermost.expand_as(found[asked >= angles.max()])
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=9, unique=True),
    st.lists(st.floats(-3.2, 3.2), min_size=1, max_size=5),
)
def test_brackets_hold_the_query_and_have_no_camera_inside(
    angles: list[float], query: list[float]
) -> None:
    at = torch.tensor(angles, dtype=torch.float64)
    wanted = torch.tensor(query, dtype=torch.float64)
    places = between_angles(at, wanted)
    inside = wanted.clamp(at.min(), at.max())
    assert torch.allclose(places.blend(at), inside, atol=1e-9)
    for low, high in zip(at[places.lower], at[places.upper], strict=True):
        assert not ((at > low) & (at < high)).any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-3.14, 3.14), min_size=2, max_size=9, unique=True),
    st.lists(st.floats(-3.14, 3.14), min_size=1, max_size=5),
)
def test_a_circle_of_angles_has_neighbours_everywhere(
    angles: list[float], query: list[float]
) -> None:
    at = torch.tensor(angles, dtype=torch.float64)
    wanted = torch.tensor(query, dtype=torch.float64)
    places = between_angles(at, wanted, turn=True)
    low, high = at[places.lower], at[places.upper]
    width = torch.remainder(high - low, math.tau)
    along = torch.remainder(wanted - low, math.tau)
    exact = (along > math.tau - 1e-6) | (width < 1e-6)
    reached = torch.where(exact, along, places.fraction * width)
    assert torch.allclose(reached, along, atol=1e-6)
    inside = (at >= wanted.min()) & (at <= wanted.max())
    assert places.fraction.min() >= 0 and places.fraction.max() <= 1 and inside.dtype == torch.bool


def test_path_is_continuous_where_cameras_are_uneven() -> None:
    case = _inversion("uneven")
    angle = case.cameras.yaw
    query = torch.linspace(float(angle.min()) - 0.1, float(angle.max()) + 0.1, 4001)
    jump = between_angles(angle, query).blend(case.ws).diff(dim=0).abs().max()
    assert jump < 0.05 * case.ws.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_those_of_a_direct_computation(dtype: torch.dtype) -> None:
    generator = ToyGenerator(ToyConfig()).to(dtype)
    found = latent_statistics(generator, 4500, seed=5)
    z = torch.randn(4500, generator.spec.z_dim, generator=torch.Generator().manual_seed(5))
    w = generator.map(z.to(dtype))[:, 0].detach().double()
    assert found.mean.dtype == dtype
    assert torch.allclose(found.mean.double(), w.mean(0), atol=1e-6)
    assert torch.allclose(found.deviation.double(), w.std(0, correction=0), atol=1e-6)
    spread = math.sqrt(float((w - w.mean(0)).square().sum() / 4500))
    assert found.spread == pytest.approx(spread, rel=1e-6)
    assert found.spread == pytest.approx(math.sqrt(W_DIM) * float(w.std()), rel=0.5)


def test_statistics_of_no_draws_are_refused() -> None:
    with pytest.raises(InputError, match="samples: found 0, expected 1 or more"):
        latent_statistics(ToyGenerator(ToyConfig()), 0)
