"""The metrics: one list of those that are built in, and how metrics.json describes all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from inv3d.core.loss import AnyLoss

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        key: in metrics.json.
        label: in tables.
        better: which direction.
        digits: after the point.
        unit: in words.
    """

    key: str
    label: str
    better: Better
    digits: int
    unit: str = ""


# of every frame; "perceptual" and "identity" are judged by losses that the generator names
FRAME_COLUMNS = (
    Column("mse", "MSE", "lower", 4, "of values in [-1, 1]"),
    Column("psnr", "PSNR", "higher", 2, "dB"),
    Column("perceptual", "Perceptual", "lower", 4),
    Column("ms_ssim", "MS-SSIM", "higher", 3),
    Column("identity", "ID", "higher", 3, "cosine"),
    Column("depth_error", "Depth error", "lower", 4, "world units"),
)
JUDGED = ("perceptual", "identity")
# of the run as a whole: how much its latents differ
RUN_COLUMNS = (
    Column("depth_consistency", "Depth consistency", "lower", 5, "world units"),
    Column("latent_distance", "Latent distance", "lower", 2),
)


def columns_with(judges: Mapping[str, AnyLoss]) -> tuple[Column, ...]:
    """Return the metrics of the frames: those that are built in, then those of further losses.

    Args:
        judges: role -> loss; one that isn't built in is described by what its loss says of itself.
    """
    columns = list(FRAME_COLUMNS)
    for role, loss in judges.items():
        if role in JUDGED:
            continue
        spoken = role.replace("_", " ")
        label = loss.label or spoken[:1].upper() + spoken[1:]
        if label in {column.label for column in columns}:
            label = f"{label} ({role})"
        better: Better = "higher" if loss.higher_is_better else "lower"
        columns.append(Column(role, label, better, loss.digits, loss.unit))
    return tuple(columns)


def described(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return columns as plain values, for metrics.json: readers need no plugin to show them."""
    return [asdict(column) for column in columns]


def frame_columns(metrics: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the metrics of the frames, those of plugins included.

    Args:
        metrics: as `evaluate` returns them.
    """
    return tuple(Column(**row) for row in metrics["columns"])


def run_columns(metrics: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the metrics of the run as a whole.

    Args:
        metrics: as `evaluate` returns them.
    """
    return tuple(Column(**row) for row in metrics["run_columns"])


def united(tables: Iterable[Sequence[Column]]) -> tuple[Column, ...]:
    """Return every column of several tables once, in the order in which they appear."""
    found: dict[str, Column] = {}
    for columns in tables:
        for column in columns:
            found.setdefault(column.key, column)
    return tuple(found.values())
