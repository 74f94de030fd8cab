"""A trial of the model before anything is computed: what cannot be inferred is told in a sentence, with its line.

The model is traced on the first usable data set, and on the shortest and the longest.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

from lanewise.engine import chunk_data
from lanewise.errors import DataError
from lanewise.families.model import code as codes
from lanewise.families.model import datasets, density, structure
from lanewise.families.model.attempt import attempt
from lanewise.families.model.config import ModelConfig
from lanewise.families.model.density import Density
from lanewise.families.model.structure import Model
from lanewise.manifest.problem import Observation

# The methods invert and hold matrices of this many rows for each lane.
MOST_LATENTS = 500
# Relative change of the density under padding, in units of its rounding error.
_ROUNDING = 1e4
_SEEDS = (0, 1, 2, 3)

Data = dict[str, Any]


@lru_cache(maxsize=4)
def examine(config: ModelConfig) -> Density:
    """The model's density.

    Raises:
        DataError: the model, or the first data, cannot be inferred; the text says where and what to do.
    """
    model = codes.load(config.code)
    usable = _usable(config)
    whole = datasets.whole(config.inputs)
    traces = [_traced(config, model, _as_given(one, whole)) for one in usable]
    data, sites = traces[0]
    for complaint in _complaints(config, sites):
        raise DataError(complaint)
    _check_equal(config, traces)
    sizes = _longer(usable[0]) if config.inputs.padding else ()
    padded = [_as_given(_padded(usable[0], n), whole) for n in sizes]
    rowwise, dropped = _rowwise(config, sites, [_traced(config, model, one)[1] for one in padded])
    found = density.build(model, sites, rowwise, dropped, data, whole)
    if len(found.names) > MOST_LATENTS:
        raise DataError(
            f"{config.code.path}: the model has {len(found.names)} latents per data set, expected at most "
            f"{MOST_LATENTS}; use fewer, or make several data sets of one"
        )
    _check_summed(config, found, data)
    _check_density(config, found, [_arrays(one) for one in usable])
    _check_padding(config, found, usable[0])
    return found


def _usable(config: ModelConfig) -> list[Observation]:
    """The first usable data set, the shortest and the longest; of files, the last instead."""
    every = datasets.all_of(config.inputs)
    if not every:
        raise DataError(f"{config.inputs.files[0].path}: has no rows")
    found, reasons = [], []
    for one in every:
        try:
            found.append(datasets.observe(one))
        except DataError as error:
            reasons.append(str(error))
        if found and (not config.inputs.table or len(found) + len(reasons) >= 1000):
            break
    if not found:
        raise DataError(f"none of {len(every)} data sets can be used; the first: {reasons[0]}")
    by_size = sorted(found, key=lambda one: one.sizes[0] if one.sizes else 0)
    chosen = [found[0], by_size[0], by_size[-1]]
    return [one for at, one in enumerate(chosen) if all(one is not other for other in chosen[:at])]


def _padded(one: Observation, n_rows: int) -> Mapping[str, np.ndarray]:
    return chunk_data.masked(one.data, one.ragged, one.sizes[0], n_rows)


def _arrays(one: Observation) -> Mapping[str, np.ndarray]:
    """A data set as the engine gives it to the density, without padding."""
    return _padded(one, one.sizes[0]) if one.ragged else one.data


def _longer(one: Observation) -> tuple[int, ...]:
    """Numbers of rows that a data set is padded to for the trial: by one, and as for the engine or more."""
    return (one.sizes[0] + 1, one.padded + 3) if one.ragged else ()


def _as_given(one: Observation | Mapping[str, np.ndarray], whole: frozenset[str]) -> Data:
    """`data` as the model gets it."""
    arrays = _arrays(one) if isinstance(one, Observation) else one
    return {
        name: jnp.asarray(values if values.dtype == bool or name in whole else values.astype(float))
        for name, values in arrays.items()
    }


def _traced(config: ModelConfig, model: Model, data: Data) -> tuple[Data, dict[str, Any]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sites = attempt(config, lambda: structure.trace(model, data))
    for one in caught:
        if "float64" in str(one.message) and "not available" in str(one.message):
            text = "asks for float64, inference.precision is float32; remove the dtype, or set precision: float64"
            raise DataError(f"{config.code.path}: {text}")
    return data, sites


def _complaints(config: ModelConfig, sites: Mapping[str, Any]) -> Iterator[str]:
    """What the trace alone shows."""
    sampled = {name: site for name, site in sites.items() if site["type"] == "sample"}
    for name, site in sites.items():
        where = codes.site_place(config.code, name)
        if site["type"] == "param":
            yield f"{where}: numpyro.param '{name}' has no prior; write numpyro.sample with one"
        if site["type"] == "plate" and jnp.size(site["value"]) != site["args"][0]:
            yield f"{where}: plate '{name}' takes a random part of its data; leave out subsample_size"
    hidden = structure.hidden(sites)
    if not any(True for _ in structure.latents(sites)):
        remedy = "write numpyro.sample without obs for what is to be inferred"
        kind = "continuous latent" if hidden else "latent"
        yield f"{config.code.path}: the model has no {kind}; {remedy}"
    if len(hidden) == len(sampled):
        remedy = "pass it to the likelihood, e.g. numpyro.sample('y', …, obs=data['y'])"
        yield f"{config.code.path}: the model observes nothing, so its posterior is its prior; {remedy}"
    for name, site in hidden.items():
        where, kind = codes.site_place(config.code, name), type(site["fn"]).__name__
        if site["fn"].support.is_discrete and not site["fn"].has_enumerate_support:
            remedy = "give it finitely many, or sum it out by hand, as NegativeBinomial2 does with a Poisson's rate"
            yield f"{where}: latent '{name}' ({kind}) has too many values to sum over; {remedy}"
        elif kind == "Delta":
            yield f"{where}: latent '{name}' is a constant (Delta); write numpyro.deterministic, or the value itself"
    for name, site in structure.observed(sites).items():
        yield from _observed(config, name, site)


def _observed(config: ModelConfig, name: str, site: Mapping[str, Any]) -> Iterator[str]:
    """An observed site has one value per datum, inside the support."""
    fn, value = site["fn"], site["value"]
    where, shape = codes.site_place(config.code, name), tuple(jnp.shape(value))
    batch = tuple(jnp.shape(fn.log_prob(value)))
    expected = shape[: len(shape) - fn.event_dim]
    if batch != expected and jnp.size(value):
        yield (
            f"{where}: site '{name}' observes values of shape {shape} with a distribution of shape "
            f"{tuple(fn.shape())}: their log density has shape {batch}, so a datum counts several times; "
            "make the shapes equal"
        )
    elif jnp.size(value) and not np.all(np.asarray(fn.support(value))):
        worst = np.ravel(np.asarray(value))[0]
        yield (
            f"{where}: site '{name}' observes values that {type(fn).__name__} cannot have, e.g. {worst:g}; "
            "check the column, or the distribution"
        )


def _check_equal(config: ModelConfig, traces: Sequence[tuple[Data, Mapping[str, Any]]]) -> None:
    """Every data set has the same sites, and its latents the same shapes."""
    forms = [{one.variable.name: one.variable.shape for one in structure.latents(sites)} for _, sites in traces]
    for form in forms[1:]:
        differ = sorted(name for name in {*forms[0], *form} if forms[0].get(name) != form.get(name))
        if differ:
            name = differ[0]
            a, b = (f"shape {one[name]}" if name in one else "no such site" for one in (forms[0], form))
            where = codes.site_place(config.code, name)
            remedy = "every data set needs the same latents; for a latent per row, give all data sets equally many rows"
            raise DataError(f"{where}: latent '{name}' differs between data sets: {a}, and {b}; {remedy}")


def _rowwise(
    config: ModelConfig, sites: Mapping[str, Any], padded: Sequence[Mapping[str, Any]]
) -> tuple[frozenset[str], list[str]]:
    """Observed sites whose first axis grows with the rows, and deterministic sites that do.

    Raises:
        DataError: a latent does.
    """
    rowwise, dropped, summed = set(), [], structure.discrete(sites)
    for other in padded:
        for name, site in sites.items():
            if site["type"] not in ("sample", "deterministic") or name in summed:
                continue
            before = tuple(jnp.shape(site["value"]))
            if name not in other or before == tuple(jnp.shape(other[name]["value"])):
                continue
            if site["type"] == "deterministic":
                dropped.append(name)
            elif site["is_observed"]:
                rowwise.add(name)
            else:
                where = codes.site_place(config.code, name)
                text = "has a value per row, and rows are padded; set inputs.padding: false"
                raise DataError(f"{where}: latent '{name}' {text} (it needs equally many rows in every data set)")
    return frozenset(rowwise), dropped


def _check_summed(config: ModelConfig, found: Density, data: Data) -> None:
    """No deterministic site depends on a discrete latent, which is summed out and so has no draws."""
    if not found.summed:
        return
    prior = structure.trace(found.model, data)
    values = {one.variable.name: prior[one.variable.name]["value"] for one in found.latents}
    ends = []
    for which in (0, -1):
        at = {name: jnp.full_like(prior[name]["value"], _supported(prior[name])[which]) for name in found.summed}
        sites = structure.trace(handlers.substitute(found.model, data={**values, **at}), data)
        ends.append({one.name: np.asarray(sites[one.name]["value"]) for one in found.deterministics})
    for name, first in ends[0].items():
        if not np.array_equal(first, ends[1][name], equal_nan=True):
            where = codes.site_place(config.code, name)
            text = f"'{name}' depends on a discrete latent ({', '.join(found.summed)}), which is summed out"
            raise DataError(f"{where}: {text}; leave the deterministic site out, or give an expectation")


def _supported(site: Mapping[str, Any]) -> np.ndarray:
    """The values that a discrete latent may have."""
    return np.ravel(np.asarray(site["fn"].enumerate_support(expand=False)))


def _check_density(config: ModelConfig, found: Density, usable: Sequence[Mapping[str, np.ndarray]]) -> None:
    """The density compiles, is finite where its priors are, has a gradient there, and no side effects."""
    arrays = {name: jnp.asarray(values) for name, values in usable[0].items()}
    key = jax.random.key(0)
    prior = attempt(config, lambda: [found.prior_position(jax.random.fold_in(key, at), arrays) for at in _SEEDS])
    for one in usable:
        _check_supports(config, found, one)
    closed = attempt(config, lambda: jax.make_jaxpr(found.log_density)(prior[0], arrays))
    if closed.effects:
        raise DataError(
            f"{config.code.path}: prints or calls back out of the model (jax.debug, io_callback); remove it"
        )
    of = jax.jit(jax.value_and_grad(found.log_density))
    values, slopes = zip(*attempt(config, lambda: [of(at, arrays) for at in prior]), strict=True)
    # Not compiled, equal calls give equal bits: a change however small is seen.
    twice = attempt(config, lambda: [float(found.log_density(prior[0], arrays)) for _ in range(2)])
    if np.isfinite(twice[0]) and (
        twice[0] != twice[1] or abs(twice[0] - values[0]) > 1e-3 * max(1.0, abs(float(values[0])))
    ):
        text = "gives another density when it is called again"
        raise DataError(
            f"{config.code.path}: the model {text}; it must not use np.random, the time, or what it changed"
        )
    if not np.any(np.isfinite(np.asarray(values))):
        raise DataError(f"{config.code.path}: {_nowhere_finite(found, prior[0], arrays)}")
    for value, slope in zip(values, slopes, strict=True):
        if np.isfinite(value) and not np.all(np.isfinite(slope)):
            names = [name for name, part in found.parameters(slope).items() if not np.all(np.isfinite(part))]
            where = codes.site_place(config.code, names[0])
            remedy = "e.g. sqrt or a power at 0, or a jnp.where whose other branch is not finite: make its input safe"
            raise DataError(f"{where}: the gradient in '{names[0]}' is not finite where the density is; {remedy}")


def _nowhere_finite(found: Density, position: jax.Array, arrays: Data) -> str:
    """Which site makes the density of a prior draw not finite."""
    model = handlers.substitute(handlers.seed(found.masked(arrays), jax.random.key(0)), data=found.values(position))
    sites = handlers.trace(model).get_trace(found.data(arrays))
    for name, site in sites.items():
        if site["type"] == "sample" and not np.isfinite(jnp.sum(site["fn"].log_prob(site["value"]))):
            return (
                f"the log density of site '{name}' is not finite at {len(_SEEDS)} draws of the prior; check its scale "
                "(> 0?), its data, and divisions and logarithms before it"
            )
    return "the log density is not finite at any draw of the prior"


def _check_supports(config: ModelConfig, found: Density, arrays: Mapping[str, np.ndarray]) -> None:
    """The support of a latent depends neither on other latents nor on the data."""
    for seed in _SEEDS[:2]:
        sites = structure.trace(found.model, found.data(arrays), seed)
        for one in found.latents:
            before, after = one.transform, biject_to(sites[one.variable.name]["fn"].support)
            at = jnp.full(one.free, 0.3)
            if not np.allclose(before(at), after(at), rtol=1e-6):
                name = one.variable.name
                where = codes.site_place(config.code, name)
                remedy = f"write u ~ Uniform(0, 1) and numpyro.deterministic('{name}', low + (high - low) * u)"
                raise DataError(f"{where}: the bounds of '{name}' depend on other latents or the data; {remedy}")


def _check_padding(config: ModelConfig, found: Density, one: Observation) -> None:
    """Padded rows change neither density nor gradient."""
    if not one.ragged or not config.inputs.padding:
        return
    plain, padded = dict(_arrays(one)), dict(_padded(one, one.padded + 3))
    key = jax.random.key(0)
    of = jax.jit(jax.value_and_grad(found.log_density))
    eps = float(np.finfo(jnp.result_type(float)).eps)
    for seed in _SEEDS:
        at = found.prior_position(jax.random.fold_in(key, seed), plain)
        before, after = of(at, plain), of(at, padded)
        for a, b in zip(before, after, strict=True):
            scale = float(jnp.max(jnp.abs(a))) + 1.0
            if np.all(np.isfinite(a)) and not float(jnp.max(jnp.abs(a - b))) <= _ROUNDING * eps * scale:
                text = "changes when rows are added, though lanewise masks the added ones in every observed site"
                remedy = "sum over rows by data['mask'], or set inputs.padding: false (one program per number of rows)"
                raise DataError(f"{config.code.path}: the density {text}; {remedy}")
