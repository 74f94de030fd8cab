"""Latents with NumPyro priors, and their unconstrained position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import distributions
from numpyro.distributions import biject_to, constraints

# Inner fraction of an interval on which position and latent are equal.
_LINEAR = 0.8


class Latents:
    """Independent scalar latents.

    The position holds one unconstrained number per latent: the latent itself if it is unbounded, its logarithm if it
    is positive, and the inverse of an `Interval` if it has two bounds; of the logarithm's interval if the prior is
    uniform in that.

    Args:
        priors: NumPyro distribution of each latent, by name.
    """

    def __init__(self, priors: Mapping[str, Any]) -> None:
        self.names = tuple(priors)
        self._priors = tuple(priors.values())
        self._transforms = tuple(_transform(prior) for prior in self._priors)

    def width(self, name: str) -> float:
        """Standard deviation of a latent's prior; infinite if it has none."""
        variance: float = self._priors[self.names.index(name)].variance
        return math.sqrt(variance)

    def position(self, values: Mapping[str, Any], dtype: Any) -> jax.Array:
        """The position of the given latents, shape (n,)."""
        return jnp.stack(
            [jnp.asarray(t.inv(values[name]), dtype) for name, t in zip(self.names, self._transforms, strict=True)]
        )

    def constrain(self, position: jax.Array) -> jax.Array:
        """The latents, shape (n,)."""
        return jnp.stack([t(u) for t, u in zip(self._transforms, position, strict=True)])

    def named(self, position: jax.Array) -> dict[str, jax.Array]:
        """The latents by name."""
        return dict(zip(self.names, self.constrain(position), strict=True))

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|."""
        parts = [t.log_abs_det_jacobian(u, t(u)) for t, u in zip(self._transforms, position, strict=True)]
        return jnp.sum(jnp.stack(parts))

    def precision(self, position: jax.Array) -> jax.Array:
        """Negative second derivative of each log prior with respect to the position, shape (n,); at least 0.

        For a prior with two bounds, the value is at least the inverse variance of the prior that is uniform in the
        position, whose second derivative is 0 although it carries information.
        """
        curves = []
        for prior, transform, u in zip(self._priors, self._transforms, position, strict=True):
            bend = jax.grad(jax.grad(lambda v, p=prior, t=transform: p.log_prob(t(v))))(u)
            least = 12 / transform.width**2 if isinstance(transform, Interval | LogInterval) else 0.0
            curves.append(jnp.maximum(-bend, least))
        return jnp.stack(curves)

    def log_prior(self, position: jax.Array) -> jax.Array:
        """Log prior density with respect to the *latents*."""
        values = self.constrain(position)
        # No validate_args: it would raise if rounding puts a value on its bound; the transforms keep values inside.
        return jnp.sum(jnp.stack([p.log_prob(value) for p, value in zip(self._priors, values, strict=True)]))


class Interval:
    """Map the real line onto an interval: the identity in its inner part, tanh outside.

    A posterior well inside its bounds keeps its shape, which a logit would distort; a posterior at a bound meets no
    discontinuity. The map is twice continuously differentiable, so that energies are conserved to the integrator's
    order.
    """

    def __init__(self, low: float, high: float) -> None:
        self.width = high - low
        half, self._centre = self.width / 2, (high + low) / 2
        self._reach, self._rest = _LINEAR * half, (1 - _LINEAR) * half

    def __call__(self, position: jax.Array) -> jax.Array:
        """The latent of a position, same shape."""
        inner = self._inner(position)
        return inner + self._rest * jnp.tanh((position - inner) / self._rest)

    def inv(self, latent: Any) -> jax.Array:
        """The position of a latent, same shape."""
        inner = self._inner(latent)
        return inner + self._rest * jnp.arctanh((latent - inner) / self._rest)

    def log_abs_det_jacobian(self, position: jax.Array, latent: jax.Array) -> jax.Array:
        """log |d latent / d position| = log sech² of the argument of tanh, computed without overflow."""
        beyond = jnp.abs(position - self._inner(position)) / self._rest
        return 2 * (jnp.log(2.0) - beyond - jax.nn.softplus(-2 * beyond))

    def _inner(self, value: Any) -> jax.Array:
        return jnp.clip(value, self._centre - self._reach, self._centre + self._reach)


class LogInterval:
    """Map the real line onto an interval of positive numbers: the exponential of an `Interval` of the logarithm."""

    def __init__(self, low: float, high: float) -> None:
        self._logarithm = Interval(math.log(low), math.log(high))
        self.width = self._logarithm.width

    def __call__(self, position: jax.Array) -> jax.Array:
        """The latent of a position, same shape."""
        return jnp.exp(self._logarithm(position))

    def inv(self, latent: Any) -> jax.Array:
        """The position of a latent, same shape."""
        return self._logarithm.inv(jnp.log(latent))

    def log_abs_det_jacobian(self, position: jax.Array, latent: jax.Array) -> jax.Array:
        """log |d latent / d position|."""
        logarithm = jnp.log(latent)
        return self._logarithm.log_abs_det_jacobian(position, logarithm) + logarithm


def _transform(prior: Any) -> Any:
    if isinstance(prior, distributions.LogUniform):
        return LogInterval(float(prior.low), float(prior.high))
    support = prior.support
    # NumPyro has a separate class for the unit interval; both classes have bounds.
    if isinstance(support, type(constraints.unit_interval) | type(constraints.interval(0, 1))):
        return Interval(float(support.lower_bound), float(support.upper_bound))
    return biject_to(support)
