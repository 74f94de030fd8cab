"""Errors under speckle noise: when they are chosen, their covariance against simulated data, and what is estimated."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lanewise.errors import DataError
from lanewise.families.heterodyne import c2, config, simulate, speckle
from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.cmc import build, split
from lanewise.families.heterodyne.cmc.disagreement import of_scores
from lanewise.families.heterodyne.data import TwoTimeData, without_diagonal
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import coordinates, frames, kernel, noise, replicates, speckle_errors
from lanewise.families.heterodyne.nlsq import fit as fits
from lanewise.families.heterodyne.nlsq.fit import fit
from lanewise.families.heterodyne.nlsq.replicates import N_PARTS, PIXELS, Fitted
from lanewise.families.heterodyne.nlsq.result import FitResult
from lanewise.families.heterodyne.nlsq.scene import Scene
from lanewise.families.heterodyne.nlsq.speckle_errors import Detector
from lanewise.families.heterodyne.nlsq.two_component import TwoComponents

WHERE = simulate.Experiment()
DETECTOR = simulate.Detector(pixels=2000, modes=3, flux=1.0)
QUICK = {"candidates": 256, "starts": 16, "polish": 8}
T_REF = float(np.exp(np.log(c2.time_grid(100, 0.1)).mean()))
P = simulate.EXAMPLE
TRUTH = {
    "j_ref": P["D0_ref"] * T_REF ** P["alpha_ref"] + P["D_offset_ref"],
    "j_sample": P["D0_sample"] * T_REF ** P["alpha_sample"] + P["D_offset_sample"],
    "v": P["v0"] * T_REF ** P["beta"] + P["v_offset"],
}


def noise_matrices(n_phi: int, n: int, seed: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).normal(size=(n_phi, n, n)))
    return np.asarray(upper + np.swapaxes(np.triu(upper, 1), 1, 2))


def z_of(residuals: np.ndarray) -> float:
    return frames.look(residuals, np.ones(residuals.shape, bool)).z


def test_independent_noise_is_not_shared_noise() -> None:
    found = [z_of(noise_matrices(2, 30, seed)) for seed in range(300)]
    # The mean of 300 is good to 0.06, the standard deviation (at most 1, by the cut) to 4 %; four of these.
    assert abs(np.mean(found)) < 0.24
    assert 0.7 < np.std(found) < 1.16
    # 4 %, 12 of 300: 26 or more have a probability of 3e-4. Beyond 4 comes 1 in 100 such tests.
    assert sum(z > speckle_errors.SHARED_Z for z in found) < 26
    assert max(found) < 4


@pytest.mark.parametrize("kind", ["smooth", "block", "frame"])
def test_a_misfit_or_a_bad_frame_is_not_shared_noise(kind: str) -> None:
    noise = noise_matrices(3, 100, 1)
    residuals = noise.copy()
    match kind:
        case "smooth":
            wave = np.sin(np.arange(100) / 10)
            residuals += 5 * wave[:, None] * wave
        case "block":
            residuals[:, 40:60, 40:60] += 4
        case "frame":
            residuals[:, 31, :] += 10
            residuals[:, :, 31] += 10
    # The misfit may raise it by less than its standard deviation under independent noise.
    assert z_of(residuals) < z_of(noise) + 1


def test_a_hot_frame_is_named() -> None:
    matrices = simulate.simulate(P, WHERE, 5)
    matrices[:, 30, :] += 0.05
    matrices[:, :, 30] += 0.05
    data = TwoTimeData(matrices, WHERE.q, WHERE.dt, np.array(WHERE.phi), start_frame=11)
    result = fit(data, {"fit": QUICK})
    assert result.speckle is None
    assert any("frames that differ from all others: 41" in text for text in result.warnings), result.warnings


def test_left_out_entries_do_not_count() -> None:
    residuals = noise_matrices(1, 40, 2)
    valid = np.ones(residuals.shape, bool)
    valid[:, 7, :] = valid[:, :, 7] = False
    one = frames.look(residuals, valid)
    residuals[:, 7, :] = residuals[:, :, 7] = np.nan
    other = frames.look(residuals, valid)
    assert (one.z, one.squares) == (other.z, other.squares)
    assert not one.used[:, 4:8].any()


@pytest.mark.parametrize("contrast", [1.0, 0.7, 0.5, 0.3, 0.21])
def test_modes_give_the_contrast(contrast: float) -> None:
    weights = speckle_errors.mode_weights(contrast, None)
    assert weights.sum() == pytest.approx(1)
    assert (weights**2).sum() == pytest.approx(contrast)
    assert (weights >= 0).all()
    assert speckle_errors.mode_weights(contrast, 4).tolist() == [0.25] * 4


MODEL = TwoComponents(Definitions())
SHORT = simulate.Experiment(n_frames=12, dt=0.8, phi=(-60.0, 60.0))


@cache
def short_fit() -> Fitted:
    """A fit of 12 frames that ended at the truth."""
    jax.config.update("jax_enable_x64", True)
    t = c2.time_grid(SHORT.n_frames, SHORT.dt)
    ranges = config.checked({"parameters": {"f2": P["f2"]}}).parameters
    gauge, _, _ = coordinates.setting(ranges, {}, t)
    box = [np.log(P["f0"]) if name == "f0" else P[name] for name in coordinates.BOX_NAMES]
    shape = (2, 12, 12)
    data = kernel.pairs(np.ones(shape), np.ones(shape), seed=0)
    scene = Scene(t, SHORT.dt, SHORT.q, np.array(SHORT.phi))
    flow = replicates.flow(MODEL, MODEL.physics.vector(P), scene)
    parts = (data, scene, gauge, np.full(2, 1 / 3), np.full(3, 1 / 3), np.ones(shape), flow)
    return Fitted(*jax.tree.map(jnp.asarray, (coordinates.from_box(jnp.array(box), gauge), *parts)))


@cache
def short_tables() -> replicates.Tables:
    used = jnp.asarray(frames.look(noise_matrices(2, 12, 0), np.ones((2, 12, 12), bool)).used)
    return replicates.simulate(short_fit(), used, jax.random.key(1), MODEL, sequential=True)


@pytest.mark.slow
@pytest.mark.parametrize("flux", [5.0, 0.2])
def test_the_scores_scatter_as_those_of_simulated_data(flux: float) -> None:
    pixels, n = 512, 200
    values = {name: np.float64(value) for name, value in P.items()}
    t, dt = c2.time_grid(SHORT.n_frames, SHORT.dt), SHORT.dt
    rates = [
        c2.cumulative(values[f"D0_{k}"] * t ** values[f"alpha_{k}"] + values[f"D_offset_{k}"], dt)
        for k in ("ref", "sample")
    ]
    fraction = c2.clip_fraction(values["f0"] * np.exp(values["f1"] * (t - values["f2"])) + values["f3"], "soft")
    wave = SHORT.q * np.cos(np.deg2rad(np.array(SHORT.phi) + values["phi0"]))
    path = c2.cumulative(values["v0"] * t ** values["beta"] + values["v_offset"], dt)
    parts = np.stack([1 - fraction, fraction])
    phase = wave[:, None] * path
    amplitude = parts / np.sqrt((parts**2).sum(axis=0))
    of = speckle.flow(c2.Fields(np.stack(rates), amplitude, np.stack([0 * phase, phase])), SHORT.q)
    keys = jax.random.split(jax.random.key(2), n)
    simulated = jax.lax.map(lambda key: speckle._correlation(key, of, 3, jnp.float32(flux), jnp.int32(pixels)), keys)
    shape = simulate.shape(P, SHORT)
    above = np.triu_indices(12, 1)
    noise_of = (np.asarray(simulated) - 1 - shape / 3)[..., *above]
    # The scores of contrast and offset, and their sum and difference: by hand from data, and by replicates.
    columns = np.stack([shape[:, *above], np.ones_like(shape[:, *above])])
    data_scores = np.einsum("nap,cap->nc", noise_of, columns)
    tables = short_tables()
    own = tables.scores[..., [-2, -1]]
    powers = flux ** -np.arange(float(N_PARTS))
    expected = np.einsum("p,larpc,larpd->cd", powers, own, own) / (own.shape[0] * own.shape[2]) * PIXELS / pixels
    for direction in ([1, 0], [0, 1], [1, -1], [0.5, 1]):
        d = np.array(direction, float)
        # Variances from 200 data sets and 512 replicates: 12 %; four of these.
        assert np.var(data_scores @ d) == pytest.approx(d @ expected @ d, rel=0.47), direction


@pytest.mark.parametrize(
    ("pixels", "flux"), [pytest.param(None, None, marks=pytest.mark.slow), (3000.0, None), (3000.0, 0.5), (None, 0.5)]
)
def test_pixels_and_photons_are_found_from_the_level(pixels: float | None, flux: float | None) -> None:
    means = speckle_errors._means(short_tables().forms)
    powers = 0.5 ** -np.arange(float(N_PARTS))
    products, squares = (PIXELS / 3000 * (form @ powers) for form in means[1:])
    level = speckle_errors._Level(means, None if pixels is None else np.full(2, pixels), flux)
    u, scale = level(products, squares)
    assert 1 / u == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_allclose(PIXELS / scale, 3000, rtol=1e-6)


def observed(detector: simulate.Detector, seed: int) -> TwoTimeData:
    matrices = speckle.simulate(P, WHERE, detector, seed)
    return TwoTimeData(np.stack([without_diagonal(m) for m in matrices]), WHERE.q, WHERE.dt, np.array(WHERE.phi))


@cache
def speckle_fit() -> FitResult:
    return fit(observed(DETECTOR, 3), {"fit": QUICK})


@pytest.mark.long
def test_speckle_noise_is_found_and_its_detector_with_it() -> None:
    result = speckle_fit()
    assert result.converged, result.warnings
    assert result.shared_z > speckle_errors.SHARED_Z
    assert result.speckle is not None
    found = result.speckle.detector
    # Estimates from one data set scatter by 10 % (measured); four of these.
    assert np.mean(found.pixels) == pytest.approx(DETECTOR.pixels, rel=0.4)
    assert found.flux == pytest.approx(DETECTOR.flux, rel=0.4)
    assert found.modes == pytest.approx(3, rel=0.1)
    assert result.speckle.p_value > 1e-3
    for name, truth in TRUTH.items():
        estimate = getattr(result, name)
        assert abs(estimate.value - truth) < 4 * estimate.error, name
        assert estimate.error > 1.5 * getattr(result.independent, name).error
    assert result.offset[0].error > 3 * result.independent.offset[0].error


@pytest.mark.long
def test_independent_errors_are_given_when_asked_for() -> None:
    result = fit(observed(DETECTOR, 3), {"fit": QUICK, "errors": "independent"})
    assert result.speckle is None
    assert result.v == result.independent.v == speckle_fit().independent.v
    assert result.expected_chi2 == result.n_data - result.n_free


@pytest.mark.slow
def test_a_known_detector_is_used() -> None:
    known = {"noise": "speckle", "pixels": 2000, "modes": 3, "flux": 1.0}
    result = fit(observed(DETECTOR, 3), {"fit": QUICK, "errors": known})
    assert result.speckle is not None
    assert result.speckle.detector == speckle_errors.Detector((2000.0,) * 3, 3, 1.0)
    # The estimated detector gives the same errors within the accuracy of its level.
    assert result.v.error == pytest.approx(speckle_fit().v.error, rel=0.2)


@pytest.mark.slow
def test_a_misfit_is_seen_under_speckle_noise() -> None:
    data = observed(DETECTOR, 3)
    moved = data.c2.copy()
    moved[:, 40:60, 40:60] += 0.2
    result = fit(replace(data, c2=moved), {"fit": QUICK})
    assert any("under speckle noise" in warning for warning in result.warnings), result.warnings


@pytest.mark.slow
def test_speckle_errors_of_data_without_shared_noise_need_the_pixels() -> None:
    data = TwoTimeData(simulate.simulate(P, WHERE, 5), WHERE.q, WHERE.dt, np.array(WHERE.phi))
    with pytest.raises(DataError, match=r"give errors\.pixels, or choose errors: independent"):
        fit(data, {"fit": QUICK, "errors": "speckle"})
    counted = fit(replace(data, n_pixels=np.full(3, 5000.0)), {"fit": QUICK, "errors": "speckle"})
    assert counted.speckle is not None
    assert counted.speckle.detector.pixels == (5000.0,) * 3


def weighted(levels: np.ndarray, seed: int, errors: Any = "auto") -> FitResult:
    """A fit of data whose noise has the standard deviations `levels`."""
    quiet = simulate.simulate(P, replace(WHERE, noise=0.0), 0)
    c2_matrices = quiet + levels * noise_matrices(3, 100, seed)
    data = TwoTimeData(c2_matrices, WHERE.q, WHERE.dt, np.array(WHERE.phi))
    return fit(data, {"fit": QUICK, "errors": errors})


@pytest.mark.slow
def test_noise_of_angles_and_ages_weights_the_fit() -> None:
    frame = np.arange(100)
    of_angle = np.broadcast_to(np.array([0.005, 0.01, 0.02])[:, None, None], (3, 100, 100))
    of_age = 0.003 + 0.017 * (frame[:, None] + frame) / 200
    plain = 1 / np.sqrt(np.mean(1 / of_angle**2))
    for levels in (of_angle, np.broadcast_to(of_age, (3, 100, 100))):
        result = weighted(levels, 4)
        assert result.converged, result.warnings
        assert result.noise.varies
        # χ² is 1 to 1.2 % by its 14 850 values, and to 6 % by the noise; four of these.
        assert result.reduced_chi2 == pytest.approx(1.0, abs=0.25)
        for name, truth in TRUTH.items():
            estimate = getattr(result, name)
            assert abs(estimate.value - truth) < 4 * estimate.error, name
    by_angle = weighted(of_angle, 4)
    np.testing.assert_allclose(by_angle.noise.of_angle / by_angle.noise.of_angle[0], [1, 2, 4], rtol=0.15)
    # Weights make the error that of the harmonic mean of the variances.
    assert by_angle.v.error < 1.1 * weighted(np.full((3, 100, 100), plain), 4).v.error


def test_equal_noise_gives_no_weights() -> None:
    for seed in range(20):
        values = noise.estimate(1 + 0.01 * noise_matrices(3, 60, seed))
        assert not values.varies
        assert (values.factor(60) == 1.0).all()


@pytest.mark.slow
def test_speckle_intervals_cover_the_truth() -> None:
    n, z = 60, []
    for seed in range(100, 100 + n):
        result = fit(observed(DETECTOR, seed))
        assert result.converged, (seed, result.warnings)
        truths = (*TRUTH.values(), 1 / DETECTOR.modes, 1.0)
        estimates = (result.j_ref, result.j_sample, result.v, result.contrast[0], result.offset[0])
        z.append([(e.value - truth) / e.error for e, truth in zip(estimates, truths, strict=True)])
    spread = np.std(z, axis=0)
    print(spread, np.mean(np.abs(z) < 1), np.mean(np.abs(z) < 1.96))
    # A standard deviation from 60 is good to 9 %; four of these. Independent errors give 1.4 to 3.3.
    assert np.all(np.abs(spread - 1) < 0.37)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phi", "mode"),
    [((0.0,), "auto"), ((-60.0, -20.0, 20.0, 60.0), "individual"), ((-60.0, -30.0, 0.0, 30.0, 60.0), "fourier")],
)
def test_speckle_errors_hold_with_one_angle_and_in_each_scaling_mode(phi: tuple[float, ...], mode: str) -> None:
    where, n, z = replace(WHERE, phi=phi, n_frames=60, dt=1 / 6), 24, []
    t_ref = float(np.exp(np.log(c2.time_grid(60, 1 / 6)).mean()))
    truths = [
        P["D0_ref"] * t_ref ** P["alpha_ref"] + P["D_offset_ref"],
        P["D0_sample"] * t_ref ** P["alpha_sample"] + P["D_offset_sample"],
        *(1 / DETECTOR.modes for _ in phi),
        *(1.0 for _ in phi),
    ]
    for seed in range(n):
        matrices = speckle.simulate(P, where, DETECTOR, seed)
        data = TwoTimeData(np.stack([without_diagonal(m) for m in matrices]), where.q, where.dt, np.array(phi))
        result = fit(data, {"fit": QUICK, "scaling": {"mode": mode}})
        assert result.speckle is not None
        estimates = (result.j_ref, result.j_sample, *result.contrast, *result.offset)
        z.append([(e.value - truth) / e.error for e, truth in zip(estimates, truths, strict=True)])
    print(np.std(z, axis=0), np.mean(z, axis=0))
    # The root mean square of 24 values is good to 14 %; four of these.
    assert np.all(np.abs(np.sqrt(np.mean(np.square(z), axis=0)) - 1) < 0.58)


def test_the_scores_of_parts_of_the_data_add_up_to_those_of_all() -> None:
    fit = short_fit()
    parts = split.split(fit.data, 3, "random", seed=5)
    each = replicates.shard_scores(fit, [one.pairs for one in parts], jax.random.key(1), MODEL, sequential=True)
    assert each.shape[1] == 3
    # Both programs simulate in float32.
    np.testing.assert_allclose(each.sum(axis=1), short_tables().scores, atol=1e-6 * np.abs(short_tables().scores).max())
    detector = Detector((3000.0, 1000.0), 3.0, 0.5)
    height, basis = np.full(2, 1 / 3), np.ones((2, 1))
    scores = speckle_errors.replicated(each, detector, height, basis)
    whole = speckle_errors._joint(short_tables().scores, height, basis)
    scale = PIXELS / np.array(detector.pixels)
    covariance = np.einsum("a,p,larpk,larpm->km", scale, 2.0 ** np.arange(N_PARTS), whole, whole) / len(scores)
    found = scores.sum(axis=1).T @ scores.sum(axis=1) / len(scores)
    # The parts of a replicate, and its angles, are uncorrelated; in 512 replicates they nearly are.
    np.testing.assert_allclose(np.diag(found), np.diag(covariance), rtol=0.3)


def moved(where: simulate.Experiment, matrices: np.ndarray) -> dict[str, float]:
    """How likely a larger disagreement of four shards is, split by random and by age, if the model is right."""
    data = TwoTimeData(np.stack([without_diagonal(one) for one in matrices]), where.q, where.dt, np.array(where.phi))
    few = {"candidates": 64, "starts": 8, "polish": 4, "hops": 4, "agreement": 2}
    noise = {"noise": "speckle", "pixels": 4000}
    finish = fits.prepared(data, config.checked({"model": {"type": "static"}, "errors": noise, "fit": few}))
    found = fits.fitted(finish)
    problem, whole = build.posterior(finish, found)
    p_values = {}
    for by in ("random", "age"):
        each = build.shard_data(whole, split.split(whole["pairs"], 4, by, seed=1))
        moves = build.shard_moves(problem, each, finish, found)
        p_values[by] = of_scores(*moves, np.random.default_rng(0)).p_value
    return p_values


@pytest.mark.slow
def test_shards_disagree_as_the_speckle_noise_says() -> None:
    where = simulate.Experiment(n_frames=32, dt=10 / 32, model=MODELS["static"])
    detector = simulate.Detector(pixels=4000, modes=3, flux=5.0)
    found = [moved(where, speckle.simulate(where.model.example, where, detector, seed)) for seed in range(40)]
    for by in ("random", "age"):
        assert stats.kstest([one[by] for one in found], "uniform").pvalue > 1e-3, by
    # Another rate in the second half of the window: shards of different ages differ.
    halves = [speckle.simulate({**where.model.example, "D0": d0}, where, detector, 1) for d0 in (1.5e4, 2.5e4)]
    age = np.add.outer(np.arange(32), np.arange(32)) / 2
    assert moved(where, np.where(age < 16, *halves))["age"] < 0.01
