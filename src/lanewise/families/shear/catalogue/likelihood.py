"""The log likelihood of a shear from the draws of one object's shape, for populations of objects."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.errors import UsageError
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population import ellipticity, weights
from lanewise.families.shear.population.nodes import Axis, Nodes
from lanewise.families.shear.population_config import INTERIM_MIN, Population

_COMPONENTS = "g1", "g2"


@dataclass(frozen=True)
class Intrinsic:
    """The distribution of the ellipticity before the shear.

    Attributes:
        kind: a key of `ellipticity.POWERS`.
        sigma: its width per component [g-convention].
        half_width: the likelihood is told for shears between ± this, per component [reduced shear].
    """

    kind: str
    sigma: float
    half_width: float = Population.half_width

    @property
    def nodes(self) -> Nodes:
        """The shears at which the likelihood is told."""
        return Nodes((Axis(self.half_width), Axis(self.half_width)))


def parse(text: str, half_width: float) -> Intrinsic:
    """The distribution as the command line has it, `TYPE:SIGMA`.

    Raises:
        UsageError: it is none.
    """
    kind, _, sigma = text.partition(":")
    try:
        found = Intrinsic(kind, float(sigma), half_width)
    except ValueError:
        found = Intrinsic("", 0.0)
    if found.kind not in ellipticity.POWERS or not 0 < found.sigma < 1:
        kinds = ", ".join(ellipticity.POWERS)
        raise UsageError(f"--ellipticity {text}: expected TYPE:SIGMA with 0 < SIGMA < 1 and one of {kinds}")
    if not 0 < half_width < 0.5:
        raise UsageError(f"--half-width {half_width:g}: expected a shear between 0 and 0.5")
    return found


def check(config: ShearConfig, intrinsic: Intrinsic) -> None:
    """The draws must tell the sheared ellipticity, under a prior that is wide enough.

    Raises:
        UsageError: they do not.
    """
    what = "--ellipticity"
    if config.population is not None:
        raise UsageError(f"{what}: the config's population has its own, and the catalogue ln L by it; leave it out")
    if any(config.fixed.get(name) != 0.0 for name in ("e1", "e2")) or not set(_COMPONENTS) <= set(config.latents):
        message = "expected a galaxy that is round before a shear with priors on g1 and g2, which then is its shape"
        raise UsageError(f"{what}: {message}; remove gal.ellipticity from the config and run again")
    if config.method == "map":
        raise UsageError(f"{what}: a mode has no draws; run with another method, e.g. inference.method: auto")
    for name in _COMPONENTS:
        prior = config.latents[name]
        if prior.type == "Normal" and prior.fields["sigma"] < INTERIM_MIN * intrinsic.sigma:
            message = f"the prior of {name} must be at least {INTERIM_MIN:g} times as wide as the distribution"
            raise UsageError(f"{what}: {message}, {INTERIM_MIN * intrinsic.sigma:g}; widen it and run again")


def at_nodes(config: ShearConfig, intrinsic: Intrinsic, shapes: np.ndarray) -> np.ndarray:
    """ln L(g) = ln E[p(e | g) / p₀(e)] over the posterior with the config's prior p₀ on the shape e.

    Args:
        shapes: draws of g1, g2 with equal weights, shape (draw, 2).

    Returns:
        Shape (node of g1, node of g2); relative to the evidence under p₀.

    Source:
        Schneider et al. 2015 (arXiv:1411.2608), for the weights against an interim prior.
    """
    with jax.enable_x64(True):
        found = _program(config, intrinsic)(shapes.astype(np.float64))
    return np.asarray(found).reshape(intrinsic.nodes.shape)


@functools.lru_cache(maxsize=4)
def _program(config: ShearConfig, intrinsic: Intrinsic) -> jax.stages.Wrapped:
    nodes = intrinsic.nodes.points
    priors = [config.latents[name].distribution() for name in _COMPONENTS]

    @jax.jit
    def found(e: jax.Array) -> jax.Array:
        interim = sum(prior.log_prob(e[:, at]) for at, prior in enumerate(priors))
        sheared = ellipticity.log_density(e[:, None], jnp.asarray(nodes, e.dtype), intrinsic.kind, intrinsic.sigma)
        return weights.log_likelihood(sheared - interim[:, None], jnp.zeros(len(e), e.dtype))

    return found
