"""The generator contract, kept by EG3D on a tiny network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import build_config
from inv3d.core.errors import ConfigError, UnsupportedError, WeightsError
from inv3d.core.scene import Scene
from inv3d.nn.eg3d import generator as triplane_generator
from inv3d.nn.eg3d.architecture import RenderingOptions
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.plugins.generators.eg3d import EG3D, EG3DConfig
from inv3d.plugins.generators.panohead import PanoHead
from tests.eg3d_cases import build, config_of
from tests.golden_cases import facts_of
from tests.golden_generators import check_full_network, rendered
from tests.golden_images import ALL_OUTPUTS
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
    tiny_config,
    untouched,
    views,
)


def test_state_dict_of_the_full_network() -> None:
    facts = facts_of("eg3d_full512_keys")
    check_full_network(EG3D, config_of(facts, rendering={"auto_over": "view"}), facts)


def test_outputs_that_were_asked_for() -> None:
    check_outputs(tiny(EG3D))


def test_depth_alone_skips_colour_and_superresolution(monkeypatch: pytest.MonkeyPatch) -> None:
    check_depth_alone(tiny(EG3D), monkeypatch)


def test_views_of_one_scene_share_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tiny(EG3D)
    ws, camera = latents(2, generator), views(6, generator)
    passes: list[int] = []
    generator.backbone.synthesis.register_forward_pre_hook(
        lambda _, given: passes.append(len(given[0]))
    )
    batches: list[int] = []
    decode = triplane_generator.decode_planes

    def watched(decoder: nn.Module, planes: Tensor, *rest: Any) -> Any:
        batches.append(len(planes))
        return decode(decoder, planes, *rest)

    monkeypatch.setattr(triplane_generator, "decode_planes", watched)
    scene = generator.synthesize(ws)
    together = generator.render(scene, camera, outputs=ALL_OUTPUTS)
    assert passes == [2] and set(batches) == {2}
    close(together, one_by_one(generator, ws, camera))
    assert torch.equal(together.require("ws"), ws.repeat_interleave(3, 0))


def test_cameras_must_divide_among_scenes() -> None:
    generator = tiny(EG3D)
    scene = generator.synthesize(latents(2, generator))
    with pytest.raises(ValueError, match="3 cameras can't be shared by 2 scenes"):
        generator.render(scene, views(3, generator))


@pytest.mark.parametrize("sampling", ["deterministic", "stochastic"])
@pytest.mark.parametrize("scenes", [1, 2])
def test_results_do_not_depend_on_chunks(sampling: Any, scenes: int) -> None:
    generator = tiny(EG3D, sampling=sampling, superresolution={"noise_mode": "none"})
    check_chunks(generator, scenes)


@pytest.mark.parametrize("coarse", ["merge", "guide"])
def test_checkpointing_keeps_values_and_gradients(coarse: str) -> None:
    check_checkpointing(tiny(EG3D, rendering={"coarse": coarse}))


def test_checkpointing_bounds_what_is_kept() -> None:
    """The numbers kept for the backward pass don't grow with the samples."""
    kept: dict[tuple[bool, int], int] = {}
    for checkpointed in (False, True):
        for samples in (8, 32):
            generator = tiny(EG3D, rendering={"depth_resolution": samples})
            generator.checkpoint, generator.ray_chunk = checkpointed, 8
            scene, camera = generator.synthesize(latents(1, generator)), views(3, generator)
            planes = scene.parts["planes"].requires_grad_()
            sizes: list[int] = []

            def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                generator.render(Scene({"planes": planes}, scene.ws), camera, outputs=("raw",))
            kept[checkpointed, samples] = sum(sizes)
    assert kept[False, 32] > 2 * kept[False, 8] > 0
    assert kept[True, 32] <= kept[True, 8] < kept[False, 8] / 4


def test_stochastic_sampling_has_its_own_generator() -> None:
    generator = tiny(EG3D, sampling="stochastic")
    scene, camera = generator.synthesize(latents(1, generator)), views(1, generator)
    with pytest.raises(ValueError, match=r"generator\.rng"):
        generator.render(scene, camera)
    state = torch.random.get_rng_state()
    images = []
    for seed in (1, 1, 2):
        generator.rng = torch.Generator().manual_seed(seed)
        images.append(generator.render(scene, camera).require("image"))
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_building_leaves_the_global_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    first, second, other = tiny(EG3D), tiny(EG3D), tiny(EG3D, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    weights = [g.backbone.synthesis.b8.conv0.weight for g in (first, second, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_gradients_reach_cameras_and_latents() -> None:
    generator = tiny(EG3D)
    ws = latents(1, generator).requires_grad_()
    labels = views(2, generator).labels().requires_grad_()
    seen = generator.render(
        generator.synthesize(ws), Camera.from_labels(labels), outputs=("image", "depth")
    )
    (seen.require("image").mean() + seen.require("depth").mean()).backward()
    assert ws.grad is not None and (ws.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert labels.grad is not None and labels.grad[:, :12].abs().max() > 0


def test_sample_gives_opacity_per_length_and_colour() -> None:
    generator = tiny(EG3D, rendering={"density_gain": 2.0, "density_scale": 40.0})
    scene = generator.synthesize(latents(2, generator))
    points = (torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 1.2
    density, colour = generator.sample(scene, points)
    assert density.shape == (2, 50) and colour.shape == (2, 50, 3)
    assert (density > 0).all() and colour.min() >= 0 and colour.max() <= 1
    raw, _ = generator.field(scene)(points, False)
    expected = 40 * torch.nn.functional.softplus(2 * raw - 1)
    torch.testing.assert_close(density, expected, atol=1e-3, rtol=1e-4)
    generator.memory_budget = 1
    again, _ = generator.sample(scene, points)
    torch.testing.assert_close(again, density, atol=1e-3, rtol=1e-4)


def test_noise_maps_are_live() -> None:
    generator = tiny(EG3D)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(1.0)
    maps = generator.noise_maps()
    assert set(maps) == {
        f"backbone.synthesis.{n}.noise_const"
        for n in ("b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1")
    }
    ws = latents(1, generator)
    before = generator.synthesize(ws).parts["planes"]
    for noise in maps.values():
        noise.zero_()
    assert not torch.equal(generator.synthesize(ws).parts["planes"], before)
    assert tiny(EG3D, use_noise=False).noise_maps() == {}


def test_patches_pass_superresolution_unresized() -> None:
    generator = tiny(EG3D, use_noise=False)
    features = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    w = latents(1, generator)[:, -1]
    assert generator.superresolution(features, w, resize=False).shape == (2, 3, 6, 6)
    assert generator.superresolution(features, w).shape == (2, 3, 16, 16)


def test_conditioning_camera() -> None:
    generator, z = tiny(EG3D), torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    one, two = views(1, generator), views(2, generator)
    assert torch.equal(generator.map(z, one), generator.map(z, one.repeat_interleave(2)))
    assert not torch.equal(generator.map(z, one), generator.map(z, two))
    scaled = tiny(EG3D, c_scale=0.0)
    torch.testing.assert_close(scaled.map(z, one), scaled.map(z, None))
    with torch.no_grad():
        generator.backbone.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(1))
    mean = generator.map(z, one, truncation=0.0)
    torch.testing.assert_close(mean, generator.backbone.mapping.w_avg.expand_as(mean))


@pytest.mark.parametrize("kind", [EG3D, PanoHead])
def test_conditions_of_the_wrong_kind_are_refused(kind: type[TriplaneGenerator]) -> None:
    seeing, blind, z = tiny(kind), tiny(kind, c_dim=0), torch.zeros(3, 6)
    assert (seeing.spec.condition, blind.spec.condition) == ("camera", "none")
    camera = views(1, seeing)
    assert blind.map(z).shape == (3, 6, 10)
    with pytest.raises(UnsupportedError, match="given a Camera, but its condition is 'none'"):
        blind.map(z, camera)
    with pytest.raises(UnsupportedError, match=r"given a Tensor.* 'camera'; give a Camera or None"):
        seeing.map(z, camera.labels())
    with pytest.raises(ValueError, match="2 cameras for 3 latents: give one or 3"):
        seeing.map(z, views(2, seeing))


def test_auto_limits_of_a_view_do_not_depend_on_its_neighbours() -> None:
    changes = {"rendering": {"ray_start": "auto", "ray_end": "auto", "box_warp": 0.5}}
    generator = tiny(EG3D, **changes)
    scene = generator.synthesize(latents(1, generator))
    camera = Camera.cat([generator.spec.camera.orbit(torch.tensor([0.3, 1.1]))])
    both = generator.render(scene, camera, outputs=ALL_OUTPUTS)
    close(both, one_by_one(generator, scene.ws, camera))
    low, high = generator.spec.depth_range
    assert low == pytest.approx(2.7 - 0.433, abs=1e-3) and high == pytest.approx(3.133, abs=1e-3)


def test_no_gradient_goes_through_where_rays_begin_and_end() -> None:
    generator = tiny(EG3D, rendering={"ray_start": "auto", "ray_end": "auto"})
    labels = generator.spec.camera.orbit(torch.tensor([0.3])).labels().requires_grad_()
    origins, directions = Camera.from_labels(labels).rays(8)
    rays = generator.rays(origins, directions, scenes=1)
    assert rays.origins.requires_grad and rays.directions.requires_grad
    assert not rays.near.requires_grad and not rays.far.requires_grad


def test_missing_weights_say_what_to_give() -> None:
    with pytest.raises(WeightsError, match="--weights PATH") as caught:
        EG3D.create(EG3DConfig())
    assert "ffhqrebalanced512-128.pkl" in str(caught.value) and "\n" not in str(caught.value)


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    generator = untouched(EG3D)
    path = stored(generator, tmp_path)
    variants = (EG3DConfig(variant="ffhq"), EG3DConfig(variant="shapenet"))
    for config in (tiny_config(EG3D), EG3DConfig(), *variants):
        again = EG3D.create(config, path)
        assert again.spec.fingerprint == generator.spec.fingerprint
        assert not again.training and not any(p.requires_grad for p in again.parameters())
        ws = latents(1, generator)
        assert torch.equal(
            again.synthesize(ws).parts["planes"], generator.synthesize(ws).parts["planes"]
        )
    # What the user sets wins over the file.
    other = EG3D.create(EG3DConfig(neural_rendering_resolution=4), path)
    assert other.spec.render_resolution == 4 and other.spec.resolution == 16


@pytest.mark.filterwarnings("ignore:.*taken for the variant")
@pytest.mark.parametrize("damage", ["architecture", "filter", "missing", "left over"])
def test_weights_of_something_else_are_refused(tmp_path: Path, damage: str) -> None:
    state = dict(untouched(EG3D).state_dict())
    changes: dict[str, Any] = {}
    if damage == "architecture":
        changes = {"decoder_hidden": 9}
    elif damage == "filter":
        state["backbone.synthesis.b8.conv0.resample_filter"] = torch.eye(4)
    elif damage == "missing":
        del state["decoder.net.0.weight"]
    else:
        state["bcg_synthesis.b4.const"] = torch.zeros(1)
    check_refused(EG3D, state, tmp_path, **changes)


def test_fingerprint_tells_networks_apart() -> None:
    changes = ({"seed": 1}, {"plane_axes": "corrected"}, {"rendering": {"depth_resolution": 9}})
    check_fingerprint(EG3D, *changes)


@pytest.mark.parametrize(
    ("variant", "radius", "focal", "pivot", "box", "identity"),
    [
        ("ffhq", 2.7, 4.2647, (0.0, 0.0, 0.2), 1.0, True),
        ("ffhq-rebalanced", 2.7, 4.2647, (0.0, 0.0, 0.2), 1.0, True),
        ("lpff", 2.7, 4.2647, (0.0, 0.0, 0.2), 1.0, True),
        ("afhq", 2.7, 4.2647, (0.0, 0.0, -0.06), 1.0, False),
        ("shapenet", 1.7, 1.7074, (0.0, 0.0, 0.0), 1.6, False),
    ],
)
def test_variants(
    variant: Any,
    radius: float,
    focal: float,
    pivot: tuple[float, float, float],
    box: float,
    identity: bool,
) -> None:
    spec = tiny(EG3D, variant=variant).spec
    camera = spec.camera
    assert (camera.radius, camera.focal, camera.pivot, spec.box) == (radius, focal, pivot, box)
    assert ("arcface" in spec.default_losses) == ("identity" in spec.metrics) == identity
    assert {"lpips": 1.0, "mse": 0.1}.items() <= spec.default_losses.items()
    assert spec.name == f"eg3d-{variant}"


def test_options_of_the_variant_can_be_overruled() -> None:
    config = EG3DConfig(variant="shapenet", rendering={"depth_resolution": 8})
    assert config.rendering.depth_resolution == 8 and config.rendering.box_warp == 1.6
    again = EG3DConfig(**json.loads(config.model_dump_json()))
    assert again.model_dump() == config.model_dump()


def test_what_was_given_is_told_from_what_the_variant_adds() -> None:
    given = {"variant": "shapenet", "rendering": {"depth_resolution": 8}}
    assert EG3DConfig(**given).given() == given
    assert EG3DConfig().given() == {} and EG3DConfig(rendering={}).given() == {"rendering": {}}
    part = EG3DConfig(rendering=RenderingOptions(depth_resolution=8), channels=[8] * 7)
    assert part.given() == {"rendering": {"depth_resolution": 8}, "channels": (8,) * 7}
    assert part.given("json")["channels"] == [8] * 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plane_resolution": 100}, "power of two"),
        ({"channels": [8, 8]}, "plane_resolution is 256"),
        ({"img_resolution": 256}, "img_resolution is 256, but super-resolution 8XDC makes 512"),
        ({"rendering": {"ray_start": "auto"}}, "both be auto"),
        ({"rendering": {"ray_start": 4.0}}, "less than ray_end"),
        ({"rendering": {"depth_resolution": 3}}, "at least 4"),
        ({"rendering": {"depth_resolutoin": 3}}, "did you mean 'depth_resolution'"),
        ({"variant": "ffqh"}, "variant"),
        ({"plane_axis": "eg3d"}, "did you mean 'plane_axes'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(EG3DConfig, options, "generator eg3d")


def test_auto_limits_over_view_or_batch_differ_only_where_rays_miss() -> None:
    run = rendered(build, "eg3d_shapenet128_2x")
    changes = {"ray_start": "auto", "ray_end": "auto"}
    batch = build(run.case, rendering={**changes, "auto_over": "batch"})
    view = build(run.case, rendering={**changes, "auto_over": "view"})
    camera = Camera.from_labels(run.case.given("c_wide"))
    origins, directions = camera.rays(8)
    first, second = (g.rays(origins, directions, scenes=2) for g in (batch, view))
    _, _, hit = triplane_generator.box_limits(origins, directions, 1.6)
    assert hit.any() and not hit.all()
    assert torch.equal(first.near[hit], second.near[hit])
    assert torch.equal(first.far[hit], second.far[hit])
