"""Masks that shrink, grow and fade."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.geometry.masks import blur, dilate, erode, gaussian_kernel, soft_mask
from tests.golden_cases import GoldenCase


def test_golden_mask() -> None:
    case = GoldenCase("hfgi3d_mask")
    seen, outline = (
        (case.tensors[name].double() / 255)[None, None] for name in ("visible", "contour")
    )
    kwargs = case.facts["kwargs"]
    mask = soft_mask(
        seen,
        outline,
        shrink=kwargs["erode"],
        shrink_outline=kwargs["contour_erode"],
        feather=kwargs["blur"],
    )
    torch.testing.assert_close(mask[0, 0] * 255, case.tensors["blend_mask"], atol=1e-9, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_erosion_is_the_smallest_of_the_square(size: int) -> None:
    mask = torch.rand(2, 1, 9, 8)
    found = erode(mask, size)
    before, after = size // 2, size - 1 - size // 2
    for y in range(9):
        for x in range(8):
            part = mask[
                :, :, max(0, y - before) : y + after + 1, max(0, x - before) : x + after + 1
            ]
            assert torch.equal(found[:, :, y, x], part.amin((2, 3)))
    assert torch.equal(dilate(mask, size), -erode(-mask, size))


def test_a_single_hole_takes_the_pixels_below_and_right_with_an_even_size() -> None:
    mask = torch.ones(1, 1, 5, 5)
    mask[..., 2, 2] = 0
    zeros = (erode(mask, 2)[0, 0] == 0).nonzero().tolist()
    assert zeros == [[2, 2], [2, 3], [3, 2], [3, 3]]


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11, 21, 31])
@pytest.mark.parametrize("sigma", [None, 1.3])
def test_kernels_sum_to_one_and_are_symmetric(size: int, sigma: float | None) -> None:
    kernel = gaussian_kernel(size, sigma)
    assert kernel.shape == (size,) and float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    assert torch.equal(kernel, kernel.flip(0))


def test_kernels_are_those_of_image_libraries() -> None:
    assert gaussian_kernel(3).tolist() == [0.25, 0.5, 0.25]
    nine = [4.0, 13.0, 30.0, 51.0, 60.0, 51.0, 30.0, 13.0, 4.0]
    assert (gaussian_kernel(9) * 256).tolist() == nine
    # values of OpenCV 5.0, which takes sigma = 2 for 11 pixels
    eleven = [2.2559307, 6.94875575, 16.66919849, 31.14216269, 45.31157935, 51.34474605]
    assert (gaussian_kernel(11) * 256).tolist()[:6] == pytest.approx(eleven, abs=1e-7)


def test_a_blur_keeps_what_is_even_and_is_differentiable() -> None:
    even = torch.full((1, 2, 12, 12), 0.7)
    torch.testing.assert_close(blur(even, 9), even)
    assert blur(even, 1) is even
    image = torch.rand(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: blur(x, 5), image)


@pytest.mark.parametrize("shape", [(40, 40), (11, 12), (10, 11), (4, 3), (2, 1), (1, 1)])
def test_small_pictures_are_mirrored_more_than_once(shape: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(1, 2, *shape, dtype=torch.float64, generator=rng)
    kernel, reach = gaussian_kernel(21), 10

    def at(index: int, size: int) -> int:
        while not 0 <= index < size:
            index = 0 if size == 1 else abs(index) if index < 0 else 2 * (size - 1) - index
        return index

    rows, columns = (
        torch.stack(
            [
                image.new_zeros(n).index_add(
                    0, torch.tensor([at(i + k - reach, n) for k in range(21)]), kernel
                )
                for i in range(n)
            ]
        )
        for n in shape
    )
    torch.testing.assert_close(blur(image, 21), rows @ image @ columns.T, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [0, 4])
def test_a_blur_of_an_even_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        blur(torch.zeros(1, 1, 9, 9), size)


def test_without_an_outline_it_is_everywhere() -> None:
    seen = torch.rand(1, 1, 32, 32).round()
    everywhere = torch.ones_like(seen)
    assert torch.equal(soft_mask(seen), soft_mask(seen, everywhere))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64])
def test_masks_of_bools_and_whole_numbers(kind: torch.dtype) -> None:
    mask = torch.rand(1, 1, 20, 20) > 0.2
    plain, given = mask.float(), mask.to(kind)
    for work in (erode, dilate, blur):
        found = work(given, 3)
        assert found.dtype == torch.float32 and torch.equal(found, work(plain, 3))
    assert torch.equal(soft_mask(given, given, feather=5), soft_mask(plain, plain, feather=5))
