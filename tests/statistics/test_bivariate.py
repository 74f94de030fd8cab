from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from lanewise.statistics.bivariate import both_above


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.0, 0.5, 0.9])
def test_probability_of_a_quadrant_is_that_of_an_adaptive_quadrature(correlation: float) -> None:
    def expected(first: float, second: float) -> float:
        def inner(x: float) -> float:
            return float(stats.norm.pdf(x) * stats.norm.sf((second - correlation * x) / np.sqrt(1 - correlation**2)))

        return float(integrate.quad(inner, first, 10, epsabs=1e-12, limit=200)[0])

    for first in (-6.0, -1.5, 0.0, 2.0):
        for second in (-4.0, 0.0, 0.3, 5.0):
            found = both_above(np.array(first), np.array(second), correlation)
            assert float(found) == pytest.approx(expected(first, second), abs=1e-9)
