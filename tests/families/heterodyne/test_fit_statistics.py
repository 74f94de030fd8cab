"""What a fit finds over many truths, and whether its errors cover them."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
import pytest
from scipy import stats

from lanewise.families.heterodyne import c2, simulate
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.nlsq.fit import fit
from lanewise.families.heterodyne.nlsq.result import FitResult

EXPERIMENT = simulate.Experiment()
T = c2.time_grid(EXPERIMENT.n_frames, EXPERIMENT.dt)


def observed(truth: Mapping[str, float], seed: int) -> TwoTimeData:
    matrices = simulate.simulate(truth, EXPERIMENT, seed)
    return TwoTimeData(matrices, EXPERIMENT.q, EXPERIMENT.dt, np.array(EXPERIMENT.phi))


def ssr(truth: Mapping[str, float], data: TwoTimeData) -> float:
    """Sum of squares at the truth over i < j, contrast and offset fitted by numpy."""
    above = np.triu_indices(EXPERIMENT.n_frames, 1)
    g = simulate.shape(truth, EXPERIMENT)[:, above[0], above[1]].ravel()
    y = data.c2[:, above[0], above[1]].ravel()
    return float(np.linalg.lstsq(np.stack([g, np.ones_like(g)], axis=1), y, rcond=None)[1][0])


def rank(truth: Mapping[str, float]) -> int:
    """Of the Jacobian by the 14 parameters, contrast and offset, columns normalised."""

    def curve(parameters: jax.Array) -> jax.Array:
        e = EXPERIMENT
        shape: jax.Array = c2.two_time_correlation(
            parameters[:14], T, e.q, e.dt, e.phi, parameters[14], parameters[15], e.definitions.fraction_clip
        )
        return shape[:, ::4, ::4].ravel()

    at = jax.numpy.array([*(truth[name] for name in c2.NAMES), EXPERIMENT.contrast, EXPERIMENT.offset])
    columns = np.asarray(jax.jacfwd(curve)(at))
    return int(np.linalg.matrix_rank(columns / np.linalg.norm(columns, axis=0), tol=1e-7))


def check_minima(seeds: range, share: float) -> None:
    found: list[bool] = []
    for seed in seeds:
        truth = simulate.draw_truth(EXPERIMENT, seed)
        data = observed(truth, seed)
        result = fit(data)
        assert rank(truth) >= 13
        hit = result.ssr <= 1.001 * ssr(truth, data)
        print(
            seed,
            hit,
            result.converged,
            result.agreement,
            result.n_polished,
            result.rounds,
            f"{result.reduced_chi2:.3f}",
        )
        assert hit or not result.converged, f"seed {seed}: a wrong minimum was called converged"
        found.append(hit)
    print(f"{sum(found)} of {len(found)} global minima")
    assert sum(found) >= share * len(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1100, 20))
def test_at_least_95_percent_of_random_truths_are_found_and_every_miss_is_flagged(first: int) -> None:
    check_minima(range(first, first + 20), 0.95)


def headline(result: FitResult) -> dict[str, tuple[float, float]]:
    named = {
        "j_ref": result.j_ref,
        "j_sample": result.j_sample,
        "v": result.v,
        "contrast": result.contrast[0],
        "offset": result.offset[0],
        **{name: result.parameters[name] for name in ("alpha_sample", "beta", "f1", "f3", "phi0")},
    }
    return {name: (estimate.value, estimate.error) for name, estimate in named.items()}


@pytest.mark.slow
def test_intervals_cover_the_truth_in_68_and_95_percent_of_200_data_sets() -> None:
    truth = simulate.EXAMPLE
    p, t_ref = truth, float(np.exp(np.log(T).mean()))
    values = {
        "j_ref": p["D0_ref"] * t_ref ** p["alpha_ref"] + p["D_offset_ref"],
        "j_sample": p["D0_sample"] * t_ref ** p["alpha_sample"] + p["D_offset_sample"],
        "v": p["v0"] * t_ref ** p["beta"] + p["v_offset"],
        "contrast": EXPERIMENT.contrast,
        "offset": EXPERIMENT.offset,
        **{name: p[name] for name in ("alpha_sample", "beta", "f1", "f3", "phi0")},
    }
    quick = {"fit": {"candidates": 256, "starts": 16, "polish": 4, "agreement": 2}}
    pulls: dict[str, list[float]] = {name: [] for name in values}
    n = 200
    for seed in range(2000, 2000 + n):
        result = fit(observed(truth, seed), quick)
        assert result.converged, (seed, result.warnings)
        for name, (value, error) in headline(result).items():
            pulls[name].append((value - values[name]) / error)
    for name, pull in pulls.items():
        inside = [int(np.sum(np.abs(pull) < k)) for k in (1.0, 1.96)]
        print(f"{name}: {inside[0] / n:.3f} {inside[1] / n:.3f} mean {np.mean(pull):+.2f} sd {np.std(pull):.2f}")
        # Two-sided binomial, 20 of them: 1e-4 each gives a false alarm in 500 runs.
        for count, share in zip(inside, (0.6827, 0.95), strict=True):
            assert stats.binomtest(count, n, share).pvalue > 1e-4, (name, share, count)
