"""The editor: fit and apply."""

from __future__ import annotations

import re
import time
from collections.abc import Generator as Iteration
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.editor import NAMES, Directions, Editor, Subject
from inv3d.core.errors import ConfigError, WeightsError, suggest
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.inversion import Inversion
from inv3d.core.moves import conditioned, shifted, warn_of_distance
from inv3d.io.arrays import read_arrays
from inv3d.plugins.editors.interfacegan.boundary import (
    Boundary,
    find_boundary,
    linear_readings,
    shuffler,
)
from inv3d.plugins.editors.interfacegan.config import InterFaceGANConfig, InterFaceGANEdit
from inv3d.plugins.editors.interfacegan.scores import (
    chosen_attributes,
    find_classifier,
    scored,
)

_MAPPED, _SEEN = 10_000, 16
_MEASURING = 5_000
_LEAST_SLOPE = 0.01
# what else 3dinv edit reads or refuses by itself
_SHARED = ("set", "yaw_deg")


class InterFaceGAN(Editor[InterFaceGANConfig, InterFaceGANEdit]):
    """Directions in which an attribute changes, from scores of samples."""

    name = "interfacegan"
    summary = "directions of attributes, one moving while others stay"
    licence = "Apache-2.0"
    reference = "Shen et al., InterFaceGAN, TPAMI 2020"
    requires = ("scikit-learn",)
    Config = InterFaceGANConfig
    Edit = InterFaceGANEdit
    partners = (0, 1)

    def fit(self, generator: Generator, context: Context) -> Iteration[Progress, None, Directions]:
        """Score samples, then part high from low scores of every attribute."""
        named = self.config.classifier
        classifier = None if named is None else find_classifier(named)
        size = _MAPPED if classifier is None else _SEEN
        count = self.config.samples
        chunks = [
            context.randn((min(size, count - at), generator.spec.z_dim), torch.zeros(()))
            for at in range(0, count, size)
        ]
        started, rows, scores = time.perf_counter(), [], []
        for step, (w, found) in enumerate(scored(generator, chunks, classifier)):
            rows.append(w)
            scores.append(found)
            now = time.perf_counter()
            yield Progress("score", step, len(chunks), {}, {}, now - started)
            started = now
        codes = torch.cat(rows)
        names = chosen_attributes(list(scores[0]), self.config.attributes)
        table = torch.stack([torch.cat([found[n] for found in scores]) for n in names], 1)
        boundaries: dict[str, Boundary] = {}
        for step, name in enumerate(names):
            boundaries[name] = find_boundary(
                codes, table[:, step], self.config, shuffler(context.seed), name
            )
            now = time.perf_counter()
            yield Progress("separate", step, len(names), {}, {}, now - started)
            started = now
        return self._directions(generator, codes, boundaries, linear_readings(codes, table))

    def take(self, path: Path, generator: Generator, context: Context) -> Directions:
        """Read one direction of InterFaceGAN or PTI, named after its file.

        Args:
            path: .npy or .pt, [1, w_dim] or [w_dim].
            generator: that deviations are measured on.
            context: random numbers.
        """
        name = self._name_of(path)
        arrays = read_arrays(path, ("",), "directions").found
        row = arrays[""].flatten() if "" in arrays else torch.empty(0)
        if len(row) != generator.spec.w_dim or not bool(row.isfinite().all()) or not row.any():
            raise WeightsError(
                f"{path}: holds no direction of {generator.spec.w_dim} finite numbers; take one "
                "that was made for this generator"
            )
        z = context.randn((_MEASURING, generator.spec.z_dim), torch.zeros(()))
        codes = mapped(generator, z)
        boundary = Boundary(row / row.norm(), 0.0, None, None, 0)
        return self._directions(generator, codes, {name: boundary}, None)

    def _name_of(self, path: Path) -> str:
        """Return a name for the direction in a file, one that 3dinv edit takes as an option."""
        name = re.sub(r"\W+", "_", path.stem).strip("_")
        if not name or name in {*self.hidden, *self.Edit.model_fields, *_SHARED}:
            raise ConfigError(
                f"{path}: a direction is named after its file, and '{name}' is an option of '3dinv "
                f"edit' already or no name; rename the file, such as {name}_direction{path.suffix}"
            )
        return name

    def _directions(
        self,
        generator: Generator,
        codes: Tensor,
        boundaries: Mapping[str, Boundary],
        readings: tuple[Tensor, Tensor] | None,
    ) -> Directions:
        directions = torch.stack([b.direction.float() for b in boundaries.values()])
        tensors = {
            "directions": directions,
            "offsets": torch.tensor([b.offset for b in boundaries.values()]),
            "mean": codes.mean(0),
            "deviations": (codes @ directions.T).std(0, correction=0),
        }
        said = {
            name: {"accuracy": b.accuracy, "rest": b.rest, "chosen": b.chosen}
            for name, b in boundaries.items()
        }
        if readings is not None:
            tensors["readings"] = readings[0]
            for name, explained in zip(said, readings[1].tolist(), strict=True):
                said[name]["explained"] = round(explained, 4)
        facts = {
            "attributes": list(boundaries),
            "fit": self.config.model_dump(mode="json"),
            "boundaries": said,
            NAMES: self._names(list(boundaries), directions, readings is not None),
        }
        spec = generator.spec
        return Directions(self.name, type(generator).name, spec.fingerprint, tensors, facts)

    def _names(
        self, names: Sequence[str], directions: Tensor, read: bool
    ) -> dict[str, dict[str, Any]]:
        """Name edits after attributes; each keeps those whose directions are near its own."""
        cosines = (directions @ directions.T).abs()
        return {
            name: {
                "attribute": name,
                "strength": 1.0,
                "unit": "scores" if read else "deviations",
                "keep": [
                    other
                    for j, other in enumerate(names)
                    if j != i and float(cosines[i, j]) >= self.config.keep_from
                ],
            }
            for i, name in enumerate(names)
        }

    def apply(
        self,
        subject: Subject,
        edit: InterFaceGANEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Move latents along the direction of an attribute; all latents of a run alike."""
        assert directions is not None
        directions.check_generator(subject.generator)
        names = directions.facts.get("attributes", [])
        row = _row(names, edit.attribute, "attribute")
        rows = directions.tensor("directions")
        keep = [rows[_row(names, name, "keep")] for name in edit.keep]
        keep += [other_row for other in others for other_row in other.tensor("directions")]
        direction = conditioned(rows[row], keep)
        plane = Plane(rows[row], direction, *_numbers(directions, row))
        scale = _scale(edit, directions, plane, row)

        def move(ws: Tensor) -> Tensor:
            return moved_from(ws, plane, edit, scale)

        return self.moved(subject, edit, move)


class Plane:
    """A boundary and the direction in which latents are moved from it.

    Args:
        normal: [w_dim], unit normal of the boundary.
        direction: [w_dim], unit; the normal, or what is left of it when others stay.
        offset: of the boundary.
        deviation: of latents along the normal.
        mean: [w_dim] of latents.
    """

    def __init__(
        self, normal: Tensor, direction: Tensor, offset: float, deviation: float, mean: Tensor
    ) -> None:
        self.normal = normal
        self.direction = direction
        self.offset = offset
        self.deviation = deviation
        self.mean = mean

    def distance(self, w: Tensor) -> Tensor:
        """Return the signed distance of latents [..., w_dim] to the boundary."""
        return w @ self.normal.to(w) + self.offset


def _scale(edit: InterFaceGANEdit, directions: Directions, plane: Plane, row: int) -> float:
    """Return the length in W of strength 1."""
    if edit.unit == "raw":
        return 1.0
    if edit.unit == "deviations":
        return plane.deviation
    if "readings" not in directions.tensors:
        raise ConfigError(
            "option 'unit' of editor interfacegan: these directions were made elsewhere, and no "
            "scores are known; take unit=deviations or raw"
        )
    slope = float(directions.tensor("readings")[row] @ plane.direction)
    if slope <= _LEAST_SLOPE / plane.deviation:
        raise ConfigError(
            f"option 'keep' of editor interfacegan: '{edit.attribute}' doesn't grow any more where "
            "these others stay; keep fewer"
        )
    return 1 / slope


def moved_from(ws: Tensor, plane: Plane, edit: InterFaceGANEdit, scale: float = 1.0) -> Tensor:
    """Return latents that are moved along a plane's direction.

    Args:
        ws: [M, num_ws, w_dim].
        plane: boundary and direction.
        edit: how far, in which layers.
        scale: length in W of strength 1.
    """
    layers = edit.layers(ws, "editor interfacegan")
    strength = edit.strength * scale
    if edit.mode == "to":
        # a direction that keeps others leaves the plane more slowly than the normal does
        slope = float(plane.direction @ plane.normal)
        strength = (strength - float(plane.distance(ws[:, 0]).mean())) / slope
    after = shifted(ws, strength * plane.direction, layers)
    warn_of_distance(
        ws[:, layers], after[:, layers], plane.mean, plane.normal, plane.deviation,
        f"attribute '{edit.attribute}'",
    )  # fmt: skip
    return after


@torch.no_grad()
def mapped(generator: Generator, z: Tensor) -> Tensor:
    """Return w [N, w_dim] of z [N, z_dim], with the one condition of the fit, on the CPU."""
    z = z.to(generator.device, generator.dtype)
    return generator.map(z, neutral_condition(generator, len(z)))[:, 0].float().cpu()


def _row(names: Sequence[str], name: str, option: str) -> int:
    if name not in names:
        raise ConfigError(
            f"option '{option}' of editor interfacegan: no attribute '{name}' in the directions"
            f"{suggest(name, names)}"
        )
    return list(names).index(name)


def _numbers(directions: Directions, row: int) -> tuple[float, float, Any]:
    offset, deviation = (float(directions.tensor(n)[row]) for n in ("offsets", "deviations"))
    return offset, deviation, directions.tensor("mean")
