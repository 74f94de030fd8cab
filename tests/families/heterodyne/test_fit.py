from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise.errors import DataError, ManifestError
from lanewise.families.heterodyne import c2, config, simulate
from lanewise.families.heterodyne.data import TwoTimeData, load_data
from lanewise.families.heterodyne.nlsq import coordinates, kernel, noise, scaling, starts
from lanewise.families.heterodyne.nlsq.fit import fit, fit_file
from lanewise.families.heterodyne.nlsq.result import FitResult
from lanewise.families.heterodyne.nlsq.scene import Scene
from lanewise.families.heterodyne.nlsq.search import diverse
from lanewise.families.heterodyne.nlsq.two_component import TwoComponents

REFERENCE = Path(__file__).parents[2] / "data" / "heterodyne"
TRUTH = simulate.EXAMPLE
VECTOR = np.array([TRUTH[name] for name in c2.NAMES])
T = c2.time_grid(100, 0.1)
T_REF = float(np.exp(np.log(T).mean()))
HEADLINE = {
    "j_ref": TRUTH["D0_ref"] * T_REF ** TRUTH["alpha_ref"] + TRUTH["D_offset_ref"],
    "j_sample": TRUTH["D0_sample"] * T_REF ** TRUTH["alpha_sample"] + TRUTH["D_offset_sample"],
    "v": TRUTH["v0"] * T_REF ** TRUTH["beta"] + TRUTH["v_offset"],
}
NORMAL = jax.jit(scaling.normal, static_argnums=2)
QUICK = {"candidates": 256, "starts": 16, "polish": 8}


def reference(layout: str) -> TwoTimeData:
    return load_data(str(REFERENCE / f"a3n100_{layout}.h5"), q=0.0054, dt=0.1)


@cache
def fitted(layout: str) -> FitResult:
    return fit(reference(layout))


@pytest.mark.long
@pytest.mark.parametrize("layout", ["flat", "exchange", "aps_old", "aps_u"])
def test_the_reference_data_give_the_truth_from_every_layout(layout: str) -> None:
    result = fitted(layout)
    assert result.converged, result.warnings
    for name, truth in HEADLINE.items():
        estimate = getattr(result, name)
        assert estimate.error < 0.01 * truth
        assert abs(estimate.value - truth) < 3 * estimate.error, name
        # float32 matrices: 6e-8 of c2 ≈ 1.3 is 1.6e-5 of the noise, which moves nothing by more than that of its error.
        assert abs(estimate.value - getattr(fitted("flat"), name).value) < 3e-5 * estimate.error


def test_each_datum_counts_once_and_the_noise_is_that_of_the_file() -> None:
    result = fitted("flat")
    assert result.n_data == 3 * 100 * 99 // 2
    assert result.n_free == 15
    # The robust estimate from 14 553 differences is good to 3 %; four of these.
    assert result.noise.sigma == pytest.approx(0.005, rel=0.12)
    assert result.reduced_chi2 == pytest.approx(1.0, abs=0.24)
    above = np.triu_indices(100, 1)
    data = reference("flat")
    model = c2.two_time_correlation(
        result.vector,
        T,
        data.q,
        data.dt,
        data.phi,
        np.array([e.value for e in result.contrast]),
        np.array([e.value for e in result.offset]),
    )
    assert ((model - data.c2)[:, above[0], above[1]] ** 2).sum() == pytest.approx(result.ssr, rel=1e-9)


def test_bands_follow_from_the_parameters_and_their_covariance() -> None:
    result, data = fitted("flat"), reference("flat")
    bands, p = result.bands, {name: estimate.value for name, estimate in result.parameters.items()}
    for row, which in enumerate(("ref", "sample")):
        d0, alpha = p[f"D0_{which}"], p[f"alpha_{which}"]
        np.testing.assert_allclose(bands.rates[row], d0 * T**alpha + p[f"D_offset_{which}"], rtol=1e-9)
        slope = np.stack([T**alpha, d0 * T**alpha * np.log(T), np.ones_like(T)], axis=1)
        at = [c2.NAMES.index(f"{name}_{which}") for name in ("D0", "alpha", "D_offset")]
        variance = np.einsum("tk,kl,tl->t", slope, result.covariance[np.ix_(at, at)], slope)
        # The parameters are nearly degenerate: their covariance loses digits.
        np.testing.assert_allclose(bands.rates_errors[row], np.sqrt(variance), rtol=1e-3)
    contrast, offset = (np.array([e.value for e in one]) for one in (result.contrast, result.offset))
    model = c2.two_time_correlation(result.vector, T, data.q, data.dt, data.phi, contrast, offset)
    assert bands.cut_frames.tolist() == [0, 25, 50, 75]
    np.testing.assert_allclose(bands.cuts[:, 1, 26:], model[:, 25, 26:], rtol=1e-9)
    assert np.isnan(bands.cuts[:, 1, :26]).all()
    # Far from the diagonal the model is nearly the offset, and so is its error.
    assert bands.cuts_errors[0, 0, 99] == pytest.approx(result.offset[0].error, rel=0.5)


def test_bands_of_what_the_data_leave_open_are_infinite() -> None:
    # One angle thrice: the program is that of the other fits.
    result = fit(simulated(simulate.Experiment(phi=(20.0, 20.0, 20.0))), {"fit": QUICK})
    assert np.isinf(result.bands.rates_errors[2]).all()
    assert np.isfinite(result.bands.rates_errors[:2]).all()
    assert np.isfinite(result.bands.cuts_errors[0, 0, 1:]).all()


def test_the_same_fit_gives_the_same_bits_and_other_starts_the_same_minimum() -> None:
    again, other = fit(reference("flat")), fit(reference("flat"), {"fit": {"seed": 7}})
    assert np.array_equal(again.coordinates, fitted("flat").coordinates)
    assert other.converged
    assert other.ssr == pytest.approx(again.ssr, rel=1e-7)


def test_fixed_parameters_stay_and_bounds_hold() -> None:
    bounded = {"f2": 1.0, "phi0": 2.0, "alpha_ref": {"max": -0.3}, "f3": {"max": 0.19}}
    result = fit(reference("flat"), {"parameters": bounded, "fit": QUICK})
    values = {name: estimate.value for name, estimate in result.parameters.items()}
    assert values["f2"] == 1.0
    assert values["phi0"] == pytest.approx(2.0, abs=1e-12)
    assert values["alpha_ref"] <= -0.3 + 1e-9
    assert values["f3"] == pytest.approx(0.19, abs=1e-9)
    assert "f3" in result.at_bounds
    assert result.parameters["phi0"].error == 0.0
    assert result.parameters["f3"].error > 0.0
    assert result.degenerate == ()
    assert result.ssr > fitted("flat").ssr


def test_a_bound_that_hardly_binds_changes_no_error() -> None:
    free = fitted("flat")
    below = free.parameters["D_offset_ref"].value - 0.01 * free.parameters["D_offset_ref"].error
    result = fit(reference("flat"), {"parameters": {"D_offset_ref": {"max": below}}, "fit": QUICK})
    assert "D_offset_ref" in result.at_bounds
    # A hundredth of an error away the curvature differs by a few hundredths; given the bound, alpha would be known
    # ten times better.
    for name in ("alpha_ref", "D0_ref", "D_offset_ref", "f3"):
        assert result.parameters[name].error == pytest.approx(free.parameters[name].error, rel=0.1), name
    assert result.j_ref.error == pytest.approx(free.j_ref.error, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "change", "reason"),
    [
        (
            {"candidates": 1, "starts": 1, "polish": 1, "agreement": 1, "hops": 1, "rounds": 1, "max_iterations": 1},
            0.0,
            "still descending",
        ),
        (
            {**QUICK, "agreement": 8, "polish": 8, "starts": 8, "candidates": 8, "hops": 0, "rounds": 1},
            0.0,
            "polished starts ended here",
        ),
        (QUICK, 0.03, "does not describe the data"),
    ],
)
def test_what_is_not_shown_to_be_the_minimum_is_not_converged(
    settings: dict[str, Any], change: float, reason: str
) -> None:
    data = reference("flat")
    # A block of frames that is out of step with the rest: no parameter describes it, and differences hardly see it.
    moved = data.c2.copy()
    moved[:, 40:60, 40:60] += change
    result = fit(replace(data, c2=moved), {"fit": settings})
    assert not result.converged
    assert any(reason in warning for warning in result.warnings), result.warnings


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_alone_is_not_a_converged_fit(seed: int) -> None:
    noise_alone = simulate.Experiment(contrast=0.0)
    result = fit(simulated(noise_alone, seed), {"fit": QUICK})
    assert not result.converged
    assert "these data show no correlation that could be fitted" in result.warnings[0]


def test_a_weak_correlation_is_still_one() -> None:
    # At the truth χ² gains 275 over a constant; 142 are needed.
    result = fit(simulated(simulate.Experiment(contrast=0.003)), {"fit": QUICK})
    assert not any("no correlation" in warning for warning in result.warnings)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("seed", [3, pytest.param(6, marks=SLOW), pytest.param(14, marks=SLOW)])
def test_random_truths_are_found(seed: int) -> None:
    where = simulate.Experiment()
    truth = simulate.draw_truth(where, seed)
    data = TwoTimeData(simulate.simulate(truth, where, seed), where.q, where.dt, np.array(where.phi))
    result = fit(data)
    assert result.converged, result.warnings
    # ssr/σ² has a spread of √(2n) = 172; five of these.
    assert result.ssr / where.noise**2 == pytest.approx(result.n_data - 15, abs=5 * np.sqrt(2 * result.n_data))


def test_fit_file_reads_what_the_config_selects() -> None:
    source = str(REFERENCE / "a3n100_aps_u.h5")
    result = fit_file(source, {"data": {"q": 0.0054, "dt": 0.1}})
    assert result.ssr == fitted("aps_u").ssr


def test_too_few_data_and_a_wrong_config_are_errors() -> None:
    small = TwoTimeData(np.ones((1, 5, 5)), 0.0054, 0.1, np.array([0.0]))
    with pytest.raises(DataError, match="10 values cannot determine"):
        fit(small)
    with pytest.raises(ManifestError, match=r"scaling\.mode"):
        fit(small, {"scaling": {"mode": "none"}})
    with pytest.raises(DataError, match="fourier needs 5 angles, these data have 3"):
        fit(reference("flat"), {"scaling": {"mode": "fourier"}})


@jax.jit
def truth_coordinates(parameters: jax.Array, gauge: coordinates.Gauge) -> jax.Array:
    log_f0 = jnp.log(parameters[9]) + parameters[10] * (gauge.f2 - parameters[11])
    return coordinates.from_box(jnp.delete(parameters, 11).at[9].set(log_f0), gauge)


def test_coordinates_report_the_parameters_they_came_from() -> None:
    with jax.enable_x64(True):
        gauge, _, _ = coordinates.setting(config.checked({"parameters": {"f2": 1.0}}).parameters, {}, T)
        found, headline = coordinates.report(truth_coordinates(VECTOR, gauge), gauge)
        np.testing.assert_allclose(found, VECTOR, rtol=1e-12)
        np.testing.assert_allclose(headline, list(HEADLINE.values()), rtol=1e-12)


def test_f0_above_its_bound_at_mid_window_moves_f2_and_changes_no_f() -> None:
    with jax.enable_x64(True):
        gauge, _, _ = coordinates.setting(config.HeterodyneConfig().parameters, {}, T)
        x = truth_coordinates(VECTOR, gauge).at[9].set(2.0)
        found, _ = coordinates.report(x, gauge)
        named = dict(zip(c2.NAMES, np.asarray(found), strict=True))
        assert named["f0"] == pytest.approx(1.0)
        rise = named["f0"] * np.exp(named["f1"] * (T - named["f2"]))
        np.testing.assert_allclose(rise, np.exp(2.0 + named["f1"] * (T - gauge.t_mid)), rtol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["auto", "individual", "fourier", "constant"])
def test_contrast_and_offset_are_the_least_squares_solution_of_their_mode(mode: config.ScalingMode) -> None:
    rng = np.random.default_rng(1)
    n_phi, n = 6, 50
    phi = np.linspace(0, 150, n_phi)
    slopes, g = rng.normal(size=(n_phi, n, 13)), rng.uniform(0.2, 1, (n_phi, n))
    y = (0.3 + 0.05 * np.cos(np.deg2rad(phi)))[:, None] * g + rng.normal(0, 0.01, (n_phi, n))
    columns = np.concatenate([slopes, np.stack([g, np.ones_like(g), y], axis=-1)], axis=-1)
    matrices = 1 + np.abs(rng.normal(size=(n_phi, 9, 9)))
    with jax.enable_x64(True):
        kind, where = scaling.setting(config.Scaling(mode), matrices, phi, 1.0)
        found = NORMAL(np.einsum("apk,apl->akl", columns, columns), where, kind)
        curvature = np.asarray(found.curvature)
    basis = where.basis
    design = np.concatenate(
        [basis[:, None, :] * g[:, :, None], np.broadcast_to(basis[:, None, :], (n_phi, n, basis.shape[1]))], axis=-1
    )
    design = design.reshape(n_phi * n, -1)
    flat = np.asarray(found.coefficients).reshape(-1)
    if mode == "constant":
        off_diagonal = ~np.eye(9, dtype=bool)
        low, high = (np.array([np.quantile(m[off_diagonal], level) for m in matrices]) for level in (0.05, 0.95))
        np.testing.assert_allclose(flat, np.concatenate([high - low, low - 1.0]), rtol=1e-12)
    else:
        np.testing.assert_allclose(flat, np.linalg.lstsq(design, y.ravel(), rcond=None)[0], rtol=1e-7, atol=1e-9)
    residual = y.ravel() - design @ flat
    assert float(found.ssr) == pytest.approx(residual @ residual, rel=1e-9)
    contrast = basis @ np.asarray(found.coefficients)[0]
    jacobian = (contrast[:, None, None] * slopes).reshape(-1, 13)
    np.testing.assert_allclose(np.asarray(found.gradient), jacobian.T @ residual, rtol=1e-6, atol=1e-9)
    if mode != "constant":
        jacobian = jacobian - design @ np.linalg.lstsq(design, jacobian, rcond=None)[0]
    np.testing.assert_allclose(curvature, jacobian.T @ jacobian, rtol=1e-6, atol=1e-6)


class Bounds(TypedDict, total=False):
    contrast: config.Range
    offset: config.Range


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, (0.3, 0.02)),
        ({"contrast": config.Range(0.0, 0.2)}, (0.2, None)),
        ({"contrast": config.Range(0.25, 0.25), "offset": config.Range(1.0, 1.0)}, (0.25, 0.0)),
    ],
)
def test_contrast_and_offset_keep_to_their_bounds(bounds: Bounds, expected: tuple[float, float | None]) -> None:
    g = np.linspace(0.1, 1, 40)[None]
    y = 0.3 * g + 0.02
    columns = np.concatenate([np.zeros((1, 40, 13)), np.stack([g, np.ones_like(g), y], axis=-1)], axis=-1)
    with jax.enable_x64(True):
        kind, where = scaling.setting(config.Scaling(**bounds), np.ones((1, 9, 9)), np.array([0.0]), 1.0)
        found = NORMAL(np.einsum("apk,apl->akl", columns, columns), where, kind)
        contrast, offset = np.asarray(found.coefficients)[:, 0]
    assert contrast == pytest.approx(expected[0], abs=1e-9)
    best = float((y - contrast * g).mean()) if expected[1] is None else expected[1]
    assert offset == pytest.approx(best, abs=1e-9)


def test_starts_fill_the_space_and_depend_on_their_seed_alone() -> None:
    scene = Scene(T, 0.1, 0.0054, np.array([0.0]))
    where = TwoComponents().setting(config.HeterodyneConfig().parameters, {}, T)
    one, same, other = (starts.design(64, seed, scene, where) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.isfinite(one).all()
    # A Latin hypercube: each of 64 strata of phi0 holds one start.
    assert sorted(np.floor((one[:, 12] + 10) / 20 * 64).astype(int)) == list(range(64))


def test_hops_draw_one_or_two_things_anew_and_keep_the_others() -> None:
    x, fresh = np.zeros(13), np.ones((40, 13))
    found = starts.hops(x, fresh, 3, TwoComponents.groups)
    assert set(found.sum(axis=1)) <= {3.0, 4.0, 6.0, 7.0}
    assert (found.any(axis=0)).all()
    assert np.array_equal(found[:, 6], found[:, 12])


def test_a_minimum_that_many_searches_share_does_not_crowd_out_the_others() -> None:
    ssr = np.array([1.0, 1.0001, 1.0002, 1.0003, 1.1, 1.2])
    assert diverse(ssr, 4, copies=2).tolist() == [0, 1, 4, 5]
    assert diverse(ssr, 6, copies=2).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("n", [6, 30])
def test_noise_is_estimated_without_a_model(n: int) -> None:
    where = simulate.Experiment(n_frames=n, noise=0.02, phi=tuple(np.linspace(0, 90, 10)))
    found = [noise.estimate(simulate.simulate(simulate.EXAMPLE, where, seed)).sigma for seed in range(20)]
    # The smaller case has 600 differences in all, of efficiency 0.16: σ to 7 %; four of these.
    assert np.mean(found) == pytest.approx(0.02, rel=0.28 if n == 6 else 0.03)


def simulated(where: simulate.Experiment, seed: int = 5) -> TwoTimeData:
    return TwoTimeData(simulate.simulate(simulate.EXAMPLE, where, seed), where.q, where.dt, np.array(where.phi))


def test_data_without_noise_give_the_truth_back() -> None:
    result = fit(simulated(simulate.Experiment(noise=0.0)), {"fit": QUICK})
    assert result.converged, result.warnings
    for name, truth in HEADLINE.items():
        assert getattr(result, name).value == pytest.approx(truth, rel=1e-6)


def test_ages_from_the_start_of_the_file_keep_the_truth_of_a_later_window(tmp_path: Path) -> None:
    where = simulate.Experiment(n_frames=110)  # of which 100 are fitted: the program is that of the other fits
    path = tmp_path / "longer.h5"
    c2 = simulate.simulate(simulate.EXAMPLE, where, 5)
    path.write_bytes(simulate.encode(c2, simulate.EXAMPLE, where, "flat"))
    later = {"data": {"dt": 0.1, "start_frame": 11}, "model": {"time_origin": "absolute"}, "fit": QUICK}
    result = fit_file(str(path), later)
    assert result.n_data == 3 * 100 * 99 // 2
    truth = TRUTH["v0"] * result.t_ref ** TRUTH["beta"] + TRUTH["v_offset"]
    assert abs(result.v.value - truth) < 3 * result.v.error < 0.01 * truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "n_phi", "n_free"), [("individual", 3, 13 + 6), ("fourier", 6, 13 + 10), ("auto", 2, 13 + 4)]
)
def test_scaling_modes_find_the_truth(mode: str, n_phi: int, n_free: int) -> None:
    where = simulate.Experiment(phi=tuple(np.linspace(-60, 60, n_phi)))
    result = fit(simulated(where), {"scaling": {"mode": mode}})
    assert result.converged, result.warnings
    # D0 and D_offset trade against each other until one of them meets its bound.
    assert result.n_free + len(result.at_bounds) == n_free
    for name, truth in HEADLINE.items():
        estimate = getattr(result, name)
        assert abs(estimate.value - truth) < 4 * estimate.error, name
    for estimate in result.contrast:
        assert abs(estimate.value - 0.3) < 4 * estimate.error


@pytest.mark.slow
def test_scaling_from_quantiles_is_held() -> None:
    data = simulated(simulate.Experiment())
    result = fit(data, {"scaling": {"mode": "constant"}})
    low, high = np.quantile(data.c2[0][~np.eye(100, dtype=bool)], [0.05, 0.95])
    assert result.contrast[0].value == pytest.approx(high - low)
    assert result.offset[0].value == pytest.approx(low)
    assert result.contrast[0].error == 0.0


@pytest.mark.slow
def test_one_angle_leaves_drift_and_its_direction_open_and_says_so() -> None:
    result = fit(simulated(simulate.Experiment(phi=(20.0,))))
    assert np.isinf(result.v.error)
    assert np.isinf(result.parameters["phi0"].error)
    assert np.isfinite(result.j_ref.error)
    assert any("phi0" in direction and "v(t_ref)" in direction for direction in result.degenerate), result.degenerate
    fixed = fit(simulated(simulate.Experiment(phi=(20.0,))), {"parameters": {"phi0": 2.0}})
    assert abs(fixed.v.value - HEADLINE["v"]) < 4 * fixed.v.error


# On the pairs alone: test_pairs_that_do_not_count_are_in_no_sum.
@pytest.mark.slow
def test_a_masked_frame_does_not_count_whatever_it_holds() -> None:
    data = reference("flat")
    broken = data.c2.copy()
    broken[:, 30, :] += 0.05
    broken[:, :, 30] += 0.05
    assert not fit(replace(data, c2=broken), {"fit": QUICK}).converged
    broken[:, 30, :] = broken[:, :, 30] = np.nan
    result = fit(replace(data, c2=broken), {"fit": QUICK})
    assert result.converged, result.warnings
    assert result.n_data == 3 * 99 * 98 // 2
    assert result.noise.sigma == pytest.approx(0.005, rel=0.1)
    for name, truth in HEADLINE.items():
        estimate = getattr(result, name)
        assert abs(estimate.value - truth) < 3 * estimate.error, name


def test_pairs_that_do_not_count_are_in_no_sum() -> None:
    matrices = reference("flat").c2[:, :20, :20].copy()
    matrices[0, 3, 7] = matrices[0, 7, 3] = np.nan
    weights = np.broadcast_to(np.isfinite(matrices).all(axis=0), matrices.shape).astype(float)
    pairs = kernel.pairs(matrices, weights, 0)
    used = pairs.root_weight[:, 0] > 0
    kept = {(int(i), int(j)) for i, j in zip(pairs.first[used], pairs.second[used], strict=True)}
    assert len(kept) == 20 * 19 // 2 - 1
    assert (3, 7) not in kept
    assert np.isfinite(pairs.y).all()
    assert np.isfinite(noise.estimate(matrices).sigma)
    assert np.isfinite(scaling.constant_ssr(matrices, weights, np.ones((3, 1))))
