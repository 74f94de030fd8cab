"""Sampling around a fit: the density against one written in the user's parameters, and campaigns end to end."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import arviz
import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import lanewise
from lanewise import cli
from lanewise.errors import DataError, ManifestError
from lanewise.families.heterodyne import config, models, simulate
from lanewise.families.heterodyne.cmc import build, predictive, quantities, sample
from lanewise.families.heterodyne.cmc import prior as prior_numbers
from lanewise.families.heterodyne.cmc.adjustment import adjustment
from lanewise.families.heterodyne.cmc.posterior import Posterior
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import fit as fits
from lanewise.families.heterodyne.nlsq.coordinates import Gauge
from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.result import EarlierFit, FitResult
from lanewise.families.heterodyne.nlsq.search import Searcher
from lanewise.families.heterodyne.priors import DEFAULTS
from lanewise.families.heterodyne.simulate import Experiment
from lanewise.manifest import schema
from lanewise.operations import plan_summary
from lanewise.problems import heterodyne

RUN = CliRunner()
FEW = {"candidates": 64, "starts": 8, "polish": 4, "hops": 4, "agreement": 2}
STATIC = Experiment(n_frames=24, dt=0.4, model=MODELS["static"])
TWO = Experiment(n_frames=24, dt=0.4)
Fitted = tuple[Finish, FitResult, Posterior, dict[str, Any], HeterodyneConfig]


def fitted(where: Experiment, **more: Any) -> Fitted:
    """A fit of simulated data, and the posterior around it."""
    matrices = simulate.simulate(where.model.example, where, 1)
    data = TwoTimeData(matrices, where.q, where.dt, np.array(where.phi))
    settings = config.checked({"method": "both", "fit": FEW, "errors": "independent", **more})
    finish = fits.prepared(data, settings)
    found = fits.fitted(finish)
    return finish, found, *build.posterior(finish, found), settings


@pytest.fixture(scope="module")
def static() -> Fitted:
    return fitted(STATIC, model={"type": "static"})


@pytest.fixture(scope="module")
def two() -> Fitted:
    # With a fixed f2 the 13 other parameters follow from a position. phi0 is fixed, to have one that is.
    return fitted(TWO, parameters={"f2": 1.0, "phi0": 2.0})


def natural(problem: Posterior, data: dict[str, Any], position: jax.Array) -> jax.Array:
    """Free parameters, contrast, offset and noise of a position."""
    at = problem.unknowns(position, data)
    parameters, _ = problem.layout.model.report(at.x, data["gauge"])
    names = problem.layout.model.physics.names
    own = [names.index(name) for name in names if name not in {"f2", "phi0"}]
    scales = at.coefficients[:, 0] + jnp.array([0.0, data["pairs"].centre])
    return jnp.concatenate([parameters[jnp.array(own)], scales, jnp.exp(at.log_sigma)[None]])


def log_density(values: np.ndarray, where: Experiment, finish: Finish) -> float:
    """Log posterior density in the user's parameters, from the model in NumPy and SciPy's priors."""
    names = [name for name in where.model.names if name not in {"f2", "phi0"}]
    named = dict(zip([*names, "contrast", "offset"], values, strict=False))
    sigma = values[-1]
    bounds = {**where.model.bounds, "contrast": (0.0, 1.0), "offset": (0.5, 1.5)}
    total = stats.halfnorm.logpdf(sigma, scale=1.5 * stats.median_abs_deviation(upper(finish), scale="normal"))
    for name, value in named.items():
        (low, high), prior = bounds[name], DEFAULTS[name]
        ends = (low - prior.mean) / prior.sd, (high - prior.mean) / prior.sd
        total += stats.truncnorm.logpdf(value, *ends, loc=prior.mean, scale=prior.sd)
    vector = where.model.vector({**named, "f2": 1.0, "phi0": 2.0})
    t = finish.data.ages("window")
    scales = np.array([[named["contrast"]] * 3, [named["offset"]] * 3])
    modelled = models.correlation(where.model.name, vector, t, where.q, where.dt, np.array(where.phi), *scales)
    above = np.triu_indices(len(t), 1)
    return float(total + stats.norm.logpdf(finish.data.c2[:, *above], modelled[:, *above], sigma).sum())


def upper(finish: Finish) -> np.ndarray:
    """The values off the diagonal."""
    return np.asarray(finish.data.c2[:, ~np.eye(finish.data.n_frames, dtype=bool)].ravel())


@pytest.mark.long
@pytest.mark.parametrize(("name", "where"), [("static", STATIC), ("two", TWO)])
def test_the_density_is_the_one_in_the_users_parameters(
    name: str, where: Experiment, request: pytest.FixtureRequest
) -> None:
    finish, _, problem, data, _ = request.getfixturevalue(name)
    to_natural = jax.jit(partial(natural, problem, data))
    slopes, ours = jax.jit(jax.jacfwd(partial(natural, problem, data))), jax.jit(problem.log_density)
    rng = np.random.default_rng(0)
    # Hundredths of a prior's width are far from the fit, but on the same side of the labelling rule.
    steps = [np.zeros(problem.layout.size), *rng.normal(0, 0.01, (4, problem.layout.size))]
    differences = []
    for step in steps:
        position = jnp.asarray(data["start"] * (1 + step) + step)
        determinant = np.linalg.slogdet(np.asarray(slopes(position)))[1]
        expected = log_density(np.asarray(to_natural(position)), where, finish) + determinant
        differences.append(float(ours(position, data)) - expected)
    assert np.all(np.isfinite(differences))
    # Equal up to a constant; densities here differ by thousands.
    assert np.ptp(differences) < 1e-5


def test_gradients_are_those_of_finite_differences(two: Fitted) -> None:
    _, _, problem, data, _ = two
    value, slope = jax.jit(problem.log_density), jax.jit(jax.grad(problem.log_density))
    start = np.asarray(data["start"])
    found = np.asarray(slope(start, data))
    for k, step in enumerate(1e-6 * np.maximum(np.abs(start), 1.0)):
        moved = [float(value(jnp.asarray(start + sign * step * np.eye(len(start))[k]), data)) for sign in (1, -1)]
        assert found[k] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-3, abs=1e-3)


def test_a_position_gives_back_the_fit(two: Fitted) -> None:
    _, found, problem, data, settings = two
    told = quantities.of_positions(problem, np.asarray(data["start"])[None], data, settings, 0)
    assert set(told) == {*found.headline, *set(found.parameters) - {"f2", "phi0"}, "contrast", "offset", "noise"}
    for name, values in told.items():
        if name in found.parameters and name not in found.at_bounds:
            assert values[0] == pytest.approx(found.parameters[name].value, rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("f1", [-0.3, 2.0, 2e-4, 0.0])
def test_the_amplitudes_prior_is_that_of_f0_and_f2(f1: float) -> None:
    rng = np.random.default_rng(0)
    f0 = stats.truncnorm.rvs(-2, 2, loc=0.5, scale=0.25, size=400_000, random_state=rng)
    f2 = stats.truncnorm.rvs(-10, 10, loc=0, scale=1e3, size=f0.size, random_state=rng)
    drawn = np.log(f0) - f1 * (f2 - 3.0)
    settings = config.checked({"method": "cmc"})
    data = TwoTimeData(simulate.simulate(TWO.model.example, TWO, 1), TWO.q, TWO.dt, np.array(TWO.phi))
    finish = fits.prepared(data, settings)
    basis, kind = finish.searcher.problem.scaling, finish.searcher.kind
    prior = prior_numbers.priors(finish.where, basis, kind, settings, 0.0, 1.0)
    gauge = Gauge(1.0, 3.0, 3.0, np.zeros(2), np.zeros(2))
    low, high = np.quantile(drawn, [0.3, 0.7])
    cells = np.linspace(low, high, 6)
    share = np.histogram(drawn, cells)[0] / drawn.size
    grid = low + (high - low) * (np.arange(500) + 0.5) / 500
    density = np.exp([float(prior_numbers.log_amplitude(jnp.float64(a), jnp.float64(f1), gauge, prior)) for a in grid])
    expected = density.reshape(5, 100).mean(axis=1) * np.diff(cells)
    # Five standard errors of a share of .08 are .0021 of it in 400 000 draws; the rest is the quadrature's.
    np.testing.assert_allclose(share, expected, rtol=0.05)


def test_the_adjustment_gives_the_errors_of_the_shared_noise() -> None:
    rng = np.random.default_rng(1)
    root, noisy = rng.normal(size=(2, 6, 6))
    curvature, variance = root @ root.T, 0.3
    score = noisy @ noisy.T
    tangent = np.linalg.qr(rng.normal(size=(6, 4)))[0]
    found = adjustment(tangent, curvature, score, variance) @ tangent
    covariance = np.linalg.inv(found.T @ curvature @ found / variance)
    bread = np.linalg.inv(tangent.T @ curvature @ tangent)
    np.testing.assert_allclose(covariance, bread @ tangent.T @ score @ tangent @ bread, rtol=1e-8)


def test_independent_noise_needs_no_adjustment() -> None:
    root = np.random.default_rng(2).normal(size=(5, 5))
    curvature = root @ root.T
    np.testing.assert_allclose(adjustment(np.eye(5), curvature, 0.3 * curvature, 0.3), np.eye(5), atol=1e-9)


def campaign(place: Path, **cmc: Any) -> str:
    """A campaign that samples a static data set."""
    data = place / "data"
    made = ["simulate", "heterodyne", str(data), "--model", "static", "--frames", "24", "--dt", "0.4", "--seed", "1"]
    assert RUN.invoke(cli.app, made).exit_code == 0
    settings = {"method": "both", "model": {"type": "static"}, "fit": FEW, "errors": "independent", "cmc": cmc}
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": "c",
        "inputs": str(data / "*.h5"),
        "config": settings,
        "output": {"url": str(place / "out")},
    }
    path = place / "m.yaml"
    path.write_text(json.dumps(manifest))
    return str(path)


@pytest.mark.long
def test_a_sampled_campaign_writes_draws_and_diagnostics(tmp_path: Path) -> None:
    path = campaign(tmp_path)
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 0
    (folder,) = (tmp_path / "out").glob("het_*")
    content = json.loads((folder / "result.json").read_text())
    jsonschema.Draft7Validator(schema.load("result")).validate(content)
    nlsq, cmc = content["nlsq"], content["cmc"]
    assert (content["method"], cmc["combination"], cmc["converged"]) == ("both", "not sharded", True)
    # Without a bound in reach and with a weak prior, both agree on what the data determine.
    assert abs(cmc["z"]["J"]) < 0.3
    assert cmc["sds"]["J"] == pytest.approx(nlsq["errors"]["J"], rel=0.3)
    (npz,) = folder.glob("*.npz")
    arrays = np.load(npz, allow_pickle=False)
    assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float64)}
    assert arrays["draws_J"].mean() == pytest.approx(cmc["means"]["J"])
    assert np.quantile(arrays["draws_alpha"], [0.025, 0.975]) == pytest.approx(cmc["intervals"]["alpha"]["95"])
    posterior = arviz.from_netcdf(folder / "posterior.nc").posterior
    assert np.array_equal(posterior["J"].to_numpy(), arrays["draws_J"])
    assert RUN.invoke(cli.app, ["aggregate", path]).exit_code == 0
    row = pd.read_csv(tmp_path / "out" / "summary.csv").iloc[0]
    assert row["J_cmc_mean"] == pytest.approx(cmc["means"]["J"])
    assert row["min_ess"] == pytest.approx(min(cmc["ess"].values()))


@pytest.mark.long
def test_a_sharded_campaign_tells_how_each_shard_went(tmp_path: Path) -> None:
    path = campaign(tmp_path, num_shards=3, shard_by="age", sampler="importance")
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 0
    (folder,) = (tmp_path / "out").glob("het_*")
    content = json.loads((folder / "result.json").read_text())
    jsonschema.Draft7Validator(schema.load("result")).validate(content)
    nlsq, cmc = content["nlsq"], content["cmc"]
    assert cmc["combination"] == "exact"
    assert cmc["sds"]["J"] == pytest.approx(nlsq["errors"]["J"], rel=0.3)
    shards = cmc["shards"]
    assert sum(row["points"] for row in shards["table"]) == nlsq["n_data"]
    assert shards["lost"] == []
    ages = [age for row in shards["table"] for age in row["ages"]]
    assert ages == sorted(ages)
    assert shards["disagreement"]["p_value"] > 1e-3
    assert shards["table"][shards["worst"]]["means"]["J"] == pytest.approx(nlsq["J"], rel=0.2)
    assert RUN.invoke(cli.app, ["aggregate", path]).exit_code == 0
    row = pd.read_csv(tmp_path / "out" / "summary.csv").iloc[0]
    assert (row["cmc_combination"], row["cmc_shards"]) == ("exact", 3)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "NLSQ against CMC" in page
    assert "draws of the posterior (blue points" in page
    assert "what each of the shards says" in page
    assert "where 95 % of new values fall" in page
    assert "1 of 1 pairs of a task and a quantity that the data determine agree" in page


@pytest.mark.parametrize(
    ("cmc", "told"), [({}, "sampled not sharded"), ({"num_shards": 4}, "sampled in 4 shards of 207 values")]
)
def test_a_plan_says_how_the_data_are_sharded(tmp_path: Path, cmc: dict[str, Any], told: str) -> None:
    # Three angles of 24 frames are 828 pairs.
    assert told in " ".join(RUN.invoke(cli.app, ["plan", campaign(tmp_path, **cmc)]).output.split())


def test_shards_with_fewer_values_than_unknowns_are_refused(tmp_path: Path) -> None:
    path = campaign(tmp_path, num_shards=200)
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 2
    assert "shards at most" in RUN.invoke(cli.app, ["status", path]).output


def test_sampling_that_does_not_converge_writes_everything_and_ends_with_2(tmp_path: Path) -> None:
    path = campaign(tmp_path, sampler="importance", min_ess=1e7)
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 2
    (folder,) = (tmp_path / "out").glob("het_*")
    assert {one.suffix for one in folder.iterdir()} == {".json", ".npz", ".nc"}
    content = json.loads((folder / "result.json").read_text())
    assert "effective sample size" in content["convergence_warning"]
    assert content["convergence_warning"].startswith("sampling: ")
    assert not content["cmc"]["converged"]


@pytest.mark.parametrize(
    ("settings", "n_shards"),
    [({}, 1), ({"num_shards": 7}, 7), ({"max_points_per_shard": 10_000}, 3), ({"max_points_per_shard": "auto"}, 1)],
)
def test_the_number_of_shards_follows_from_their_size(settings: dict[str, Any], n_shards: int) -> None:
    assert config.checked({"cmc": settings}).cmc.shards_of(25_000) == n_shards


def test_a_fit_alone_keeps_its_identity() -> None:
    assert "cmc" not in config.checked({"cmc": {"seed": 7}}).content
    assert config.checked({"method": "cmc"}).content["cmc"]["seed"] == 42


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mcmc"}, "expected one of nlsq, cmc, both"),
        ({"cmc": {"priors": {"J": {"type": "uniform"}}}}, "expected a parameter with a value of its own"),
        ({"cmc": {"priors": {"v0": {"type": "normal", "mean": 1.0}}}}, "expected a normal prior with mean and sd"),
        ({"cmc": {"priors": {"f0": {"type": "log_uniform"}}}}, "expected a lower bound > 0"),
        ({"cmc": {"warmstart": False}}, "warmstart"),
    ],
)
def test_settings_that_cannot_be_sampled_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        config.checked(settings)


@pytest.fixture(scope="module")
def whole() -> tuple[Finish, FitResult, dict[str, np.ndarray]]:
    """A fit of 3×48×48 values of two components, and draws of its posterior, not sharded."""
    where = Experiment(n_frames=48, dt=0.2)
    finish, found, *_ = fitted(where, cmc={"num_samples": 8000, "sampler": "importance"})
    result = sample.sample(finish, found).result
    assert result.status.word == "ok"
    return finish, found, dict(result.posterior)


@pytest.mark.slow
@pytest.mark.parametrize("n_shards", [4, 16])
def test_shards_give_the_posterior_of_all_data(
    n_shards: int, whole: tuple[Finish, FitResult, dict[str, np.ndarray]]
) -> None:
    finish, found, expected = whole
    cmc = replace(finish.searcher.settings.cmc, num_samples=2000, num_shards=n_shards, sampler="auto")
    settings = replace(finish.searcher.settings, cmc=cmc)
    sharded = sample.sample(replace(finish, searcher=replace(finish.searcher, settings=settings)), found)
    assert sharded.combination in {"exact", "refitted"}
    khat = sharded.result.diagnostics.khat
    assert khat is not None
    assert khat < 0.7
    assert set(sharded.result.posterior) == set(expected)
    for name, draws in sharded.result.posterior.items():
        assert abs(draws.mean() - expected[name].mean()) < 0.2 * expected[name].std(), name
        assert draws.std() == pytest.approx(expected[name].std(), rel=0.15), name


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["importance", "hmc", "nuts"])
def test_every_sampler_agrees_with_numpyros_nuts_in_the_users_parameters(sampler: str) -> None:
    settings = {"num_samples": 4000, "num_chains": 4, "sampler": sampler}
    finish, found, _, _, _ = fitted(STATIC, model={"type": "static"}, cmc=settings)
    ours = sample.sample(finish, found).result
    above = np.triu_indices(STATIC.n_frames, 1)
    t, phi = jnp.asarray(finish.data.ages("window")), jnp.asarray(STATIC.phi)
    scale = 1.5 * stats.median_abs_deviation(upper(finish), scale="normal")

    def truncated(name: str, low: float, high: float) -> Any:
        prior = DEFAULTS[name]
        return numpyro.sample(name, dist.TruncatedNormal(prior.mean, prior.sd, low=low, high=high))

    def model() -> None:
        params = jnp.stack([truncated(name, *bounds) for name, bounds in STATIC.model.bounds.items()])
        contrast, offset = truncated("contrast", 0.0, 1.0), truncated("offset", 0.5, 1.5)
        noise = numpyro.sample("noise", dist.HalfNormal(scale))
        curve = STATIC.model.shape(params, t, STATIC.q, STATIC.dt, phi, STATIC.definitions)
        numpyro.sample("c2", dist.Normal(offset + contrast * curve[:, *above], noise), obs=finish.data.c2[:, *above])

    kernel = numpyro.infer.NUTS(model, dense_mass=True, target_accept_prob=0.95, max_tree_depth=10)
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=2000, num_samples=4000, num_chains=2, progress_bar=False)
    mcmc.run(jax.random.key(0))
    theirs = mcmc.get_samples()
    for name, draws in ours.posterior.items():
        if name in theirs:
            other = np.asarray(theirs[name])
            assert abs(draws.mean() - other.mean()) < 0.1 * other.std(), name
            assert draws.std() == pytest.approx(other.std(), rel=0.05), name


def test_new_values_fall_where_the_posterior_predicts_them(static: Fitted) -> None:
    finish, found, problem, data, settings = static
    rng = np.random.default_rng(0)
    positions = np.asarray(data["start"]) + 0.02 * rng.normal(size=(2, 300, problem.layout.size))
    draws = quantities.of_positions(problem, positions, data, settings, 0)
    cuts = predictive.predicted(finish, found, draws)
    # By hand, from the model in NumPy.
    t, by = finish.data.ages("window"), settings.model.definitions
    every = {name: values.reshape(-1) for name, values in draws.items()}
    modelled = np.stack(
        [
            models.correlation(
                "static",
                np.array([every[name][k] for name in STATIC.model.names]),
                t,
                STATIC.q,
                STATIC.dt,
                np.array(STATIC.phi),
                np.full(3, every["contrast"][k]),
                np.full(3, every["offset"][k]),
                by,
            )
            for k in range(600)
        ]
    )[:, :, found.bands.cut_frames]
    known = np.isfinite(cuts.means)
    assert known.any()
    assert known[:, 0, 1:].all()
    np.testing.assert_allclose(cuts.means[known], modelled.mean(axis=0)[known], rtol=1e-9)
    np.testing.assert_allclose(cuts.sds[known], modelled.std(axis=0)[known], rtol=1e-6)
    noise = np.mean(every["noise"] ** 2) * finish.noise.factor(len(t))[:, found.bands.cut_frames] ** 2
    np.testing.assert_allclose(cuts.new_sds[known], np.sqrt(modelled.var(axis=0) + noise)[known], rtol=1e-6)


def sampled_from(path: str, named: str) -> str:
    """The manifest of a campaign that samples from earlier fits."""
    content = json.loads(Path(path).read_text())
    content["config"] |= {"method": "cmc", "cmc": {**content["config"]["cmc"], "nlsq_result": named}}
    content["output"]["url"] += "-cmc"
    Path(path).with_name("cmc.yaml").write_text(json.dumps(content))
    return str(Path(path).with_name("cmc.yaml"))


@pytest.mark.long
def test_sampling_starts_at_an_earlier_fit_of_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = campaign(tmp_path, num_shards=3, sampler="importance")
    content = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(content | {"config": content["config"] | {"method": "nlsq"}}))
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 0
    again = sampled_from(path, str(tmp_path / "out" / "het_*" / "result.json"))
    # No search runs.
    monkeypatch.setattr(Searcher, "minimise", None)
    assert RUN.invoke(cli.app, ["run", again]).exit_code == 0
    before, after = (
        json.loads(next((tmp_path / name).glob("het_*/result.json")).read_text()) for name in ("out", "out-cmc")
    )
    jsonschema.Draft7Validator(schema.load("result")).validate(after)
    assert after["cmc"]["converged"]
    for name in ("J", "ssr"):
        assert after["nlsq"][name] == pytest.approx(before["nlsq"][name], rel=1e-6)
    assert after["nlsq"]["agreement"] == before["nlsq"]["agreement"]
    assert str(tmp_path) not in json.dumps(after)
    # The same file is no fit of other data, or of other settings.
    other = json.loads(Path(again).read_text())
    other["config"]["scaling"] = {"contrast": {"max": 0.9}}
    other["output"]["url"] += "-other"
    Path(again).write_text(json.dumps(other))
    assert RUN.invoke(cli.app, ["run", again]).exit_code == 2
    told = " ".join(RUN.invoke(cli.app, ["status", again]).output.split())
    assert "none of 1 files is a fit of het_s1.h5 with the same data, model, parameters and scaling" in told


def test_a_result_whose_parameters_are_no_minimum_is_refused(static: Fitted) -> None:
    finish, found, *_ = static
    earlier = replace(EarlierFit.of(found, "old/result.json"), agreement=2, n_polished=4)
    same = replace(finish, earlier=earlier).result()
    assert same.ssr == pytest.approx(found.ssr, rel=1e-9)
    assert (same.agreement, same.n_polished) == (2, 4)
    for wrong in (replace(earlier, ssr=1.01 * found.ssr), replace(earlier, n_data=found.n_data - 1)):
        with pytest.raises(DataError, match=r"old/result\.json: is no fit of these data"):
            replace(finish, earlier=wrong).result()


@pytest.mark.long
def test_python_samples_from_a_fit_that_is_at_hand(static: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, found, *_ = static
    monkeypatch.setattr(Searcher, "minimise", None)
    cmc = {"num_samples": 500, "num_shards": 2, "sampler": "importance"}
    settings = {"model": {"type": "static"}, "fit": FEW, "errors": "independent", "cmc": cmc}
    drawn = heterodyne.sample(finish.data, settings, nlsq_result=found)
    assert drawn.result.posterior["J"].mean() == pytest.approx(found.headline["J"].value, rel=0.05)
    with pytest.raises(DataError, match="nlsq_result: is no fit of these data"):
        heterodyne.sample(replace(finish.data, c2=finish.data.c2 * 1.01), settings, nlsq_result=found)


def test_a_plan_says_how_long_sampling_takes(tmp_path: Path) -> None:
    path = campaign(tmp_path)

    def seconds(*overrides: str) -> tuple[float, float | None]:
        needs = plan_summary.summarise(lanewise.load(path, list(overrides)).record, needs=True).solver
        assert needs is not None
        return needs.seconds, needs.seconds_most

    fits, _ = seconds("config.method=nlsq")
    weighted, chains = seconds()
    assert chains is not None
    assert fits < weighted < chains
    assert seconds("config.cmc.sampler=importance") == (weighted, None)
    assert seconds("config.cmc.sampler=hmc", "config.cmc.num_samples=9000")[0] > chains
    assert re.search(r"about .* GiB and \d+ s to \d+ s;", RUN.invoke(cli.app, ["plan", path]).output)
