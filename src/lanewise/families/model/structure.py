"""What a model consists of, found by tracing it: its latents, the form of their arrays, and their transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

Model = Callable[..., Any]
Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Variable:
    """A site of the model as an array.

    Attributes:
        shape: of its value.
        dims: name of each axis that is a plate's; empty for other axes.
    """

    name: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]

    @property
    def flat(self) -> tuple[str, ...]:
        """A name for each element, e.g. `theta[school=2]`, or `beta[0]` outside plates; the site's own for a scalar."""
        if not self.shape:
            return (self.name,)
        labels = itertools.product(*(range(n) for n in self.shape))
        return tuple(f"{self.name}[{','.join(map(_label, self.dims, at))}]" for at in labels)


@dataclass(frozen=True)
class Latent:
    """A latent site.

    Attributes:
        transform: from its unconstrained values, of shape `free`, to its value.
        varying: numbers of the elements of its value that depend on the position; others are constant, e.g. the upper
            triangle of a Cholesky factor.
    """

    variable: Variable
    transform: Any
    free: tuple[int, ...]
    varying: tuple[int, ...]

    @property
    def n_free(self) -> int:
        """Number of its unconstrained values."""
        return int(np.prod(self.free))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the elements that vary."""
        flat = self.variable.flat
        return tuple(flat[at] for at in self.varying)


def _label(dim: str, at: int) -> str:
    return f"{dim}={at}" if dim else str(at)


def trace(model: Model, data: Arrays, seed: int = 0) -> dict[str, Any]:
    """The sites of one run of the model, with values from its priors."""
    found: dict[str, Any] = handlers.trace(handlers.seed(model, jax.random.key(seed))).get_trace(data)
    return found


def latents(sites: Mapping[str, Any]) -> Iterator[Latent]:
    """The continuous latent sites of a trace; their supports must have a bijection."""
    for name, site in hidden(sites).items():
        if not site["fn"].support.is_discrete:
            transform = biject_to(site["fn"].support)
            free = jnp.shape(transform.inv(site["value"]))
            yield Latent(variable(name, site), transform, free, _varying(transform, free))


def discrete(sites: Mapping[str, Any]) -> dict[str, Any]:
    """The discrete latent sites of a trace by name."""
    return {name: site for name, site in hidden(sites).items() if site["fn"].support.is_discrete}


def hidden(sites: Mapping[str, Any]) -> dict[str, Any]:
    """The latent sites of a trace by name."""
    return {name: site for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]}


def n_axes(sites: Mapping[str, Any]) -> int:
    """Number of axes, counted from the right, that plates and the batches of values take."""
    plates = [-frame.dim for site in sites.values() for frame in site.get("cond_indep_stack", ())]
    batches = [jnp.ndim(one["value"]) - one["fn"].event_dim for one in sites.values() if one["type"] == "sample"]
    return int(max([0, *plates, *batches]))


def deterministics(sites: Mapping[str, Any]) -> dict[str, Variable]:
    """The deterministic sites of a trace by name."""
    return {name: variable(name, site) for name, site in sites.items() if site["type"] == "deterministic"}


def observed(sites: Mapping[str, Any]) -> dict[str, Any]:
    """The observed sites and factors of a trace by name."""
    return {name: site for name, site in sites.items() if site["type"] == "sample" and site["is_observed"]}


def variable(name: str, site: Mapping[str, Any]) -> Variable:
    """The form of a site's value."""
    shape = tuple(jnp.shape(site["value"]))
    dims = [""] * len(shape)
    event_dim = site["fn"].event_dim if site["type"] == "sample" else 0
    for frame in site.get("cond_indep_stack", ()):
        axis = len(shape) - event_dim + frame.dim
        if 0 <= axis < len(shape):
            dims[axis] = frame.name
    return Variable(name, shape, tuple(dims))


def _varying(transform: Any, free: tuple[int, ...]) -> tuple[int, ...]:
    """Elements of the value that depend on the unconstrained values, at a point where none is special."""
    at = jnp.linspace(-0.7, 0.9, int(np.prod(free)) or 1)[: int(np.prod(free))].reshape(free)
    slopes = jax.jacfwd(lambda u: jnp.ravel(transform(u)))(at)
    return tuple(int(k) for k in np.flatnonzero(np.any(np.asarray(slopes).reshape(slopes.shape[0], -1) != 0, axis=1)))
