"""Simulated data sets of a calibration: truths from the model's priors, observed columns from the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from lanewise.engine import chunk_data
from lanewise.errors import DataError
from lanewise.families.model import code as codes
from lanewise.families.model import datasets, trial
from lanewise.families.model.config import ModelConfig
from lanewise.families.model.datasets import Drawn
from lanewise.families.model.density import Density
from lanewise.families.model.unobserved import Unobserved
from lanewise.manifest.problem import Observation


@dataclass(frozen=True)
class _Draw:
    density: Density
    of: Callable[..., Any]


def complaints(config: ModelConfig) -> Iterator[str]:
    """Observed sites that cannot be drawn into a column."""
    observed = trial.examine(config).observed
    for name, column in observed.items():
        where = codes.site_place(config.code, name)
        if column and list(observed.values()).count(column) > 1:
            yield f"{where}: several sites observe data['{column}'], so it cannot be simulated; let one site observe it"
        if not column:
            remedy = "write obs=data['…'] with the column itself, so that a draw can take its place"
            yield f"{where}: '{name}' observes no column of data as it stands, so no data can be simulated; {remedy}"


def observe(config: ModelConfig, drawn: Drawn, seed: int) -> Observation:
    """A data set with the columns that the model does not observe, and draws in place of the others.

    Raises:
        DataError: the data set, or a draw, cannot be used.
    """
    seen = datasets.observe(drawn.template)
    arrays = chunk_data.masked(seen.data, seen.ragged, seen.sizes[0], seen.padded) if seen.ragged else seen.data
    draw = _draw(config)
    truth, columns = jax.device_get(draw.of(jax.random.fold_in(jax.random.key(seed), 1), dict(arrays)))
    data = dict(seen.data)
    for name, drawn_values in columns.items():
        values = np.asarray(drawn_values)[: len(data[name])] if name in seen.ragged else np.asarray(drawn_values)
        if not np.all(np.isfinite(values)):
            raise DataError(f"a draw of {name} from the model is not finite; check its priors")
        data[name] = values.astype(data[name].dtype)
    known = {name: float(value) for name, value in zip(draw.density.names, truth, strict=True)}
    return replace(seen, members=(data,), truth=known)


@lru_cache(maxsize=4)
def _draw(config: ModelConfig) -> _Draw:
    density = trial.examine(config)

    def of(key: jax.Array, arrays: Any) -> Any:
        model = handlers.seed(Unobserved(density.model), key)
        sites = handlers.trace(model).get_trace(density.data(arrays))
        values = {one.variable.name: jnp.ravel(sites[one.variable.name]["value"]) for one in density.latents}
        truth = jnp.concatenate([values[one.variable.name][jnp.array(one.varying)] for one in density.latents])
        return truth, {column: sites[site]["value"] for site, column in density.observed.items()}

    return _Draw(density, jax.jit(of))
