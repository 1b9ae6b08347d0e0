import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from inv3d.core.errors import ConfigError, WeightsError
from inv3d.core.loss import Target, load_loss
from inv3d.core.scene import Rendering
from inv3d.nn.ir_se import ArcFaceNetwork
from inv3d.plugins.losses.arcface import ArcFace, ArcFaceConfig
from tests.golden_cases import GoldenCase, relative_error
from tests.golden_rules import rule_state


@pytest.fixture(scope="module")
def case():
    return GoldenCase("id_loss")


@pytest.fixture(scope="module")
def loss(case, tmp_path_factory):
    """The loss as created from a file, so that the strict load is covered too."""
    with torch.device("meta"):
        network = ArcFaceNetwork()
    keywords = case.facts["kwargs"]
    path = tmp_path_factory.mktemp("weights") / "model_ir_se50.pth"
    network.to_empty(device="cpu")
    torch.save(rule_state(network, salt=keywords["salt"], gain=keywords["gain"]), path)
    return ArcFace.create(ArcFaceConfig(weights=path)).eval().requires_grad_(False)


def image(case, name):
    return case.tensors[f"{name}_u8"].float() / 127.5 - 1


def test_golden_value_and_gradient(case, loss):
    synth, target = image(case, "synth").requires_grad_(), image(case, "target")
    cache = loss.prepare(Target(target))
    assert relative_error(cache[0], case.tensors["target_feature"]) < 1e-4
    assert relative_error(loss.faces(synth.detach()), case.tensors["synth_crop112"]) < 1e-4
    value = loss(Rendering(image=synth), cache)
    assert value.shape == (1,)
    assert float(value[0].detach()) == pytest.approx(float(case.tensors["loss"]), abs=1e-4)
    value.sum().backward()
    assert relative_error(synth.grad[..., ::8, ::8], case.tensors["grad_sub"]) < 1e-3


def test_the_file_is_found_in_the_folder_for_weights(loss, tmp_path, monkeypatch):
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path))
    torch.save(loss.network.state_dict(), tmp_path / "model_ir_se50.pth")
    found = ArcFace.create(ArcFaceConfig()).network.state_dict()
    assert all(torch.equal(found[n], value) for n, value in loss.network.state_dict().items())


def test_the_bare_name_of_the_file_finds_it(loss, tmp_path, monkeypatch):
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    options = {"weights": "model_ir_se50.pth"}
    with pytest.raises(WeightsError, match=r"loss arcface: model_ir_se50\.pth .* isn't there"):
        load_loss("arcface", options)
    (tmp_path / "weights").mkdir()
    torch.save(loss.network.state_dict(), tmp_path / "weights" / "model_ir_se50.pth")
    assert load_loss("arcface", options).config.weights == tmp_path / "weights/model_ir_se50.pth"
    # a path is a path, also where it's nowhere
    with pytest.raises(WeightsError, match="no such file"):
        load_loss("arcface", {"weights": "./sub/model_ir_se50.pth"})


def test_every_view_counts(case, loss):
    small = [F.avg_pool2d(image(case, n), 4) for n in ("synth", "target")]
    views = torch.cat([small[0], small[1]])
    cache = loss.prepare(Target(small[1].expand(2, -1, -1, -1)))
    values = loss(Rendering(image=views), cache)
    assert float(values[0]) > 1e-3 and float(values[1]) == pytest.approx(0, abs=1e-5)
    assert torch.allclose(
        loss(Rendering(image=views[:1]), loss.select(cache, slice(0, 1))), values[:1], atol=1e-5
    )


def test_crop_follows_the_image_size(loss):
    """A smooth picture gives nearly the same face at 128, 256 and 512 pixels."""

    def picture(size):
        at = (torch.arange(size) + 0.5) / size
        rows, columns = torch.meshgrid(at, at, indexing="ij")
        return torch.stack([rows, columns, rows * columns])[None] * 2 - 1

    faces = [loss.faces(picture(size)) for size in (128, 256, 512)]
    assert all(face.shape == (1, 3, 112, 112) for face in faces)
    assert (faces[0] - faces[1]).abs().max() < 0.02
    assert (faces[2] - faces[1]).abs().max() < 1e-4


def test_weights_in_other_forms(loss, tmp_path):
    state = loss.network.state_dict()
    torch.save({f"module.{n}": value for n, value in state.items()}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.safetensors")
    for path in sorted(tmp_path.iterdir()):
        found = ArcFace.create(ArcFaceConfig(weights=path)).network.state_dict()
        assert all(torch.equal(found[name], value) for name, value in state.items())


def test_the_network_is_the_one_that_the_file_is_of(tmp_path):
    """A network as CurricularFace's, but smaller: of 50 layers."""
    torch.manual_seed(0)
    network = ArcFaceNetwork(50, squeeze_excite=False, size=64, affine=False).eval()
    torch.save(network.state_dict(), tmp_path / "curricular.pth")
    other = ArcFace.create(ArcFaceConfig(weights=tmp_path / "curricular.pth")).eval()
    images = torch.rand(2, 3, 128, 128) * 2 - 1
    faces = other.faces(images)
    assert faces.shape == (2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other.features(images), network(faces))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02Na.", "more from the stack"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01R.", "where arguments should"),
        (b"\x80\x02000.", "uses the opcode POP"),
        (
            b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
            "names __builtin__.bytearray",
        ),
        (b"<html>", "a web page"),
    ],
)
def test_files_that_mean_harm_are_one_line(tmp_path, data, message):
    path = tmp_path / "evil.pth"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        ArcFace.create(ArcFaceConfig(weights=path))
    assert str(caught.value).isprintable() and "weights_only" not in str(caught.value)


def test_messages(tmp_path):
    with pytest.raises(WeightsError, match=r"model_ir_se50\.pth.*losses\.arcface\.weights=PATH"):
        ArcFace.create(ArcFaceConfig())
    with pytest.raises(WeightsError, match=r"none\.pth: no such file"):
        ArcFace.create(ArcFaceConfig(weights=tmp_path / "none.pth"))
    torch.save({"input_layer.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="396 tensors missing"):
        ArcFace.create(ArcFaceConfig(weights=tmp_path / "part.pth"))


@pytest.mark.parametrize(
    "crop", [(0.9, 0.1, 0, 1), (0, 1, 0.5, 0.5), (-0.1, 1, 0, 1), (0, 1, 0, 35), (0, 1, 0, "nan")]
)
def test_a_crop_lies_in_the_picture(crop):
    with pytest.raises(ConfigError, match="crop") as caught:
        load_loss("arcface", {"crop": crop})
    assert "\n" not in str(caught.value)
