"""Bases of other projects: eg3d-1, GANSpace, PTI, Pose-Opt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from inv3d.core.errors import InputError, WeightsError
from inv3d.io.arrays import read_arrays

# names of components, mean and deviations: eg3d-1 and sklearn's, GANSpace's cache, PTI's
LAYOUTS = (
    ("components", "mean", "stdev"),
    ("lat_comp", "lat_mean", "lat_stdev"),
    ("comp", "mean", "std"),
    ("", "", ""),
)


def read_basis(path: Path, w_dim: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Read components [C, w_dim], and mean [w_dim] and deviations [C] where the file has them.

    The components' signs stay as they are stored: names that others gave them depend on it.

    Args:
        path: .npz of eg3d-1 (`components`, `mean`) or GANSpace (`lat_comp`, `lat_mean`,
            `lat_stdev`), .pt of PTI (`comp`, `mean`, `std`), .npy of Pose-Opt (one array).
        w_dim: of the generator.

    Raises:
        InputError: where there's no such file.
        WeightsError: where it's damaged, holds no basis, or one of another W.
    """
    wanted = tuple(dict.fromkeys(name for layout in LAYOUTS for name in layout))
    arrays = read_arrays(path, wanted, "directions").found
    names = next((layout for layout in LAYOUTS if layout[0] in arrays), None)
    if names is None:
        raise WeightsError(
            f"{path}: holds no components; expected an .npz with 'components' (eg3d-1) or "
            "'lat_comp' (GANSpace), a .pt with 'comp' (PTI), or an .npy with one array (Pose-Opt)"
        )
    components = _rows(arrays[names[0]], w_dim, path)
    mean, deviations = (_vector(arrays, name, path) for name in names[1:])
    if mean is not None and len(mean) != w_dim:
        raise WeightsError(f"{path}: a mean of {len(mean)} numbers for components of {w_dim}")
    if deviations is not None and len(deviations) != len(components):
        raise WeightsError(
            f"{path}: {len(deviations)} deviations for {len(components)} components; take a "
            "whole file"
        )
    if deviations is not None and not bool((deviations > 0).all()):
        raise WeightsError(
            f"{path}: a deviation of {float(deviations.min()):g}, expected numbers above 0; take a "
            "whole file"
        )
    return components, mean, deviations


def _rows(array: Tensor, w_dim: int, path: Path) -> Tensor:
    shape = tuple(array.shape)
    rows = array.squeeze(1) if array.ndim == 3 and shape[1] == 1 else array
    if rows.ndim != 2 or not rows.numel():
        raise WeightsError(f"{path}: components of shape {shape}, expected [C, {w_dim}]")
    if rows.shape[1] != w_dim:
        raise WeightsError(
            f"{path}: components of {rows.shape[1]} numbers, but latents of this generator have "
            f"{w_dim}; take a basis that was made for it"
        )
    lengths = rows.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()) or not bool(rows.isfinite().all()):
        raise WeightsError(f"{path}: a component is zero or not finite; take a whole file")
    unit: Tensor = rows / lengths
    return unit


def _vector(arrays: Mapping[str, Tensor], name: str, path: Path) -> Tensor | None:
    if not name or name not in arrays:
        return None
    vector = arrays[name].flatten()
    if not bool(vector.isfinite().all()):
        raise InputError(f"{path}: '{name}' has numbers that aren't finite; take a whole file")
    return vector
