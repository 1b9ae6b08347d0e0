"""Telling what a network is from its tensors and settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.config import build_config, merge
from inv3d.core.errors import WeightsError
from inv3d.nn.eg3d.architecture import TrigridArchitecture
from inv3d.nn.eg3d.official import Network, Recognised, read_network, recognise
from inv3d.nn.eg3d.official.recognise import axes_of
from inv3d.plugins.generators.eg3d import EG3D, EG3DConfig
from inv3d.plugins.generators.panohead import PanoHead, PanoHeadConfig
from tests.eg3d_cases import CASES, config_of
from tests.golden_cases import FOLDER, GoldenCase, facts_of

EG3D_AXES = [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]]]
EG3D_AXES.append([[0, 0, 1], [1, 0, 0], [0, 1, 0]])

SMALL = {"random_weights": True, "z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 8}


def network(facts: dict[str, Any], file: str = "net.pkl", settings: bool = True) -> Network:
    """A network of the shapes and settings that a golden case lists."""
    keys = facts.get("keys") or facts["weights"]
    tensors = {k["name"]: torch.empty(k["shape"], device="meta") for k in keys}
    kwargs = facts["constructor_kwargs"]
    live = {"rendering_kwargs": kwargs["rendering_kwargs"], "init_kwargs": kwargs}
    live["neural_rendering_resolution"] = facts.get("neural_rendering_resolution", 128)
    given = live | {"plane_axes": facts.get("plane_axes", EG3D_AXES)} if settings else {}
    return Network(Path(file), "pickle", "G_ema", "TriPlaneGenerator", tensors, given)


def config(found: Recognised) -> EG3DConfig:
    options = found.architecture | {"variant": found.variant}
    return build_config(EG3DConfig, options, "eg3d")


@pytest.mark.parametrize("name", [*CASES, "eg3d_full512_keys"])
def test_architectures_of_the_golden_networks(name: str) -> None:
    facts = facts_of(name)
    found = recognise(network(facts))
    assert found.generator == "eg3d"
    expected = config_of(facts, rendering={"auto_over": "view"}).model_dump(exclude={"variant"})
    made = config(found).model_dump(exclude={"variant"})
    assert {n: v for n, v in made.items() if v != expected[n]} == {}


@pytest.mark.parametrize("name", [*CASES, "eg3d_full512_keys"])
def test_shapes_alone_decide_what_they_can(name: str) -> None:
    facts = facts_of(name)
    made = config(recognise(network(facts, settings=False)))
    expected = config_of(facts)
    for option in ("z_dim", "w_dim", "c_dim", "plane_resolution", "plane_channels", "use_noise"):
        assert getattr(made, option) == getattr(expected, option), option
    for option in ("decoder_hidden", "decoder_channels", "img_resolution"):
        assert getattr(made, option) == getattr(expected, option), option
    assert made.mapping == expected.mapping
    assert made.superresolution.module == expected.superresolution.module


@pytest.mark.parametrize(
    ("case", "start", "block"),
    [
        ("eg3d_full512_keys", "backbone.synthesis", 64),
        ("eg3d_full512_keys", "backbone.synthesis", 8),
        ("panohead_full512_keys", "bcg_synthesis", 16),
    ],
)
def test_a_block_that_is_missing_is_named(case: str, start: str, block: int) -> None:
    whole = network(facts_of(case))
    cut = {n: t for n, t in whole.tensors.items() if not n.startswith(f"{start}.b{block}.")}
    assert len(cut) < len(whole.tensors)
    said = f"no {start}.b{block}.conv1.weight"
    with pytest.raises(WeightsError, match=rf"net\.pkl: .*\({re.escape(said)}\)"):
        recognise(replace(whole, tensors=cut))


@pytest.mark.parametrize(
    ("file", "case", "variant", "sure"),
    [
        ("ffhqrebalanced512-128.pkl", "eg3d_full512_keys", "ffhq-rebalanced", True),
        ("ffhq512-128.pkl", "eg3d_full512_keys", "ffhq", True),
        ("var3-128.pkl", "eg3d_full512_keys", "lpff", True),
        ("net.pkl", "eg3d_full512_keys", "ffhq", False),
        ("net.pkl", "eg3d_afhq256_4x", "afhq", True),
        ("net.pkl", "eg3d_shapenet128_2x", "shapenet", True),
        ("easy-khair-180-gpc0.8-trans10-025000.pkl", "panohead_full512_keys", "head", True),
        ("net.pkl", "panohead_plain128_d1", "plain", True),
    ],
)
def test_variants(file: str, case: str, variant: str, sure: bool) -> None:
    found = recognise(network(facts_of(case), file))
    assert (found.variant, found.sure) == (variant, sure)
    chosen = recognise(network(facts_of(case), file), variant="mine")
    assert (chosen.variant, chosen.sure) == ("mine", True)
    assert chosen.architecture == found.architecture


def test_the_data_it_was_trained_with_is_a_hint() -> None:
    base = network(facts_of("eg3d_full512_keys"), "network-snapshot-025000.pkl")
    settings = base.settings | {"training_set": {"path": "/data/LPFF_512.zip"}}
    assert recognise(replace(base, settings=settings)).variant == "lpff"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("panohead_full512_keys", {"plane_depth": 3, "torgb_raw": True, "background": True}),
        ("panohead_head128_d3", {"plane_depth": 3, "decoder_activation": "none"}),
        ("panohead_plain128_d1", {"plane_depth": 1, "torgb_raw": False, "background": False}),
    ],
)
def test_panohead(case: str, expected: dict[str, Any]) -> None:
    facts = facts_of(case)
    found = recognise(network(facts))
    assert found.generator == "panohead" and expected.items() <= found.architecture.items()
    assert found.architecture["plane_channels"] == 32
    assert found.architecture["camera_shift"] is True
    size = facts["constructor_kwargs"]["rendering_kwargs"]["triplane_size"]
    assert found.architecture["plane_resolution"] == size
    if "plane_axes" in facts:
        assert found.architecture["plane_axes"] == "panohead"
    bare = recognise(network(facts, settings=False))
    assert bare.generator == "panohead"
    assert bare.architecture["plane_depth"] == found.architecture["plane_depth"]


@pytest.mark.parametrize("activation", ["none", "sigmoid", "lrelu"])
def test_every_official_activation_of_panoheads_decoder_is_taken(activation: str) -> None:
    base = network(facts_of("panohead_head128_d3"))
    rendering = base.settings["rendering_kwargs"] | {"decoder_activation": activation}
    found = recognise(replace(base, settings=base.settings | {"rendering_kwargs": rendering}))
    made = TrigridArchitecture.model_validate(found.architecture)
    assert made.decoder_activation == activation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "activation relu, expected lrelu"),
        ({"mapping_kwargs": {"activation": "tanh"}}, "activation tanh, expected lrelu"),
        ({"sr_kwargs": {"architecture": "resnet"}}, "architecture resnet, expected skip"),
        ({"architecture": "orig"}, "architecture orig, expected skip"),
    ],
)
def test_arguments_that_would_compute_something_else_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    base = network(facts_of("eg3d_afhq256_4x"))
    init = merge(base.settings["init_kwargs"], changes)
    with pytest.raises(WeightsError, match=message) as caught:
        recognise(replace(base, settings=base.settings | {"init_kwargs": init}))
    assert "\n" not in str(caught.value)
    same = merge(base.settings["init_kwargs"], {"activation": "lrelu", "architecture": "skip"})
    recognise(replace(base, settings=base.settings | {"init_kwargs": same}))


@pytest.mark.parametrize("name", ["mine.Superresolution", "training.SuperresolutionHybrid16X"])
def test_a_super_resolution_module_of_ones_own_is_refused(name: str) -> None:
    base = network(facts_of("eg3d_afhq256_4x"))
    rendering = base.settings["rendering_kwargs"] | {"superresolution_module": name}
    with pytest.raises(WeightsError, match=f"super-resolution {name}, expected 8XDC, 8X, 4X"):
        recognise(replace(base, settings=base.settings | {"rendering_kwargs": rendering}))


def test_axes_by_their_matrices() -> None:
    x, y, z = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    assert axes_of(EG3D_AXES) == "eg3d"
    assert axes_of([[x, y, z], [x, z, y], [z, y, x]]) == "corrected"
    assert axes_of([[x, y, z], [y, z, x], [z, x, y]]) == "cyclic"
    assert axes_of([[x, y, z], [x, z, y], [y, z, x]]) == "panohead"
    with pytest.raises(ValueError, match="planes along xy, xy, xy"):
        axes_of([[x, y, z]] * 3)
    with pytest.raises(ValueError, match="aren't along the world's axes"):
        axes_of([[[1, 1, 0], y, z]] * 3)


def test_the_live_settings_count() -> None:
    case = GoldenCase("official_format_tiny_expected")
    found = recognise(read_network(FOLDER / "official_format_tiny.pkl"))
    live = case.facts["G_ema"]["rendering_kwargs"]["depth_resolution"]
    built = case.facts["G_ema"]["init_kwargs"]["rendering_kwargs"]["depth_resolution"]
    assert found.architecture["rendering"]["depth_resolution"] == live != built
    assert found.architecture["plane_axes"] == "eg3d"
    assert found.camera == {"radius": 2.7, "pivot": [0, 0, 0.2]}


@pytest.mark.parametrize("noisy", [True, False])
def test_noise_of_super_resolution_is_its_own(noisy: bool, tmp_path: Path) -> None:
    """The official use_noise is the backbone's."""
    options = {"use_noise": False, "superresolution": {"use_noise": noisy, "module": "8X"}}
    config = build_config(EG3DConfig, SMALL | options, "eg3d")
    generator = EG3D.create(config)
    torch.save(generator.state_dict(), tmp_path / "net.pt")
    found = recognise(read_network(tmp_path / "net.pt")).architecture
    assert found["use_noise"] is False and found["img_resolution"] == 512
    assert found["superresolution"]["use_noise"] is (True if noisy else None)
    again = EG3D.create(EG3DConfig(), tmp_path / "net.pt")
    assert again.state_dict().keys() == generator.state_dict().keys()


def test_panohead_without_its_camera_shift_is_panohead(tmp_path: Path) -> None:
    options = {"camera_shift": False, "plane_channels": 6, "superresolution": {"module": "8X"}}
    generator = PanoHead.create(build_config(PanoHeadConfig, SMALL | options, "panohead"))
    state = generator.state_dict()
    for left_out in ((), ("bcg_synthesis", "torgb.weight")):
        kept = {n: t for n, t in state.items() if not n.startswith(left_out)} if left_out else state
        torch.save(kept, tmp_path / "net.pt")
        assert recognise(read_network(tmp_path / "net.pt")).generator == "panohead"


def test_what_a_pickle_does_not_say_is_the_official_constructors() -> None:
    base = network(facts_of("eg3d_full512_keys"))
    init = {"z_dim": 512, "mapping_kwargs": {}}
    found = recognise(replace(base, settings=base.settings | {"init_kwargs": init}))
    assert found.architecture["conv_clamp"] == 256
    assert found.architecture["superresolution"]["num_fp16_res"] == 0


def test_other_architectures_are_refused() -> None:
    base = network(facts_of("eg3d_full512_keys"))

    def without(*ends: str) -> Network:
        tensors = {n: t for n, t in base.tensors.items() if not n.endswith(ends)}
        return replace(base, tensors=tensors)

    other = replace(base, tensors={"conv1.weight": torch.zeros(3), "bn1.bias": torch.zeros(3)})
    with pytest.raises(WeightsError, match=r"no backbone\.synthesis\.b4\.const .*conv1\.weight"):
        recognise(other)
    with pytest.raises(WeightsError, match=r"no superresolution\.block1\.conv1\.noise_const"):
        recognise(without("block1.conv1.noise_const"))
    with pytest.raises(WeightsError, match=r"\(no backbone\.synthesis\.b16\.conv1\.weight\)"):
        recognise(without("b16.conv1.weight"))
    with pytest.raises(WeightsError, match="settings of unknown kinds"):
        recognise(replace(base, settings=base.settings | {"plane_axes": [3, 3]}))
    settings = base.settings | {"plane_axes": [[[1, 0, 0]] * 3] * 3}
    with pytest.raises(WeightsError, match="planes along xx, xx, xx"):
        recognise(replace(base, settings=settings))


@pytest.mark.parametrize("module", ["8X", "8XDC"])
@pytest.mark.parametrize("carried", [True, False])
def test_a_filter_that_nothing_uses_may_be_there(
    module: str, carried: bool, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"channels": (4, 4), "plane_resolution": 8}
    made = EG3D.create(
        EG3DConfig(random_weights=True, superresolution={"module": module}, **options)
    )
    state = made.state_dict()
    assert "superresolution.resample_filter" not in state
    if carried:
        state["superresolution.resample_filter"] = state["superresolution.block0.resample_filter"]
    made.load_state_dict(state)
    torch.save(state, tmp_path / "net.pt")
    read = EG3D.create(EG3DConfig(variant="ffhq"), tmp_path / "net.pt")
    assert read.architecture.superresolution.module == module
    assert read.state_dict().keys() == made.state_dict().keys()


def test_a_quantised_network_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"channels": (4, 4), "plane_resolution": 8}
    state = EG3D.create(EG3DConfig(random_weights=True, **options)).state_dict()
    torch.save({name: tensor.to(torch.int8) for name, tensor in state.items()}, tmp_path / "net.pt")
    with pytest.raises(
        WeightsError, match="is of the type int8, expected floating-point numbers; save"
    ):
        EG3D.create(EG3DConfig(variant="ffhq"), tmp_path / "net.pt")
