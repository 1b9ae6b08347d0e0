"""Details that no z makes: where they are, what they leave alone, how captures name them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from tools.minihead.cameras import FOCAL, orbit
from tools.minihead.extras import EXTRAS, add_extras, glasses
from tools.minihead.heads import EYES_AT, PIVOT, SCALE, HeadBatch, Heads
from tools.minihead.make_captures import main
from tools.minihead.raster import render
from tools.minihead.seeds import CAPTURES, z_of_seed

LOOKS = {"front": 0.1, "side": 1.2, "behind": 3.1}


@pytest.fixture(scope="module")
def bare() -> HeadBatch:
    return Heads().build(z_of_seed(CAPTURES[31])[None])


def seen(batch: HeadBatch) -> dict[str, Tensor]:
    yaw = torch.tensor(list(LOOKS.values()))
    return render(batch, orbit(yaw, 0 * yaw)[None], FOCAL, 96)


def changed(bare: HeadBatch, name: str) -> Tensor:
    """Share of the picture that an extra changes, by look [3]."""
    difference = (seen(add_extras(bare, [name]))["rgb"] - seen(bare)["rgb"])[0].abs().amax(1)
    return (difference > 0.05).float().mean((1, 2))


@pytest.mark.parametrize(
    ("name", "front", "behind"),
    [
        ("head-band", True, True),
        ("cheek-mark", True, False),
        ("freckles", True, False),
        ("collar-pattern", True, True),
        ("glasses", True, False),
    ],
)
def test_an_extra_is_where_it_belongs(
    bare: HeadBatch, name: str, front: bool, behind: bool
) -> None:
    share = changed(bare, name)
    assert (0.001 < share[0] < 0.08) == front
    assert (share[2] > 0.001) == behind


def test_paint_changes_no_shape_and_glasses_stand_before_the_eyes(bare: HeadBatch) -> None:
    before = seen(bare)
    painted = seen(add_extras(bare, [name for name in EXTRAS if name != "glasses"]))
    assert torch.equal(before["depth"], painted["depth"])
    worn = seen(add_extras(bare, ["glasses"]))
    nearer = (before["depth"] - worn["depth"])[0, 0]
    assert nearer.max() > 0.005 and nearer[before["depth"][0, 0] > 0].min() > -0.01


def test_glasses_surround_the_eyes() -> None:
    points, faces = glasses()
    assert faces.max() == len(points) - 1 and faces.min() == 0
    middle = points.mean(0)
    assert abs(float(middle[0])) < 0.01
    assert (points[:, 2] - EYES_AT[2]).max() > 0.2
    world = (points - points.new_tensor(PIVOT)) * SCALE
    assert world.abs().max() < 0.3


def test_no_extras_are_no_change(bare: HeadBatch) -> None:
    assert torch.equal(seen(bare)["rgb"], seen(add_extras(bare, []))["rgb"])


def test_captures_carry_extras_and_say_so(tmp_path: Path) -> None:
    options = ["write", str(tmp_path), "--views", "2", "--resolution", "32", "--supersample", "1"]
    for name, more in (("plain", []), ("worn", ["--extras", "glasses", "--extras", "freckles"])):
        options[1] = str(tmp_path / name)
        result = CliRunner().invoke(main, [*options, *more])
        assert result.exit_code == 0, result.output
    told = {}
    for name in ("plain", "worn"):
        folder = next((tmp_path / name).iterdir())
        told[name] = json.loads((folder / "identity.json").read_text())
    assert told["plain"]["extras"] == [] and told["worn"]["extras"] == ["glasses", "freckles"]
    assert told["plain"]["z"] == told["worn"]["z"]
