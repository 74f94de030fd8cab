"""A distribution of intrinsic ellipticities that is known by numbers: the density of |e| at some values of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate

Array = NDArray[np.float64]
# Cells of the distribution function between two values, and points of the quadrature in each.
_CELLS, _POINTS = 128, 5


class Pieces(NamedTuple):
    """The log density over the disc as cubic polynomials of |e|².

    Attributes:
        knots: squares of the tabulated |e|, and 1, shape (n + 1,). The first piece reaches down to 0.
        coefficients: of the powers 3, 2, 1, 0 of the distance from the knot before, shape (4, n).
    """

    knots: Array
    coefficients: Array


@dataclass(frozen=True)
class Table:
    """Isotropic ellipticities by a table of |e|.

    Between the values the logarithm of the density over the disc, density / |e|, is a cubic spline of |e|²: it is
    smooth at 0 as every isotropic density is, and a Gaussian is exact. Beyond the last value it goes on as a Gaussian:
    an edge inside the disc would leave shears without a likelihood.

    Attributes:
        e: sizes |e| in ascending order, between 0 and 1.
        density: of |e| at these sizes, up to a common factor, > 0.
    """

    e: tuple[float, ...]
    density: tuple[float, ...]

    @cached_property
    def pieces(self) -> Pieces:
        """The density, normalised over the disc."""
        coefficients = self._log_density.c.copy()
        coefficients[3] -= np.log(np.pi * self._cells[1][-1])
        return Pieces(self._log_density.x, coefficients)

    @property
    def beyond(self) -> float:
        """Share of the galaxies beyond the last value."""
        edges, mass = self._cells
        return float(1 - np.interp(self.e[-1] ** 2, edges, mass) / mass[-1])

    @property
    def width(self) -> float:
        """Root mean square of a component."""
        edges, mass = self._cells
        middles = (edges[1:] + edges[:-1]) / 2
        return float(np.sqrt(middles @ np.diff(mass) / mass[-1] / 2))

    def squares(self, shares: ArrayLike) -> Array:
        """Quantiles of |e|² at shares between 0 and 1."""
        edges, mass = self._cells
        found: Array = np.interp(np.asarray(shares) * mass[-1], mass, edges)
        return found

    @cached_property
    def _log_density(self) -> interpolate.PPoly:
        """Without a norm."""
        e, density = np.array(self.e), np.array(self.density)
        # Without curvature at the end, the Gaussian that follows joins smoothly.
        spline = interpolate.CubicSpline(e**2, np.log(density / e), bc_type=("not-a-knot", "natural"))
        tail = np.array([0.0, 0.0, float(spline(e[-1] ** 2, 1)), float(spline(e[-1] ** 2))])
        return interpolate.PPoly(np.column_stack([spline.c, tail]), np.append(spline.x, 1.0))

    @cached_property
    def _cells(self) -> tuple[Array, Array]:
        """Edges of cells in |e|², and the integral up to each of them, without a norm."""
        knots = np.concatenate([[0.0], self._log_density.x])
        parts = np.arange(_CELLS) / _CELLS
        edges = np.append((knots[:-1, None] + np.diff(knots)[:, None] * parts).ravel(), knots[-1])
        points, shares = np.polynomial.legendre.leggauss(_POINTS)
        middles, halves = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        values = np.exp(self._log_density(middles[:, None] + halves[:, None] * points))
        return edges, np.append(0.0, np.cumsum(halves * (values @ shares)))
