"""Sums along rays: the faster way against the plain one."""

from __future__ import annotations

import pytest
import torch

from inv3d.nn.ray_sum import ray_sum, ray_sum_plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_values_and_gradients_are_those_of_the_plain_way(dtype: torch.dtype, channels: int) -> None:
    torch.manual_seed(1)
    weights = torch.rand(2, 31, 6, dtype=dtype)
    features = torch.randn(2, 31, 6, channels, dtype=dtype)
    upstream = torch.randn(2, 31, channels, dtype=dtype)
    made = []
    for way in (ray_sum, ray_sum_plain):
        given = [weights.clone().requires_grad_(), features.clone().requires_grad_()]
        found = way(*given)
        (found * upstream).sum().backward()
        made.append([found, *(value.grad for value in given)])
    assert "RaySum" in made[0][0].grad_fn.next_functions[0][0].name()
    for found, expected in zip(*made, strict=True):
        torch.testing.assert_close(found, expected)


def test_numerical_gradients_agree_and_unwanted_ones_are_left_out() -> None:
    torch.manual_seed(1)
    weights = torch.rand(1, 3, 4, dtype=torch.float64, requires_grad=True)
    features = torch.randn(1, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ray_sum, (weights, features))
    ray_sum(weights, features.detach()).sum().backward()
    assert weights.grad is not None and features.grad is None


def test_other_types_take_the_plain_way() -> None:
    weights, features = torch.rand(1, 3, 4), torch.randn(1, 3, 4, 2)
    found = ray_sum(weights.bfloat16(), features.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), ray_sum(weights, features), atol=0.05, rtol=0.05)
