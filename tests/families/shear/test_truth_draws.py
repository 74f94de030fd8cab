"""Truths drawn from priors: their distribution, and that they depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from lanewise.families.shear import truth_draws
from lanewise.families.shear.priors import PRIORS, Prior, uniform

VALUES: dict[str, tuple[float, ...]] = {
    "Normal": (0.3, 0.2),
    "LogNormal": (2.0, 0.5),
    "LogSkewNormal": (2.0, 0.5, 14.0),
    "Uniform": (-1.0, 3.0),
    "LogUniform": (0.1, 30.0),
    "TruncatedNormal": (0.2, 0.5, -0.1, 0.4),
    "HalfNormal": (0.7,),
    "Gamma": (2.5, 4.0),
    "Beta": (2.0, 5.0),
    "StudentT": (3.0, 0.1, 0.2),
}
EXAMPLES = {name: Prior(name, values) for name, values in VALUES.items()}


def test_every_prior_is_tried() -> None:
    assert set(EXAMPLES) == set(PRIORS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_quantiles_are_those_of_the_distribution_that_is_inferred_with(name: str) -> None:
    prior = EXAMPLES[name]
    # NumPyro has no skew-normal; its density is in test_config.py.
    skewed = stats.skewnorm(14.0, np.log(2.0), 0.5)
    cdf = (lambda value: skewed.cdf(np.log(value))) if name == "LogSkewNormal" else prior.distribution().cdf
    for share in (0.001, 0.2, 0.5, 0.77, 0.999):
        # NumPyro's distribution functions are of float32 unless asked otherwise.
        assert float(cdf(prior.quantile(share))) == pytest.approx(share, abs=2e-6)


def test_draws_follow_the_prior_and_their_seed() -> None:
    """2000 draws of a Gamma: a KS test, failed once in 1000 by chance, at a fixed seed."""
    galaxy: dict[str, float | Prior] = {"flux": EXAMPLES["Gamma"], "g1": 0.01, "g2": 0.0, "e1": 0.0, "e2": 0.0}
    found = [truth_draws.truth(galaxy, seed) for seed in range(2000)]
    assert stats.kstest([f["flux"] for f in found], stats.gamma(2.5, scale=1 / 4).cdf).pvalue > 1e-3
    assert {f["g1"] for f in found} == {0.01}
    assert len({f["flux"] for f in found}) == 2000
    assert truth_draws.truth(galaxy, 7) == found[7]


def test_a_galaxy_that_does_not_exist_is_drawn_again() -> None:
    """Uniform on the square, given that it is in the disc: E[g1² + g2²] = 1/2, ± 0.0065 over 2000 (4 σ: 0.026)."""
    square: dict[str, float | Prior] = {"g1": uniform(-1.0, 1.0), "g2": uniform(-1.0, 1.0), "e1": 0.0, "e2": 0.0}
    found = [truth_draws.truth(square, seed) for seed in range(2000)]
    size = np.array([f["g1"] ** 2 + f["g2"] ** 2 for f in found])
    assert size.max() < 1
    assert size.mean() == pytest.approx(0.5, abs=0.026)
    assert not truth_draws.exists({"g1": 0.0, "g2": 0.0, "e1": 0.0, "e2": 0.0, "half_light_radius": -1.0})
    assert not truth_draws.exists({"g1": 0.0, "g2": 0.0, "e1": 0.0, "e2": 0.0, "a_fraction": 0.6, "b_fraction": 0.5})


SHAPE: dict[str, float | Prior] = {
    "g1": 0.01,
    "g2": 0.0,
    "e1": Prior("Normal", (0.0, 0.3)),
    "e2": Prior("Normal", (0.0, 0.3)),
}


@pytest.mark.parametrize("power", [0.0, 2.0, 7.5])
def test_shapes_follow_a_gaussian_times_a_power_of_the_disc(power: float) -> None:
    """|e|² has the density (1 − s)^n exp(−s/2σ²) on 0…1: KS over 3000 draws, failed once in 1000 by chance.

    A power higher by 4 is told apart.
    """
    found = [truth_draws.truth(SHAPE, seed, power) for seed in range(3000)]
    sizes = [f["e1"] ** 2 + f["e2"] ** 2 for f in found]
    grid = np.linspace(0, 1, 100_001)

    def p(n: float) -> float:
        cumulative = integrate.cumulative_trapezoid((1 - grid) ** n * np.exp(-grid / 0.18), grid, initial=0)
        return float(stats.kstest(sizes, lambda s: np.interp(s, grid, cumulative / cumulative[-1])).pvalue)

    assert p(power) > 1e-3
    assert p(power + 4) < 1e-6
    assert {f["g1"] for f in found} == {0.01}


def test_without_the_factor_truths_are_what_they_were() -> None:
    found = truth_draws.truth(SHAPE, 7)
    assert [found["e1"], found["e2"]] == pytest.approx([0.45126779616050633, 0.142697553110679], rel=1e-12)
