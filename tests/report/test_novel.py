"""New views: colour always, depth and shape where the generator has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from inv3d.core.camera import Camera
from inv3d.core.scene import Rendering, Scene
from inv3d.report.novel import novel_views
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.toy_runs import flattened, toy_case


class Maskless(ToyGenerator):
    """The toy, without a mask."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.spec = replace(self.spec, outputs=("image", "depth"))

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        assert set(options["outputs"]) <= set(self.spec.outputs)
        return super().render(scene, camera, **options)


def test_every_view_has_colour_depth_and_shape() -> None:
    case = toy_case(3)
    views = novel_views(case.generator, case.inversion)
    assert len(views) == 9
    assert all(view.image.shape == (32, 32, 3) for view in views)
    assert all(view.depth is not None and view.shape is not None for view in views)
    assert [view.angle for view in views[-3:]] == ["yaw +81°", "pitch +21°", "pitch -21°"]


def test_without_depth_there_is_colour_alone() -> None:
    case = toy_case(3)
    full = novel_views(case.generator, case.inversion)
    flat = novel_views(flattened(case).generator, case.inversion)
    assert all(view.depth is None and view.shape is None for view in flat)
    for one, other in zip(full, flat, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.angle == other.angle


def test_without_a_mask_the_depth_is_shown_everywhere() -> None:
    case = toy_case(3)
    views = novel_views(Maskless(ToyConfig()), case.inversion)
    masked = novel_views(case.generator, case.inversion)
    assert all(view.depth is not None and view.shape is not None for view in views)
    assert views[0].depth.tolist() != masked[0].depth.tolist()
