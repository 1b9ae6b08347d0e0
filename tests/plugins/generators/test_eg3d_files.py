"""EG3D from files of every form: official pickles, state dicts, converted networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.core.errors import MismatchError, WeightsError
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.eg3d.official import read_network, recognise
from inv3d.plugins.generators.eg3d import EG3D, EG3DConfig
from tests.golden_cases import FOLDER, GoldenCase, relative_error

TINY = FOLDER / "official_format_tiny.pkl"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*taken for the variant")
        yield


@pytest.fixture(scope="module")
def generator() -> EG3D:
    with pytest.warns(UserWarning, match="taken for the variant 'ffhq' .*generator.variant=NAME"):
        return EG3D.create(EG3DConfig(), TINY)


def test_the_official_file_computes_what_the_official_code_does(generator: EG3D) -> None:
    case = GoldenCase("official_format_tiny_expected")
    camera = Camera.from_labels(case.given("c"))
    with torch.no_grad():
        ws = generator.map(case.given("z"), camera, truncation=0.7)
        assert relative_error(ws[:, :1], case.expected("ws")) < 1e-5
        scene = generator.synthesize(ws)
        seen = generator.render(scene, camera, outputs=("image", "raw", "depth"))
        raw, features = generator.field(scene)(case.given("points"), True)
    assert relative_error(seen.require("image")[..., ::3, ::3], case.expected("image_sub3")) < 1e-4
    assert relative_error(seen.require("raw"), case.expected("image_raw")) < 1e-4
    assert relative_error(seen.require("depth"), case.expected("image_depth")) < 1e-4
    assert relative_error(raw[..., None], case.expected("sigma")) < 1e-5
    assert features is not None and relative_error(features, case.expected("rgb")) < 1e-5


def test_live_settings_become_options(generator: EG3D) -> None:
    assert generator.architecture.neural_rendering_resolution == 28
    assert generator.architecture.rendering.depth_resolution == 11
    assert generator.spec.camera.pivot == (0.0, 0.0, 0.2)
    other = EG3D.create(EG3DConfig(variant="lpff", neural_rendering_resolution=8), TINY)
    assert other.spec.name == "eg3d-lpff" and other.spec.render_resolution == 8
    assert other.architecture.rendering.depth_resolution == 11


def test_the_same_network_in_other_forms(generator: EG3D, tmp_path: Path) -> None:
    state = read_network(TINY).tensors
    torch.save({"G_ema": state}, tmp_path / "net.pt")
    write_tensors(tmp_path / "net.safetensors", state, {})
    told = EG3DConfig(  # what only settings know
        variant="ffhq",
        channels=None,
        channel_base=256,
        channel_max=4,
        neural_rendering_resolution=28,
        rendering={"depth_resolution": 11, "depth_resolution_importance": 10},
    )
    for path in tmp_path.iterdir():
        assert EG3D.create(EG3DConfig(), path).spec.name == "eg3d-shapenet"
        assert EG3D.create(told, path).spec.fingerprint == generator.spec.fingerprint


def test_half_precision_is_taken(generator: EG3D, tmp_path: Path) -> None:
    state = {n: t.half() for n, t in generator.state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    made = EG3D.create(EG3DConfig(variant="ffhq"), tmp_path / "net.pt")
    assert {p.dtype for p in made.parameters()} == {torch.float32}


NAN = float("nan")


def rendering(**options: Any) -> dict[str, Any]:
    return {"architecture": {"rendering": options}}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "\x1b[2J", "architecture": {}}, r"for the generator '\?\[2J', not for 'eg3d'"),
        ({"name": "panohead", "architecture": {}}, "for the generator 'panohead', not for 'eg3d'"),
        ({"architecture": {"c_scale": "x"}}, "option 'c_scale' of generator eg3d"),
        ({"architecture": {}, "camera": {"radius": "far"}}, "camera prior is"),
        ({"architecture": {}, "camera": {"pivot": [1]}}, "camera prior is"),
        (
            {"architecture": {}, "camera": {"radius": NAN}},
            r"prior is \{'radius': nan\}, expected f",
        ),
        ({"architecture": {}, "camera": {"pivot": [0, 0, NAN]}}, "camera prior is"),
        ({"architecture": {}, "camera": {"focal": 10**400}}, "camera prior is"),
        ({"architecture": {}, "camera": {"radius": 0}}, "camera prior is"),
        ({"architecture": {"c_scale": NAN}}, "'c_scale' of generator eg3d: nan .* finite number"),
        ({"architecture": {"avg_camera_pivot": [0, 0, -1e999]}}, r"'avg_camera_pivot\.2' .* -inf"),
        (rendering(ray_start=NAN), r"option 'rendering\.ray_start.* nan is not valid"),
        (rendering(box_warp=NAN), r"option 'rendering\.box_warp' .* nan is not valid"),
        (rendering(depth_resolution=10**9), "depth_resolution' .* less than or equal to 1024"),
        (
            {"architecture": {"neural_rendering_resolution": 10**9}},
            "'neural_rendering_resolution' .* 1000000000 is .* less than or equal to 1024",
        ),
    ],
)
def test_metadata_that_is_wrong(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    path = tmp_path / "net.safetensors"
    state = read_network(TINY).tensors
    good = metadata | {"variant": "ffhq"}
    if metadata["architecture"] == {}:
        good["architecture"] = recognise(read_network(TINY)).architecture
    write_tensors(path, state, good)
    with pytest.raises(WeightsError, match=message) as caught:
        EG3D.create(EG3DConfig(), path)
    assert "net.safetensors" in str(caught.value)


def test_a_mismatch_knows_all_tensors(tmp_path: Path) -> None:
    state = dict(read_network(TINY).tensors)
    state["decoder.net.2.bias"] = torch.zeros(7)
    state["more.weight"] = torch.zeros(1)
    del state["backbone.mapping.w_avg"], state["decoder.net.0.bias"]
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(MismatchError, match="2 tensors missing") as caught:
        EG3D.create(EG3DConfig(variant="ffhq"), tmp_path / "net.pt")
    assert list(caught.value.missing) == ["backbone.mapping.w_avg", "decoder.net.0.bias"]
    assert list(caught.value.extra) == ["more.weight"]
    assert caught.value.shapes == {"decoder.net.2.bias": ((7,), (33,))}


def test_sizes_are_those_of_the_tensors_whatever_the_file_claims(
    generator: EG3D, tmp_path: Path
) -> None:
    claimed = recognise(read_network(TINY)).architecture | {"decoder_hidden": 10**9, "z_dim": 10**8}
    metadata = {"name": "eg3d", "architecture": claimed, "variant": "ffhq"}
    write_tensors(tmp_path / "net.safetensors", generator.state_dict(), metadata)
    made = EG3D.create(EG3DConfig(), tmp_path / "net.safetensors")
    assert made.spec.fingerprint == generator.spec.fingerprint


def test_nothing_is_allocated_for_what_the_file_only_claims(tmp_path: Path) -> None:
    """A block of 131072 pixels would have noise maps of 68 GB, a million channels 36 TB."""
    state = dict(read_network(TINY).tensors)
    wide = {"backbone.synthesis.b256.conv1.weight": torch.zeros(1_000_000, 0, 3, 3)}
    torch.save(state | wide, tmp_path / "net.pt")
    with pytest.raises(MismatchError, match="of another shape"):
        EG3D.create(EG3DConfig(variant="ffhq"), tmp_path / "net.pt")
    for size in (512 << index for index in range(9)):
        state[f"backbone.synthesis.b{size}.conv1.weight"] = torch.zeros(4, 4, 3, 3)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"plane_resolution' .* less than or equal to 2048"):
        EG3D.create(EG3DConfig(variant="ffhq"), tmp_path / "net.pt")
