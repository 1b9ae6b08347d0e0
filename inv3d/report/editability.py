"""What edits do to pictures: the attribute that moves, others that do, and the identity that stays.

Attributes are read off small frontal pictures by a linear map, which is fitted to samples whose
attributes the generator knows. How well it reads is measured on samples that it wasn't fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.editor import Directions
from inv3d.core.errors import UnsupportedError
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.inversion import Inversion
from inv3d.report.edits import Palette, tuned_for, views
from inv3d.report.metrics import build_judges, compare_images

SIDE = 32
READER = "pictures"
_AT_ONCE = 8
_CHECKED = 0.2
_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


@dataclass(frozen=True)
class Reader:
    """Reads attributes off frontal pictures.

    Attributes:
        names: of the attributes.
        weights: [A, 3 * SIDE * SIDE].
        mean: [3 * SIDE * SIDE], of pictures.
        trust: share of an attribute's variance that it reads right, on samples of its own.
    """

    names: tuple[str, ...]
    weights: Tensor
    mean: Tensor
    trust: tuple[float, ...]

    def read(self, images: Tensor) -> Tensor:
        """Return attributes [N, A] of frontal pictures [N, 3, H, W], in standard deviations."""
        values: Tensor = (_small(images) - self.mean) @ self.weights.T
        return values

    def as_directions(self, generator: Generator) -> Directions:
        """Return what a file of directions keeps of it."""
        return Directions(
            READER,
            type(generator).name,
            generator.spec.fingerprint,
            {"weights": self.weights, "mean": self.mean},
            {"names": list(self.names), "trust": list(self.trust)},
        )

    @staticmethod
    def of(directions: Directions) -> Reader:
        """Return the reader that `as_directions` kept."""
        names, trust = (tuple(directions.facts[name]) for name in ("names", "trust"))
        return Reader(names, directions.tensor("weights"), directions.tensor("mean"), trust)


def _small(images: Tensor) -> Tensor:
    small = F.interpolate(images.float().cpu(), size=(SIDE, SIDE), mode="area")
    return small.flatten(1)


@torch.no_grad()
def fit_reader(
    generator: Generator,
    samples: int = 1500,
    seed: int = 303,
    on_step: Callable[[int], None] = lambda done: None,
) -> Reader:
    """Fit a reader to random heads of a generator, by ridge regression.

    Args:
        generator: that knows attributes of its latents.
        samples: heads that are rendered; a fifth of them is the check.
        seed: of them.
        on_step: is told how many are done.

    Raises:
        UnsupportedError: where the generator knows nothing of its latents.
    """
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.spec.z_dim, generator=rng)
    known = generator.attributes(z.to(generator.device, generator.dtype))
    if not known:
        raise UnsupportedError(
            f"generator {generator.spec.name} doesn't know attributes of its latents, so that "
            "nothing can be read off its pictures"
        )
    scores = torch.stack([value.double().cpu() for value in known.values()], 1)
    scores = (scores - scores.mean(0)) / scores.std(0).clamp_min(1e-12)
    camera = generator.spec.camera.front().to(generator.device, generator.dtype)
    rows = []
    for at in range(0, samples, _AT_ONCE):
        part = z[at : at + _AT_ONCE].to(generator.device, generator.dtype)
        scene = generator.synthesize(generator.map(part, neutral_condition(generator, len(part))))
        seen = generator.render(scene, camera.repeat_interleave(len(part)))
        rows.append(_small(seen.require("image")))
        on_step(sum(map(len, rows)))
    pictures = torch.cat(rows).double()
    cut = samples - int(samples * _CHECKED)
    mean = pictures[:cut].mean(0)
    centred = pictures - mean
    best = _regressions(centred, scores, cut)
    trust = 1 - (scores[cut:] - centred[cut:] @ best.T).square().mean(0) / scores[cut:].var(0)
    return Reader(
        tuple(known), best.float(), mean.float(), tuple(round(float(t), 4) for t in trust)
    )


def _regressions(pictures: Tensor, scores: Tensor, cut: int) -> Tensor:
    """Return the weights [A, P], each attribute with the penalty that suits it best.

    The penalty is chosen on a part of what is fitted, so that the check stays a check.
    """
    inner = cut - int(cut * _CHECKED)
    errors = []
    for penalty in _PENALTIES:
        found = _ridge(pictures[:inner], scores[:inner], penalty)
        errors.append((scores[inner:cut] - pictures[inner:cut] @ found.T).square().mean(0))
    chosen = torch.stack(errors).argmin(0)
    rows = torch.empty(scores.shape[1], pictures.shape[1], dtype=torch.double)
    for i, penalty in enumerate(_PENALTIES):
        mine = chosen == i
        if bool(mine.any()):
            rows[mine] = _ridge(pictures[:cut], scores[:cut][:, mine], penalty)
    return rows


def _ridge(pictures: Tensor, scores: Tensor, penalty: float) -> Tensor:
    gram = pictures @ pictures.T
    gram.diagonal().add_(penalty)
    solved: Tensor = torch.linalg.solve(gram, scores).T @ pictures
    return solved


@dataclass(frozen=True)
class Effect:
    """What one edit did to one head.

    Attributes:
        moved: attribute that the edit is named after, read off frontal pictures: after minus
            before, in standard deviations; None where it isn't read.
        others: mean absolute change of all other attributes, likewise.
        identity: similarity of before and after, as the generator's metric has it, over views.
    """

    moved: float | None
    others: float
    identity: float | None


def effect_of(
    palette: Palette,
    options: Mapping[str, Any],
    attribute: str,
    reader: Reader,
    reopen: Callable[[Inversion], Generator],
    yaws: Sequence[float] = (0.0, 30.0, -30.0),
) -> Effect:
    """Measure one edit of one head.

    Args:
        palette: the editor and what it edits.
        options: of the edit.
        attribute: that it should move.
        reader: of the generator.
        reopen: builds the generator that an inversion needs.
        yaws: of the views that the identity is compared in, degrees, the frontal one first.
    """
    subject = palette.subject
    camera = subject.generator.spec.camera.orbit(torch.tensor(list(yaws)).deg2rad())
    after = palette.edited(options)
    before_images = views(subject.generator, subject.inversion, camera)
    after_images = views(tuned_for(palette, after, reopen), after, camera)
    change = (reader.read(after_images[:1]) - reader.read(before_images[:1]))[0]
    place = reader.names.index(attribute) if attribute in reader.names else None
    rest = [float(c) for i, c in enumerate(change) if i != place]
    return Effect(
        None if place is None else float(change[place]),
        sum(map(abs, rest)) / max(len(rest), 1),
        _identity(subject.generator, after_images, before_images),
    )


def _identity(generator: Generator, after: Tensor, before: Tensor) -> float | None:
    metrics = {n: t for n, t in generator.spec.metrics.items() if n == "identity"}
    judges, _ = build_judges(metrics, torch.device("cpu"))
    if not judges:
        return None
    return float(compare_images(after, before, judges)["identity"].mean())
