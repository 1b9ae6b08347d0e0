"""The generator contract, kept by PanoHead on a tiny network, and what it has beyond EG3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from inv3d.core.camera import Camera
from inv3d.core.config import build_config
from inv3d.core.errors import ConfigError, WeightsError
from inv3d.core.scene import Scene
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.plugins.generators.panohead import PanoHead, PanoHeadConfig
from tests.golden_cases import facts_of
from tests.golden_generators import check_full_network
from tests.golden_images import ALL_OUTPUTS
from tests.panohead_cases import config_of
from tests.tiny_generators import (
    check_checkpointing,
    check_chunks,
    check_depth_alone,
    check_fingerprint,
    check_outputs,
    check_refused,
    close,
    latents,
    one_by_one,
    stored,
    tiny,
    untouched,
    views,
)

PLAIN = {"variant": "plain", "background_channels": None}


def filled(generator: PanoHead, density: float = 1e4) -> PanoHead:
    """Give the whole volume one raw density: everything absorbs at once, or nothing."""
    with torch.no_grad():
        generator.decoder.net[2].weight[0] = 0
        generator.decoder.net[2].bias[0] = density
    return generator


def test_state_dict_of_the_full_network() -> None:
    facts = facts_of("panohead_full512_keys")
    generator = check_full_network(PanoHead, config_of(facts), facts)
    assert generator.bcg_synthesis.num_ws == facts["num_ws_background"]


@pytest.mark.parametrize("changes", [{}, PLAIN])
def test_outputs_that_were_asked_for(changes: dict[str, Any]) -> None:
    check_outputs(tiny(PanoHead, **changes))


def test_depth_alone_skips_colour_and_superresolution(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tiny(PanoHead)
    check_depth_alone(generator, monkeypatch, generator.torgb)


@pytest.mark.parametrize("changes", [{}, PLAIN])
def test_views_of_one_scene_share_everything(changes: dict[str, Any]) -> None:
    generator = tiny(PanoHead, **changes)
    ws, camera = latents(2, generator), views(6, generator)
    passes: list[int] = []
    networks: list[nn.Module] = [generator.backbone.synthesis]
    networks += [generator.bcg_synthesis] if not changes else []
    for network in networks:
        network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    together = generator.render(generator.synthesize(ws), camera, outputs=ALL_OUTPUTS)
    assert passes == [2] * len(networks)
    close(together, one_by_one(generator, ws, camera))


@pytest.mark.parametrize("scenes", [1, 2])
def test_results_do_not_depend_on_chunks(scenes: int) -> None:
    check_chunks(tiny(PanoHead), scenes)


def test_checkpointing_keeps_values_and_gradients() -> None:
    check_checkpointing(tiny(PanoHead))


def test_gradients_reach_everything_that_makes_the_picture() -> None:
    generator = tiny(PanoHead).requires_grad_(True)
    ws = latents(1, generator).requires_grad_()
    labels = views(2, generator).labels().requires_grad_()
    seen = generator.render(generator.synthesize(ws), Camera.from_labels(labels))
    seen.require("image").square().mean().backward()
    assert ws.grad is not None and (ws.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert labels.grad is not None and labels.grad[:, :12].abs().max() > 0
    for part in (generator.bcg_synthesis, generator.torgb, generator.decoder):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert gradients and max(float(g.abs().max()) for g in gradients) > 0


def test_the_background_stands_behind_the_head() -> None:
    generator = tiny(PanoHead)
    ws, camera = latents(1, generator), views(2, generator)
    one, other = (generator.synthesize(ws, rows) for rows in (None, -ws))
    assert torch.equal(one.parts["planes"], other.parts["planes"])
    first, second = (generator.render(s, camera, outputs=ALL_OUTPUTS) for s in (one, other))
    assert torch.equal(first.require("mask"), second.require("mask"))
    change = (first.require("features") - second.require("features")).abs()
    expected = (1 - first.require("mask")) * torch.nn.functional.interpolate(
        (one.parts["background"] - other.parts["background"]).abs(),
        size=(6, 6),
        mode="bilinear",
        antialias=True,
    )
    assert change.max() > 0.1 and (change <= expected + 1e-5).all()
    solid = filled(tiny(PanoHead, rendering={"crop": None}))
    first, second = (solid.render(s, camera) for s in (one, other))
    torch.testing.assert_close(first.image, second.image)


def test_an_empty_volume_shows_the_background_alone() -> None:
    generator = filled(tiny(PanoHead, neural_rendering_resolution=8), -1e4)
    scene = generator.synthesize(latents(2, generator))
    seen = generator.render(scene, views(4, generator), outputs=ALL_OUTPUTS)
    background = scene.parts["background"].repeat_interleave(2, 0)
    torch.testing.assert_close(seen.features, background)
    raw = generator.torgb(background, scene.ws[:, -1])
    torch.testing.assert_close(seen.raw, raw)
    assert not torch.allclose(raw, background[:, :3])


@pytest.mark.parametrize(
    ("rows", "used"), [(2, [0, 1, 1, 1]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3])]
)
def test_the_background_has_as_many_rows_as_it_needs(rows: int, used: list[int]) -> None:
    generator = tiny(PanoHead)
    assert (generator.num_ws, generator.bcg_synthesis.num_ws) == (6, 4)
    ws = latents(1, generator)
    scene = generator.synthesize(ws, ws[:, :rows])
    torch.testing.assert_close(scene.parts["background"], generator.bcg_synthesis(ws[:, used]))


def test_the_margin_of_the_box_is_empty_but_above_and_below() -> None:
    generator = filled(tiny(PanoHead))
    scene = generator.synthesize(latents(1, generator))
    axis = torch.tensor([-0.45, -0.39, 0.39, 0.45])
    points = torch.zeros(3, 4, 3)
    for dimension in range(3):
        points[dimension, :, dimension] = axis
    density, _ = generator.sample(scene, points.reshape(1, -1, 3))
    solid = (density > 0).reshape(3, 4).tolist()
    inner = [False, True, True, False]
    assert solid == [inner, [True] * 4, inner]
    raw, _ = TriplaneGenerator.field(generator, scene)(points.reshape(1, -1, 3), False)
    assert (raw > 0).all()
    whole = filled(tiny(PanoHead, rendering={"crop": None}))
    assert (whole.sample(scene, points.reshape(1, -1, 3))[0] > 0).all()


@pytest.mark.parametrize("changes", [{}, PLAIN])
def test_sampled_colours_are_those_of_pictures(changes: dict[str, Any]) -> None:
    """What an opaque volume shows is the colour of its surface."""
    rays_only = {"crop": None, "depth_resolution_importance": 0}
    generator = filled(tiny(PanoHead, rendering=rays_only, **changes))
    scene, camera = generator.synthesize(latents(2, generator)), views(2, generator)
    raw = generator.render(scene, camera, outputs=("raw",)).require("raw")
    origins, directions = camera.rays(6)
    # The first interval absorbs all; its colour is the mean of its ends.
    rays = generator.rays(origins, directions, scenes=2)
    width = (rays.far - rays.near) / (generator.march.coarse - 1)
    ends = [
        generator.sample(scene, origins + directions * (rays.near + place * width))[1]
        for place in (0.5, 1.5)
    ]
    inside = [((end > 0) & (end < 1)).all(dim=-1) for end in ends]
    seen = inside[0] & inside[1]
    assert seen.any()
    found = (raw.flatten(2).transpose(1, 2) + 1) / 2
    torch.testing.assert_close(((ends[0] + ends[1]) / 2)[seen], found[seen])


def test_learned_camera_shift() -> None:
    generator, z = tiny(PanoHead), torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    one, other = views(1, generator), views(2, generator)[1]
    shifted = generator.shift(z, one)
    assert len(shifted) == 3 and torch.equal(shifted.rotation, one.rotation.expand(3, 3, 3))
    assert not torch.equal(shifted.position[0], shifted.position[1])
    mean = generator.shift(z, one, truncation=0.0)
    torch.testing.assert_close(mean.position, one.position.expand(3, 3))
    blind = tiny(PanoHead, c_gen_conditioning_zero=True)
    moved = [blind.shift(z, camera).position - camera.position for camera in (one, other)]
    torch.testing.assert_close(moved[0], moved[1])
    assert len(tiny(PanoHead, c_dim=0).shift(z, one)) == 3
    with pytest.raises(ValueError, match="camera_shift=false"):
        tiny(PanoHead, camera_shift=False).shift(z, one)


def test_scenes_of_grids_and_backgrounds_combine() -> None:
    generator = tiny(PanoHead)
    both = generator.synthesize(latents(2, generator))
    first, second = both[[0]], both[[1]]
    mean = (first + second) * 0.5
    assert set(mean.parts) == {"planes", "background"}
    assert mean.parts["planes"].shape == (1, 3, 4, 3, 16, 16)
    blend = Scene.where({"planes": torch.zeros(1), "background": torch.ones(1)}, first, second)
    assert torch.equal(blend.parts["background"], first.parts["background"])
    assert torch.equal(blend.parts["planes"], second.parts["planes"])


def test_missing_weights_say_what_to_give() -> None:
    with pytest.raises(WeightsError, match="--weights PATH") as caught:
        PanoHead.create(PanoHeadConfig())
    assert "easy-khair-180" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{}, PLAIN])
def test_weights_come_back_from_a_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    generator = untouched(PanoHead, **changes)
    path = stored(generator, tmp_path)
    again = PanoHead.create(PanoHeadConfig(), path)
    assert again.spec == generator.spec and not any(p.requires_grad for p in again.parameters())
    ws = latents(1, generator)
    assert all(
        torch.equal(again.synthesize(ws).parts[n], p)
        for n, p in generator.synthesize(ws).parts.items()
    )
    # What the user sets wins over the file, but not what a variant only suggests.
    other = PanoHead.create(PanoHeadConfig(neural_rendering_resolution=4), path)
    assert other.spec.render_resolution == 4 and other.spec.resolution == 16
    plain = PanoHead.create(PanoHeadConfig(variant="plain"), path)
    assert plain.architecture == generator.architecture


@pytest.mark.parametrize("damage", ["depth", "missing", "left over", "variant"])
def test_weights_of_something_else_are_refused(tmp_path: Path, damage: str) -> None:
    state = dict(tiny(PanoHead).state_dict())
    changes: dict[str, Any] = {}
    if damage == "depth":
        changes = {"plane_depth": 2}
    elif damage == "missing":
        del state["t_mapping.fc0.weight"]
    elif damage == "left over":
        state["bcg_synthesis.b16.conv0.bias"] = torch.zeros(1)
    else:
        changes = PLAIN
    check_refused(PanoHead, state, tmp_path, **changes)


def test_fingerprint_tells_networks_apart() -> None:
    changes = ({"seed": 1}, {"plane_axes": "corrected"}, {"rendering": {"crop": 0.2}})
    check_fingerprint(PanoHead, *changes, {"decoder_activation": "sigmoid"})


@pytest.mark.parametrize(("variant", "parts"), [("head", True), ("plain", False)])
def test_variants(variant: Any, parts: bool) -> None:
    assert PanoHeadConfig(variant=variant).img_resolution == 512
    generator = tiny(PanoHead, variant=variant, background_channels=(6, 4) if parts else None)
    for name in ("torgb", "bcg_synthesis"):
        assert hasattr(generator, name) == parts
    spec = generator.spec
    assert spec.name == f"panohead-{variant}"
    assert (spec.camera.yaw_deg, spec.camera.pivot) == (180.0, (0.0, 0.0, 0.0))
    assert spec.default_losses == {"lpips": 1.0, "mse": 0.1}
    assert spec.metrics == {"perceptual": "lpips"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plane_depth": 0}, "greater than or equal to 1"),
        ({"rendering": {"crop": 0.5}}, "crop must be less than half of box_warp"),
        ({"rendering": {"croop": 0.1}}, "did you mean 'crop'"),
        ({"decoder_activation": "relu"}, "'none', 'sigmoid' or 'lrelu'"),
        ({"background_channels": [8, 8]}, "2 background_channels make 8 pixels"),
        (
            {"img_resolution": 96, "superresolution": {"module": "2X", "input_resolution": 48}},
            "power of two, not 48",
        ),
        ({"variant": "hed"}, "variant"),
        ({"plane_axes": "panohed"}, "plane_axes"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(PanoHeadConfig, options, "generator panohead")
