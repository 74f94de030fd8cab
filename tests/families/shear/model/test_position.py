"""The Normal prior of the centre: in the density, with one mean for all images or one for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

from conftest import SCENE
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device
from lanewise.manifest.plan import Single

NORMAL = {"type": "Normal", "sigma": 0.5}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def config(**position: Any) -> ShearConfig:
    return shear_config.parse({**SCENE, "gal": {**SCENE["gal"], "position": {**NORMAL, **position}}})


def image(parsed: ShearConfig, x: float, y: float) -> np.ndarray:
    found = family.observe(parsed, Single("r", 1, {"g1": 0.02, "g2": 0.0, "x": x, "y": y}))
    return found.data["image"]


def prior_of(problem: ShearProblem, data: Mapping[str, Any]) -> Callable[[Mapping[str, float]], float]:
    """The log prior as density over likelihood, up to a constant."""
    prepared = problem.prepare(data)
    density, likelihood = jax.jit(problem.log_density), jax.jit(problem.log_likelihood)

    def of(moved: Mapping[str, float]) -> float:
        position = problem.start(prepared)
        for name, by in moved.items():
            position = position.at[problem.names.index(name)].add(by)
        latents = dict(zip(problem.names, problem.constrain(position), strict=True))
        gaussian = float(sum(stats.norm.logpdf(float(latents[g]), 0.0, 0.2) for g in ("g1", "g2")))
        return float(density(position, prepared) - likelihood(latents, prepared)) - gaussian

    return of


@pytest.mark.parametrize(("means", "expected"), [({}, (12.0, 12.0)), ({"x_mean": 11.2, "y_mean": 0.25}, (11.2, 6.0))])
def test_the_density_has_the_normal_prior_of_the_centre(means: dict[str, float], expected: tuple[float, float]) -> None:
    parsed = config(**means)
    problem = ShearProblem(parsed)
    data = {"image": image(parsed, *expected)}
    prior = prior_of(problem, data)
    begin = np.asarray(problem.constrain(problem.start(problem.prepare(data))))[-2:]
    assert begin == pytest.approx(expected, abs=1.0)
    for move in ({"x": 0.3}, {"y": -0.7}, {"x": 1.1, "y": 0.2, "g1": 0.01}):
        ended = begin + np.array([move.get(axis, 0.0) for axis in "xy"])
        log_ratio = np.sum(stats.norm.logpdf(ended, expected, 0.5) - stats.norm.logpdf(begin, expected, 0.5))
        # Likelihoods of 1e4 are subtracted.
        assert prior(move) - prior({}) == pytest.approx(log_ratio, abs=1e-8)
