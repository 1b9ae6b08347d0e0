"""Super-resolution that sees its picture continued instead of zeros outside."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from inv3d.nn.superresolution import Superresolution


def module(margin: int, name: str = "2X") -> Superresolution:
    torch.manual_seed(0)
    return Superresolution(
        name, 5, 6, channels=(8, 4), input_resolution=16, use_noise=False, margin=margin
    )  # type: ignore[arg-type]


def features(kind: Callable[..., torch.Tensor] = torch.randn) -> torch.Tensor:
    torch.manual_seed(1)
    return kind(2, 5, 16, 16)


W = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("name", "size"), [("2X", 32), ("8X", 64)])
def test_a_margin_changes_the_edge_alone(name: str, size: int) -> None:
    with_margin, without = (module(m, name)(features(), W) for m in (4, 0))
    assert with_margin.shape == without.shape == (2, 3, size, size)
    inside = slice(size // 4 + 2, -size // 4 - 2)
    torch.testing.assert_close(with_margin[..., inside, inside], without[..., inside, inside])
    assert not torch.allclose(with_margin[..., -1, :], without[..., -1, :])


def test_an_even_picture_stays_even_up_to_its_last_row() -> None:
    made = module(8)(torch.ones(2, 5, 16, 16), W)
    middle = made[..., 16:17, 16:17].expand_as(made)
    torch.testing.assert_close(made, middle, rtol=1e-4, atol=1e-5)
    tinted = module(0)(torch.ones(2, 5, 16, 16), W)
    assert (tinted[..., -1, :] - middle[..., -1, :]).abs().mean() > 0.05


def test_gradients_reach_all_features() -> None:
    x = features().requires_grad_()
    module(2)(x, W).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().sum((0, 1)) > 0).all()


def test_a_raw_image_is_continued_too() -> None:
    image = torch.zeros(2, 3, 16, 16)
    x = features()
    bare = module(2)(x, W, image=image)
    lifted = module(2)(x, W, image=image + 1)
    torch.testing.assert_close(lifted - bare, torch.ones_like(bare))
