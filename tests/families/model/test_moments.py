"""Posteriors whose moments are known in closed form, or by quadrature, within Monte Carlo error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from conftest import load
from families.model.campaigns import write

# Element → mean and standard deviation of its posterior.
Moments = dict[str, tuple[float, float]]
SCHOOLS = np.array([[28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]], float)
COUNTS = np.array([4, 1, 7])


def _schools() -> Moments:
    """Rubin 1981; Gelman et al., Bayesian Data Analysis, sec. 5.5: mu and tau by quadrature, theta in closed form."""
    y, s = SCHOOLS
    mu = np.linspace(-25, 30, 801)[:, None, None]
    # τ = 5 tan(u π/2) is HalfCauchy(5) for u uniform.
    u = (np.arange(4000) + 0.5) / 4000
    tau = 5 * np.tan(u * np.pi / 2)[None, :, None]
    variance = s**2 + tau**2
    log = np.sum(-0.5 * (y - mu) ** 2 / variance - 0.5 * np.log(variance), axis=2) - 0.5 * (mu[..., 0] / 5) ** 2
    w = np.exp(log - log.max())
    w /= w.sum()

    def moments(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
        mean = float(np.sum(w * first))
        return mean, float(np.sqrt(np.sum(w * second) - mean**2))

    precision = 1 / s**2 + 1 / tau**2
    centre = (y / s**2 + mu / tau**2) / precision
    found = {"mu": moments(mu[..., 0], mu[..., 0] ** 2)}
    for k in (0, 7):
        theta = centre[..., k]
        found[f"theta[school={k}]"] = moments(theta, theta**2 + np.broadcast_to(1 / precision[..., k], theta.shape))
    return found


def _line(name: str, kind: Any) -> Moments:
    return {name: (float(kind.mean()), float(kind.std()))}


def _normal_gamma() -> Moments:
    """Murphy 2007, Conjugate Bayesian analysis of the Gaussian distribution, eqs. 85–89."""
    n, mean = len(COUNTS), COUNTS.mean()
    kappa, alpha = 0.5 + n, 3 + n / 2
    centre = (0.5 * 1 + n * mean) / kappa
    beta = 2 + 0.5 * np.sum((COUNTS - mean) ** 2) + 0.5 * n * (mean - 1) ** 2 * 0.5 / kappa
    return _line("mu", stats.t(2 * alpha, centre, np.sqrt(beta / alpha / kappa))) | _line(
        "t", stats.gamma(alpha, scale=1 / beta)
    )


# Name → body of the model, table, further keys of inputs, moments.
CASES: dict[str, tuple[str, str, dict[str, Any], Callable[[], Moments]]] = {
    "eight schools": (
        """
        def model(data):
            mu = numpyro.sample("mu", dist.Normal(0, 5))
            tau = numpyro.sample("tau", dist.HalfCauchy(5))
            with numpyro.plate("school", data["y"].shape[0]):
                z = numpyro.sample("z", dist.Normal(0, 1))
                theta = numpyro.deterministic("theta", mu + tau * z)
                numpyro.sample("y", dist.Normal(theta, data["s"]), obs=data["y"])
        """,
        "id,y,s\n" + "".join(f"usa,{y},{s}\n" for y, s in SCHOOLS.T),
        {"columns": ["y", "s"], "padding": False},
        _schools,
    ),
    "a share": (
        """
        def model(data):
            p = numpyro.sample("p", dist.Beta(2, 3))
            numpyro.sample("k", dist.Binomial(data["n"], p), obs=data["k"])
        """,
        "id,n,k\na,20,3\n",
        {"scalars": ["n", "k"]},
        lambda: _line("p", stats.beta(5, 20)),
    ),
    "a rate": (
        """
        def model(data):
            rate = numpyro.sample("rate", dist.Gamma(2.0, 0.5))
            numpyro.sample("k", dist.Poisson(rate), obs=data["k"])
        """,
        "id,k\n" + "".join(f"a,{k}\n" for k in COUNTS),
        {"columns": ["k"]},
        lambda: _line("rate", stats.gamma(2 + COUNTS.sum(), scale=1 / (0.5 + len(COUNTS)))),
    ),
    "shares of three": (
        """
        def model(data):
            p = numpyro.sample("p", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
            numpyro.factor("n", jnp.sum(data["n"] * jnp.log(p[data["which"]])))
        """,
        "id,which,n\na,0,4\na,1,1\na,2,7\n",
        {"columns": ["which", "n"], "padding": False},
        lambda: {
            f"p[{k}]": (float(one.mean()), float(one.std()))
            for k, one in enumerate(stats.beta(a, 18 - a) for a in (5, 3, 10))
        },
    ),
    "mean and precision": (
        """
        def model(data):
            t = numpyro.sample("t", dist.Gamma(3.0, 2.0))
            mu = numpyro.sample("mu", dist.Normal(1.0, 1 / jnp.sqrt(0.5 * t)))
            numpyro.sample("y", dist.Normal(mu, 1 / jnp.sqrt(t)), obs=data["y"])
        """,
        "id,y\n" + "".join(f"a,{y}\n" for y in COUNTS),
        {"columns": ["y"]},
        _normal_gamma,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nuts", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_moments_are_within_monte_carlo_error(name: str, method: str, tmp_path: Path) -> None:
    model, data, inputs, known = CASES[name]
    settings = {"nuts_config": {"warmup": 500, "samples": 1000, "chains": 4, "target_accept": 0.95}}
    path = write(
        tmp_path,
        model,
        data,
        inputs={"table": "stars.csv", "id": "id", **inputs},
        inference={"method": method, **settings, "importance_config": {"samples": 4000}},
        batch={"size": 1, "width": 4},
    )
    campaign = load(path)
    campaign.run()
    row = campaign.summary.iloc[0]
    assert row["status"] == "ok", row["reason"]
    n_effective = 400  # convergence.ess_min is 100; every run has more than this, see below
    for element, (mean, sd) in known().items():
        ess = row.get(f"ess_{element}")
        assert ess is None or np.isnan(ess) or ess > n_effective
        # Five standard errors of the mean with the fewest draws, and of the width for a kurtosis of 6.
        assert row[f"{element}_mean"] == pytest.approx(mean, abs=5 * sd / np.sqrt(n_effective))
        assert row[f"{element}_sd"] == pytest.approx(sd, rel=5 * np.sqrt(5 / 4 / n_effective))
