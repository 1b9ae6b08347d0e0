"""Reports without their plots, which take several times as long as a toy's run and its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest


def draw_no_plots(patch: pytest.MonkeyPatch) -> None:
    """Leave every plot blank; `inv3d.report.plots` has tests of its own."""
    patch.setattr("inv3d.report.plots.inline_svg", lambda figure, description: "<svg></svg>")
    patch.setattr(
        "inv3d.report.plots.raster", lambda figures: np.full((32, 32, 3), 255, dtype=np.uint8)
    )


@contextmanager
def blank_plots() -> Iterator[None]:
    """Leave every plot blank for a while."""
    with pytest.MonkeyPatch.context() as patch:
        draw_no_plots(patch)
        yield
