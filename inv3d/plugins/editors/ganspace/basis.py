"""Principal components of samples that don't fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """Fit by the eigenvectors of the covariance, summed up in double precision.

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
