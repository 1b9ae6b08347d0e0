"""What follows a convolution, by Triton programs: the functions of `epilogue` with its arguments.

`epilogue` itself is the plain twin; that of the low-pass filter is in `filters`. Nothing here is
added atomically: the same bits every time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.nn import filters
from inv3d.nn.launch import block, on, tiles
from inv3d.nn.layers import LRELU_SLOPE
from inv3d.nn.modulated import epilogue as plain
from inv3d.nn.modulated.epilogue import Epilogue, Gradients, as_rows
from inv3d.nn.trial import error_of, may_run, passed

# Pixels and channels of a tile; tiles that a program of the backward pass goes through.
_PIXELS, _CHANNELS, _STEPS = 32, 64, 8
# Rows of a band, and columns of a tile, that a program filters.
_ROWS, _COLUMNS = 16, 16
_TYPES = (torch.float32, torch.bfloat16, torch.float16)
# Largest error in units of the largest number; two bits of a reduced type's digits.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}


def usable(maps: Tensor, dtype: torch.dtype) -> bool:
    """Whether maps go this way: on a GPU on which the programs passed a trial.

    Args:
        maps: where they are.
        dtype: their type.
    """
    if dtype not in _TYPES or not may_run(maps):
        return False
    key = ("epilogue", maps.device, dtype)
    return passed(key, "what follows a convolution", lambda: fault_of(maps.device, dtype))


def apply_(
    epilogue: Epilogue, y: Tensor, scale: Tensor | None, bias: Tensor | None, noise: Tensor | None
) -> None:
    """Change maps in place; see `epilogue.apply_`."""
    from inv3d.nn.modulated import epilogue_programs

    table = as_rows(y)
    rows, channels = table.shape
    known = {**_flags(epilogue, scale, noise), "BIAS": bias is not None, **_tile(channels)}
    with on(y):
        epilogue_programs.forward[(tiles(rows, _PIXELS), tiles(channels, known["BC"]))](
            table, _given(scale, y), _given(bias, y), _given(noise, y),
            rows, _style_rows(y, scale), _noise_rows(y, noise), channels,
            epilogue.clamp or 0.0, LRELU_SLOPE, **known,
        )  # fmt: skip


def backward(
    epilogue: Epilogue,
    gradient: Tensor,
    y: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    noise: Tensor | None,
    wanted: tuple[bool, bool, bool],
) -> Gradients:
    """Return the gradients of `apply_`, from what it left behind; see `epilogue.backward`."""
    to_scale, to_bias, to_noise = wanted
    out = torch.empty_like(gradient)
    sums, pixels = _back(epilogue, gradient, y, scale, noise, out, to_noise)
    products, totals, shares = sums.unbind(1)
    if bias is not None:
        products = products - totals * bias
    made = None
    if noise is not None and pixels is not None:
        made = pixels.view(len(y), *noise.shape[1:]).sum_to_size(noise.shape)
    return Gradients(
        out, products - shares if to_scale else None, totals.sum(0) if to_bias else None, made
    )


def scale_backward_(gradient: Tensor, x: Tensor, scale: Tensor, wanted: bool) -> Tensor | None:
    """Take the gradient to x * scale for that to x; see `epilogue.scale_backward_`."""
    sums, _ = _back(Epilogue(False, None), gradient, x, scale, None, gradient, False)
    return sums[:, 0] if wanted else None


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter the output of a transposed convolution; see `filters.blur`."""
    return _blur(x, kernel, 1)


def blur_backward(gradient: Tensor, kernel: Tensor) -> Tensor:
    """Gradient of `blur` to its input; see `filters.blur_backward`."""
    return _blur(gradient, kernel.flip(0, 1), 2)


def _blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Filter [N, C, H, W]; the result has as many rows and columns more as padding leaves."""
    from inv3d.nn.modulated import epilogue_programs

    x = x.contiguous(memory_format=torch.channels_last)
    images, channels, height, width = x.shape
    size = height + 2 * padding - 3, width + 2 * padding - 3
    shape = (images, channels, *size)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    bands, part = tiles(size[0], _ROWS), _tile(channels)["BC"]
    with on(x):
        epilogue_programs.blur[
            (images * bands, tiles(size[1], _COLUMNS), tiles(channels, part))
        ](
            x, kernel.float().contiguous(), y, bands, height, width, *size, channels, padding,
            BX=_COLUMNS, BC=part, ROWS=_ROWS,
        )  # fmt: skip
    return y


def _back(
    epilogue: Epilogue,
    gradient: Tensor,
    y: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    out: Tensor,
    to_pixels: bool,
) -> tuple[Tensor, Tensor | None]:
    """Write a gradient, return sums over pixels [S, 3, C] and, if wanted, over channels [M]."""
    from inv3d.nn.modulated import epilogue_programs

    table = as_rows(y)
    rows, channels = table.shape
    styles = 1 if scale is None else len(scale)
    tile = _tile(channels)
    chunks = tiles(rows // styles, tile["BM"] * _STEPS)
    parts = tiles(channels, tile["BC"])
    sums = y.new_empty(styles, chunks, 3, channels, dtype=torch.float32)
    pixels = y.new_empty(parts, rows, dtype=torch.float32) if to_pixels else sums
    with on(y):
        epilogue_programs.backward[(styles * chunks, parts)](
            as_rows(gradient), table, _given(scale, y), _given(noise, y), as_rows(out), sums,
            pixels, rows, rows // styles, _noise_rows(y, noise), channels, chunks,
            epilogue.clamp or 0.0, LRELU_SLOPE, **_flags(epilogue, scale, noise),
            PIXELS=to_pixels, **tile, STEPS=_STEPS,
        )  # fmt: skip
    return sums.sum(1), pixels.sum(0) if to_pixels else None


def _flags(epilogue: Epilogue, scale: Tensor | None, noise: Tensor | None) -> dict[str, bool]:
    return {
        "SCALE": scale is not None,
        "NOISE": noise is not None,
        "ACTIVATE": epilogue.activate,
        "CLAMP": epilogue.clamp is not None,
    }


def _tile(channels: int) -> dict[str, int]:
    return {"BM": _PIXELS, "BC": min(_CHANNELS, block(channels))}


def _style_rows(y: Tensor, scale: Tensor | None) -> int:
    return y.shape[0] // (1 if scale is None else len(scale)) * y.shape[2] * y.shape[3]


def _noise_rows(y: Tensor, noise: Tensor | None) -> int:
    """After how many pixels noise [1 or N, 1, H, W] begins again."""
    return (1 if noise is None else len(noise)) * y.shape[2] * y.shape[3]


def _given(tensor: Tensor | None, other: Tensor) -> Tensor:
    """What a program is given for a tensor that may be missing, and is then never read."""
    return other if tensor is None else tensor.contiguous()


def fault_of(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return in a line what the programs find wrongly on a device, None if nothing.

    Raises:
        Exception: what compiling and launching them raises.
    """
    rng = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, device="cpu")

    y, gradient = (
        drawn(4, 40, 5, 7).to(dtype).contiguous(memory_format=torch.channels_last) for _ in "yg"
    )
    scale, bias, noise = drawn(2, 40), drawn(40), drawn(1, 1, 5, 7)
    how, wanted = Epilogue(True, 1.5), (True, True, True)
    found, exact = y.to(device), y.float()
    rest = scale.to(device), bias.to(device), noise.to(device)
    apply_(how, found, *rest)
    plain.apply_(how, exact, scale, bias, noise)
    # from the same map, as a rounding turns what is near a kink
    left = exact.to(dtype)
    made = backward(how, gradient.to(device), left.to(device), *rest, wanted)
    right = plain.backward(how, gradient.float(), left.float(), scale, bias, noise, wanted)
    pairs = {"map": (found, exact)}
    kernel = filters.resample_filter() * (1 + 0.1 * drawn(4, 4))
    for name, by_program, plainly in (
        ("filtered map", blur, filters.blur),
        ("gradient of the filter", blur_backward, filters.blur_backward),
    ):
        maps = drawn(2, 40, 20, 19).to(dtype)
        pairs[name] = by_program(maps.to(device), kernel.to(device)), plainly(maps.float(), kernel)
    for name in ("y", "scale", "bias", "noise"):
        pairs[f"gradient to {name}"] = getattr(made, name), getattr(right, name)
    for name, (value, expected) in pairs.items():
        off = error_of(value, expected)
        if not off <= _TOLERANCE[dtype]:
            return f"the {name} is off by {off:.1e} of its largest value on {device}"
    return None
