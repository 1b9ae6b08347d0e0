"""Options beyond the published networks: known factors in w, a margin for super-resolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from inv3d.core.camera import Camera, CameraPrior, intrinsics_matrix
from inv3d.nn.eg3d.architecture import TrigridArchitecture
from inv3d.plugins.generators.minihead import MiniHead

SMALL: dict[str, Any] = {
    "z_dim": 5,
    "w_dim": 8,
    "c_dim": 0,
    "channels": (8, 8),
    "use_noise": False,
    "plane_resolution": 8,
    "plane_channels": 4,
    "decoder_channels": 4,
    "decoder_hidden": 8,
    "img_resolution": 16,
    "neural_rendering_resolution": 8,
    "rendering": {"depth_resolution": 4, "depth_resolution_importance": 4},
    "superresolution": {"module": "2X", "channels": (4, 4), "input_resolution": 8, "margin": 1},
    "mapping": {"factors": 3, "factor_ramps": 6},
}


def build(**changes: Any) -> MiniHead:
    return MiniHead(TrigridArchitecture.model_validate(SMALL | changes)).requires_grad_(False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mapping": {"factors": 3}}, "factors and factor_ramps must both be 0 or both be more"),
        ({"mapping": {"factor_ramps": 3}}, "factors and factor_ramps must both be 0"),
        ({"mapping": {"factors": 8, "factor_ramps": 6}}, "leaves nothing of w_dim 8 to be learned"),
        ({"use_noise": True}, r"superresolution\.margin needs use_noise=false"),
        (
            {"rendering": {"disparity_space_sampling": True, "ray_start": 0.0, "ray_end": 3.3}},
            "disparity_space_sampling needs a ray_start above 0",
        ),
    ],
)
def test_options_that_contradict_each_other_are_told(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TrigridArchitecture.model_validate(SMALL | changes)


def test_both_are_off_unless_asked_for() -> None:
    plain = TrigridArchitecture()
    assert plain.mapping.factors == plain.mapping.factor_ramps == plain.superresolution.margin == 0
    names = set(build(mapping={}).state_dict())
    assert not any("known" in name for name in names)
    assert {name for name in build().state_dict() if name not in names} == {
        f"backbone.mapping.known.{name}" for name in ("slopes", "offsets", "sums", "shift", "gain")
    }


def test_rows_that_are_truncated_count_as_in_python() -> None:
    generator = build()
    z = torch.randn(2, 5)
    full, near = generator.map(z), generator.map(z, truncation=0.5)
    for cutoff in (0, 1, -1, 99, -99):
        expected = torch.cat([near[:, :cutoff], full[:, len(near[0, :cutoff]) :]], 1)
        torch.testing.assert_close(generator.map(z, truncation=0.5, cutoff=cutoff), expected)


def test_cameras_of_another_number_type_are_taken() -> None:
    generator = build()
    scene = generator.synthesize(generator.map(torch.randn(1, 5)))
    camera = CameraPrior(2.7, 4.26).front()
    double = Camera(camera.cam2world.double(), camera.intrinsics.double())
    seen = [generator.render(scene, some).require("image") for some in (camera, double)]
    torch.testing.assert_close(*seen)


def test_truncation_draws_factors_to_their_mean_too() -> None:
    generator = build()
    known = generator.backbone.mapping.known
    assert known is not None
    known.slopes.normal_(generator=torch.Generator().manual_seed(0))
    known.sums.normal_(generator=torch.Generator().manual_seed(1))
    generator.backbone.mapping.w_avg.fill_(0.25)
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    w, half, none = (generator.map(z, truncation=t)[:, 0] for t in (1.0, 0.5, 0.0))
    assert w[:, 5:].std(0).min() > 0
    torch.testing.assert_close(half, (w + 0.25) / 2)
    torch.testing.assert_close(none, torch.full_like(w, 0.25))


def test_a_picture_with_a_margin_has_its_size_and_gradients() -> None:
    generator = build()
    ws = generator.map(torch.randn(1, 5)).clone().requires_grad_()
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    pose[2, 3] = 2.7
    camera = Camera(pose[None], intrinsics_matrix(4.2647))
    image = generator.render(generator.synthesize(ws), camera).require("image")
    assert image.shape == (1, 3, 16, 16)
    image[..., -1, :].sum().backward()
    assert ws.grad is not None and ws.grad.isfinite().all() and (ws.grad != 0).any()
