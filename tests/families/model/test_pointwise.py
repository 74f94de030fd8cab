"""Log likelihoods, predictive draws, PSIS-LOO, and the comparison of two models by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import Lanewise, load
from families.model.campaigns import MEAN, table, write

BOTH = {"log_likelihood": True, "posterior_predictive": True}
SIZES = (9, 14, 30)
# The same with a slope that the data do not have.
LINE = MEAN.replace(
    '    with numpyro.plate("p', '    slope = numpyro.sample("slope", dist.Normal(0, 0.02))\n    with numpyro.plate("p'
).replace("dist.Normal(mu, 2.0)", 'dist.Normal(mu + 20 + slope * data["x"], 2.0)')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with everything that can be asked for."""
    path = tmp_path_factory.mktemp("pointwise")
    data = table(SIZES).replace("s1,0.0000,", "s1,0.0000,9")  # an outlier
    campaign = load(write(path, data=data, outputs=BOTH))
    assert campaign.run().all_ok
    campaign.aggregate()
    return path


@pytest.mark.slow
def test_groups_hold_log_likelihoods_predictions_and_data_of_the_real_rows(folder: Path) -> None:
    rows = pd.read_csv(folder / "stars.csv")
    for name, n in zip(("s0", "s1", "s2"), SIZES, strict=True):
        y = rows["y"][rows["star"] == name].to_numpy()
        found: Any = arviz.from_netcdf(folder / "results" / name / "posterior.nc")
        mu = found.posterior["mu"].values
        assert found.log_likelihood["y"].dims == ("chain", "draw", "y_dim_0")
        assert found.log_likelihood["y"].shape == (1, 400, n)
        np.testing.assert_allclose(found.log_likelihood["y"], stats.norm.logpdf(y, mu[..., None], 2), rtol=1e-4)
        np.testing.assert_allclose(found.observed_data["y"], y, rtol=1e-6)
        np.testing.assert_allclose(found.constant_data["x"], np.arange(n) / 2)
        # y − mu ~ N(0, 2²), 400 n times: five standard errors.
        scatter = found.posterior_predictive["y"].values - mu[..., None]
        assert abs(np.mean(scatter)) < 5 * 2 / np.sqrt(scatter.size)
        assert np.std(scatter) == pytest.approx(2, rel=5 / np.sqrt(2 * scatter.size))


def test_the_summary_has_what_arviz_says_of_the_file(folder: Path) -> None:
    summary = pd.read_csv(folder / "results" / "summary.csv").set_index("id")
    for name in ("s0", "s2"):
        found: Any = arviz.from_netcdf(folder / "results" / name / "posterior.nc")
        expected = arviz.loo(found, pointwise=True)
        # ArviZ 1 has another class, another estimator of the tail, and divides by n − 1 for the error.
        of_1, n = not arviz.__version__.startswith("0."), expected.n_data_points
        elpd, se = (expected.elpd, expected.se * np.sqrt(1 - 1 / n)) if of_1 else (expected.iloc[0], expected.iloc[1])
        assert summary["elpd_loo"][name] == pytest.approx(elpd, rel=1e-4)
        assert summary["elpd_loo_se"][name] == pytest.approx(se, rel=1e-3)
        assert summary["khat_loo"][name] == pytest.approx(float(np.max(expected.pareto_k)), abs=0.1 if of_1 else 1e-3)


def test_the_data_set_with_an_outlier_is_the_worst_and_is_shown(folder: Path) -> None:
    summary = pd.read_csv(folder / "results" / "summary.csv").set_index("id")
    assert summary["ppc_p"]["s1"] == 0
    assert summary["ppc_p"][["s0", "s2"]].between(0.01, 0.99).all()
    page = (folder / "results" / "report.html").read_text()
    assert page.index("s1: p = 0.000") < page.index("s0: p = ")


@pytest.mark.slow
def test_compare_tells_which_model_predicts_better(folder: Path, tmp_path: Path, lanewise: Lanewise) -> None:
    data = (folder / "stars.csv").read_text()
    first, second = str(folder / "m.yaml"), write(tmp_path, LINE, data, outputs={"log_likelihood": True})
    assert load(second).run().all_ok
    code, out, err = lanewise("compare", first, second, "-o", str(tmp_path / "c.csv"))
    assert (code, err) == (0, "")
    found = pd.read_csv(tmp_path / "c.csv").set_index("id")
    assert list(found["n"]) == [*SIZES, sum(SIZES)]
    parts = found.loc[["s0", "s1", "s2"]]
    assert found["difference"]["total"] == pytest.approx(parts["difference"].sum())
    # A constant of 20 that its prior N(0, 10²) has to make up for: the means differ by little, A is better.
    assert found["difference"]["total"] > 0
    both = [
        arviz.loo(arviz.from_netcdf(path / "results" / "s2" / "posterior.nc"), pointwise=True).loo_i.values
        for path in (folder, tmp_path)
    ]
    apart = both[0] - both[1]
    assert found["difference"]["s2"] == pytest.approx(apart.sum(), abs=1e-3)
    assert found["error"]["s2"] == pytest.approx(np.sqrt(apart.size * np.var(apart)), abs=1e-3)
    assert "total" in out
    assert lanewise("compare", second, second, "-o", str(tmp_path / "c.json"))[0] == 0
    assert json.loads((tmp_path / "c.json").read_text())["total"]["difference"] == 0


@pytest.mark.long
def test_compare_refuses_other_rows_and_campaigns_without_log_likelihoods(
    folder: Path, tmp_path: Path, lanewise: Lanewise
) -> None:
    first = str(folder / "m.yaml")
    other = write(tmp_path, data=table(SIZES), outputs=BOTH)
    load(other).run()
    code, _, err = lanewise("compare", first, other)
    assert (code, "data set s1: the two campaigns observe different values" in err) == (64, True), err
    fewer = write(tmp_path, data=table(SIZES[:2]), outputs=BOTH, output={"url": str(tmp_path / "fewer")})
    load(fewer).run()
    code, _, err = lanewise("compare", first, fewer)
    assert (code, "data set s2 is in one of the campaigns only" in err) == (64, True), err
    code, _, err = lanewise("compare", first, write(tmp_path, data=table(SIZES)))
    assert (code, "has no log likelihoods; set outputs.log_likelihood: true" in err) == (64, True), err


def test_map_has_no_draws_to_predict_from(tmp_path: Path, lanewise: Lanewise) -> None:
    code, _, err = lanewise("validate", write(tmp_path, outputs=BOTH, inference={"method": "map"}))
    assert (code, "outputs: map leaves no draws" in err) == (65, True), err


def test_factors_alone_have_no_log_likelihood_of_a_datum(tmp_path: Path, lanewise: Lanewise) -> None:
    model = """
    def model(data):
        mu = numpyro.sample("mu", dist.Normal(0, 10))
        numpyro.factor("fit", -0.5 * (data["y"] - mu) ** 2)
    """
    assert lanewise("validate", write(tmp_path, model))[0] == 0
    code, _, err = lanewise("validate", write(tmp_path, model, outputs=BOTH))
    assert (code, "outputs: the model has factors only, and no log likelihood of a datum" in err) == (65, True), err
