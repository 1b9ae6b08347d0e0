"""Arguments of Python's callers: another type is one line that says what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inv3d
from inv3d.core.arguments import expect
from tests.toy_runs import toy_case

CASE = toy_case()
CAMERA: Any = CASE.generator.spec.camera.front()
HEAD = inv3d.Inverted(CASE.generator, CASE.inversion, CASE.capture)
ANY: Any = inv3d  # whose functions are called with what their types forbid
TEXT: Any = "front"
FLOATS = np.zeros((8, 8, 3), np.float32)
BATCH: Any = torch.zeros(2, 3, 8, 8)
NAMED = ("generator", "loss", "method", "editor", "estimator")


def views(*given: Any, **more: Any) -> list[Any]:
    return list(ANY.render_views(*given, **more))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: HEAD.render(TEXT), "camera: found 'front', expected a Camera"),
        (lambda _: views(CASE.inversion, CASE.generator, CAMERA), "generator: .* type Inversion"),
        (lambda _: views(CASE.generator, TEXT, CAMERA), "inversion: found 'front'"),
        (lambda _: views(CASE.generator, CASE.inversion, None), "camera: found None"),
        (
            lambda _: views(CASE.generator, CASE.inversion, CAMERA, resolution="8"),
            "resolution: found '8', expected a whole number",
        ),
        (lambda _: ANY.open_run(None), "directory: found None, expected the path"),
        (lambda _: ANY.read_metrics(3), "directory: found 3, expected the path"),
        (lambda _: ANY.Inversion.load(3), "directory: found 3, expected the path"),
        (lambda _: ANY.Editing("run", "texture"), "run: found 'run', expected a Run"),
        (lambda _: ANY.read_cameras(3), "path: found 3, expected the path"),
        (lambda at: ANY.write_labels(at, "x", ["a"]), "camera: found 'x', expected a Camera"),
        (lambda at: ANY.write_labels(at, CAMERA, ["a", "b"]), "names: found 2 for 1 cameras"),
        (lambda _: ANY.extract_mesh(CASE.generator, CASE.inversion), "scene: .*expected a Scene"),
        (lambda at: ANY.write_mesh(at / "a.ply", "mesh"), "mesh: .*expected a Mesh"),
        (lambda at: ANY.write_video(at / "a.gif", BATCH), "frame 0: found a value of type Tensor"),
        (lambda at: ANY.write_video(at / "a.gif", [FLOATS]), r"frame 0: .*\[8, 8, 3\] of float32"),
        (lambda at: ANY.save_png(at / "a.png", BATCH), "frame: found a value of type Tensor"),
        (lambda _: ANY.save_png(3, FLOATS), "path: found 3, expected the path"),
        (lambda _: ANY.tile([BATCH]), "row 0, picture 0: found a value of type Tensor"),
        (lambda _: ANY.colour_frames([1]), r"images: .*expected a tensor \[N, 3, H, W\]"),
        (lambda _: ANY.colour_frames(BATCH[0]), r"images: found shape \[3, 8, 8\]"),
        (lambda _: ANY.depth_frames([1], BATCH, 8), "depth: found a value of type list"),
        (lambda _: ANY.Camera([[1]], [[1]]), "cam2world: found a value of type list"),
        (lambda _: ANY.Camera.from_labels([0.0] * 25), r"labels: .*a tensor \[N, 25\]"),
        (lambda _: ANY.Camera.cat("ab"), r"cameras\[0\]: found 'a', expected a Camera"),
        (lambda _: ANY.Camera.cat([]), "cameras: found none"),
        (lambda _: ANY.look_at([0, 0, 1], BATCH, BATCH), "position: found a value of type list"),
        (lambda _: ANY.orbit("left", radius=2.7, focal=4.0), "yaw: found 'left', expected radians"),
        (lambda _: ANY.interpolate("a", CAMERA, 0.5), "first: found 'a', expected one camera"),
        *(
            (lambda _, kind=kind: getattr(ANY, f"load_{kind}")(3), f"{kind}: found 3, .*text")
            for kind in NAMED
        ),
        (lambda _: ANY.load_generator("minihead", weights=3), "weights: found 3, expected the"),
        (lambda _: ANY.load_generator("minihead", device=3), "device: found 3, expected 'auto'"),
        (lambda _: ANY.load_method("wplus", generator="minihead"), "generator: found 'minihead'"),
        (
            lambda _: inv3d.load_method("wplus").invert(CASE.generator, TEXT, TEXT),
            "capture: found 'front', expected a Capture",
        ),
        (lambda _: CASE.inversion.tune(TEXT), "generator: found 'front', expected a Generator"),
        (lambda _: CASE.inversion.scene_for(CASE.generator, TEXT), "camera: found 'front'"),
        (lambda _: ANY.read_tensors(3), "path: found 3, expected the path"),
        (lambda _: ANY.open_checkpoint(None), "path: found None, expected the path"),
    ],
)
def test_another_type_is_one_line(
    call: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(inv3d.ConfigError, match=f"^{message}") as told:
        call(tmp_path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 200


def test_what_fits_is_let_through(tmp_path: Path) -> None:
    expect("path", tmp_path, (str, Path), "a path")
    assert len(inv3d.orbit([0.0, 1.0], radius=2.7, focal=4.0)) == 2  # type: ignore[arg-type]
