"""The plane that parts latents with high scores from those with low ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.errors import ConfigError
from inv3d.plugins.editors.interfacegan.config import InterFaceGANConfig

_RIDGE = 1e-6


@dataclass(frozen=True)
class Boundary:
    """A plane in the space of latents.

    Attributes:
        direction: [D], its unit normal, towards high scores.
        offset: what the distance of a latent w to it is: w @ direction + offset.
        accuracy: share of the samples kept for the check that lie on their side; None where the
            plane was made elsewhere.
        rest: share of all samples that weren't chosen, parted in the middle of the scores' range;
            None where all were chosen.
        chosen: samples from each end.
    """

    direction: Tensor
    offset: float
    accuracy: float | None
    rest: float | None
    chosen: int


def find_boundary(
    codes: Tensor,
    scores: Tensor,
    config: InterFaceGANConfig,
    shuffled: Callable[[int], Tensor],
    what: str,
) -> Boundary:
    """Fit a linear SVM to the samples of highest and of lowest score.

    Args:
        codes: [N, D].
        scores: [N].
        config: how many are chosen, and how they're split.
        shuffled: gives a random order of so many.
        what: the attribute, for messages.

    Raises:
        ConfigError: where too few samples are left, or all have the same score.
    """
    if config.invalid is not None:
        valid = scores != config.invalid
        codes, scores = codes[valid], scores[valid]
    count = chosen_count(len(scores), config.chosen, what)
    if float(scores.max() - scores.min()) == 0:
        raise ConfigError(
            f"attribute '{what}': every sample has the score {float(scores[0]):g}, so that there's "
            "nothing to tell apart; leave it out of 'attributes'"
        )
    order = scores.argsort(descending=True, stable=True)
    high, low = (side[shuffled(count)] for side in (order[:count], order[-count:]))
    train = min(max(int(count * config.split), 1), count - 1)
    svm = _fitted(codes[torch.cat([high[:train], low[:train]])], train, config)
    check = codes[torch.cat([high[train:], low[train:]])]
    right = _sides(svm, check) == _labels(count - train)
    rest = order[count:-count]
    middle = (scores.max() + scores.min()) / 2
    agree = _sides(svm, codes[rest]) == (scores[rest] > middle) if len(rest) else None
    normal = torch.tensor(svm.coef_[0], dtype=torch.double)
    length = float(normal.norm())
    return Boundary(
        direction=(normal / length).to(codes.dtype),
        offset=float(svm.intercept_[0]) / length,
        accuracy=float(right.double().mean()),
        rest=None if agree is None else float(agree.double().mean()),
        chosen=count,
    )


def shuffler(seed: int) -> Callable[[int], Tensor]:
    """Return what shuffles as the official code does, by NumPy's old random numbers.

    Their seeds have 32 bits, the last of longer ones.
    """
    rng = np.random.RandomState(seed % 2**32)
    return lambda count: torch.from_numpy(rng.permutation(count))


def linear_readings(codes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return what reads scores off latents, by least squares.

    Args:
        codes: [N, D].
        scores: [N, A].

    Returns:
        [A, D], the change of a standardised score with the latent, and [A], the share of the
        scores' variance that the reading explains.
    """
    centred = (codes - codes.mean(0)).double()
    wanted = scores.double() - scores.double().mean(0)
    wanted = wanted / wanted.std(0, correction=0).clamp_min(1e-12)
    covariance, together = centred.T @ centred, centred.T @ wanted
    covariance.diagonal().add_(_RIDGE * covariance.diagonal().mean())
    found = torch.linalg.solve(covariance, together)
    explained = 1 - (wanted - centred @ found).square().mean(0)
    return found.T.to(codes.dtype), explained.to(codes.dtype)


def chosen_count(samples: int, chosen: float, what: str) -> int:
    """Return how many samples are taken from each end.

    Raises:
        ConfigError: where that's fewer than two, one for training and one for the check.
    """
    count = min(int(chosen * samples if chosen <= 1 else chosen), samples // 2)
    if count < 2:
        raise ConfigError(
            f"attribute '{what}': chosen={chosen:g} of {samples} samples takes {count} from each "
            "end, expected 2 or more; raise 'chosen' or 'samples'"
        )
    return count


def _fitted(codes: Tensor, positive: int, config: InterFaceGANConfig) -> Any:
    """Fit the SVM; the first samples are the positive ones."""
    from sklearn.svm import SVC, LinearSVC

    labels = _labels(positive).numpy()
    if config.solver == "libsvm":
        return SVC(kernel="linear", C=config.penalty).fit(codes.numpy(), labels)
    machine = LinearSVC(C=config.penalty, loss="hinge", max_iter=20_000, random_state=0)
    return machine.fit(codes.numpy(), labels)


def _labels(count: int) -> Tensor:
    return torch.cat([torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)])


def _sides(svm: Any, codes: Tensor) -> Tensor:
    return torch.from_numpy(svm.predict(codes.numpy()))
