"""The editor: fit, import, apply."""

from __future__ import annotations

import time
from collections.abc import Generator as Iteration
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.editor import NAMES, Directions, Editor, Subject
from inv3d.core.errors import ConfigError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.inversion import Inversion
from inv3d.core.moves import conditioned, coordinates, shifted, warn_of_distance
from inv3d.plugins.editors.ganspace.basis import (
    Basis,
    even_chunks,
    exact,
    incremental,
    independent,
    randomised,
    sparse,
)
from inv3d.plugins.editors.ganspace.config import GANSpaceConfig, GANSpaceEdit
from inv3d.plugins.editors.ganspace.foreign import read_basis

COMPONENTS = 100
_LEAST_CHUNK = 2000
_NAMING = 20_000
_MEASURING = 5_000
_FITS = {
    "ipca": incremental,
    "pca": exact,
    "fbpca": randomised,
    "ica": independent,
    "spca": sparse,
}


class GANSpace(Editor[GANSpaceConfig, GANSpaceEdit]):
    """Principal directions of W."""

    name = "ganspace"
    summary = "principal directions of W, by component, layers and strength"
    licence = "Apache-2.0"
    reference = "Härkönen et al., GANSpace, NeurIPS 2020"
    requires = ("scikit-learn",)
    Config = GANSpaceConfig
    Edit = GANSpaceEdit
    partners = (0, 1)

    def fit(self, generator: Generator, context: Context) -> Iteration[Progress, None, Directions]:
        """Sample W in chunks, which memory doesn't grow with, and find its principal directions."""
        count = self._count(generator.spec.w_dim)
        size = self.config.chunk or max(_LEAST_CHUNK, 3 * count)
        sizes = even_chunks(self.config.samples, max(size, count), count)
        started = time.perf_counter()
        basis: Basis | None = None
        fit = _FITS[self.config.estimator]
        for step, basis in enumerate(fit(self._latents(generator, context, sizes), count)):
            if basis is None:
                now = time.perf_counter()
                yield Progress("sample", step, len(sizes), {}, {}, now - started)
                started = now
        assert basis is not None
        if self.config.fresh:
            fresh = even_chunks(self.config.fresh, size)
            deviations = self._measured(generator, context, basis.components, fresh)[1]
            basis = replace(basis, deviations=deviations)
        return self._directions(generator, context, basis, self.config.model_dump(mode="json"))

    def take(self, path: Path, generator: Generator, context: Context) -> Directions:
        """Read a basis of eg3d-1, GANSpace, PTI or Pose-Opt, its signs as they are.

        Mean and deviations that the file lacks are measured on the generator.
        """
        components, mean, deviations = read_basis(path, generator.spec.w_dim)
        sizes = even_chunks(_MEASURING, _LEAST_CHUNK)
        measured = self._measured(generator, context, components, sizes)
        known = (
            own if own is not None else found
            for own, found in zip((mean, deviations), measured, strict=True)
        )
        basis = Basis(components.float(), *(v.float() for v in known))
        said: dict[str, Any] = {"imported": path.name, "measured": []}
        said["measured"] += ["mean"] if mean is None else []
        said["measured"] += ["deviations"] if deviations is None else []
        return self._directions(generator, context, basis, said)

    def apply(
        self,
        subject: Subject,
        edit: GANSpaceEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Move latents along a component; all latents of a run alike."""
        assert directions is not None
        directions.check_generator(subject.generator)
        basis = basis_of(directions)
        if edit.component >= len(basis.components):
            raise ConfigError(
                f"option 'component' of editor ganspace: {edit.component} of "
                f"{len(basis.components)} that the directions have; give 0 to "
                f"{len(basis.components) - 1}"
            )
        keep = [row for other in others for row in other.tensor("components")]
        row = basis.components[edit.component]
        direction = conditioned(row, keep) if keep else row
        deviation = float(basis.deviations[edit.component])
        what = f"component {edit.component}"

        def move(ws: Tensor) -> Tensor:
            return moved_along(ws, direction, basis.mean, deviation, edit, what)

        return self.moved(subject, edit, move)

    def rows(
        self, directions: Directions | None, count: int
    ) -> Sequence[tuple[str, dict[str, Any]]]:
        """Return the first components, with their names where they have some."""
        if directions is None:
            return []
        named = {
            options.get("component"): (name, options) for name, options in directions.names.items()
        }
        rows = range(min(count, len(directions.tensor("components"))))
        return [
            (f"{i} {named[i][0]}", named[i][1])
            if i in named
            else (str(i), {"component": i, "strength": 1.0})
            for i in rows
        ]

    def _count(self, w_dim: int) -> int:
        """Number of components, one that samples and W allow."""
        asked = self.config.components
        if asked is not None and asked > w_dim:
            raise ConfigError(
                f"option 'components' of editor ganspace: {asked}, but W has {w_dim} dimensions; "
                f"give {w_dim} or fewer"
            )
        count = asked or min(COMPONENTS, w_dim)
        if self.config.samples <= count:
            raise ConfigError(
                f"option 'samples' of editor ganspace: {self.config.samples} for {count} "
                "components; give more samples than components"
            )
        return count

    def _latents(
        self, generator: Generator, context: Context, sizes: Sequence[int]
    ) -> Iterator[Tensor]:
        """Yield w [n, w_dim] on the CPU."""
        for size in sizes:
            z = context.randn((size, generator.spec.z_dim), torch.zeros((), dtype=generator.dtype))
            yield self._mapped(generator, z)

    @torch.no_grad()
    def _mapped(self, generator: Generator, z: Tensor) -> Tensor:
        condition = self._condition(generator, len(z))
        ws = generator.map(z.to(generator.device), condition, self.config.truncation)
        return ws[:, 0].float().cpu()

    def _condition(self, generator: Generator, count: int) -> Camera | Tensor | None:
        angles = self.config.yaw_deg, self.config.pitch_deg
        if not any(angles):
            return neutral_condition(generator, count)
        if generator.spec.condition != "camera":
            raise ConfigError(
                f"option 'yaw_deg' of editor ganspace: generator {generator.spec.name} isn't "
                "conditioned on a camera; leave yaw_deg and pitch_deg out"
            )
        yaw, pitch = (torch.tensor([angle]).deg2rad() for angle in angles)
        camera = generator.spec.camera.orbit(yaw, pitch).to(generator.device, generator.dtype)
        return camera.repeat_interleave(count)

    def _measured(
        self, generator: Generator, context: Context, components: Tensor, sizes: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of fresh samples, and their deviations along components."""
        w = torch.cat(list(self._latents(generator, context, sizes)))
        return w.mean(0), (w @ components.T.float()).std(0, correction=0)

    def _directions(
        self, generator: Generator, context: Context, basis: Basis, said: dict[str, Any]
    ) -> Directions:
        names, correlations = self._names(generator, context, basis)
        tensors = {
            "components": basis.components,
            "mean": basis.mean,
            "deviations": basis.deviations,
        }
        facts = {"fit": said, NAMES: names, "correlations": correlations}
        if basis.shares is not None:
            tensors["shares"] = basis.shares
        spec = generator.spec
        return Directions(self.name, type(generator).name, spec.fingerprint, tensors, facts)

    @torch.no_grad()
    def _names(
        self, generator: Generator, context: Context, basis: Basis
    ) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
        """Name components after the attributes that they correlate with most, both ways round."""
        z = context.randn((_NAMING, generator.spec.z_dim), torch.zeros((), dtype=generator.dtype))
        known = generator.attributes(z.to(generator.device))
        if not known:
            return {}, {}
        w = self._mapped(generator, z)
        places = (w - basis.mean) @ basis.components.T / basis.deviations.clamp_min(1e-12)
        scores = torch.stack([value.float().cpu() for value in known.values()], 1)
        found = correlation(places, scores)
        strongest = found.abs().argmax(0)
        names, correlations = {}, {}
        for column, name in enumerate(known):
            row = int(strongest[column])
            value = float(found[row, column])
            mutual = int(found[row].abs().argmax()) == column
            if mutual and abs(value) >= self.config.named_from:
                names[name] = {"component": row, "strength": 1.0 if value > 0 else -1.0}
                correlations[name] = round(value, 3)
        return names, correlations


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlations [A, B] of columns [N, A] with columns [N, B]."""
    one, two = ((v - v.mean(0)) / v.std(0).clamp_min(1e-12) for v in (first, second))
    return one.T @ two / len(first)


def basis_of(directions: Directions) -> Basis:
    """Return the basis that directions hold."""
    names = ("components", "mean", "deviations")
    return Basis(*(directions.tensor(name) for name in names))


def moved_along(
    ws: Tensor, direction: Tensor, mean: Tensor, deviation: float, edit: GANSpaceEdit, what: str
) -> Tensor:
    """Return latents [M, num_ws, w_dim] that are moved along a unit direction.

    Args:
        ws: latents.
        direction: [w_dim].
        mean: [w_dim], where the coordinate is 0.
        deviation: of the latents along the direction.
        edit: how far, in which layers; its component isn't looked at.
        what: is moved, for messages.
    """
    layers = edit.layers(ws, "editor ganspace")
    if not deviation > 0:
        raise ConfigError(
            f"option 'component': {what} moves nothing, since latents don't vary along it; take "
            "another one"
        )
    scale = deviation if edit.unit == "deviations" else 1.0
    strength = edit.strength
    if edit.mode == "to":
        strength = strength - float(coordinates(ws[:, 0], mean, direction, scale).mean())
    after = shifted(ws, strength * scale * direction, layers)
    warn_of_distance(ws[:, layers], after[:, layers], mean, direction, deviation, what)
    return after
