"""Comparing whole generators with golden cases: state dicts, samples along rays, gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.eg3d.published import PublishedOptions, build
from inv3d.nn.volume import Rays, coarse_depths, compositing_weights, importance_depths
from tests.golden_cases import GoldenCase, relative_error
from tests.golden_images import ALL_OUTPUTS, EARLY, GRADIENTS, VALUES


@dataclass(frozen=True)
class Rendered:
    """A case's network and what it makes of the case's latents and cameras."""

    case: GoldenCase
    generator: Any
    scene: Scene
    rendering: Rendering


@cache
def rendered(make: Callable[[GoldenCase], TriplaneGenerator], name: str) -> Rendered:
    """Render a case once for all tests."""
    case = GoldenCase(name)
    generator = make(case)
    with torch.no_grad():
        scene = generator.synthesize(case.given("ws_plus"))
        camera = Camera.from_labels(case.given("c"))
        seen = generator.render(scene, camera, outputs=ALL_OUTPUTS)
    return Rendered(case, generator, scene, seen)


def check_full_network(
    kind: type[TriplaneGenerator], config: PublishedOptions, facts: dict[str, Any]
) -> TriplaneGenerator:
    """The state dict has the listed tensors, and the defaults make that very network."""
    with torch.device("meta"):
        generator = build(kind, config)
    parameters = {n for n, _ in generator.named_parameters()}
    found = {
        n: (tuple(t.shape), "parameter" if n in parameters else "buffer")
        for n, t in generator.state_dict().items()
    }
    # Training leaves one more buffer on published networks.
    expected = {
        k["name"]: (tuple(k["shape"]), k["kind"])
        for k in facts["keys"]
        if k["name"] != "dataset_label_std"
    }
    assert found == expected
    assert generator.num_ws == facts["num_ws"]
    assert sum(p.numel() for p in generator.parameters()) == facts["num_parameters"]
    assert config.model_dump() == kind.Config().model_dump()
    return generator


def check_samples_along_rays(run: Rendered, margin: bool = False) -> Rays:
    """Every step of the renderer on the rays that the file shows in full, which are returned.

    Args:
        run: the case.
        margin: whether some samples lie in an empty margin of the box.
    """
    case, generator = run.case, run.generator
    index = case.expected("probe_rays").long()
    origins, directions = Camera.from_labels(case.given("c")).rays(generator.spec.render_resolution)
    rays: Rays = generator.rays(origins[:, index], directions[:, index], scenes=2)
    depths = coarse_depths(rays, generator.march).expand(2, len(index), -1)
    assert relative_error(depths[..., None], case.expected("probe_depths_coarse")) < EARLY
    points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
    with torch.no_grad():
        raw, colour = generator.field(run.scene)(points.flatten(1, 2), False)
    assert colour is None
    raw = raw.reshape(depths.shape)
    # The margin is compared exactly: on its scale any density would do.
    expected = case.expected("probe_sigma_coarse")[..., 0]
    empty = expected == -1000
    assert bool(empty.any()) == margin and torch.equal(raw == -1000, empty)
    assert relative_error(raw[~empty], expected[~empty]) < VALUES
    weights = compositing_weights(raw, depths, generator.march)
    assert relative_error(weights[..., None], case.expected("probe_weights_coarse")) < VALUES
    fine = importance_depths(depths, weights, rays.positions)
    both = torch.cat([depths, fine], dim=-1).sort(dim=-1).values
    assert relative_error(both[..., None], case.expected("probe_depths_all")) < VALUES
    opacity = run.rendering.require("mask").flatten(1)[:, index]
    assert relative_error(opacity[..., None], case.expected("probe_weight_total")) < VALUES
    return rays


def check_gradients(
    run: Rendered, outputs: Sequence[OutputName], loss_of: Callable[[Rendering], Tensor]
) -> None:
    """A loss of the outputs and its gradients on latents and cameras."""
    ws = run.case.given("ws_plus").clone().requires_grad_()
    labels = run.case.given("c").clone().requires_grad_()
    scene = run.generator.synthesize(ws)
    loss = loss_of(run.generator.render(scene, Camera.from_labels(labels), outputs=outputs))
    loss.backward()
    assert ws.grad is not None and labels.grad is not None
    assert relative_error(loss.detach(), run.case.expected("grad.loss")) < VALUES
    assert relative_error(ws.grad, run.case.expected("grad.ws")) < GRADIENTS
    assert relative_error(labels.grad, run.case.expected("grad.c")) < GRADIENTS
