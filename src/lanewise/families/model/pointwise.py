"""What is asked for besides the posterior: log likelihood and predictive draws of every datum, and PSIS-LOO."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from lanewise.engine.chunk_data import MASK
from lanewise.engine.results import Result
from lanewise.families.model import trial
from lanewise.families.model.config import ModelConfig
from lanewise.families.model.density import Density
from lanewise.families.model.structure import Arrays
from lanewise.families.model.unobserved import Unobserved

Groups = Mapping[str, Mapping[str, np.ndarray]]
# What the key of the predictive draws is for; 1 is the truth and the data of a simulated data set.
_PREDICTIVE = 2


def groups(config: ModelConfig, result: Result, draws: Mapping[str, np.ndarray], arrays: Arrays) -> Groups:
    """Further groups of posterior.nc, in float32.

    log_likelihood [nats] and posterior_predictive have axes chain, draw, and those of the observed site;
    observed_data and constant_data hold the data; loo and loo_khat the expected log predictive density [nats] of each
    datum, left out in turn, and its Pareto k̂.

    Args:
        draws: each latent's draws, shape (chain · draw,).
        arrays: the data set as the density gets it, with padding.
    """
    density, compute = _computed(config)
    key, n_draws = jax.random.fold_in(jax.random.key(result.seed), _PREDICTIVE), result.shape[0] * result.shape[1]
    keys = jax.random.split(key, n_draws)
    likelihood, predicted, seen = jax.device_get(compute(keys, draws, arrays))
    mask = np.asarray(arrays[MASK]) if MASK in arrays else None
    rows, columns = dict.fromkeys(density.rowwise, mask), {name for name, _ in config.inputs.columns}
    found: dict[str, dict[str, np.ndarray]] = {
        "observed_data": {name: _cut(one, rows.get(name), 0) for name, one in seen.items()},
        "constant_data": {
            name: _cut(np.asarray(one), mask if name in columns else None, 0)
            for name, one in arrays.items()
            if name != MASK and name not in density.observed.values()
        },
    }
    if config.outputs.posterior_predictive:
        found["posterior_predictive"] = {
            name: _of_draws(_cut(one, rows.get(name), 1), result) for name, one in predicted.items()
        }
    if config.outputs.log_likelihood:
        of_each = {name: _of_draws(_cut(one, rows.get(name), 1), result) for name, one in likelihood.items()}
        left_out = {name: loo(result, one) for name, one in of_each.items()}
        found["log_likelihood"] = of_each
        found["loo"] = {name: elpd for name, (elpd, _) in left_out.items()}
        found["loo_khat"] = {name: khat for name, (_, khat) in left_out.items()}
    return {name: part for name, part in found.items() if part}


def loo(result: Result, log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected log predictive density of each datum given the others [nats], and Pareto k̂; by ArviZ.

    Args:
        log_likelihood: shape (chain, draw, …).

    Source:
        Vehtari, Gelman & Gabry 2017; Vehtari et al. 2024.
    """
    import arviz

    shape = log_likelihood.shape[2:]
    posterior = {name: draws for name, draws in result.posterior.items() if np.ptp(draws) > 0}
    parts: dict[str, Any] = {
        "posterior": posterior,
        "log_likelihood": {"y": log_likelihood.reshape(*result.shape, -1).astype(float)},
    }
    new = int(arviz.__version__.partition(".")[0]) >= 1
    data = arviz.from_dict(parts) if new else arviz.from_dict(**parts)
    with warnings.catch_warnings():
        # A large k̂ is told by its column.
        warnings.simplefilter("ignore")
        found = arviz.loo(data, pointwise=True)
    elpd, khat = (np.asarray(one).reshape(shape).astype(np.float32) for one in _pointwise(found, new=new))
    return elpd, khat


def _pointwise(found: Any, *, new: bool) -> tuple[Any, Any]:
    return (found.elpd_i, found.pareto_k) if new else (found.loo_i, found.pareto_k)


def _cut(values: np.ndarray, mask: np.ndarray | None, axis: int) -> np.ndarray:
    """The values without rows that pad, in float32."""
    kept = values if mask is None else np.compress(mask, values, axis)
    return np.asarray(kept, np.float32)


def _of_draws(values: np.ndarray, result: Result) -> np.ndarray:
    return values.reshape(*result.shape, *values.shape[1:])


@lru_cache(maxsize=4)
def _computed(config: ModelConfig) -> tuple[Density, Callable[..., Any]]:
    density, wanted = trial.examine(config), config.outputs
    names = sorted(density.observed.keys() - density.factors)

    def one(key: jax.Array, values: Any, arrays: Any) -> Any:
        data, seed = density.data(arrays), jax.random.key(0)
        likelihood, predicted = {}, {}
        if wanted.log_likelihood:
            model = handlers.substitute(handlers.seed(density.model, seed), data=values)
            sites = handlers.trace(model).get_trace(data)
            likelihood = {name: sites[name]["fn"].log_prob(sites[name]["value"]) for name in names}
        if wanted.posterior_predictive:
            model = handlers.substitute(handlers.seed(Unobserved(density.model), key), data=values)
            sites = handlers.trace(model).get_trace(data)
            predicted = {name: sites[name]["value"] for name in names}
        return likelihood, predicted

    def of(keys: jax.Array, flat: Any, arrays: Any) -> Any:
        values = density.unflattened(flat)
        likelihood, predicted = jax.vmap(lambda key, drawn: one(key, drawn, arrays))(keys, values)
        sites = handlers.trace(handlers.seed(density.model, jax.random.key(0))).get_trace(density.data(arrays))
        return likelihood, predicted, {name: jnp.asarray(sites[name]["value"]) for name in names}

    return density, jax.jit(of)
