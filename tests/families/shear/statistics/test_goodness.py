"""χ², matched filters and the pull of priors, against what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lanewise.families.shear.statistics.goodness import Filter, goodness

NY, NX, SIGMA = 20, 26, 0.5
Y, X = np.mgrid[:NY, :NX] + 0.5


def _blob(x: float, y: float, width: float = 1.5) -> np.ndarray:
    return np.asarray(np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * width**2)))


MODEL = 100 * _blob(13, 10, 2)
SLOPES = np.stack([MODEL, MODEL * (X - 13), MODEL * (Y - 10), np.zeros_like(MODEL)])
FILTERS = (Filter("psf", _blob(9.2, 7.7), (9.2, 7.7)),)
ROOT = np.full((NY, NX), 1 / SIGMA)


def test_good_images_give_chi2_of_the_pixels_less_the_latents_and_p_values_that_are_not_too_small() -> None:
    random = np.random.default_rng(1)
    found = []
    for _ in range(400):
        # An error of the fit of a few σ along the slopes changes nothing.
        data = MODEL + SIGMA * random.normal(size=MODEL.shape) + 0.01 * MODEL
        one = goodness(data, ROOT, MODEL, SLOPES, FILTERS)
        assert one is not None
        found.append(one)
    assert {one.dof for one in found} == {NY * NX - 3}
    # False alarm rate 1e-3.
    assert stats.kstest([one.chi2 for one in found], "chi2", args=(NY * NX - 3,)).pvalue > 1e-3
    # At most .1 + 4 σ of a binomial.
    assert np.mean([one.peak_p < 0.1 for one in found]) < 0.1 + 4 * np.sqrt(0.09 / 400)


@pytest.mark.parametrize("light", ["psf", "pixel"])
def test_light_that_the_model_lacks_is_found_where_it_is(light: str) -> None:
    """A noise-free image, so that the answer is the S/N of the light itself."""
    added = 20 * _blob(20.5, 4.5) if light == "psf" else 20.0 * ((X == 20.5) & (Y == 4.5))
    found = goodness(MODEL + added, ROOT, MODEL, SLOPES, FILTERS)
    assert found is not None
    assert (found.peak_shape, found.peak_x, found.peak_y) == (light, 20.5, 4.5)
    assert found.peak_sigma == pytest.approx(np.linalg.norm(added) / SIGMA, rel=1e-3)
    assert found.peak_p < 1e-6


def test_what_a_change_of_the_latents_takes_is_no_misfit_but_the_pull_of_priors() -> None:
    found = goodness(1.2 * MODEL, ROOT, MODEL, SLOPES, FILTERS)
    assert found is not None
    assert found.chi2 == pytest.approx(0, abs=1e-9)
    assert found.prior_sigma == pytest.approx(0.2 * np.linalg.norm(MODEL) / SIGMA)
    assert found.p == pytest.approx(3 * found.prior_p)


def test_masked_pixels_do_not_count() -> None:
    masked = _blob(20.5, 4.5, 3) > 0.1
    data = np.where(masked, np.nan, MODEL)
    found = goodness(data, np.where(masked, 0, ROOT), MODEL, SLOPES, FILTERS)
    assert found is not None
    assert found.dof == int((~masked).sum()) - 3
    assert found.chi2 == pytest.approx(0, abs=1e-9)
    assert found.p == 1
    assert goodness(data, np.zeros_like(ROOT), MODEL, SLOPES, FILTERS) is None


@pytest.mark.parametrize("broken", ["model", "slopes", "data"])
def test_what_is_not_finite_is_not_judged(broken: str) -> None:
    # A realization is stored with its goodness: a NaN there would lose the chunk.
    arrays = {"data": np.ones((9, 9)), "model": np.ones((9, 9)), "slopes": np.ones((1, 9, 9))}
    arrays[broken].flat[3] = 1e200 if broken == "data" else np.nan
    assert goodness(arrays["data"], np.ones((9, 9)), arrays["model"], arrays["slopes"], ()) is None
