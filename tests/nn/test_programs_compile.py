"""Triton's programs compile for GPUs, which needs none: what an interpreter can't tell."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton", minversion="3.3")

RAYS, EPILOGUE = "inv3d.nn.raymarch.programs", "inv3d.nn.modulated.epilogue_programs"
WINOGRAD = "inv3d.nn.modulated.winograd_programs"
# Shared memory of the smallest GPUs that are served, bytes a program.
SHARED = 99 << 10
AXES = {"A0": 0, "B0": 1, "A1": 0, "B1": 2, "A2": 2, "B2": 0}
SIZES = {"C": 32, "H": 64, "BC": 32, "BH": 64}
ALL = AXES | SIZES | {"N": 32, "BO": 32, "T": 16, "COLOUR": True}
TILE = {"BM": 32, "BC": 64, "SCALE": True, "NOISE": True, "ACTIVATE": True, "CLAMP": True}
NUMBERS = {"scale": "fp32", "limit": "fp32", "gain": "fp32", "factor": "fp32", "clamp": "fp32",
           "slope": "fp32"}  # fmt: skip
# numbers among the arguments of these programs; all others are tensors
COUNTS = ("rays", "samples", "group", "size", "slices", "sb", "sp", "sd", "sy", "sx", "rows",
          "style_rows", "noise_rows", "channels", "chunks", "bands", "height", "width",
          "out_height", "out_width", "padding", "first", "count")  # fmt: skip


def compiled(home: str, name: str, constants: dict[str, Any], capability: int, warps: int) -> Any:
    """A program for a GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    program = getattr(import_module(home), name)
    numbers = NUMBERS if home == RAYS else {k: v for k, v in NUMBERS.items() if k != "scale"}
    signature, aligned = {}, {}
    for place, argument in enumerate(program.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in numbers or argument in COUNTS:
            signature[argument] = numbers.get(argument, "i32")
        else:
            signature[argument] = "*fp32"
        if signature[argument] == "*fp32" or argument in ("sb", "sp", "sd", "sy", "sx"):
            aligned[(place,)] = [["tt.divisibility", 16]]
    known = {(program.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(program, signature, known, aligned)
    options = {"num_warps": warps, "num_stages": 1}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_programs_for_rays_compile(capability: int) -> None:
    how = ALL | {"GRID": False, "CROP": False, "ACTIVATION": "sigmoid"}
    back = how | {"PLANES": True, "ORDERED": False, "WEIGHTS": True}
    for name, constants in (("decode", how), ("decode_back", back)):
        products = {}
        for precision in ("tf32", "tf32x3"):
            made = compiled(RAYS, name, constants | {"PRECISION": precision}, capability, 4)
            assert made.metadata.shared < SHARED
            ptx = made.asm["ptx"]
            products[precision] = len(re.findall(r"mma\S*\.tf32\.tf32", ptx))
        # on tensor cores; exact ones in three parts
        assert products["tf32x3"] == 3 * products["tf32"] > 0
        if name == "decode_back":
            wide = "atom.global.gpu.relaxed.add.v4.f32"
            assert (wide if capability == 90 else "add.f32") in ptx


def test_programs_along_rays_compile() -> None:
    for name in ("composite", "composite_back"):
        for colour in (True, False):
            compiled(RAYS, name, {"N": 32, "BO": 32, "T": 32, "COLOUR": colour}, 90, 4)


@pytest.mark.slow
def test_programs_for_grids_compile() -> None:
    how = {"PRECISION": "tf32x3", "GRID": True, "CROP": True, "ACTIVATION": "none"}
    made = compiled(RAYS, "decode", ALL | how | {"COLOUR": False}, 90, 4)
    assert made.metadata.shared < SHARED


def test_programs_for_epilogues_compile() -> None:
    compiled(EPILOGUE, "forward", TILE | {"BIAS": True}, 90, 4)
    compiled(EPILOGUE, "blur", {"BX": 16, "BC": 64, "ROWS": 16}, 90, 4)
    compiled(EPILOGUE, "backward", TILE | {"PIXELS": True, "STEPS": 8}, 90, 4)


def test_programs_for_winograd_compile() -> None:
    for name in ("windows", "spread", "pixels"):
        compiled(WINOGRAD, name, {"BT": 4, "BC": 64}, 90, 4)
