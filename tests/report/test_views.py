"""Rendering many views: what a generator doesn't make is refused before it's asked for."""

from __future__ import annotations

import pytest

from inv3d.core.errors import UnsupportedError
from inv3d.report.views import render_scene, render_views
from tests.toy_runs import flattened, toy_case


def test_an_output_that_is_not_made_is_an_error_that_names_it() -> None:
    case = flattened(toy_case())
    camera = case.capture.camera
    with pytest.raises(UnsupportedError, match=r"'depth', but generator toy makes only image, raw"):
        list(render_views(case.generator, case.inversion, camera, ("image", "depth")))
    scene = case.inversion.scene_for(case.generator, camera[:1])
    with pytest.raises(UnsupportedError, match="'mask'"):
        render_scene(case.generator, scene, camera, "mask")
