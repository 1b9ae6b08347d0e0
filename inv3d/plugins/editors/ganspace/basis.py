"""Principal, independent and sparse components of samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inv3d.core.errors import InvError

# of FastICA, and the weight of sparsity
_MOST_ITERATIONS = 10_000
_SPARSITY = 10.0


@dataclass(frozen=True)
class Basis:
    """Principal directions.

    The entry of largest magnitude of every component is positive.

    Attributes:
        components: [C, w_dim], unit rows, by falling variance.
        mean: [w_dim].
        deviations: [C], standard deviations of the samples along the components.
        shares: [C], of the samples' whole variance; None where that isn't known.
    """

    components: Tensor
    mean: Tensor
    deviations: Tensor
    shares: Tensor | None = None


def signed(components: Tensor) -> Tensor:
    """Return components whose entry of largest magnitude is positive."""
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return components * largest.sign()


def incremental(chunks: Iterable[Tensor], count: int) -> Iterator[Basis | None]:
    """Fit by scikit-learn's IncrementalPCA, which keeps no samples.

    Args:
        chunks: [n, w_dim] each; every one has at least `count` samples.
        count: components.

    Yields:
        None after every chunk, and the basis in the end; its deviations divide by samples - 1.
    """
    from sklearn.decomposition import IncrementalPCA

    fit = IncrementalPCA(n_components=count)
    for chunk in chunks:
        fit.partial_fit(chunk.numpy())
        yield None
    found = (fit.components_, fit.mean_, fit.explained_variance_, fit.explained_variance_ratio_)
    components, mean, variance, shares = (torch.from_numpy(v) for v in found)
    yield _basis(components, mean, variance.sqrt(), shares)


def exact(chunks: Iterable[Tensor], count: int) -> Iterator[Basis | None]:
    """Fit by the eigenvectors of the covariance, summed up in double precision; keeps no samples.

    Args:
        chunks: [n, w_dim] each.
        count: components.

    Yields:
        None after every chunk, and the basis in the end; its deviations divide by samples.
    """
    samples, first, total, square = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for chunk in chunks:
        values = chunk.double()
        if not samples:
            # sums of what lies around zero lose no digits
            first = values.mean(0)
        values = values - first
        samples += len(values)
        total, square = total + values.sum(0), square + values.T @ values
        yield None
    mean = total / samples
    variances, vectors = torch.linalg.eigh(square / samples - torch.outer(mean, mean))
    variances = variances.clamp_min(0)
    order = variances.argsort(descending=True)[:count]
    most = variances[order]
    yield _basis(vectors[:, order].T, first + mean, most.sqrt(), most / variances.sum())


def randomised(chunks: Iterable[Tensor], count: int) -> Iterator[Basis | None]:
    """Fit by a randomised singular value decomposition with two power iterations, as fbpca does.

    Args:
        chunks: [n, w_dim] each.
        count: components.

    Yields:
        None after every chunk, and the basis in the end; its deviations divide by samples.
    """
    from sklearn.utils.extmath import randomized_svd

    def fit(samples: np.ndarray) -> np.ndarray:
        more = min(count, samples.shape[1] - count)
        *_, rows = randomized_svd(samples, count, n_oversamples=more, n_iter=2, random_state=0)
        return np.asarray(rows)

    yield from _at_once(chunks, fit)


def independent(chunks: Iterable[Tensor], count: int) -> Iterator[Basis | None]:
    """Fit by FastICA: directions along which samples are as independent as can be.

    Args:
        chunks: [n, w_dim] each.
        count: components.

    Yields:
        See `randomised`.

    Raises:
        InvError: where it doesn't converge.
    """
    from sklearn.decomposition import FastICA

    def fit(samples: np.ndarray) -> np.ndarray:
        found = FastICA(count, random_state=0, whiten="unit-variance", max_iter=_MOST_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.fit(samples)
        if found.n_iter_ >= _MOST_ITERATIONS:
            raise InvError(
                f"editor ganspace: independent components didn't settle in {_MOST_ITERATIONS} "
                "iterations; give more samples, fewer components, or another estimator"
            )
        return np.asarray(found.components_)

    yield from _at_once(chunks, fit)


def sparse(chunks: Iterable[Tensor], count: int) -> Iterator[Basis | None]:
    """Fit by sparse principal components, most of whose entries are 0.

    Args:
        chunks: [n, w_dim] each.
        count: components.

    Yields:
        See `randomised`.
    """
    from sklearn.decomposition import SparsePCA

    def fit(samples: np.ndarray) -> np.ndarray:
        options = {"alpha": _SPARSITY, "ridge_alpha": 0.01, "max_iter": 100, "random_state": 0}
        return np.asarray(SparsePCA(count, **options).fit(samples).components_)

    yield from _at_once(chunks, fit)


def _at_once(
    chunks: Iterable[Tensor], fit: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Basis | None]:
    """Fit by an estimator that takes all samples together, without their mean."""
    parts = []
    for chunk in chunks:
        parts.append(chunk)
        yield None
    samples = torch.cat(parts)
    mean = samples.mean(0)
    samples = samples - mean
    components = torch.from_numpy(fit(samples.numpy())).to(samples)
    # a sparse component may have nothing left
    unit = components / components.norm(dim=1, keepdim=True).clamp_min(1e-12)
    deviations = (samples @ unit.T).std(0, correction=0)
    order = deviations.argsort(descending=True, stable=True)
    shares = deviations.square() / samples.square().mean(0).sum()
    yield Basis(signed(unit[order]), mean, deviations[order], shares[order])


def _basis(components: Tensor, mean: Tensor, deviations: Tensor, shares: Tensor) -> Basis:
    unit = components / components.norm(dim=1, keepdim=True)
    return Basis(signed(unit).float(), mean.float(), deviations.float(), shares.float())


def even_chunks(samples: int, size: int, least: int = 1) -> list[int]:
    """Return sizes that add up, as even and as near to one as can be.

    Args:
        samples: their sum.
        size: that they should have.
        least: that all must have, where there are so many samples.
    """
    count = max(1, min(round(samples / size), samples // least))
    return [samples // count + (i < samples % count) for i in range(count)]
