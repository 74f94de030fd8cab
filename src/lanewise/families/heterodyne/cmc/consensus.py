"""From the moments of shards to draws of the whole posterior: the consensus as a proposal, corrected by weights.

The consensus of Gaussian shards is exact (Scott et al. 2016): the precision of the whole is the sum of theirs. Others
are not Gaussian, so the consensus is only where common points are drawn; the density of all shards at these points
gives their importance weights, which are exact without normality (Box 2022, arXiv:2210.06620).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.linalg import solve_triangular

from lanewise.engine import psis

# Student t with this many degrees of freedom in place of Gaussians, so that weights are bounded. The consensus has
# this share of the draws; the others are of the Laplace approximation, this much wider.
_DEGREES, _SHARE, _INFLATED = 8, 0.8, 1.5
# So often a proposal is fitted to weighted draws. Weights are tempered until this many draws per unknown count.
_REFITS, _DRAWS_PER_UNKNOWN = 3, 5


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution, shapes (d,) and (d, d)."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Moments(Gaussian):
    """Mean and covariance of a shard's draws.

    Attributes:
        size: effective number of these draws.
    """

    size: float

    @property
    def usable(self) -> bool:
        """Whether there are enough draws for an inverse of the covariance."""
        return self.size > len(self.mean) + 3

    @property
    def precision(self) -> np.ndarray:
        """Unbiased for independent Gaussian draws."""
        d = len(self.mean)
        return np.asarray((self.size - d - 2) / (self.size - 1) * np.linalg.inv(self.covariance))


def combined(each: Sequence[Moments]) -> Gaussian:
    """The consensus of usable shards."""
    precisions = [one.precision for one in each]
    covariance = np.linalg.inv(np.sum(precisions, axis=0))
    total = np.sum([p @ one.mean for p, one in zip(precisions, each, strict=True)], axis=0)
    return Gaussian(covariance @ total, covariance)


def distances(each: Sequence[Moments], whole: Gaussian) -> np.ndarray:
    """Squared distance of each shard's mean from the consensus, in its own covariance, shape (shard,)."""
    return np.array([(one.mean - whole.mean) @ one.precision @ (one.mean - whole.mean) for one in each])


@dataclass(frozen=True)
class Proposal:
    """A mixture of Student t distributions.

    Attributes:
        parts: share of the draws of each, and its centre and scale.
    """

    parts: tuple[tuple[float, Gaussian], ...]

    @classmethod
    def of(cls, centre: Gaussian | None, laplace: Gaussian) -> Proposal:
        """Around a centre, with wide tails by the Laplace approximation; of the latter alone without a centre."""
        wide = Gaussian(laplace.mean, _INFLATED**2 * laplace.covariance)
        return cls(((1.0, wide),) if centre is None else ((_SHARE, centre), (1 - _SHARE, wide)))

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Points, shape (n, d); each part has its share of them exactly."""
        ends = np.rint(n * np.cumsum([0.0, *(share for share, _ in self.parts)])).astype(int)
        found = []
        for (_, part), size in zip(self.parts, np.diff(ends), strict=True):
            d = len(part.mean)
            radius = np.sqrt(_DEGREES / rng.chisquare(_DEGREES, size))
            found.append(
                part.mean + radius[:, None] * (rng.normal(size=(size, d)) @ np.linalg.cholesky(part.covariance).T)
            )
        return np.concatenate(found)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Up to a constant, shape (n,)."""
        each = []
        for share, part in self.parts:
            root = np.linalg.cholesky(part.covariance)
            w = solve_triangular(root, (points - part.mean).T, lower=True)
            tail = -0.5 * (_DEGREES + len(part.mean)) * np.log1p((w**2).sum(axis=0) / _DEGREES)
            each.append(np.log(share) + tail - np.log(np.diag(root)).sum())
        return np.asarray(special.logsumexp(each, axis=0))


@dataclass(frozen=True)
class Corrected:
    """Weighted draws.

    Attributes:
        points, log_density, log_weight: shapes (n, d), (n,) and (n,).
        khat, size: of the weights; `size` is the effective number of draws.
        refits: number of proposals that were fitted to weighted draws.
    """

    points: np.ndarray
    log_density: np.ndarray
    log_weight: np.ndarray
    khat: float
    size: float
    refits: int


def corrected(
    density: Callable[[np.ndarray], np.ndarray],
    proposal: Proposal,
    laplace: Gaussian,
    n: int,
    size_min: float,
    rng: np.random.Generator,
) -> Corrected:
    """Draws of a proposal with their weights; of proposals fitted to such draws, while the weights are not good enough.

    Args:
        density: from points, shape (n, d), to the log density up to a constant; −∞ outside of its support.
        n: draws of each proposal.
        size_min: effective number of draws that is enough.
    """
    for refits in range(_REFITS + 1):
        points = proposal.draw(rng, n)
        log_density = density(points)
        log_weight = log_density - proposal.log_density(points)
        khat, size = math.inf, 0.0
        if np.isfinite(log_weight).any():
            weights, shape = psis.smooth(log_weight)
            khat, size = float(shape), float(psis.effective_size(weights))
        found = Corrected(points, log_density, log_weight, khat, size, refits)
        if khat < psis.threshold(n) and size >= size_min:
            break
        proposal = Proposal.of(_fitted(points, log_weight), laplace)
    return found


def _fitted(points: np.ndarray, log_weight: np.ndarray) -> Gaussian | None:
    """Mean and covariance of weighted draws, tempered so far that enough of them count; None if too few can."""
    needed = _DRAWS_PER_UNKNOWN * points.shape[1]
    if np.count_nonzero(np.isfinite(log_weight)) < 2 * needed:
        return None
    power = 1.0
    while psis.effective_size(weights := special.softmax(power * log_weight)) < needed:
        power *= 0.8
    mean = weights @ points
    return Gaussian(mean, (weights * (points - mean).T) @ (points - mean))
