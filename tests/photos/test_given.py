"""Names under which points and angles are given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inv3d.core.errors import InputError
from inv3d.photos.given import unknown_names
from inv3d.photos.sight import Sight

PICTURE = Sight("me", "me.png", None, 0, 90, 60)
FRAME = Sight("clip_000003", "frame 3 at 0.12 s", 0.12, 1, 90, 60)


@pytest.mark.parametrize("name", ["", "me", "me.png", "me.jpg", "clip_000003", "clip_000003.png"])
def test_names_with_and_without_an_ending_are_known(name: str) -> None:
    assert unknown_names("--yaw", {name: 1.0}, [PICTURE, FRAME]) == []


def test_unknown_names_are_told_with_the_nearest() -> None:
    (said,) = unknown_names("--yaw", {"clip_00003": 1.0, "me": 2.0}, [PICTURE, FRAME])
    assert said == (
        "--yaw: no picture is called 'clip_00003' (so 1 of 2 names); did you mean 'clip_000003'?"
    )


def test_of_many_pictures_the_first_and_the_last_are_listed() -> None:
    many = [replace(PICTURE, name=f"{i:03}", origin=f"{i:03}.png") for i in range(200)]
    with pytest.raises(InputError, match=r"called 'you'; known: 000\.png to 199\.png$"):
        unknown_names("--yaw", {"you": 1.0}, many)
