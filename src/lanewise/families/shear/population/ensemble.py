"""The shear of a population from its galaxies' log likelihoods at the nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lanewise.families.shear.population.nodes import Array, Nodes

# Blocks of galaxies that the jackknife leaves out in turn.
N_BLOCKS = 50
# Grid points per component. Between ± 7 standard deviations this makes the quadrature exact to rounding.
_GRID = 65
# The grid covers densities down to exp(−this) of the largest; a density that is higher at the range's edge is cut off.
_DEPTH, _EDGE = 25.0, 8.0

LogPrior = Callable[[Array], Array]


@dataclass(frozen=True)
class Posterior:
    """The posterior of the shear on a grid.

    Attributes:
        grid: of g1 and of g2 [reduced shear]; one value for a component that is known.
        log_density: up to a constant, shape (g1, g2).
        cut: names of components whose posterior reaches the end of the nodes' range.
    """

    grid: tuple[Array, Array]
    log_density: Array
    cut: tuple[str, ...]

    def mean(self, change: Array | float = 0.0) -> Array:
        """Mean (g1, g2); with a change of the log density, shape (…, g1, g2), those means, shape (…, 2)."""
        weights = _normalised(self.log_density + change)
        return np.stack([weights.sum(axis=-1) @ self.grid[0], weights.sum(axis=-2) @ self.grid[1]], axis=-1)

    @property
    def covariance(self) -> Array:
        """Covariance of g1 and g2, shape (2, 2)."""
        weights = _normalised(self.log_density)
        off = [axis - centre for axis, centre in zip(self.grid, self.mean(), strict=True)]
        both = off[0] @ weights @ off[1]
        return np.array([[weights.sum(axis=1) @ off[0] ** 2, both], [both, weights.sum(axis=0) @ off[1] ** 2]])

    def draws(self, n: int) -> Array:
        """n draws (g1, g2) with the mean and covariance of the grid, shape (n, 2); the same for the same posterior.

        Points of a lattice go through the inverse distribution functions of g1, and of g2 given g1.
        """
        weights = _normalised(self.log_density)
        along = (np.arange(n) + 0.5) / n
        # The fractional parts of multiples of the golden section fill (0, 1) evenly in every order.
        across = (along[0] + np.arange(n) * (np.sqrt(5) - 1) / 2) % 1
        first = _inverse(self.grid[0], weights.sum(axis=1), along)
        rows = np.clip(np.searchsorted(self.grid[0], first), 1, max(len(self.grid[0]) - 1, 1))
        found = np.empty((n, 2))
        found[:, 0] = first
        for at, row in enumerate(rows):
            conditional = weights[0] if len(self.grid[0]) == 1 else _between(self.grid[0], weights, first[at], row)
            found[at, 1] = _inverse(self.grid[1], conditional, across[at : at + 1])[0]
        return self._matched(found)

    def _matched(self, draws: Array) -> Array:
        """The draws, moved and stretched to the grid's mean and covariance."""
        free = [at for at, axis in enumerate(self.grid) if len(axis) > 1]
        own = np.linalg.cholesky(np.atleast_2d(np.cov(draws[:, free].T)))
        wanted = np.linalg.cholesky(self.covariance[np.ix_(free, free)])
        off = draws[:, free] - draws[:, free].mean(axis=0)
        draws[:, free] = self.mean()[free] + off @ np.linalg.solve(own, np.eye(len(free))).T @ wanted.T
        return draws


def posterior(total: Array, nodes: Nodes, log_prior: LogPrior) -> Posterior:
    """The posterior of the shear.

    Args:
        total: sum of the galaxies' log likelihoods, shape `nodes.shape`.
        log_prior: from shears, shape (…, 2), to the log prior density, shape (…).
    """
    ends = [(-axis.half_width, axis.half_width) for axis in nodes.axes]
    windows = [*ends]
    while True:
        grid = tuple(
            np.array([axis.known]) if axis.known is not None else np.linspace(*window, _GRID)
            for axis, window in zip(nodes.axes, windows, strict=True)
        )
        found = nodes.at(total, grid) + log_prior(np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1))
        found = found - found.max()
        inside = found > -_DEPTH
        reached = [np.flatnonzero(inside.any(axis=1 - at)) for at in (0, 1)]
        if all(len(axis) == 1 or reach[-1] - reach[0] > _GRID / 3 for axis, reach in zip(grid, reached, strict=True)):
            break
        windows = [
            (axis[max(reach[0] - 1, 0)], axis[min(reach[-1] + 1, len(axis) - 1)])
            for axis, reach in zip(grid, reached, strict=True)
        ]
    cut = tuple(
        name
        for at, name in enumerate(("g1", "g2"))
        if len(grid[at]) > 1 and any(_ends_high(found, at, end, grid[at][end], ends[at]) for end in (0, -1))
    )
    return Posterior((grid[0], grid[1]), found, cut)


def jackknife(found: Posterior, nodes: Nodes, blocks: Array) -> Array:
    """Means of the posterior without each block of galaxies in turn, shape (block, 2).

    Args:
        blocks: sums of the log likelihoods of each block's galaxies, shape (block, *nodes.shape).
    """
    return found.mean(-nodes.at(blocks, found.grid))


def blocks(values: Array) -> Array:
    """Sums over blocks of galaxies, for the jackknife: every 50th galaxy is of one block.

    Args:
        values: of each galaxy, NaN without a value, shape (galaxy, …).
    """
    n = min(N_BLOCKS, len(values))
    return np.stack([np.nansum(values[at::n], axis=0) for at in range(n)])


def jackknife_error(without: Array) -> Array:
    """Standard error from estimates that leave out one block each, shape (block, …) → (…)."""
    n = len(without)
    found: Array = np.sqrt((n - 1) / n * np.sum((without - without.mean(axis=0)) ** 2, axis=0))
    return found


class Expansion(NamedTuple):
    """The score at zero shear over its observed information.

    Attributes:
        value: the estimate, shape (…, 2); NaN for a component that is known.
        std: its standard deviation by the information, shape (…, 2); NaN if the likelihood has no maximum, too.
    """

    value: Array
    std: Array


def expansion(total: Array, nodes: Nodes) -> Expansion:
    """The estimate from first and second derivatives at zero shear, without a prior.

    It leaves out terms of relative order g² / σ_e². By Fisher's identity the first derivative is the mean of that of
    ln p(e | g) over each galaxy's draws, by Louis' identity the second one is the mean of its second derivatives and
    its variance.

    Args:
        total: sums of the galaxies' log likelihoods, shape (…, *nodes.shape).

    Source:
        Bernstein & Armstrong 2014 (arXiv:1304.1843), eq. 21: with P, Q, R of all galaxies it is a Newton step.
    """
    free = [at for at, axis in enumerate(nodes.axes) if axis.known is None]
    zero = [np.array([axis.known or 0.0]) for axis in nodes.axes]

    def derivative(*orders: int) -> Array:
        return nodes.at(total, zero, (orders.count(0), orders.count(1)))[..., 0, 0]

    slope = np.stack([derivative(at) for at in free], axis=-1)
    information = -np.stack([np.stack([derivative(a, b) for b in free], axis=-1) for a in free], axis=-2)
    value, std = np.full((2, *slope.shape[:-1], 2), np.nan)
    value[..., free] = np.linalg.solve(information, slope[..., None])[..., 0]
    is_maximum = np.linalg.eigvalsh(information)[..., 0] > 0
    variances = np.diagonal(np.linalg.inv(information), axis1=-2, axis2=-1)
    std[..., free] = np.sqrt(np.where(is_maximum[..., None], variances, np.nan))
    return Expansion(value, std)


def _ends_high(log_density: Array, axis: int, end: int, here: float, limits: tuple[float, float]) -> bool:
    return here in limits and bool(np.max(np.take(log_density, end, axis=axis)) > -_EDGE)


def _normalised(log_density: Array) -> Array:
    weights = np.exp(log_density - log_density.max(axis=(-2, -1), keepdims=True))
    found: Array = weights / weights.sum(axis=(-2, -1), keepdims=True)
    return found


def _inverse(axis: Array, weights: Array, share: Array) -> Array:
    """Quantiles of a density that is known on a grid."""
    if len(axis) == 1:
        return np.full(len(share), axis[0])
    steps = np.concatenate([[0.0], np.cumsum((weights[1:] + weights[:-1]) / 2)])
    found: Array = np.interp(share, steps / steps[-1], axis)
    return found


def _between(axis: Array, weights: Array, at: float, row: int) -> Array:
    """The row of weights at a place between two rows of the grid."""
    share = (at - axis[row - 1]) / (axis[row] - axis[row - 1])
    found: Array = (1 - share) * weights[row - 1] + share * weights[row]
    return found
