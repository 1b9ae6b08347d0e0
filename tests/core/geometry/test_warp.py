"""Pictures in other views."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.camera import Camera, orbit
from inv3d.core.geometry import warp
from inv3d.core.geometry.depth import depth_points, ray_depth
from inv3d.core.geometry.masks import erode
from inv3d.core.geometry.warp import look_up, reproject, resized_depth, warp_view
from tests.core.geometry.scenes import picture, sphere_depth, truly_visible
from tests.golden_cases import GoldenCase

POSEOPT, SPI = GoldenCase("poseopt_warp"), GoldenCase("spi_cameras_warp")


def camera_at(*yaw: float) -> Camera:
    return orbit(torch.tensor(yaw).double(), 0.1, radius=2.7, focal=3.0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_golden_positions_in_the_canonical_view(n: int) -> None:
    kwargs, case = POSEOPT.facts["kwargs"], POSEOPT.tensors
    intrinsics = torch.tensor(kwargs["intrinsics"]).view(1, 3, 3)
    camera = Camera(case[f"{n}.extrinsic"][None], intrinsics)
    other = Camera(torch.tensor(kwargs["canonical_cam2world"])[None], intrinsics)
    uv, z = reproject(camera, case[f"{n}.depth"][None, None], other)
    assert (z > 0).all()
    torch.testing.assert_close(2 * uv[0] - 1, case[f"{n}.uv"], atol=1e-5, rtol=0)
    image = look_up(case[f"{n}.canonical_image"][None], uv)[0]
    torch.testing.assert_close(image, case[f"{n}.warped_image"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "view", "camera", "view_depth", "depth"),
    [
        ("same", "cam_same", "cam_same", "depth_a", "depth_a"),
        ("cross", "cam_target", "cam_source", "depth_a", "depth_b"),
    ],
)
def test_golden_warp_with_the_test_of_depth(
    name: str, view: str, camera: str, view_depth: str, depth: str
) -> None:
    """The reference takes the depth along the ray for that along the axis."""
    case = SPI.tensors
    to, source = Camera.from_labels(case[view]), Camera.from_labels(case[camera])
    images = torch.cat([case["image"], case["src_mask"]], dim=1)
    warped = warp_view(
        images,
        source,
        ray_depth(source, case[depth]),
        to,
        ray_depth(to, case[view_depth]),
        tolerance=SPI.facts["kwargs"]["EPS"],
        both_sides=True,
    )
    mask = warped.image[:, 3:] * warped.seen
    torch.testing.assert_close(mask, case[f"{name}_mask"], atol=1e-4, rtol=0)
    colours = warped.image[:, :3] * mask
    torch.testing.assert_close(colours, case[f"{name}_rgb"], atol=1e-4, rtol=0)


def test_positions_are_those_of_the_points() -> None:
    camera, other = camera_at(0.4, -0.2), camera_at(-0.3)
    depth = 2 + torch.rand(2, 1, 5, 6, dtype=torch.float64)
    uv, z = reproject(camera, depth, other)
    expected, distance = other.project(depth_points(camera, depth))
    torch.testing.assert_close(uv.flatten(1, 2), expected)
    torch.testing.assert_close(z.flatten(1), distance)


def test_a_view_of_itself_is_the_picture() -> None:
    camera = camera_at(0.3)
    depth = sphere_depth(camera, 32)
    image = picture(camera, depth)
    warped = warp_view(image, camera, depth, camera, depth, tolerance=1e-6)
    torch.testing.assert_close(warped.image, image)
    assert bool((warped.seen == 1).all())


def test_a_sphere_from_the_side_shows_the_colours_of_its_points_and_what_is_hidden() -> None:
    size = 96
    camera, views = camera_at(0.0), camera_at(-0.6, 0.4)
    depth, view_depth = sphere_depth(camera, size), sphere_depth(views, size)
    warped = warp_view(picture(camera, depth), camera, depth, views, view_depth, tolerance=0.02)
    points = depth_points(views, view_depth)
    uv, _ = camera.project(points.flatten(0, 1))
    true = truly_visible(points.flatten(0, 1), camera.position[0])
    true = (true & ((uv > 0) & (uv < 1)).all(-1)).view(2, 1, size, size).double()
    # away from the edges of what is visible, where a pixel is partly so; where the picture sees
    # the sphere from the side, a pixel of it is several of a view
    certain = erode(true, 5) + erode(1 - true, 5)
    assert certain.mean() > 0.8
    wrong = ((warped.seen - true).abs() * certain).sum()
    assert wrong / certain.sum() < 0.01
    error = (warped.image - picture(views, view_depth)).abs()[
        erode(true, 5).expand(-1, 3, -1, -1) > 0
    ]
    assert error.median() < 1e-3 and error.quantile(0.95) < 0.01
    assert 0.1 < warped.seen.mean() < 0.95


def test_what_has_no_depth_is_not_seen() -> None:
    camera, view = camera_at(0.0), camera_at(0.1)
    depth, view_depth = sphere_depth(camera, 32), sphere_depth(view, 32)
    image = picture(camera, depth)
    view_depth[..., :16, :] = 0
    warped = warp_view(image, camera, depth, view, view_depth, tolerance=0.1)
    assert not warped.seen[..., :16, :].any() and warped.seen[..., 16:, :].any()
    assert not warped.image[..., :16, :].any() and bool(warped.uv.isfinite().all())
    itself = warp_view(image, camera, depth, camera, view_depth, tolerance=0.1)
    assert bool(itself.image.isfinite().all()) and bool(itself.uv.isfinite().all())
    nothing = torch.zeros_like(depth)
    assert not warp_view(image, camera, nothing, view, view_depth, tolerance=0.1).seen.any()


def test_a_larger_depth_map_has_nothing_next_to_nothing() -> None:
    depth = torch.full((1, 1, 4, 4), 2.0)
    depth[..., 2:, :] = 0
    larger = resized_depth(depth, (8, 8))
    assert set(larger.unique().tolist()) == {0.0, 2.0}
    assert larger[0, 0, :, 0].tolist() == [2.0] * 3 + [0.0] * 5
    assert resized_depth(depth, (4, 4)) is depth


def test_gradients_reach_pictures_depth_and_cameras() -> None:
    camera, view = camera_at(0.0), camera_at(0.15)
    depth = sphere_depth(camera, 6)
    view_depth = sphere_depth(view, 6).requires_grad_()
    image = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    leaves = [c.cam2world.clone().requires_grad_() for c in (camera, view)]

    def carry(*given: torch.Tensor) -> torch.Tensor:
        source, to = (
            Camera(m, c.intrinsics) for m, c in zip(given[2:], (camera, view), strict=True)
        )
        return warp_view(given[0], source, depth, to, given[1], tolerance=0.1).image

    assert torch.autograd.gradcheck(carry, (image, view_depth, *leaves))


def test_the_nearest_pixel_where_it_is_wanted() -> None:
    image = torch.arange(4.0).view(1, 1, 2, 2)
    uv = torch.tensor([[[[0.3, 0.2], [0.9, 0.9]]]])
    assert look_up(image, uv, nearest=True).flatten().tolist() == [0.0, 3.0]


@pytest.mark.parametrize("pictures", [1, 3])
def test_a_few_views_at_a_time_are_the_same(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, views = camera_at(*[0.1] * pictures), camera_at(-0.2, 0.0, 0.3)
    depth, view_depth = sphere_depth(camera, 12), sphere_depth(views, 12)
    view_depth[:, :, :3] = 0
    image = picture(camera, depth)
    found = []
    for pixels in (1, 1 << 20):
        monkeypatch.setattr(warp, "_CACHED_PIXELS", pixels)
        leaves = [t.clone().requires_grad_() for t in (image, view_depth)]
        made = warp_view(leaves[0], camera, depth, views, leaves[1], tolerance=0.05)
        (made.image.square().sum() + made.uv.sum()).backward()
        found.append([made.image, made.seen, made.uv, *(t.grad for t in leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert 0 < made.seen.mean() < 1
