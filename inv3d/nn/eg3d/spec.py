"""The facts about a tri-plane generator: those that its architecture holds, and the others."""

from __future__ import annotations

from collections.abc import Mapping

from inv3d.core.camera import CameraPrior
from inv3d.core.generator import GeneratorSpec
from inv3d.nn.eg3d.architecture import Architecture
from inv3d.nn.eg3d.generator import TriplaneGenerator


def spec_of(
    generator: TriplaneGenerator,
    *,
    name: str,
    camera: CameraPrior,
    domain: str,
    fingerprint: str,
    losses: Mapping[str, float],
    metrics: Mapping[str, str],
) -> GeneratorSpec:
    """State the facts about a generator, for its `spec`.

    Args:
        generator: whose architecture has the sizes, depths and the kind of condition.
        name: of the variant, such as "eg3d-ffhq".
        camera: where training cameras stood.
        domain: such as "human heads".
        fingerprint: of architecture and weights.
        losses: name -> weight, for methods that are told none.
        metrics: role -> the loss that judges it.
    """
    a = generator.architecture
    return GeneratorSpec(
        name=name,
        z_dim=a.z_dim,
        w_dim=a.w_dim,
        num_ws=generator.num_ws,
        resolution=a.img_resolution,
        render_resolution=a.neural_rendering_resolution,
        camera=camera,
        depth_range=depth_range(a),
        box=a.rendering.box_warp,
        domain=domain,
        fingerprint=fingerprint,
        default_losses=losses,
        metrics=metrics,
        condition=a.condition,
    )


def depth_range(architecture: Architecture) -> tuple[float, float]:
    """Nearest and farthest rendered depth; with auto limits that of the box's corners."""
    r, radius = architecture.rendering, architecture.avg_camera_radius
    if r.ray_start == "auto" or r.ray_end == "auto":
        reach = r.box_warp * 3**0.5 / 2
        return max(0.0, radius - reach), radius + reach
    return r.ray_start, r.ray_end
