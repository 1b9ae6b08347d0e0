"""`3dinv convert`: networks and results of others become ours."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from inv3d.cli import main
from inv3d.core.camera import Camera
from inv3d.core.files import file_digest
from inv3d.core.inversion import Inversion
from inv3d.core.weights.tensors import read_tensors, write_tensors
from inv3d.io.cameras import read_cameras, write_labels
from inv3d.plugins.generators.eg3d import EG3D, EG3DConfig
from inv3d.plugins.generators.eg3d.variants import VARIANTS
from inv3d.report.pictures import save_png
from inv3d.rundir.opening import open_run
from tests import foreign
from tests.commands.run_case import imports_nothing_heavy
from tests.commands.run_cli import fails
from tests.pickles import Call, Name, dump

TINY = foreign.TINY
LPFF = VARIANTS["lpff"]
CPU = torch.device("cpu")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def good(*arguments: object) -> Any:
    """Convert with --json; return what it says."""
    result = call("convert", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_import_is_light() -> None:
    assert imports_nothing_heavy("inv3d.commands.convert")


# --- networks


def test_a_network_is_written_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    result = call("convert", TINY, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert "left out: dataset_label_std" in result.stdout
    assert "read back by generator eg3d" in result.stdout
    alike = "networks of FFHQ, FFHQ rebalanced and LPFF look alike"
    assert f"warning: {TINY}: taken for the variant 'ffhq' ({alike})" in result.stderr
    assert result.stderr.count("taken for") == 1
    tensors, metadata = read_tensors(out)
    state = foreign.original().tensors
    assert set(tensors) == set(state) - {"dataset_label_std"}
    assert all(torch.equal(tensors[name], state[name]) for name in tensors)
    assert (metadata["name"], metadata["variant"]) == ("eg3d", "ffhq")
    assert metadata["guess"] == alike
    assert metadata["architecture"]["plane_axes"] == "eg3d"
    assert metadata["architecture"]["rendering"]["depth_resolution"] == 11
    assert metadata["camera"]["pivot"] == [0.0, 0.0, 0.2]
    assert metadata["origin"]["file"] == "official_format_tiny.pkl"
    assert metadata["origin"]["entry"] == "G_ema"
    assert len(metadata["origin"]["sha256"]) == 64
    assert "not stated" in metadata["licence"]


def test_what_is_proved_is_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[str] = []
    create = EG3D.create

    def watched(config: Any, weights: Path) -> EG3D:
        proved.append(file_digest(weights))
        return create(config, weights)

    monkeypatch.setattr(EG3D, "create", watched)
    out = tmp_path / "net.safetensors"
    facts = good(TINY, "-o", out)
    assert proved == [file_digest(out)]
    _, metadata = read_tensors(out)
    assert metadata["camera"] == facts["camera"]
    with pytest.warns(UserWarning, match="taken for"):
        assert create(EG3DConfig(), out).spec.camera.yaw_deg == metadata["camera"]["yaw_deg"]


@pytest.mark.parametrize(
    "camera", [{"radius": -1}, {"focal": "x"}, {"pivot": [1, 2]}, {"yaw_deg": 1e999}]
)
def test_an_impossible_camera_prior_is_refused(tmp_path: Path, camera: dict[str, Any]) -> None:
    source, out = tmp_path / "odd.safetensors", tmp_path / "net.safetensors"
    good(TINY, "-o", source)
    tensors, metadata = read_tensors(source)
    write_tensors(source, tensors, metadata | {"camera": metadata["camera"] | camera})
    fails(call("convert", source, "-o", out), 1, f"{source}: its camera prior is")
    assert not out.exists()


def test_what_the_user_says_wins(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    said = ("--variant", "lpff", "--licence", "mine", "--set", "plane_axes=corrected")
    facts = good(TINY, "-o", out, *said)
    assert (facts["variant"], facts["sure"], facts["licence"]) == ("lpff", True, "mine")
    assert facts["plane_axes"] == "corrected" and facts["camera"]["yaw_deg"] == 90.0
    # a second conversion keeps what the first one wrote
    again = good(out, "-o", tmp_path / "again.safetensors")
    for name in ("variant", "licence", "plane_axes", "origin", "camera", "fingerprint"):
        assert again[name] == facts[name], name


def test_a_guess_stays_one_until_it_is_settled(tmp_path: Path) -> None:
    state = tmp_path / "net.pth"
    torch.save(foreign.original().tensors, state)
    for source, guess in ((TINY, "ffhq"), (state, "shapenet")):
        once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
        good(source, "-o", once)
        again = good(once, "-o", twice)
        assert (again["variant"], again["sure"]) == (guess, False)
        with pytest.warns(UserWarning, match=f"taken for the variant '{guess}'"):
            assert EG3D.create(EG3DConfig(), twice).spec.name == f"eg3d-{guess}"
        # another variant is as if it had been chosen for the source
        settled = good(twice, "-o", tmp_path / "settled.safetensors", "--variant", "lpff")
        at_once = good(source, "-o", tmp_path / "direct.safetensors", "--set", "variant=lpff")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            used = EG3D.create(EG3DConfig(variant="lpff"), once)
        for facts in (settled, at_once):
            assert facts["sure"] and facts["camera"] == {
                **asdict(LPFF.camera),
                "pivot": list(LPFF.camera.pivot),
            }
            assert facts["fingerprint"] == used.spec.fingerprint
        assert used.spec.camera == LPFF.camera


def test_a_state_dict_of_data_parallel_training(tmp_path: Path) -> None:
    state = {f"module.{n}": tensor for n, tensor in foreign.original().tensors.items()}
    torch.save(state, tmp_path / "net.pt")
    facts = good(tmp_path / "net.pt", "-o", tmp_path / "net.safetensors")
    assert facts["left_out"] == ["dataset_label_std"]


def test_the_generator_in_the_checkpoint_of_an_encoder(tmp_path: Path) -> None:
    state = foreign.original().tensors
    inside = {f"decoder.{name}": tensor for name, tensor in state.items()}
    encoder = {"encoder.input_layer.0.weight": torch.zeros(4, 3, 3, 3)}
    torch.save({"state_dict": encoder | inside, "opts": {"n_styles": 14}}, tmp_path / "encoder.pt")
    torch.save(state, tmp_path / "net.pt")
    facts = good(tmp_path / "encoder.pt", "-o", tmp_path / "a.safetensors")
    alone = good(tmp_path / "net.pt", "-o", tmp_path / "b.safetensors")
    assert facts["fingerprint"] == alone["fingerprint"]
    assert facts["origin"]["entry"] == "state_dict.decoder"
    result = call("convert", tmp_path / "encoder.pt", "-o", tmp_path / "c.safetensors")
    assert "state_dict.decoder" in result.stdout


@pytest.mark.parametrize("odd", [5, ["x"], {"a": 1}, {"file": 1, "sha256": "", "form": ""}, None])
def test_a_stored_licence_or_origin_of_another_type_is_left_out(tmp_path: Path, odd: Any) -> None:
    metadata = {"name": "eg3d", "variant": "ffhq", "licence": odd, "origin": odd}
    write_tensors(tmp_path / "odd.safetensors", foreign.original().tensors, metadata)
    facts = good(tmp_path / "odd.safetensors", "-o", tmp_path / "net.safetensors")
    assert "not stated" in facts["licence"]
    assert facts["origin"]["file"] == "odd.safetensors" and len(facts["origin"]["sha256"]) == 64


def test_a_stored_licence_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    metadata = {"name": "eg3d", "variant": "ffhq", "licence": "\x1b[2J© me\ud800"}
    write_tensors(tmp_path / "odd.safetensors", foreign.original().tensors, metadata)
    facts = good(tmp_path / "odd.safetensors", "-o", tmp_path / "net.safetensors")
    assert facts["licence"] == "[2J© me"


@pytest.mark.parametrize(
    ("bias", "said"),
    [
        (torch.full((64,), float("nan")), "decoder.net.0.bias has numbers that aren't finite"),
        (torch.zeros(64, dtype=torch.int64), "decoder.net.0.bias is of the type int64, expected"),
    ],
)
def test_numbers_that_no_network_has_are_refused_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bias: torch.Tensor,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    state = foreign.original().tensors | {"decoder.net.0.bias": bias}
    torch.save({"G_ema": state, "w": foreign.latents()}, "net.pt")
    inverted = ("--method", "wplus", "--input", "sample:static", "--out", "run")
    for command in (
        ("convert", "net.pt", "-o", "net.safetensors"),
        ("convert", "net.pt", "--as-run", "run"),
        ("run", "--generator", "eg3d", "--weights", "net.pt", *inverted),
    ):
        fails(call(*command), 1, f"net.pt: {said}")
        assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_other_entries_and_forms(tmp_path: Path) -> None:
    average = good(TINY, "-o", tmp_path / "a.safetensors", "--variant", "ffhq")
    raw = good(TINY, "-o", tmp_path / "b.safetensors", "--variant", "ffhq", "--entry", "G")
    assert raw["fingerprint"] != average["fingerprint"] and raw["origin"]["entry"] == "G"
    torch.save(foreign.original().tensors, tmp_path / "net.pth")
    bare = good(tmp_path / "net.pth", "-o", tmp_path / "c.safetensors")
    assert (bare["variant"], bare["sure"]) == ("shapenet", False)


def test_tensors_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = dict(foreign.original().tensors)
    state["decoder.net.2.bias"] = torch.zeros(7)
    state["more.weight"] = torch.zeros(1)
    del state["backbone.mapping.w_avg"]
    torch.save(state, tmp_path / "net.pt")
    result = call("convert", tmp_path / "net.pt", "-o", tmp_path / "net.safetensors")
    fails(result, 1, f"{tmp_path / 'net.pt'}: weights of another architecture: 1 tensors missing")
    for line in (
        "missing: backbone.mapping.w_avg",
        "left over: more.weight",
        "other shape: decoder.net.2.bias is (7,), expected (33,)",
    ):
        assert line in result.stderr.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((TINY,), 2, "give one of --out FILE.safetensors and --as-run DIR"),
        ((TINY, "-o", "net.pt"), 2, "expected a name that ends in .safetensors"),
        ((TINY, "-o", "n.safetensors", "--latent", "x.npz"), 2, "--latent goes with --as-run"),
        ((TINY, "-o", "n.safetensors", "--variant", "fhq"), 2, "option 'variant'"),
        ((TINY, "-o", "n.safetensors", "--set", "plane_axis=x"), 2, "did you mean 'plane_axes'"),
        ((TINY, "-o", "n.safetensors", "--variant", ""), 2, "option 'variant'"),
        ((TINY, "-o", "n.safetensors", "--variant", "ffhq", "--set", "variant=lpff"), 2, "one of"),
        ((TINY, "-o", "n.safetensors", "--set", "z_dim=3"), 2, "--set z_dim: follows from the"),
        ((TINY, "-o", "n.safetensors", "--set", "mapping.layers=8"), 2, "--set mapping.layers: "),
        ((TINY, "-o", "n.safetensors", "--set", "channel_base=1"), 2, "--set channel_base: "),
        ((TINY, "-o", "n.safetensors", "--set", "precision=bf16"), 2, "--set precision: says how"),
        ((TINY, "-o", "n.safetensors", "--set", "random_weights=true"), 2, "generator.random_we"),
        ((TINY, "-o", "n.safetensors", "--set", "generator.c_dim=3"), 2, "leave out 'generator.'"),
        ((TINY, "-o", "n.safetensors", "--entry", "Gema"), 2, "did you mean 'G_ema'?"),
        (("empty", "-o", "n.safetensors"), 1, "empty: is a folder; give the path of the weight"),
        (("less.pt", "-o", "n.safetensors"), 1, "no backbone.mapping.fc1.weight"),
        ((TINY, "-o", "n.safetensors", "--generator", "minihead"), 2, "eg3d and panohead can be"),
        ((TINY, "-o", "n.safetensors", "--generator", "egd3"), 2, "did you mean 'eg3d'"),
        (("none.pkl", "-o", "n.safetensors"), 1, "none.pkl: no such file"),
        (("none.pkl", "-o", "there.safetensors"), 1, "none.pkl: no such file"),
        (("n" * 300, "-o", "n.safetensors"), 1, "can't be read (File name too long)"),
        (("n" * 300, "--as-run", "run"), 1, "can't be read (File name too long)"),
        (
            ("w.npz", "--as-run", "run", "--weights", TINY, "--cameras", "n" * 300),
            2,
            "n: can't be read (File name too long)",
        ),
        ((TINY, "-o", "n" * 300 + ".safetensors"), 1, "can't be written (File name too long)"),
        (("net.zip", "-o", "n.safetensors"), 1, "unpack it and give ffhq512-128.pkl"),
        (("evil.pkl", "-o", "n.safetensors"), 1, "names posix.system"),
        (("half.pkl", "-o", "n.safetensors"), 1, "cut short"),
        (("other.pth", "-o", "n.safetensors"), 1, "a network of another architecture"),
        (("half.pkl", "--as-run", "run", "--weights", TINY), 1, "cut short"),
        ((TINY, "--as-run", "run"), 2, "has no latent beside the network; give one with --latent"),
        (("w.npz", "--as-run", "run", "--generator", "minihead"), 2, "eg3d and panohead can be"),
        (("w.npz", "--as-run", "run"), 2, "give the network that the latents belong to"),
        (("w.npz", "--as-run", "there", "--weights", TINY), 1, "exists already"),
        (("empty", "--as-run", "run"), 2, "no result of another project in it"),
        (("narrow.npz", "--as-run", "run", "--weights", TINY), 2, "takes 14 of 512"),
        (("many.npz", "--as-run", "run", "--weights", TINY), 2, "2 latents without cameras"),
    ],
)
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    Path("evil.pkl").write_bytes(dump(Call(Name("posix", "system"), (f"echo > {canary}",))))
    Path("half.pkl").write_bytes(TINY.read_bytes()[:100_000])
    torch.save({"conv1.weight": torch.zeros(3)}, "other.pth")
    state = foreign.original().tensors
    torch.save({n: tensor for n, tensor in state.items() if ".fc1." not in n}, "less.pt")
    np.savez("w.npz", w=foreign.latents().numpy())
    np.savez("narrow.npz", w=foreign.latents().numpy()[..., :256])
    np.savez("many.npz", ws=foreign.latents(2).numpy())
    with zipfile.ZipFile("net.zip", "w") as archive:
        archive.writestr("ffhq512-128.pkl", "")
    Path("there").mkdir()
    Path("there.safetensors").touch()
    Path("empty").mkdir()
    before = sorted(tmp_path.iterdir())
    fails(call("convert", *arguments), code, said)
    assert sorted(tmp_path.iterdir()) == before


# --- results


def checked(directory: Path, ws: torch.Tensor) -> tuple[Inversion, dict[str, Any]]:
    """The run holds the latents and renders with the tuned network."""
    run = open_run(directory, CPU)
    assert torch.equal(run.inversion.ws, ws)
    state = run.generator.state_dict()
    for name, tensor in foreign.tuned_tensors().items():
        if name != "dataset_label_std":
            torch.testing.assert_close(state[name], tensor, atol=1e-6, rtol=1e-6)
    return run.inversion, dict(run.record)


def test_a_result_with_many_latents(tmp_path: Path) -> None:
    source = foreign.multilatent_result(tmp_path / "result", ray_start=2.35)
    run = tmp_path / "run"
    facts = good(source, "--as-run", run, "--weights", TINY)
    assert facts["latents"] == 3 and facts["latent"].endswith("500_projected_w_mult.npz")
    assert facts["tuned"].endswith("tensors") and "taken for" in facts["warnings"][0]
    inversion, record = checked(run, foreign.latents(3))
    torch.testing.assert_close(inversion.cameras.labels(), foreign.cameras(3).labels())
    assert not any("mapping" in name for name in inversion.generator_delta)
    # the near plane that the other project tuned with
    assert record["generator"]["options"]["rendering"]["ray_start"] == 2.35
    assert record["imported"]["tuned"]["file"] == str(source / "fintuned_generator.pkl")
    # without the original the whole tuned network goes into the run, which can then be moved
    whole = tmp_path / "whole"
    assert good(source, "--as-run", whole)["tuned"] == "whole"
    checked(whole, foreign.latents(3))
    moved = whole.rename(tmp_path / "moved")
    pictures = []
    for one in (run, moved):
        picture = tmp_path / f"{one.name}.npy"
        result = call("render", one, "--out", picture, "--depth", "--yaw-deg", 20)
        assert result.exit_code == 0, result.stderr
        assert "taken for" not in result.stderr
        pictures.append(np.load(picture))
    np.testing.assert_allclose(*pictures, atol=1e-4)


@pytest.mark.parametrize("project", ["multiview", "pti", "spi", "eg3d-projector"])
def test_results_with_one_latent(tmp_path: Path, project: str) -> None:
    more: tuple[object, ...] = ()
    if project == "multiview":
        source = foreign.multiview_result(tmp_path / "result")
    elif project == "pti":
        source = foreign.pti_result(tmp_path / "result")
    elif project == "spi":
        source = foreign.spi_result(tmp_path / "face.pt")
    else:
        source = tmp_path / "model.pt"
        torch.save({"G_ema": foreign.tuned_tensors()}, source)
        np.save(tmp_path / "face_w_plus.npy", foreign.latents().numpy())
        more = ("--latent", tmp_path / "face_w_plus.npy")
    facts = good(source, "--as-run", tmp_path / "run", "--weights", TINY, *more)
    inversion, _ = checked(tmp_path / "run", foreign.latents())
    frontal = "the latent has no camera: taken as frontal"
    assert (frontal in facts["warnings"]) == (project != "spi")
    if project == "spi":
        torch.testing.assert_close(inversion.cameras.labels(), foreign.cameras().labels())


def test_a_network_that_was_not_tuned(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=foreign.latents().numpy())
    told = ("--as-run", tmp_path / "run", "--latent", tmp_path / "w.npz", "--weights", TINY)
    assert good(TINY, *told)["tuned"] == "nothing: both networks are the same"
    assert not Inversion.load(tmp_path / "run").generator_delta


def test_latents_alone_with_cameras_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "face_ws.npy", foreign.latents()[:, :1].numpy())  # W: one row
    np.save(tmp_path / "face_cam.npy", foreign.cameras().labels().numpy())
    good(tmp_path, "--as-run", tmp_path / "run", "--weights", TINY)
    inversion = Inversion.load(tmp_path / "run")
    assert torch.equal(inversion.ws, foreign.latents()[:, :1].expand(-1, foreign.ROWS, -1))
    torch.testing.assert_close(inversion.cameras.labels(), foreign.cameras().labels())
    assert not inversion.generator_delta


@pytest.mark.parametrize("ending", [".NPY", ".pt", ".pth", ""])
@pytest.mark.parametrize("by", ["numpy", "torch", "names"])
def test_latents_and_cameras_are_told_by_their_contents(
    tmp_path: Path, by: str, ending: str
) -> None:
    latents, cameras = tmp_path / f"latents{ending}", tmp_path / f"cameras{ending}"
    for path, name, value in (
        (latents, "w", foreign.latents()),
        (cameras, "c", foreign.cameras().labels()),
    ):
        with path.open("wb") as file:
            if by == "numpy":
                np.save(file, value.numpy())
            else:
                torch.save({name: value} if by == "names" else value, file)
    run = tmp_path / "run"
    good(latents, "--as-run", run, "--weights", TINY, "--cameras", cameras)
    inversion = Inversion.load(run)
    assert torch.equal(inversion.ws, foreign.latents())
    torch.testing.assert_close(inversion.cameras.labels(), foreign.cameras().labels())


@pytest.mark.parametrize("by", ["numpy", "torch"])
def test_what_was_written_with_latents_and_cameras_does_not_hide_them(
    tmp_path: Path, by: str
) -> None:
    for name, value in (("w", foreign.latents()), ("c", foreign.cameras().labels())):
        with (tmp_path / name).open("wb") as file:
            if by == "numpy":
                np.savez(file, **{name: value.numpy(), "step": np.array(500)})
            else:
                torch.save({name: value, "step": 500, "opts": {"rate": 0.1}}, file)
    run = tmp_path / "run"
    good(tmp_path / "w", "--as-run", run, "--weights", TINY, "--cameras", tmp_path / "c")
    inversion = Inversion.load(run)
    assert torch.equal(inversion.ws, foreign.latents())
    torch.testing.assert_close(inversion.cameras.labels(), foreign.cameras().labels())
    read, _ = read_cameras(tmp_path / "c")
    torch.testing.assert_close(read.labels(), foreign.cameras().labels())


def test_latents_by_another_name_are_told_theirs(tmp_path: Path) -> None:
    w = foreign.latents()
    for value, held in (({"latent": w}, "it holds latent"), ([w], "holds a list"), ((w, 1), "")):
        torch.save(value, tmp_path / "w.pt")
        result = call("convert", tmp_path / "w.pt", "--as-run", tmp_path / "run", "--weights", TINY)
        assert held in result.stderr
        fails(result, 1, "for latents: save them as 'w' or 'ws', as a tensor or a NumPy array")
    with (tmp_path / "w").open("wb") as file:
        np.savez(file, latent=w.numpy())
    result = call("convert", tmp_path / "w", "--as-run", tmp_path / "run", "--weights", TINY)
    fails(result, 2, "no latents named 'w' or 'ws'; it holds latent")


def test_another_original_is_noticed(tmp_path: Path) -> None:
    good(TINY, "-o", tmp_path / "other.safetensors", "--entry", "G", "--variant", "ffhq")
    source = foreign.multiview_result(tmp_path / "result")
    told = ("--as-run", tmp_path / "run", "--weights", tmp_path / "other.safetensors")
    (_, notice) = good(source, *told)["warnings"]
    assert "may have been tuned from another network" in notice


def capture(folder: Path) -> Path:
    """Three frames: the cameras of two latents and one more."""
    found = Camera.cat([foreign.cameras(2), foreign.cameras(3)[1]])
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 255, (128, 128, 3), dtype=np.uint8)
        save_png(folder / f"{i}.png", noise)
    write_labels(folder / "dataset.json", found, [f"{i}.png" for i in range(3)])
    return folder


def test_every_command_takes_an_imported_run(tmp_path: Path) -> None:
    source = foreign.multilatent_result(tmp_path / "result", count=2)
    run = tmp_path / "run"
    good(source, "--as-run", run, "--variant", "ffhq")
    for arguments, said in (
        (("eval", run), "was imported without its capture; give the capture with --input"),
        (("export", run, "-o", "a.npz", "--cameras", "x"), "--cameras goes with meshes"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2 and said in result.stderr, result.stderr
    measured = call("eval", run, "--input", capture(tmp_path / "capture"), "--json")
    assert json.loads(measured.stdout)["latents"] == 2, measured.stderr
    mesh = ("-o", tmp_path / "a.ply", "--resolution", 16, "--level", 1e-3)
    assert call("export", run, *mesh).exit_code == 0
    lost = call("export", run, *mesh, "--cameras", tmp_path / "x")
    assert lost.exit_code == 2 and "imported without its capture" in lost.stderr
    # latents go back to where they came from
    assert call("export", run, "--format", "eg3d-npz").exit_code == 0
    with np.load(run / "projected_w.npz") as back:
        assert np.array_equal(back["ws"], foreign.latents(2)[:, None].numpy())
        np.testing.assert_allclose(back["cs"][:, 0], foreign.cameras(2).labels().numpy())
        assert np.array_equal(back["w"], foreign.latents(2)[:1].numpy())


def test_with_its_capture_an_imported_run_can_be_compared(tmp_path: Path) -> None:
    source = foreign.multilatent_result(tmp_path / "result", count=2)
    run, frames = tmp_path / "run", capture(tmp_path / "capture")
    facts = good(source, "--as-run", run, "--variant", "ffhq", "--input", frames)
    assert facts["input"] == str(frames)
    record = json.loads((run / "run.json").read_text())
    assert (record["input"]["chosen"], record["input"]["held_out"]) == ([0, 1], [2])
    assert record["status"] == "finished"
    assert {"3dinv", "python", "torch"} <= set(record["versions"])
    assert call("eval", run, "--save").exit_code == 0
    table = call("compare", run, "--json")
    assert json.loads(table.stdout)[0]["method"] == "imported", table.stderr
    save_png(frames / "2.png", np.zeros((128, 128, 3), dtype=np.uint8))
    changed = call("eval", run)
    assert changed.exit_code == 1 and "aren't those that" in changed.stderr, changed.stderr
