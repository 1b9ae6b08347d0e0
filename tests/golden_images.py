"""Comparing renderings with what golden cases hold of them: whole, thinned out or cropped."""

from __future__ import annotations

import re

from torch import Tensor

from inv3d.core.scene import OutputName, Rendering
from tests.golden_cases import GoldenCase, relative_error

ALL_OUTPUTS: tuple[OutputName, ...] = ("image", "raw", "depth", "mask", "features")
VALUES, GRADIENTS, EARLY = 1e-4, 1e-3, 1e-5
CROP = re.compile(r"rows (\d+)\.\.(\d+), columns (\d+)\.\.(\d+)")


def selected(case: GoldenCase, key: str, image: Tensor) -> Tensor:
    """Cut from a whole image what the file holds of it."""
    if (step := re.search(r"_sub(\d+)$", key)) is not None:
        return image[..., :: int(step[1]), :: int(step[1])]
    if re.search(r"_crop\d+$", key) is None:
        return image
    rows = CROP.search(case.facts["tensors"][key]["meaning"])
    assert rows is not None
    top, bottom, left, right = (int(n) for n in rows.groups())
    return image[..., top : bottom + 1, left : right + 1]


def keys_of(case: GoldenCase, start: str) -> list[str]:
    found = [k for k in case.tensors if re.fullmatch(rf"out\.{start}(_sub\d+|_crop\d+)?", k)]
    assert found, start
    return found


def check(case: GoldenCase, start: str, image: Tensor, tolerance: float = VALUES) -> None:
    for key in keys_of(case, start):
        expected = case.tensors[key]
        # Crops are compared on the scale of the whole picture.
        error = (selected(case, key, image) - expected).abs().max() / image.abs().max()
        assert error < tolerance, key


def check_depth(case: GoldenCase, start: str, depth: Tensor, mask: Tensor) -> None:
    """Depth is a quotient of two nearly-zero numbers where nothing absorbs."""
    for key in keys_of(case, start):
        seen = selected(case, key, mask) > 1e-2
        found, expected = selected(case, key, depth)[seen], case.tensors[key][seen]
        assert seen.any()
        assert relative_error(found, expected) < VALUES, key


def check_pictures(
    case: GoldenCase, seen: Rendering, prefix: str = "", raw: str = "image_raw"
) -> None:
    """Raw image, final image and depth."""
    check(case, f"{prefix}{raw}", seen.require("raw"))
    check(case, f"{prefix}image", seen.require("image"))
    check_depth(case, f"{prefix}image_depth", seen.require("depth"), seen.require("mask"))
