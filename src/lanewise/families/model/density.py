"""The log density of a model over an unconstrained position, for one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.distributions import Unit
from numpyro.infer.util import potential_energy

from lanewise.engine.chunk_data import MASK
from lanewise.families.model import structure
from lanewise.families.model.masking import RowMask
from lanewise.families.model.structure import Arrays, Latent, Model, Variable


@dataclass(frozen=True, eq=False)
class Density:
    """A model with what is known of it.

    Attributes:
        model: the user's function of `data`.
        latents: its latent sites, in the order of the model.
        deterministics: its deterministic sites, without those that have a value per row of a padded data set.
        rowwise: observed sites whose first axis is the row.
        observed: observed site → the name in `data` that it observes; empty if it is none as it stands.
        factors: observed sites that are factors.
        whole: names in `data` that hold integers.
        summed: discrete latent sites, over whose values the density is summed.
        n_axes: number of axes that plates and batches of values take.
    """

    model: Model
    latents: tuple[Latent, ...]
    deterministics: tuple[Variable, ...]
    rowwise: frozenset[str]
    observed: Mapping[str, str]
    factors: frozenset[str]
    whole: frozenset[str]
    summed: tuple[str, ...]
    n_axes: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the latents' elements."""
        return tuple(name for latent in self.latents for name in latent.names)

    @cached_property
    def constants(self) -> dict[str, float]:
        """The elements that do not vary, and their values."""
        found: dict[str, float] = {}
        for one in self.latents:
            values = jnp.ravel(one.transform(jnp.zeros(one.free)))
            flat = one.variable.flat
            found |= {flat[at]: float(values[at]) for at in range(len(flat)) if at not in one.varying}
        return found

    def data(self, arrays: Arrays) -> dict[str, Any]:
        """`data` as the model gets it: the engine holds every number as a float."""
        integer = jax.dtypes.canonicalize_dtype(jnp.int64)
        return {
            name: jnp.asarray(values).astype(integer) if name in self.whole else jnp.asarray(values)
            for name, values in arrays.items()
        }

    def masked(self, arrays: Arrays) -> Model:
        """The model without its padded rows."""
        return RowMask(self.model, arrays[MASK], self.rowwise) if MASK in arrays else self.model

    def parameters(self, position: jax.Array) -> dict[str, jax.Array]:
        """Unconstrained values by site."""
        found: dict[str, jax.Array] = {}
        begin = 0
        for latent in self.latents:
            found[latent.variable.name] = position[begin : begin + latent.n_free].reshape(latent.free)
            begin += latent.n_free
        return found

    def position(self, values: Mapping[str, Any], dtype: Any) -> jax.Array:
        """The position of given values of the latent sites."""
        parts = [jnp.ravel(one.transform.inv(values[one.variable.name])) for one in self.latents]
        return jnp.concatenate(parts).astype(dtype)

    def values(self, position: jax.Array) -> dict[str, jax.Array]:
        """Values of the latent sites, in their own units."""
        free = self.parameters(position)
        return {one.variable.name: one.transform(free[one.variable.name]) for one in self.latents}

    def constrain(self, position: jax.Array) -> jax.Array:
        """The elements of `names`, shape (m,)."""
        values = self.values(position)
        parts = [jnp.ravel(values[one.variable.name])[jnp.array(one.varying)] for one in self.latents]
        return jnp.concatenate(parts).astype(position.dtype)

    def log_density(self, position: jax.Array, arrays: Arrays) -> jax.Array:
        """Log joint density with respect to the position [nats], summed over the discrete latents."""
        model, summed = self.masked(arrays), bool(self.summed)
        if summed:
            # Takes a second to import, and few models need it.
            from numpyro.contrib.funsor import config_enumerate, enum

            model = enum(config_enumerate(model), -1 - self.n_axes)
        energy = potential_energy(model, (self.data(arrays),), {}, self.parameters(position), enum=summed)
        return -jnp.asarray(energy, position.dtype)

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|."""
        total, free = jnp.zeros((), position.dtype), self.parameters(position)
        for one in self.latents:
            u = free[one.variable.name]
            total += jnp.sum(one.transform.log_abs_det_jacobian(u, one.transform(u)))
        return total

    def prior_position(self, key: jax.Array, arrays: Arrays) -> jax.Array:
        """The position of one draw from the prior."""
        sites = handlers.trace(handlers.seed(self.model, key)).get_trace(self.data(arrays))
        values = {one.variable.name: sites[one.variable.name]["value"] for one in self.latents}
        dtype = jnp.result_type(float)
        return jnp.nan_to_num(self.position(values, dtype), nan=0.0, posinf=0.0, neginf=0.0)

    def deterministic(self, values: Mapping[str, Any], arrays: Arrays) -> list[jax.Array]:
        """Elements of the deterministic sites, one flat array per site, at given values of the latent sites."""
        model = handlers.substitute(handlers.seed(self.model, jax.random.key(0)), data=dict(values))
        sites = handlers.trace(model).get_trace(self.data(arrays))
        return [jnp.ravel(sites[one.name]["value"]) for one in self.deterministics]

    def unflattened(self, flat: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Values of the latent sites from draws of their elements, each of shape (draw,); constant ones are added."""
        found = {}
        for one in self.latents:
            constant = jnp.ravel(one.transform(jnp.zeros(one.free)))
            n_draws = len(next(iter(flat.values())))
            whole = jnp.broadcast_to(constant, (n_draws, constant.size))
            drawn = jnp.stack([jnp.asarray(flat[name]) for name in one.names], axis=-1)
            whole = whole.at[:, jnp.array(one.varying)].set(drawn)
            found[one.variable.name] = whole.reshape(n_draws, *one.variable.shape)
        return found


def build(
    model: Model,
    sites: Mapping[str, Any],
    rowwise: frozenset[str],
    dropped: Sequence[str],
    data: Arrays,
    whole: frozenset[str],
) -> Density:
    """The density of a model from its trace.

    Args:
        sites: its trace.
        rowwise: observed sites whose first axis is the row.
        dropped: deterministic sites to leave out.
        data: the arrays that it was traced with.
    """
    kept = tuple(one for name, one in structure.deterministics(sites).items() if name not in dropped)
    sources = {id(values): name for name, values in data.items()}
    seen = structure.observed(sites)
    observed = {name: sources.get(id(site["value"]), "") for name, site in seen.items()}
    factors = frozenset(name for name, site in seen.items() if isinstance(site["fn"], Unit))
    summed = tuple(structure.discrete(sites))
    latents = tuple(structure.latents(sites))
    return Density(model, latents, kept, rowwise, observed, factors, whole, summed, structure.n_axes(sites))
