"""Fixtures for tests of plugins; pytest finds them wherever 3dinv is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from inv3d.core.capture import Capture
    from inv3d.core.fit.context import Context
    from inv3d.testing.results import Report
    from inv3d.testing.toy import ToyGenerator


@pytest.fixture
def inv3d_generator() -> ToyGenerator:
    """The toy generator: known answers, a few thousand parameters, frozen."""
    from inv3d.testing.toy import ToyConfig, ToyGenerator

    return ToyGenerator(ToyConfig()).requires_grad_(False)


@pytest.fixture
def inv3d_capture(inv3d_generator: ToyGenerator) -> Capture:
    """Five views of a known head of the toy generator, with cameras, masks and depth."""
    from inv3d.testing.toy import toy_capture

    return toy_capture(inv3d_generator, 5)


@pytest.fixture
def inv3d_context() -> Context:
    """A context on the CPU, with a seed."""
    from inv3d.core.fit.context import Context

    return Context.create("cpu", seed=0)


@pytest.fixture
def inv3d_conforms() -> Callable[..., Report]:
    """A function as `inv3d.testing.conformance.check_plugin` that prints and requires success."""
    from inv3d.testing.conformance import check_plugin

    def conforms(*arguments: Any, **more: Any) -> Report:
        report = check_plugin(*arguments, **more)
        print(report)
        report.require()
        return report

    return conforms
