"""Priors of the parameters for sampling, each within the parameter's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

PriorType = Literal["normal", "log_normal", "uniform", "log_uniform"]
_GRID = 4096


@dataclass(frozen=True)
class Prior:
    """A prior; the parameter's bounds cut it off.

    Attributes:
        type: `normal` and `uniform` in the parameter, `log_normal` and `log_uniform` in its logarithm.
        mean, sd: of the normal distribution before the cut; of the logarithm for `log_normal`.
    """

    type: PriorType = "normal"
    mean: float = 0.0
    sd: float = 1.0

    @property
    def logarithmic(self) -> bool:
        """Whether it is a density in the logarithm."""
        return self.type.startswith("log")

    @property
    def precision(self) -> float:
        """1 / sd; 0 for a uniform prior."""
        return 0.0 if self.type.endswith("uniform") else 1 / self.sd

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Log density at values within the bounds, up to a constant."""
        seen = np.log(values) if self.logarithmic else values
        found = -0.5 * ((seen - self.mean) * self.precision) ** 2
        return np.asarray(found - (seen if self.logarithmic else 0.0))

    def tabulated(self, low: float, high: float) -> Table:
        """The prior between these bounds as numbers; equal bounds are a fixed value."""
        if low == high:
            return Table(np.array([low]), np.array([1.0]), 0.0)
        # Midpoints: a logarithmic prior may have 0 as its lower bound.
        values = low + (np.arange(_GRID) + 0.5) * (high - low) / _GRID
        log_density = self.log_density(values)
        top = log_density.max()
        density = np.exp(log_density - top)
        log_norm = float(np.log(density.sum() * (high - low) / _GRID) + top)
        return Table(values, density / density.sum(), log_norm)


class Table(NamedTuple):
    """A prior on a grid.

    Attributes:
        values, probability: the grid, and the probability of each cell.
        log_norm: logarithm of the integral of the unnormalised density.
    """

    values: np.ndarray
    probability: np.ndarray
    log_norm: float

    def nodes(self, n: int) -> np.ndarray:
        """Quantiles at the centres of n intervals of equal probability."""
        middles = (np.arange(n) + 0.5) / n
        return np.asarray(np.interp(middles, np.cumsum(self.probability) - self.probability / 2, self.values))


# Of the two-component package that the published page describes; its parameters of a rate hold for one component, too.
_RATE = {"D0": Prior("normal", 1e4, 1e4), "alpha": Prior("normal", 0.0, 1.0), "D_offset": Prior("normal", 0.0, 1e3)}
DEFAULTS: Mapping[str, Prior] = {
    **{f"{name}{which}": prior for which in ("_ref", "_sample", "") for name, prior in _RATE.items()},
    "v0": Prior("normal", 1e3, 1e3),
    "beta": Prior("normal", 0.0, 1.0),
    "v_offset": Prior("normal", 0.0, 25.0),
    "f0": Prior("normal", 0.5, 0.25),
    "f1": Prior("normal", 0.0, 5.0),
    "f2": Prior("normal", 0.0, 1e3),
    "f3": Prior("normal", 0.0, 0.5),
    "phi0": Prior("normal", 0.0, 5.0),
    "gamma_dot_t0": Prior("log_uniform"),
    "gamma_dot_t_offset": Prior("uniform"),
    "contrast": Prior("normal", 0.5, 0.25),
    "offset": Prior("normal", 1.0, 0.25),
}
