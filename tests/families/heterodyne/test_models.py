"""The models by name: closed forms, the kernel's derivatives, the parts of the field, and fits of simulated data."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise.errors import ManifestError
from lanewise.families.heterodyne import c2, config, models, simulate, speckle
from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.models import MODELS, ModelName
from lanewise.families.heterodyne.nlsq import fit_model, kernel
from lanewise.families.heterodyne.nlsq.fit import fit
from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.fit_models import FIT_MODELS
from lanewise.families.heterodyne.nlsq.result import FitResult
from lanewise.families.heterodyne.nlsq.scene import Scene

NAMES: tuple[ModelName, ...] = ("two_component", "static", "laminar_flow")
GAP = 2e6
T, DT, ANGLES = c2.time_grid(12, 0.8), 0.8, np.array([-5.0, 30.0])
CASES = [
    *((name, Definitions(gap=GAP), 0.0054) for name in NAMES),
    ("two_component", Definitions("hard", "field"), np.array([0.0054, 0.003])),
    ("static", Definitions(convention="field"), np.array([0.0054, 0.003])),
    ("laminar_flow", Definitions(convention="field", gap=1e6), np.array([0.0054, 0.003])),
]
QUICK = {"candidates": 128, "starts": 8, "polish": 4, "agreement": 2, "hops": 8}


def ranges(name: ModelName) -> dict[str, config.Range]:
    return config.default_ranges([name])


def box_of(name: ModelName, parameters: np.ndarray, gauge: Any) -> np.ndarray:
    """The box parameters of the user's parameters, by hand."""
    if name != "two_component":
        return parameters
    log_f0 = np.log(parameters[9]) + parameters[10] * (gauge.f2 - parameters[11])
    return np.asarray(np.delete(parameters, 11) * (np.arange(13) != 9) + log_f0 * (np.arange(13) == 9))


@pytest.mark.parametrize("q", [0.0054, np.array([0.0054, 0.003])])
def test_one_component_decays_as_its_closed_form(q: Any) -> None:
    params, by = np.array([2e3, 0.0, 500.0]), Definitions()
    found = models.correlation("static", params, T, q, DT, ANGLES, [0.3, 0.2], 1.0, by)
    rate = np.broadcast_to(q, 2) ** 2 * 2500
    for a, contrast in enumerate((0.3, 0.2)):
        assert found[a, 2, 9] == pytest.approx(1 + contrast * np.exp(-rate[a] * 7 * DT), rel=1e-9)
    field = models.correlation("static", params, T, q, DT, ANGLES, 1.0, 0.0, Definitions(convention="field"))
    assert field[0, 2, 9] == pytest.approx(np.exp(-2 * rate[0] * 7 * DT), rel=1e-9)


def test_a_flow_multiplies_by_the_square_of_sinc() -> None:
    params = np.array([2e3, 0.0, 500.0, 5e-5, 0.0, 1e-5, 10.0])
    found = models.correlation("laminar_flow", params, T, 0.0054, DT, ANGLES, 1.0, 0.0, Definitions(gap=GAP))
    for a, angle in enumerate(ANGLES):
        argument = 0.0054 * GAP * 6e-5 * 7 * DT * np.cos(np.deg2rad(angle - 10)) / 2
        expected = np.exp(-(0.0054**2) * 2500 * 7 * DT) * (np.sin(argument) / argument) ** 2
        assert found[a, 2, 9] == pytest.approx(expected, rel=1e-9)
        assert found[a, 5, 5] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("params", "by", "text"), [([1.0] * 6, GAP, "expected 7"), ([1.0] * 7, None, "needs the gap")])
def test_a_call_that_cannot_be_a_flow_is_refused(params: list[float], by: float | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        models.correlation("laminar_flow", params, T, 0.0054, DT, ANGLES, 1.0, 0.0, Definitions(gap=by))


@pytest.mark.parametrize(("name", "by", "q"), CASES)
def test_the_parts_of_the_field_have_the_correlation_of_the_model(name: ModelName, by: Definitions, q: Any) -> None:
    model = MODELS[name]
    params = model.vector(model.example)
    parts = model.fields(params, T, q, DT, ANGLES, by)
    np.testing.assert_allclose((parts.amplitude**2).sum(axis=0), 1, rtol=1e-12)
    squared_q = (by.stretch * np.broadcast_to(q, 2)) ** 2
    decay = np.exp(-squared_q[:, None, None] / 2 * abs(c2.between(parts.rates[0])))
    field = np.zeros((2, 12, 12), complex)
    for rates, amplitude, phase in zip(*parts, strict=True):
        decay = np.exp(-squared_q[:, None, None] / 2 * abs(c2.between(rates)))
        turn = np.exp(1j * (phase[:, None, :] - phase[:, :, None]))
        field += np.multiply.outer(amplitude, amplitude) * decay * turn
    expected = model.shape(params, T, q, DT, ANGLES, by)
    np.testing.assert_allclose(abs(field) ** 2, expected, atol=3e-6)


@partial(jax.jit, static_argnums=(1, 3))
def slopes_and_curve(x: jax.Array, model: FitModel, gauge: Any, q: Any) -> tuple[jax.Array, jax.Array]:
    """g of the model for the pairs above the diagonal, and its derivatives by the coordinates."""

    def curve(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        parameters, _ = model.report(x, gauge)
        shape = model.physics.shape(parameters, T, np.asarray(q), DT, ANGLES, model.definitions)
        g = shape[:, *np.triu_indices(len(T), 1)]
        return g, g

    found: tuple[jax.Array, jax.Array] = jax.jacfwd(curve, has_aux=True)(x)
    return found


@pytest.mark.long
@pytest.mark.parametrize(("name", "by", "q"), CASES)
def test_the_kernel_has_the_model_and_its_derivatives(name: ModelName, by: Definitions, q: Any) -> None:
    n, model = len(T), FIT_MODELS[name](by)
    parameters = MODELS[name].vector(MODELS[name].example)
    with jax.enable_x64(True):
        where = model.setting(ranges(name), {}, T)
        x = model.from_box(jnp.asarray(box_of(name, parameters, where.gauge)), where.gauge)
        reported, _ = model.report(x, where.gauge)
        if name != "two_component":
            np.testing.assert_allclose(reported, parameters, rtol=1e-12)
        y = np.random.default_rng(0).normal(1.2, 0.1, (2, n, n))
        data = kernel.pairs(y, np.ones_like(y), seed=0)
        gram = np.asarray(
            jax.jit(kernel.grams, static_argnums=5)(x, data, 1, Scene(T, DT, q, ANGLES), where.gauge, model)
        )
        shown = tuple(q) if np.ndim(q) else q
        slopes, g = (np.asarray(part) for part in slopes_and_curve(x, model, where.gauge, shown))
    values = y[:, *np.triu_indices(n, 1)] - data.centre
    columns = np.concatenate([slopes, np.stack([g, np.ones_like(g), values], axis=-1)], axis=-1)
    expected = np.einsum("apk,apl->akl", columns, columns)
    scale = np.sqrt(np.einsum("akk->ak", expected))
    assert np.abs((gram - expected) / (scale[:, :, None] * scale[:, None, :])).max() < 1e-8


def settings(name: ModelName, **model: Any) -> dict[str, Any]:
    gap = {"gap": GAP} if MODELS[name].needs_gap else {}
    return {"fit": QUICK, "model": {"type": name, **gap, **model}}


def simulated(name: ModelName, seed: int = 1, n_frames: int = 40) -> TwoTimeData:
    where = simulate.Experiment(
        n_frames, 9.0 / n_frames, phi=(-40.0, 0.0, 40.0), model=MODELS[name], definitions=Definitions(gap=GAP)
    )
    matrices = simulate.simulate(MODELS[name].example, where, seed)
    return TwoTimeData(matrices, where.q, where.dt, np.array(where.phi))


@cache
def fitted(name: ModelName) -> FitResult:
    return fit(simulated(name), settings(name))


@pytest.mark.long
@pytest.mark.parametrize("name", ["static", "laminar_flow"])
def test_a_fit_finds_the_truth_of_its_model(name: ModelName) -> None:
    result, truth = fitted(name), MODELS[name].example
    assert result.converged, result.warnings
    assert tuple(result.parameters) == MODELS[name].names
    assert tuple(result.headline) == tuple(MODELS[name].headline)
    assert np.isnan(result.exchange_chi2)
    t = simulated(name).ages("window")
    t_ref = float(np.exp(np.log(t).mean()))
    values = {"J": truth["D0"] * t_ref ** truth["alpha"] + truth["D_offset"]}
    if name == "laminar_flow":
        values["gamma_dot"] = truth["gamma_dot_t0"] * t_ref ** truth["beta"] + truth["gamma_dot_t_offset"]
    for key, value in values.items():
        estimate = result.headline[key]
        assert estimate.error < 0.02 * value
        # Beyond four standard deviations: once in 16 000.
        assert abs(estimate.value - value) < 4 * estimate.error, key
    assert result.bands.rates.shape == (len(MODELS[name].rates), len(t))


def test_the_convention_of_the_field_halves_the_rate() -> None:
    field = fit(simulated("static"), settings("static", convention="field"))
    assert field.headline["J"].value == pytest.approx(fitted("static").headline["J"].value / 2, rel=1e-6)


def test_a_tied_parameter_has_the_value_and_the_error_of_its_source() -> None:
    tied = {"D0_sample": "D0_ref", "alpha_sample": "alpha_ref", "D_offset_sample": "D_offset_ref"}
    model = MODELS["two_component"]
    truth = {**model.example, **{name: model.example[source] for name, source in tied.items()}}
    where = simulate.Experiment(40, 0.225, phi=(-40.0, 0.0, 40.0))
    data = TwoTimeData(simulate.simulate(truth, where, 2), where.q, where.dt, np.array(where.phi))
    result = fit(data, settings("two_component", tied=tied))
    assert result.converged, result.warnings
    assert result.n_free == 12
    for name, source in tied.items():
        assert result.parameters[name] == result.parameters[source]
    free = fit(data, settings("two_component"))
    # The truth has the ties: they cost three unknowns of χ², and make the rate as certain as both together.
    assert 0 <= (result.ssr - free.ssr) / free.noise.sigma**2 < 20
    assert result.j_ref.error < free.j_ref.error
    assert abs(result.j_ref.value - free.j_ref.value) < 4 * free.j_ref.error


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"model": {"type": "laminar_flow"}}, "laminar_flow needs the distance of its walls"),
        ({"model": {"compare": ["laminar_flow"]}}, "laminar_flow needs the distance of its walls"),
        ({"model": {"type": "static", "compare": ["static"]}}, "static is fitted already"),
        ({"model": {"type": "static"}, "parameters": {"v0": 1.0}}, "static has no parameter v0; it has D0, alpha"),
        ({"model": {"tied": {"f0": "f3"}}}, "expected a parameter of two_component that can be tied"),
        ({"model": {"tied": {"D0_ref": "beta"}}}, "expected one of D0_sample, got 'beta'"),
        ({"model": {"tied": {"D0_ref": "D0_sample", "D0_sample": "D0_ref"}}}, "D0_sample is tied itself"),
        ({"model": {"tied": {"D0_ref": "D0_sample"}}, "parameters": {"D0_ref": 3.0}}, "which has the bounds"),
    ],
)
def test_a_config_that_fits_no_model_is_refused(value: dict[str, Any], text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        config.checked(value)


@pytest.mark.long
def test_a_box_of_ties_moves_both_parameters_at_once() -> None:
    with jax.enable_x64(True):
        model = FIT_MODELS["two_component"](Definitions())
        where = model.setting(ranges("two_component"), {"alpha_sample": "alpha_ref"}, T)
        x = model.from_box(
            jnp.asarray(box_of("two_component", np.array([*MODELS["two_component"].example.values()]), where.gauge)),
            where.gauge,
        )
        x = fit_model.cut(x, model, where.gauge, where.box)
        p = np.asarray(model.to_box(x, where.gauge))
        assert p[4] == pytest.approx(p[1], rel=1e-12)
        slopes = np.asarray(fit_model.slopes(jnp.asarray(p), model, where.gauge, where.box))
    assert not slopes[:, 4].any()
    assert slopes[4, 1] == 1


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_data_prefer_their_own_model(name: ModelName) -> None:
    others = [one for one in NAMES if one != name]
    found = fit(simulated(name, 3), settings(name, compare=others, gap=GAP)).comparison
    assert found is not None
    assert (found.criterion, found.best, found.deltas[name]) == ("BIC", name, 0.0)
    # The difference that counts as very strong evidence.
    assert min(found.deltas[one] for one in others) > 10


@pytest.mark.slow
def test_under_speckle_noise_superfluous_unknowns_cost_their_effective_number() -> None:
    where = simulate.Experiment(40, 9 / 40, phi=(-40.0, 0.0, 40.0), model=MODELS["static"])
    detector = simulate.Detector(pixels=4000, modes=3, flux=5.0)
    c2_values = speckle.simulate(MODELS["static"].example, where, detector, 4)
    data = TwoTimeData(c2_values, where.q, where.dt, np.array(where.phi))
    result = fit(data, settings("static", compare=["laminar_flow"], gap=GAP) | {"errors": "speckle"})
    assert result.comparison is not None
    assert (result.comparison.criterion, result.comparison.best) == ("CL-BIC", "static")
    # Under independent noise four superfluous unknowns would cost 4 ln n = 31; speckle noise inflates their gain.
    assert result.comparison.deltas["laminar_flow"] > 31


def test_a_simulated_flow_has_the_correlation_of_the_model() -> None:
    by = Definitions(gap=GAP)
    where = simulate.Experiment(12, 0.8, phi=(-60.0, 20.0), model=MODELS["laminar_flow"], definitions=by)
    truth, detector = MODELS["laminar_flow"].example, simulate.Detector(pixels=1000, modes=2, flux=5.0)
    repeats = np.stack([speckle.simulate(truth, where, detector, seed) for seed in range(20)])
    above = repeats[..., *np.triu_indices(12, 1)]
    expected = 1 + simulate.shape(truth, where)[..., *np.triu_indices(12, 1)] / 2
    z = (above.mean(axis=0) - expected) / (above.std(axis=0, ddof=1) / np.sqrt(20))
    # 132 values of Student's t with 19 degrees of freedom: beyond 6.5 once in 2000 runs.
    assert np.abs(z).max() < 6.5
    # The flow lowers the correlation by 0.9 of it at 20°: a wrong one would be seen at 20 of these errors.
    assert (above.std(axis=0) / np.sqrt(20)).max() < 0.02
