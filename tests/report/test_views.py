"""Rendering many views: what a generator doesn't make is refused before it's asked for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from inv3d.core.camera import CameraPrior
from inv3d.core.errors import InputError, UnsupportedError, WeightsError
from inv3d.report import views as view_module
from inv3d.report.orbit import orbit_path
from inv3d.report.views import first_alike, render_scene, render_scenes, render_views
from inv3d.runs.invert import Inverted
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.toy_runs import flattened, toy_case, tuned


def test_an_output_that_is_not_made_is_an_error_that_names_it() -> None:
    case = flattened(toy_case())
    camera = case.capture.camera
    with pytest.raises(UnsupportedError, match=r"'depth', but generator toy makes only image, raw"):
        list(render_views(case.generator, case.inversion, camera, ("image", "depth")))
    scene = case.inversion.scene_for(case.generator, camera[:1])
    with pytest.raises(UnsupportedError, match="'mask'"):
        render_scene(case.generator, scene, camera, "mask")


def test_frames_of_a_video_are_rendered_from_the_latents_of_their_names() -> None:
    case = toy_case(latents=4, motion=0.5)
    names = ("a.png", "b.png", "c.png", "d.png")
    video = replace(case.inversion, blend="frame", frames=names)
    camera = case.generator.spec.camera.front().repeat_interleave(4)
    seen = [s for _, s in render_views(case.generator, video, camera, frames=names[::-1])]
    images = torch.cat([one.require("image") for one in seen])
    for image, ws in zip(images, video.ws.flip(0), strict=True):
        scene = case.generator.synthesize(ws[None])
        expected = case.generator.render(scene, camera[:1]).require("image")[0]
        assert torch.allclose(image, expected, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 2 * 4 * 16**2, 1 << 15])
def test_scenes_are_seen_from_the_same_cameras(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "RAYS_IN_CACHE", budget)
    case = toy_case(latents=4, motion=0.5)
    camera = case.capture.camera[:4]
    scenes = case.inversion.scene_for(case.generator, case.capture.camera[:3])
    seen = render_scenes(case.generator, scenes, camera, "depth")
    assert seen.shape == (3, 4, 1, 16, 16)
    for row in range(3):
        alone = render_scene(case.generator, scenes[[row]], camera, "depth")
        assert torch.allclose(seen[row], alone, atol=1e-5)


def test_a_sweep_comes_back_the_way_it_went() -> None:
    prior = CameraPrior(2.7, 4.26)
    first = first_alike(orbit_path("front-sweep", prior, 8))
    assert first == [0, 1, 2, 1, 0, 5, 6, 5]
    assert first_alike(orbit_path("full", prior, 8)) == list(range(8))


def test_cameras_that_differ_a_little_are_two() -> None:
    prior = CameraPrior(2.7, 4.26)
    nearly = prior.orbit(torch.tensor([0.3, 0.3 + 1e-4, 0.3 + 1e-7]))
    assert first_alike(nearly) == [0, 1, 0]
    behind = prior.orbit(torch.tensor([math.pi - 1e-6, 1e-6 - math.pi]))
    assert first_alike(behind) == [0, 1]


def test_another_generator_is_refused() -> None:
    case = toy_case()
    other = replace(case.inversion, fingerprint="0123")
    with pytest.raises(WeightsError, match=r"generator toy: fingerprint .*, but the run was made"):
        list(render_views(case.generator, other, case.capture.camera))


def test_a_generator_that_lacks_the_tuning_is_refused() -> None:
    case = tuned(toy_case())
    assert list(render_views(case.generator, case.inversion, case.capture.camera))
    fresh = ToyGenerator(ToyConfig())
    with pytest.raises(WeightsError, match="generator toy: isn't tuned, but the inversion tunes"):
        list(render_views(fresh, case.inversion, case.capture.camera))
    case.inversion.tune(fresh)
    assert list(render_views(fresh, case.inversion, case.capture.camera))


def test_no_cameras_are_no_views() -> None:
    case = toy_case()
    none = case.capture.camera[[]]
    assert not list(render_views(case.generator, case.inversion, none))
    with pytest.raises(InputError, match=r"^camera: found no cameras, expected one or more"):
        Inverted(case.generator, case.inversion, case.capture).render(none)
