"""The shears at which a galaxy's log likelihood is kept, and the polynomial through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from lanewise.families.shear.config import ShearConfig

Array = NDArray[np.float64]
# Nodes per component: the polynomial has degree 4. Degree 2 is a Gaussian likelihood.
N_NODES = 5


@dataclass(frozen=True)
class Axis:
    """Chebyshev nodes of one component between ±`half_width`; a single node if its shear is known.

    Attributes:
        known: the shear, if it is not inferred.
    """

    half_width: float
    known: float | None = None

    @property
    def points(self) -> Array:
        """The nodes, ascending [reduced shear]."""
        return np.array([self.known]) if self.known is not None else self.half_width * chebyshev.chebpts1(N_NODES)

    def basis(self, g: Array, derivative: int = 0) -> Array:
        """From values at the nodes to those of the polynomial, or of its derivative, at g, shape (len(g), node)."""
        if self.known is not None:
            return np.full((len(g), 1), 0.0 if derivative else 1.0)
        to_coefficients = np.linalg.inv(chebyshev.chebvander(self.points / self.half_width, N_NODES - 1))
        for _ in range(derivative):
            to_coefficients = chebyshev.chebder(to_coefficients, scl=1 / self.half_width)
        found: Array = chebyshev.chebvander(g / self.half_width, len(to_coefficients) - 1) @ to_coefficients
        return found


@dataclass(frozen=True)
class Nodes:
    """Nodes of g1 and g2; values at them have the shape (…, node of g1, node of g2)."""

    axes: tuple[Axis, Axis]

    @classmethod
    def of(cls, config: ShearConfig) -> Self:
        """The nodes of a config with a population."""
        assert config.population is not None
        half_width = config.population.half_width
        first, second = (Axis(half_width, config.fixed.get(name)) for name in ("g1", "g2"))
        return cls((first, second))

    @property
    def points(self) -> Array:
        """(g1, g2) of all nodes, shape (node, 2), those of g2 fastest."""
        g1, g2 = np.meshgrid(*(axis.points for axis in self.axes), indexing="ij")
        return np.stack([g1.ravel(), g2.ravel()], axis=-1)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of nodes of g1 and of g2."""
        first, second = (len(axis.points) for axis in self.axes)
        return first, second

    def at(self, values: Array, grid: Sequence[Array], derivatives: tuple[int, int] = (0, 0)) -> Array:
        """The polynomial through values at the nodes, or a derivative, shape (…, len(grid[0]), len(grid[1]))."""
        first, second = (axis.basis(g, d) for axis, g, d in zip(self.axes, grid, derivatives, strict=True))
        found: Array = first @ values @ second.T
        return found
