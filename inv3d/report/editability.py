"""What edits do to pictures: the attribute that moves, others that do, and the identity that stays.

Changes of attributes are read off changes of small frontal pictures by a linear map, which is
fitted to heads whose attributes the generator knows. How well it reads is measured on others.
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

SIDE = 64
READER = "pictures"
_AT_ONCE = 8
_CHECKED = 0.2
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# heads that tell how much attributes vary
_SPREAD = 10_000
# change of an attribute, standard deviations, and the farthest way of z to it
_STEP, _FARTHEST = 1.5, 3.0


@dataclass(frozen=True)
class Reader:
    """Reads changes of attributes off changes of frontal pictures.

    Attributes:
        names: of the attributes.
        weights: [A, 3 * SIDE * SIDE].
        trust: share of an attribute's changes that it reads right, squared, on heads of its own
            among changes of all attributes; 1 is all, 0 is nothing.
    """

    names: tuple[str, ...]
    weights: Tensor
    trust: tuple[float, ...]

    def read(self, after: Tensor, before: Tensor) -> Tensor:
        """Return changes of attributes [N, A] in standard deviations.

        Args:
            after, before: frontal pictures [N, 3, H, W] in [-1, 1].
        """
        values: Tensor = (_small(after) - _small(before)) @ self.weights.T
        return values

    def as_directions(self, generator: Generator) -> Directions:
        """Return what a file of directions keeps of it."""
        return Directions(
            READER,
            type(generator).name,
            generator.spec.fingerprint,
            {"weights": self.weights},
            {"names": list(self.names), "trust": list(self.trust)},
        )

    @staticmethod
    def of(directions: Directions) -> Reader:
        """Return the reader that `as_directions` kept."""
        names, trust = (tuple(directions.facts[name]) for name in ("names", "trust"))
        return Reader(names, directions.tensor("weights"), trust)


def _small(images: Tensor) -> Tensor:
    small = F.interpolate(images.float().cpu(), size=(SIDE, SIDE), mode="area")
    return small.flatten(1)


@torch.no_grad()
def fit_reader(
    generator: Generator,
    heads: int = 40,
    seed: int = 303,
    on_step: Callable[[int], None] = lambda done: None,
) -> Reader:
    """Fit a reader to what pictures of random heads change by when one attribute does.

    Every head is also rendered with every attribute changed alone, as far as it can be; by ridge
    regression the reader tells from the change of the picture which attribute it was, and how much.

    Args:
        generator: that knows attributes of its latents.
        heads: that are rendered, each once for every attribute and once more; a fifth of them is
            the check.
        seed: of them.
        on_step: is told how many heads are done.

    Raises:
        UnsupportedError: where the generator knows nothing of its latents.
    """
    rng = torch.Generator().manual_seed(seed)
    many = torch.randn(_SPREAD, generator.spec.z_dim, generator=rng)
    many = many.to(generator.device, generator.dtype)
    known = generator.attributes(many)
    if not known:
        raise UnsupportedError(
            f"generator {generator.spec.name} doesn't know attributes of its latents, so that "
            "nothing can be read off its pictures"
        )
    scale = torch.stack([value.std() for value in known.values()]).double().cpu()
    changes, scores = [], []
    for i, z in enumerate(many[:heads]):
        moved = _one_changed(generator, z, scale, rng)
        pictures = _frontal(generator, torch.cat([z[None], moved]))
        read = _scores(generator, torch.cat([z[None], moved])) / scale
        changes.append((pictures[1:] - pictures[:1]).double())
        scores.append(read[1:] - read[:1])
        on_step(i + 1)
    cut = heads - max(1, int(heads * _CHECKED))
    weights = _regression(changes[:cut], scores[:cut])
    seen, wanted = torch.cat(changes[cut:]), torch.cat(scores[cut:])
    missed = (wanted - seen @ weights.T).square().sum(0)
    trust = 1 - missed / wanted.square().sum(0).clamp_min(1e-12)
    return Reader(tuple(known), weights.float(), tuple(round(float(t), 4) for t in trust))


def _scores(generator: Generator, z: Tensor) -> Tensor:
    return torch.stack(list(generator.attributes(z).values()), 1).double().cpu()


@torch.enable_grad()
def _one_changed(generator: Generator, z: Tensor, scale: Tensor, rng: torch.Generator) -> Tensor:
    """Return z [A, z_dim] of one head [z_dim], each with another attribute changed, up or down.

    An attribute that doesn't answer at this head is left as it is.
    """
    rows = []
    names = list(generator.attributes(z[None]))
    signs = torch.randint(2, (len(names),), generator=rng) * 2 - 1
    for i, name in enumerate(names):
        start = z[None].detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(generator.attributes(start)[name].sum(), start)
        wanted = float(signs[i]) * _STEP * float(scale[i])
        step = wanted * slope / slope.square().sum().clamp_min(1e-12)
        length = float(step.norm())
        rows.append((z + step * min(1.0, _FARTHEST / max(length, 1e-12)))[0])
    return torch.stack(rows).detach()


def _frontal(generator: Generator, z: Tensor) -> Tensor:
    """Return small frontal pictures [N, 3 * SIDE * SIDE] of heads."""
    camera = generator.spec.camera.front().to(generator.device, generator.dtype)
    rows = []
    for at in range(0, len(z), _AT_ONCE):
        part = z[at : at + _AT_ONCE]
        scene = generator.synthesize(generator.map(part, neutral_condition(generator, len(part))))
        seen = generator.render(scene, camera.repeat_interleave(len(part)))
        rows.append(_small(seen.require("image")))
    return torch.cat(rows)


def _regression(changes: Sequence[Tensor], scores: Sequence[Tensor]) -> Tensor:
    """Return the weights [A, P], each attribute with the penalty that suits it best.

    The penalty is chosen on a part of the heads that are fitted, so that the check stays a check.
    """
    inner = max(1, len(changes) - max(1, int(len(changes) * _CHECKED)))
    fitted, wanted = torch.cat(list(changes[:inner])), torch.cat(list(scores[:inner]))
    seen, right = torch.cat(list(changes[inner:])), torch.cat(list(scores[inner:]))
    errors = [
        (right - seen @ _ridge(fitted, wanted, penalty).T).square().sum(0) for penalty in _PENALTIES
    ]
    chosen = torch.stack(errors).argmin(0)
    fitted, wanted = torch.cat(list(changes)), torch.cat(list(scores))
    rows = torch.empty(wanted.shape[1], fitted.shape[1], dtype=torch.double)
    for i, penalty in enumerate(_PENALTIES):
        mine = chosen == i
        if bool(mine.any()):
            rows[mine] = _ridge(fitted, wanted[:, mine], penalty)
    return rows


def _ridge(changes: Tensor, scores: Tensor, penalty: float) -> Tensor:
    gram = changes @ changes.T
    gram.diagonal().add_(penalty)
    solved: Tensor = torch.linalg.solve(gram, scores).T @ changes
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
    change = reader.read(after_images[:1], before_images[:1])[0]
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
