"""`3dinv prepare`: videos and photographs become captures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from inv3d.cli import main
from inv3d.io.cameras import read_cameras
from inv3d.io.dataset import open_capture
from inv3d.io.video import write_video
from inv3d.nn.face.model import FaceModel
from inv3d.photos.sight import NO_FACE, Sight
from tests.commands.run_case import imports_nothing_heavy
from tests.commands.run_cli import fails
from tests.faces import as_bytes, heads, photograph, true_yaw, write_clip


def prepare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


def good(*arguments: object) -> dict[str, Any]:
    """Prepare with --json; return what it says."""
    result = prepare(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def frames(said: dict[str, Any], kept: bool = True) -> list[dict[str, Any]]:
    return [frame for frame in said["frames"] if frame["kept"] == kept]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "turn.mp4")


@pytest.fixture(scope="module")
def capture(clip: Path) -> Path:
    """The clip's frames, all of them kept."""
    out = clip.parent / "capture"
    result = prepare(clip, "-o", out, "--keep-all")
    assert result.exit_code == 0, result.stderr
    assert "16 of 16 frames, yaw" in result.stdout and "uncorrected:" in result.stdout
    return out


def test_import_is_light() -> None:
    assert imports_nothing_heavy("inv3d.commands.prepare")


def test_a_clip_becomes_a_capture_with_cameras(capture: Path) -> None:
    opened = open_capture(capture)
    assert len(opened) == 16 and opened.notices == {}
    yaw = torch.rad2deg(opened.camera.yaw)
    apart = (yaw - true_yaw()).abs()
    assert float(apart.mean()) <= 3 and float(apart.max()) <= 6.5
    loaded = opened.load(128)
    assert loaded.masks is not None and opened.notices == {}
    true = open_capture("sample:dynamic").load(128, list(range(6, 54, 3)))
    assert true.masks is not None
    same = (loaded.masks > 0.5) & (true.masks > 0.5)
    either = (loaded.masks > 0.5) | (true.masks > 0.5)
    assert float(same.sum() / either.sum()) > 0.9
    corner = loaded.images[:, :, :6, :6]
    assert float(corner.min()) > 0.98, "the background is white"


def test_all_formats_of_cameras_agree(capture: Path) -> None:
    labels = read_cameras(capture / "dataset.json")[0]
    transforms = read_cameras(capture / "cameras" / "transforms.json")[0]
    colmap = read_cameras(capture / "cameras" / "sparse" / "0" / "images.txt")[0]
    for other in (transforms, colmap):
        torch.testing.assert_close(other.cam2world, labels.cam2world, atol=1e-5, rtol=0)
        torch.testing.assert_close(other.intrinsics, labels.intrinsics, atol=1e-5, rtol=0)
    document = json.loads((capture / "cameras" / "transforms.json").read_text())
    assert (capture / "cameras" / document["frames"][0]["file_path"]).is_file()


def test_the_page_stands_alone(capture: Path) -> None:
    page = (capture / "prepare.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 32
    assert "turn_000000" in page and "<svg" in page and "<script" not in page
    assert 'src="http' not in page and 'href="http' not in page


def test_blinking_and_doubled_frames_are_left_out(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "turn.mp4", range(8, 40, 1), fps=30)
    said = good(clip, "-o", tmp_path / "out")
    reasons = [frame["reasons"][0] for frame in frames(said, kept=False)]
    closed = [f for f in frames(said, kept=False) if f["reasons"][0].startswith("eyes closed")]
    assert {14 - 8, 15 - 8} & {int(f["name"][-6:]) for f in closed}, reasons
    assert len(closed) < 8


def test_frames_are_chosen_evenly_by_angle(clip: Path, tmp_path: Path) -> None:
    said = good(clip, "-o", tmp_path / "out", "--frames", 5, "--keep-all")
    yaws = sorted(frame["yaw_deg"] for frame in frames(said))
    every = sorted(frame["yaw_deg"] for frame in said["frames"])
    assert len(yaws) == 5 and yaws[0] == every[0] and yaws[-1] == every[-1]
    steps = np.diff(yaws)
    assert steps.max() < 1.6 * steps.min()
    assert all("not needed" in frame["reasons"][0] for frame in frames(said, kept=False))


def test_gaps_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row in (2, 5, 6):
        pixels = as_bytes(heads().images[row]).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{row}.png")
    said = good(folder, "-o", tmp_path / "out")
    assert any("no frame between" in text for text in said["warnings"]), said["warnings"]
    assert [frame["name"] for frame in said["frames"]] == ["2", "5", "6"]


@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg"])
@pytest.mark.parametrize("generator", ["minihead", "eg3d"])
def test_photographs(name: str, generator: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = good(photograph(name), "-o", out, "--generator", generator, "--size", 256)
    (frame,) = said["frames"]
    assert abs(frame["yaw_deg"]) < 8 and frame["not_aligned_because"]
    picture = np.asarray(Image.open(out / "images" / f"{Path(name).stem}.png"))
    assert picture.shape == (256, 256, 3)
    # white for minihead, as it was for eg3d
    assert (picture[:10, :10].min() > 250) == (generator == "minihead")


def test_the_profile_is_refused_and_taken_with_its_yaw(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = prepare(photograph("camera.png"), "-o", out)
    fails(result, 2, "camera.png: the landmarks are false")
    assert "--yaw DEGREES" in result.stderr and not out.exists()
    said = good(photograph("camera.png"), "-o", out, "--yaw", "camera.png=-75", "--pitch", 5)
    (frame,) = said["frames"]
    assert frame["by_hand"] and round(frame["yaw_deg"]) == -75 and round(frame["pitch_deg"]) == 5


def test_points_that_are_given(tmp_path: Path) -> None:
    """Five true points of a rendered head give its camera back, whatever the networks see."""
    points = tmp_path / "points.json"
    points.write_text(json.dumps({"me": save_head(tmp_path / "me.png")}))
    said = good(tmp_path / "me.png", "-o", tmp_path / "out", "--landmarks", points)
    (frame,) = said["frames"]
    true = math.degrees(float(heads().camera.yaw[8]))
    assert frame["by_hand"] and abs(frame["yaw_deg"] - true) < 4
    assert frame["square"]["side"] == pytest.approx(128, abs=6)
    points.write_text('{"me": [[1, 2], [3, 4]]}')
    fails(prepare(tmp_path / "me.png", "-o", tmp_path / "b", "--landmarks", points), 2,
          "expected 5 points")  # fmt: skip


def save_head(path: Path, row: int = 8) -> list[list[float]]:
    """Write a rendered head of 128 pixels; return its five true points."""
    capture = heads()
    Image.fromarray(as_bytes(capture.images[row]).permute(1, 2, 0).numpy()).save(path)
    from inv3d.plugins.generators.minihead import ALIGNMENT

    points: list[list[float]] = (
        capture.camera[row].project(ALIGNMENT.points.float())[0][0] * 128
    ).tolist()
    return points


def test_points_that_no_face_has_are_refused(tmp_path: Path) -> None:
    head, file, out = tmp_path / "me.png", tmp_path / "points.json", tmp_path / "out"
    true = save_head(head, 5)
    swapped = [true[i] for i in (1, 0, 2, 4, 3)]
    far = [*true[:2], [true[2][0], 900], *true[3:]]
    for points, said in (
        (swapped, "me.png: with the right eye at ["),
        (swapped, "in 128x128 pixels the face is seen from behind (yaw "),
        (swapped, "right and left are the subject's"),
        (far, "me.png: point 3 (nose) is at ["),
        (far, ", 900], far outside of the picture of 128x128 pixels"),
    ):
        file.write_text(json.dumps({"me.png": points}))
        result = prepare(head, "-o", out, "--landmarks", file)
        fails(result, 2, said)
        assert f"--landmarks {file}: " in result.stderr and not out.exists()
    file.write_text(json.dumps({"me.png": swapped}))
    (frame,) = good(head, "-o", out, "--landmarks", file, "--yaw", 10)["frames"]
    assert round(frame["yaw_deg"]) == 10


def test_points_of_a_profile_are_taken(tmp_path: Path) -> None:
    """The five points of a face that is turned by 90 degrees, one eye behind the other."""
    save_head(tmp_path / "me.png", 0)
    points = FaceModel.load().anchors() * 150
    flat = torch.stack([-points[:, 2], -points[:, 1]], 1)
    (tmp_path / "points.json").write_text(json.dumps({"me": (flat - flat.mean(0) + 64).tolist()}))
    said = good(tmp_path / "me.png", "-o", tmp_path / "a", "--landmarks", tmp_path / "points.json")
    assert abs(said["frames"][0]["yaw_deg"]) == pytest.approx(90, abs=3)


def test_points_of_a_picture_that_is_made_smaller(tmp_path: Path) -> None:
    """Points are in pixels of the file, of which more than 4096 aren't used."""
    points = save_head(tmp_path / "me.png")
    image = Image.open(tmp_path / "me.png")
    image.resize((5120, 5120)).save(tmp_path / "large.png")
    both = {"me": points, "large": [[40 * x, 40 * y] for x, y in points]}
    (tmp_path / "points.json").write_text(json.dumps(both))
    pictures = (tmp_path / "me.png", tmp_path / "large.png")
    given = ("--keep-all", "--landmarks", tmp_path / "points.json")
    small, large = good(*pictures, "-o", tmp_path / "a", *given)["frames"]
    assert large["square"]["side"] == pytest.approx(32 * small["square"]["side"], rel=0.01)


def test_names_that_no_picture_has_are_told(tmp_path: Path) -> None:
    head, file = tmp_path / "me.png", tmp_path / "points.json"
    true = save_head(head)
    file.write_text(json.dumps({"em.png": true}))
    text = f"--landmarks {file}: no picture is called 'em.png'; did you mean 'me.png'?"
    fails(prepare(head, "-o", tmp_path / "a", "--landmarks", file), 2, text)
    file.write_text(json.dumps({"em.png": true, "me.png": true}))
    said = good(head, "-o", tmp_path / "a", "--landmarks", file)
    text = f"--landmarks {file}: no picture is called 'em.png' (so 1 of 2 names); did you mean"
    assert any(warning.startswith(text) for warning in said["warnings"])
    fails(prepare(head, "-o", tmp_path / "b", "--yaw", "x.jpeg=9"), 2,
          "--yaw: no picture is called 'x.jpeg'; known: me.png")  # fmt: skip


def test_upside_down_mirrored_transparent_and_masked(tmp_path: Path) -> None:
    image = Image.open(photograph("grace_hopper.jpg")).convert("RGB")
    image.rotate(180).save(tmp_path / "down.png")
    (frame,) = good(tmp_path / "down.png", "-o", tmp_path / "a")["frames"]
    assert abs(abs(math.degrees(frame["square"]["roll"])) - 180) < 8
    head = as_bytes(heads().images[7]).permute(1, 2, 0).numpy()
    Image.fromarray(head).save(tmp_path / "head.png")
    (plain,) = good(tmp_path / "head.png", "-o", tmp_path / "b")["frames"]
    (turned,) = good(tmp_path / "head.png", "-o", tmp_path / "c", "--mirror")["frames"]
    assert plain["yaw_deg"] > 15 and turned["yaw_deg"] < -15
    (tmp_path / "masks").mkdir()
    Image.new("L", (128, 128), 255).save(tmp_path / "masks" / "head.png")
    good(tmp_path / "head.png", "-o", tmp_path / "d", "--masks", tmp_path / "masks")
    mask = np.asarray(Image.open(tmp_path / "d" / "masks" / "head.png"))
    assert mask[20:-20, 20:-20].min() == 255
    clear = Image.fromarray(head).convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.arange(128)[:, None] < 64, 255, 0)
                                   .repeat(128, 1).astype(np.uint8)))  # fmt: skip
    clear.save(tmp_path / "clear.png")
    result = prepare(tmp_path / "clear.png", "-o", tmp_path / "e", "--yaw", 20)
    assert result.exit_code in (0, 2) and "this is a bug" not in result.stderr


def test_two_faces_are_told(tmp_path: Path) -> None:
    head = as_bytes(heads().images[5]).permute(1, 2, 0).numpy()
    canvas = Image.new("RGB", (260, 128), "white")
    canvas.paste(Image.fromarray(head), (0, 0))
    canvas.paste(Image.fromarray(head).resize((90, 90)), (150, 20))
    canvas.save(tmp_path / "two.png")
    said = good(tmp_path / "two.png", "-o", tmp_path / "a")
    assert any("2 faces, of which the largest was taken" in text for text in said["warnings"])
    other = good(tmp_path / "two.png", "-o", tmp_path / "b", "--face", 2)
    assert other["frames"][0]["square"]["x"] > 130 > said["frames"][0]["square"]["x"]
    assert not any("--face 2:" in text for text in other["warnings"])


def test_fewer_faces_than_were_counted_on_are_told(tmp_path: Path) -> None:
    for row, name in ((4, "a"), (7, "b")):
        Image.fromarray(as_bytes(heads().images[row]).permute(1, 2, 0).numpy()).save(
            tmp_path / f"{name}.png"
        )
    said = good(tmp_path, "-o", tmp_path / "out", "--face", 3)
    text = "--face 3: a.png shows 1 face, number 1 was taken (so in 2 of 2 frames)"
    assert text in said["warnings"]
    assert [frame["rank"] for frame in said["frames"]] == [1, 1]
    assert not any("number 3" in warning for warning in said["warnings"])


def test_a_small_face_beside_a_large_one_is_reached(tmp_path: Path) -> None:
    canvas = Image.new("RGB", (1100, 700), (120, 130, 140))
    canvas.paste(Image.open(photograph("grace_hopper.jpg")).resize((600, 700)), (0, 0))
    small = Image.open(photograph("astronaut.png")).convert("RGB").crop((150, 20, 300, 190))
    canvas.paste(small.resize((100, 113)), (950, 300))
    canvas.save(tmp_path / "two.png")
    (first,) = good(tmp_path / "two.png", "-o", tmp_path / "a")["frames"]
    assert (first["faces"], first["rank"]) == (1, 1) and first["square"]["x"] < 600
    said = good(tmp_path / "two.png", "-o", tmp_path / "b", "--face", 2)
    (second,) = said["frames"]
    assert (second["faces"], second["rank"]) == (2, 2) and 950 < second["square"]["x"] < 1050
    assert any("2 faces, of which number 2 by size was taken" in w for w in said["warnings"])


def test_black_bars_are_no_background(tmp_path: Path) -> None:
    head = as_bytes(heads().images[5]).permute(1, 2, 0).numpy()
    canvas = Image.new("RGB", (128, 200), "black")
    canvas.paste(Image.fromarray(head), (0, 36))
    canvas.save(tmp_path / "bars.png")
    frames_bars = [np.asarray(canvas)] * 3
    write_video(tmp_path / "bars.mp4", frames_bars, fps=5)
    out = tmp_path / "out"
    good(tmp_path / "bars.mp4", "-o", out)
    picture = np.asarray(Image.open(next((out / "images").iterdir())))
    assert picture[:4, 20:100].min() > 200


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.png", Image.new("RGB", (90, 60), "grey"), "no face found"),
        ("tiny.png", Image.new("RGB", (4, 4), "grey"), "too small: 4x4 pixels; a face must be 20"),
        ("thin.png", Image.new("RGB", (1, 5000), "grey"), "too small: 1x4096 pixels"),
        ("clear.png", Image.new("RGBA", (90, 90)), "transparent all over"),
        ("zero.jpg", b"", "an empty file (0 bytes)"),
        ("page.jpg", b"<!DOCTYPE html>", "no known image format"),
        ("cut.jpg", b"\xff\xd8\xff\xe0cut short", "can't be read as an image"),
        ("no.mp4", b"no video", "can't be read as a video"),
        ("text.txt", b"hello", "neither a picture nor a video"),
        ("missing.png", None, "no such file or folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, name: str, content: Any, said: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.save(path)
    fails(prepare(path, "-o", tmp_path / "out"), 2, said)
    assert [p.name for p in tmp_path.iterdir() if p != path] == []


@pytest.mark.parametrize(("face_at", "frames"), [(None, 60), (100, 240 + 26)])
def test_a_long_clip_without_a_face_is_answered_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face_at: int | None, frames: int
) -> None:
    looked: list[int] = []

    def seen(reader: Any, shot: Any, source: int, **more: Any) -> Sight:
        looked.append(int(shot.name.removeprefix("sky_")))
        found: Any = object() if looked[-1] == face_at else None
        return Sight(
            shot.name, shot.origin, shot.time_s, source, 48, 48, detection=found, reasons=[NO_FACE]
        )

    monkeypatch.setattr("inv3d.photos.prepare.look", seen)
    path = tmp_path / "sky.mp4"
    write_video(path, (np.full((48, 48, 3), 90 + i % 40, np.uint8) for i in range(240)), 30)
    early = "sky.mp4: no face found in 60 frames spread evenly over it, so that the others weren't"
    said = "none of 240 frames can be used (240 no face found)" if face_at else early
    fails(prepare(path, "-o", tmp_path / "out"), 2, said)
    assert len(looked) == frames and looked[59 if face_at is None else 25] > 95


def test_a_clip_on_its_side_and_a_gif_are_followed(tmp_path: Path) -> None:
    """Their frames are as many as those of the upright clip, whatever the file says of its turn."""
    capture = open_capture("sample:dynamic").load(128, list(range(6, 54, 6)))
    frames_up = [as_bytes(image).permute(1, 2, 0).numpy() for image in capture.images]
    write_video(tmp_path / "side.mp4", [np.ascontiguousarray(np.rot90(f)) for f in frames_up], 10)
    said = good(tmp_path / "side.mp4", "-o", tmp_path / "a", "--keep-all")
    assert len(frames(said)) == 8
    pictures = [Image.fromarray(frame) for frame in frames_up]
    pictures[0].save(tmp_path / "turn.gif", save_all=True, append_images=pictures[1:], duration=90)
    moving = good(tmp_path / "turn.gif", "-o", tmp_path / "b", "--keep-all")
    for one, other in zip(frames(said), frames(moving), strict=True):
        assert abs(one["yaw_deg"] - other["yaw_deg"]) < 5


def test_clips_and_pictures_together(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_clip(folder / "turn.mp4", range(12, 36, 6))
    Image.open(photograph("astronaut.png")).save(folder / "me2.png")
    said = good(folder, "-o", tmp_path / "out", "--keep-all")
    assert len(frames(said)) == 5 == len(list((tmp_path / "out" / "images").iterdir()))


def test_wrong_options(tmp_path: Path) -> None:
    head = photograph("astronaut.png")
    fails(prepare(head, "-o", tmp_path / "a", "--generator", "minihat"), 2, "minihead")
    fails(prepare(head, "-o", tmp_path / "a", "--yaw", "left"), 2, "--yaw left: expected degrees")
    result = prepare(head, "-o", tmp_path / "a", "--generator", "eg3d", "--set", "variant=afhq")
    fails(result, 2, "doesn't say where faces are")
    fails(prepare(head, "-o", tmp_path / "a", "--masks", tmp_path), 2, "has no astronaut.png")


def test_a_capture_is_replaced_only_when_asked(tmp_path: Path) -> None:
    head, out = photograph("astronaut.png"), tmp_path / "a"
    good(head, "-o", out)
    fails(prepare(head, "-o", out), 1, "exists already")
    first = (out / "dataset.json").stat().st_ino
    fails(prepare(tmp_path / "missing.png", "-o", out, "--overwrite"), 2, "no such file")
    assert (out / "dataset.json").stat().st_ino == first
    good(head, "-o", out, "--overwrite")
    other = tmp_path / "other"
    other.mkdir()
    fails(prepare(head, "-o", other, "--overwrite"), 1, "no capture of 'prepare'")


def test_run_prepares_a_photograph_and_a_clip(tmp_path: Path) -> None:
    quick = ("--no-report", "--generator-preset", "fast", "--set", "latent.samples=50")
    rays = ("--set", "generator.render_resolution=16", "--set", "latent.steps=1")
    out = tmp_path / "run"
    arguments = ["run", "--method", "wplus", "--input", str(photograph("astronaut.png"))]
    result = CliRunner().invoke(main, [*arguments, "--out", str(out), *quick, *rays])
    assert result.exit_code == 0, result.stderr
    assert "1 of 1 frames, yaw" in result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["input"]["path"] == str(tmp_path / "run-capture")
    assert (tmp_path / "run-capture" / "prepare.html").is_file()
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 < metrics["front"]["faceid"] < 1.2 and metrics["names"]["faceid"] == "faceid"


@pytest.mark.parametrize(
    ("picture", "remedy"),
    [
        (None, "points with '3dinv prepare ... --landmarks FILE'"),
        ("camera.png", "angle with '3dinv prepare ... --yaw DEGREES'"),
    ],
)
def test_run_names_the_command_that_has_the_remedy(
    tmp_path: Path, picture: str | None, remedy: str
) -> None:
    path = photograph(picture) if picture else tmp_path / "grey.png"
    if not picture:
        Image.new("RGB", (90, 60), "grey").save(path)
    out = str(tmp_path / "run")
    result = CliRunner().invoke(main, ["run", "--input", str(path), "--out", out])
    fails(result, 2, remedy)


def test_refinement_changes_cameras_and_crops(tmp_path: Path) -> None:
    rays = ("--set", "render_resolution=16", "--set", "samples=8", "--refine-steps", 2)
    head = photograph("astronaut.png")
    (plain,) = good(head, "-o", tmp_path / "a")["frames"]
    (refined,) = good(head, "-o", tmp_path / "b", "--refine", *rays)["frames"]
    assert 0 < abs(refined["yaw_deg"] - plain["yaw_deg"]) < 2
    assert 0 < abs(refined["square"]["side"] / plain["square"]["side"] - 1) < 0.02
    said = "refined by minihead in 2 steps"
    pages = [(tmp_path / name / "prepare.html").read_text() for name in "ab"]
    assert [said in page for page in pages] == [False, True]
