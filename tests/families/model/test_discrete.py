"""Discrete latents are summed out: as by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz
import jax
import numpy as np
import pytest

from conftest import Lanewise, load
from families.model.campaigns import write
from lanewise.engine import chunk_data
from lanewise.families.model import datasets, trial
from lanewise.families.model.config import of
from lanewise.families.model.datasets import DataSet
from lanewise.families.model.density import Density

SWITCH = """
def model(data):
    share = numpyro.sample("share", dist.Beta(2, 5))
    slope = numpyro.sample("slope", dist.Normal(jnp.array([1.0, -1.0]), 1.0).to_event(1))
    with numpyro.plate("row", data["y"].shape[0]):
        branch = numpyro.sample("branch", dist.Bernoulli(share))
        numpyro.sample("y", dist.Normal(slope[branch] * data["x"], 1.0), obs=data["y"])
"""
SWITCH_BY_HAND = """
def model(data):
    share = numpyro.sample("share", dist.Beta(2, 5))
    slope = numpyro.sample("slope", dist.Normal(jnp.array([1.0, -1.0]), 1.0).to_event(1))
    fits = dist.Normal(slope * data["x"][:, None], 1.0)
    numpyro.sample(
        "y", dist.MixtureSameFamily(dist.Categorical(jnp.stack([1 - share, share])), fits), obs=data["y"]
    )
"""
COUNTS = """
def model(data):
    empty = numpyro.sample("empty", dist.Beta(1, 3))
    rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("row", data["n"].shape[0]):
        off = numpyro.sample("off", dist.Bernoulli(empty))
        numpyro.sample("n", dist.Poisson(jnp.where(off == 1, 1e-9, rate * data["x"])), obs=data["n"])
"""
COUNTS_BY_HAND = """
def model(data):
    empty = numpyro.sample("empty", dist.Beta(1, 3))
    rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("row", data["n"].shape[0]):
        numpyro.sample("n", dist.ZeroInflatedPoisson(empty, rate=rate * data["x"]), obs=data["n"])
"""
STATES = """
from numpyro.contrib.control_flow import scan


def model(data):
    level = numpyro.sample("level", dist.Normal(jnp.array([-1.0, 3.0]), 0.5).to_event(1))
    stay = numpyro.sample("stay", dist.Beta(8, 2))

    def step(state, y):
        state = numpyro.sample("state", dist.Bernoulli(jnp.where(state == 1, stay, 1 - stay)))
        numpyro.sample("y", dist.Normal(level[state], 1.0), obs=y)
        return state, None

    scan(step, 0, data["y"])
"""
STATES_BY_HAND = """
def model(data):
    level = numpyro.sample("level", dist.Normal(jnp.array([-1.0, 3.0]), 0.5).to_event(1))
    stay = numpyro.sample("stay", dist.Beta(8, 2))
    change = jnp.log(jnp.array([[stay, 1 - stay], [1 - stay, stay]]))
    at = jnp.array([0.0, -jnp.inf])
    for y in data["y"]:
        at = jax.nn.logsumexp(at[:, None] + change, axis=0) + dist.Normal(level, 1.0).log_prob(y)
    numpyro.factor("y", jax.nn.logsumexp(at))
"""


def _lines() -> str:
    rng = np.random.default_rng(4)
    rows = [(star, x, rng.normal(rng.choice([1.0, -1.0], p=[0.7, 0.3]) * x)) for star in range(2) for x in range(1, 13)]
    return "star,x,y\n" + "".join(f"s{star},{x},{y:.5f}\n" for star, x, y in rows)


def _counts() -> str:
    rng = np.random.default_rng(5)
    rows = [(star, x, rng.poisson(x * rng.binomial(1, 0.6))) for star in range(2) for x in range(1, 12)]
    return "star,x,n\n" + "".join(f"s{star},{x},{n}\n" for star, x, n in rows)


CASES: dict[str, tuple[str, str, str, list[str], bool]] = {
    "mixture of two lines": (SWITCH, SWITCH_BY_HAND, _lines(), ["x", "y"], True),
    "zero-inflated counts": (COUNTS, COUNTS_BY_HAND, _counts(), ["x", "n"], True),
    "hidden Markov chain": (STATES, STATES_BY_HAND, _lines(), ["y"], False),
}


def _density(folder: Path, model: str, data: str, columns: list[str], padding: bool) -> tuple[Density, DataSet]:
    folder.mkdir()
    inputs = {"table": "stars.csv", "id": "star", "columns": columns, "padding": padding}
    config = of(load(write(folder, model, data, inputs=inputs)).manifest)
    return trial.examine(config), datasets.all_of(config.inputs)[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_discrete_latent_is_summed_out_as_by_hand(name: str, tmp_path: Path) -> None:
    model, by_hand, data, columns, padding = CASES[name]
    found, one = _density(tmp_path / "a", model, data, columns, padding)
    expected, _ = _density(tmp_path / "b", by_hand, data, columns, padding)
    assert found.names == expected.names
    seen = datasets.observe(one)
    arrays = chunk_data.masked(seen.data, seen.ragged, seen.sizes[0], seen.padded)
    for seed in range(5):
        at = found.prior_position(jax.random.key(seed), arrays)
        # Rounding of float32 and its sums, and the 1e-9 in place of a rate of 0.
        assert found.log_density(at, arrays) == pytest.approx(float(expected.log_density(at, arrays)), rel=1e-5)


@pytest.mark.slow
def test_predictions_draw_the_discrete_latent_and_there_is_no_likelihood_of_a_datum(
    tmp_path: Path, lanewise: Lanewise
) -> None:
    outputs = {"posterior_predictive": True}
    inputs = {"table": "stars.csv", "id": "star", "columns": ["x", "n"]}
    path = write(tmp_path, COUNTS, _counts(), inputs=inputs, inference={"method": "importance"}, outputs=outputs)
    assert load(path).run().all_ok
    data: Any = arviz.from_netcdf(tmp_path / "results" / "s0" / "posterior.nc")
    assert set(data.posterior) == {"empty", "rate"}
    off, rate = (data.posterior[name].values.ravel() for name in ("empty", "rate"))
    none = off[:, None] + (1 - off[:, None]) * np.exp(-rate[:, None] * data.constant_data["x"].values)
    drawn = data.posterior_predictive["n"].values.reshape(none.shape)
    # Bernoulli numbers of known probabilities: five standard errors.
    error = np.sqrt(np.sum(none * (1 - none))) / none.size
    assert abs(np.mean(drawn == 0) - np.mean(none)) < 5 * error
    options = ["--set", "outputs.log_likelihood=true"]
    code, _, err = lanewise("validate", path, *options)
    assert (code, "outputs.log_likelihood: the sum over off leaves no log likelihood of a datum" in err) == (65, True)
