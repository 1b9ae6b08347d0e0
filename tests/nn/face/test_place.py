"""How faces lie beside where a generator shows them."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.alignment import Alignment
from inv3d.core.capture import Capture
from inv3d.core.fit.context import Context
from inv3d.nn.face.place import Misplacement, misplacement
from inv3d.plugins.generators.minihead import MiniHead
from inv3d.plugins.methods.encoders.views import say_where_faces_are
from tests.faces import heads


def faces() -> Alignment:
    return MiniHead.alignment(MiniHead.Config())


def moved(image: Tensor, right: float = 0.0, scale: float = 1.0, roll_deg: float = 0.0) -> Tensor:
    """The picture [3, H, H] with its head further right, larger, turned clockwise."""
    c, s = (f(math.radians(roll_deg)) / scale for f in (math.cos, math.sin))
    back = torch.tensor([[c, s, -2 * right * c], [-s, c, 2 * right * s]])
    grid = F.affine_grid(back[None], [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


@pytest.mark.parametrize("row", [3, 5, 7])
def test_pictures_of_the_generators_own_are_in_place(row: int) -> None:
    view = heads()[[row]]
    found = misplacement(view.images[0], view.camera, faces())
    assert found is not None and found.small, found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"right": 0.1}, "too far right"),
        ({"right": -0.1}, "too far left"),
        ({"scale": 1.3}, "times as large as it should be"),
        ({"scale": 0.75}, "times as large as it should be"),
        ({"roll_deg": 20.0}, "turned by"),
    ],
)
def test_what_was_moved_is_measured(change: dict[str, float], said: str) -> None:
    view = heads()[[5]]
    found = misplacement(moved(view.images[0], **change), view.camera, faces())
    assert found is not None and not found.small and said in str(found)
    want = {"right": 0.0, "scale": 1.0, "roll_deg": 0.0} | change
    assert found.right == pytest.approx(want["right"], abs=0.03)
    assert found.scale == pytest.approx(want["scale"], abs=0.08)
    assert found.roll_deg == pytest.approx(want["roll_deg"], abs=5)


def test_nothing_is_said_of_what_shows_no_face() -> None:
    assert misplacement(torch.zeros(3, 64, 64), heads().camera[0], faces()) is None
    assert str(Misplacement(-0.2, 0.1, 1.0, 0.0)) == (
        "20 % of the picture too far left, 10 % of the picture too far down"
    )


def test_encoders_warn_where_a_face_is_elsewhere() -> None:
    generator: Any = SimpleNamespace(faces=faces(), spec=SimpleNamespace(name="minihead"))
    view = heads()[[5]]
    context, plain = Context.create(), Context.create()

    def say(images: Tensor, to: Context, of: Any = generator) -> Capture:
        seen = replace(view, images=images[None])
        say_where_faces_are(of, seen, to)
        return seen

    say(view.images[0], plain)
    aside = moved(view.images[0], right=0.15)
    say(aside, plain, SimpleNamespace(faces=None, spec=generator.spec))
    assert not plain.state.notices
    name = say(aside, context).names[0]
    (notice,) = context.state.notices
    assert notice.startswith(f"{name}: from its camera, generator minihead shows faces elsewhere")
    assert "of the picture too far right" in notice and "3dinv prepare" in notice
