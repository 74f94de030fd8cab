"""χ², matched filters and the pull of priors, against what was put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

from lanewise.engine.results import Goodness
from lanewise.families.shear.statistics.goodness import goodness, measure

NY, NX, SIGMA = 20, 26, 0.5
Y, X = np.mgrid[:NY, :NX] + 0.5


def _blob(x: float, y: float, width: float = 1.5) -> np.ndarray:
    return np.asarray(np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * width**2)))


MODEL = 100 * _blob(13, 10, 2)
SLOPES = np.stack([MODEL, MODEL * (X - 13), MODEL * (Y - 10), np.zeros_like(MODEL)])
ROOT = np.full((NY, NX), 1 / SIGMA)
Of = Callable[..., Goodness | None]


def _inputs(data: Any, root: Any = ROOT, slopes: Any = SLOPES) -> tuple[Any, ...]:
    """Of `measure`, for one exposure and one filter."""
    return data[None], root[None], MODEL[None], slopes[:, None], _blob(9.2, 7.7)[None, None], np.array([[[9.2, 7.7]]])


def _of(measured: Callable[..., Any], *arrays: Any) -> Goodness | None:
    return goodness(jax.device_get(measured(*_inputs(*arrays))), (1, NY, NX), ("psf",))


@pytest.fixture
def of() -> Iterator[Of]:
    with jax.enable_x64(True):
        measured = jax.jit(measure)
        yield lambda *arrays: _of(measured, *arrays)


def test_good_images_give_chi2_of_the_pixels_less_the_latents_and_p_values_that_are_not_too_small(of: Of) -> None:
    random = np.random.default_rng(1)
    found = []
    for _ in range(400):
        # An error of the fit of a few σ along the slopes changes nothing.
        data = MODEL + SIGMA * random.normal(size=MODEL.shape) + 0.01 * MODEL
        one = of(data)
        assert one is not None
        found.append(one)
    assert {one.dof for one in found} == {NY * NX - 3}
    # False alarm rate 1e-3.
    assert stats.kstest([one.chi2 for one in found], "chi2", args=(NY * NX - 3,)).pvalue > 1e-3
    # At most .1 + 4 σ of a binomial.
    assert np.mean([one.peak_p < 0.1 for one in found]) < 0.1 + 4 * np.sqrt(0.09 / 400)


@pytest.mark.parametrize("light", ["psf", "pixel"])
def test_light_that_the_model_lacks_is_found_where_it_is(of: Of, light: str) -> None:
    """A noise-free image, so that the answer is the S/N of the light itself."""
    added = 20 * _blob(20.5, 4.5) if light == "psf" else 20.0 * ((X == 20.5) & (Y == 4.5))
    found = of(MODEL + added)
    assert found is not None
    assert (found.peak_shape, found.peak_x, found.peak_y) == (light, 20.5, 4.5)
    assert found.peak_sigma == pytest.approx(np.linalg.norm(added) / SIGMA, rel=1e-3)
    assert found.peak_p < 1e-6


def test_what_a_change_of_the_latents_takes_is_no_misfit_but_the_pull_of_priors(of: Of) -> None:
    found = of(1.2 * MODEL)
    assert found is not None
    assert found.chi2 == pytest.approx(0, abs=1e-9)
    assert found.prior_sigma == pytest.approx(0.2 * np.linalg.norm(MODEL) / SIGMA)
    assert found.p == pytest.approx(3 * found.prior_p)


def test_masked_pixels_do_not_count(of: Of) -> None:
    masked = _blob(20.5, 4.5, 3) > 0.1
    data = np.where(masked, np.nan, MODEL)
    found = of(data, np.where(masked, 0, ROOT))
    assert found is not None
    assert found.dof == int((~masked).sum()) - 3
    assert found.chi2 == pytest.approx(0, abs=1e-9)
    assert found.p == 1
    assert of(data, np.zeros_like(ROOT)) is None


@pytest.mark.parametrize("broken", ["model", "slopes", "data"])
def test_what_is_not_finite_is_not_judged(of: Of, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A realization is stored with its goodness: a NaN there would lose the chunk.
    arrays = {"data": MODEL.copy(), "model": MODEL.copy(), "slopes": SLOPES.copy()}
    arrays[broken].flat[3] = 1e200 if broken == "data" else np.nan
    monkeypatch.setitem(globals(), "MODEL", arrays["model"])
    assert of(arrays["data"], ROOT, arrays["slopes"]) is None


def test_slopes_that_depend_on_each_other_count_once(of: Of) -> None:
    random = np.random.default_rng(3)
    data = MODEL + SIGMA * random.normal(size=MODEL.shape)
    found, again = of(data), of(data, ROOT, np.concatenate([SLOPES, [SLOPES[1] - 2 * SLOPES[2]]]))
    assert found is not None
    assert again is not None
    assert again.dof == found.dof
    assert again.chi2 == pytest.approx(found.chi2)


def test_single_precision_gives_the_numbers_of_double_precision(of: Of) -> None:
    random = np.random.default_rng(2)
    data = MODEL + SIGMA * random.normal(size=MODEL.shape) + 5 * _blob(20.5, 4.5)
    found = of(data)
    with jax.enable_x64(False):
        assert jax.eval_shape(measure, *_inputs(data)).chi2.dtype == np.float32
        single = _of(jax.jit(measure), data)
    assert found is not None
    assert single is not None
    assert (single.dof, single.peak_x, single.peak_y) == (found.dof, found.peak_x, found.peak_y)
    for name in ("chi2", "peak_sigma", "prior_sigma"):
        assert getattr(single, name) == pytest.approx(getattr(found, name), rel=1e-4), name


def test_the_peak_of_the_filters_is_that_of_sums_over_pixels_at_every_place(of: Of) -> None:
    """Each place by brute force: the least-squares S/N of the shape there, with the latents free."""
    random = np.random.default_rng(5)
    root = np.where(random.uniform(size=(NY, NX)) < 0.1, 0, ROOT * random.uniform(0.5, 1, (NY, NX)))
    data = MODEL + np.where(root > 0, random.normal(size=(NY, NX)), 0) / np.where(root > 0, root, 1)
    found = of(data, root)
    assert found is not None
    whitened = (data - MODEL) * root
    basis = np.linalg.svd((SLOPES[:3] * root).reshape(3, -1), full_matrices=False)[2]

    def significance(shape: np.ndarray) -> float:
        own = (shape * root).ravel()
        free = own - (basis @ own) @ basis
        power = np.sum(own**2)
        # The largest power is that of a place without a masked pixel near it.
        usable = free @ free > 0.01 * power > 0
        return float(free @ whitened.ravel() / np.sqrt(free @ free)) if usable else 0.0

    places = [(x + 0.5, y + 0.5) for x in range(NX) for y in range(NY)]
    pixels = {place: significance(1.0 * ((place[0] == X) & (place[1] == Y))) for place in places}
    # Away from the edges: there a filter has to have a quarter of its power inside.
    blobs = {(x, y): significance(_blob(x, y)) for x, y in places if 3 < x < NX - 3 and 3 < y < NY - 3}
    by_shape = {"pixel": pixels, "psf": blobs}
    name, place, value = max(
        ((name, place, value) for name, values in by_shape.items() for place, value in values.items()),
        key=lambda one: abs(one[2]),
    )
    assert (found.peak_shape, found.peak_x, found.peak_y) == (name, *place)
    assert found.peak_sigma == pytest.approx(value, rel=1e-6)
