"""The posterior of one data set, or of a shard of it, as the engine's problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lanewise.families.heterodyne.cmc import likelihood, support
from lanewise.families.heterodyne.cmc.support import Layout, Unknowns
from lanewise.families.heterodyne.config import Label
from lanewise.families.heterodyne.nlsq import coordinates
from lanewise.manifest.problem import Data
from lanewise.methods import mode


@dataclass(frozen=True)
class Posterior:
    """A `Problem` whose latents are its position; what a user reads follows from the draws (`quantities`).

    The data are `pairs`, `scene`, `gauge`, `box`, `basis`, `prior` as in the fit and `support`; `n_data`; `share`, the
    power of the prior (1 over the number of shards); `start`; and `centre`, `adjust`: the likelihood is taken at
    centre + adjust · (unknowns − centre), where the unknowns are coordinates and coefficients.

    Attributes:
        label: the labelling rule that is part of the prior's support; None for none.
        adjusted: whether `centre` and `adjust` are used.
    """

    layout: Layout
    label: Label | None
    adjusted: bool = False
    model: str = ""
    finer: None = None
    remedy: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of the position."""
        return tuple(f"u{k}" for k in range(self.layout.size))

    @property
    def prior_widths(self) -> Mapping[str, float]:
        """None: a posterior as wide as its prior is told by quantity."""
        return {}

    def prepare(self, data: Data) -> Data:
        """The data as they are."""
        return data

    def start(self, data: Data) -> jax.Array:
        """The position of the fit."""
        start: jax.Array = data["start"]
        return start

    def constrain(self, position: jax.Array) -> jax.Array:
        """The position."""
        return position

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """0: the latents are the position."""
        return jnp.zeros((), position.dtype)

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """0: there is one model."""
        return jnp.zeros((), position.dtype)

    def unknowns(self, position: jax.Array, data: Data) -> Unknowns:
        """Coordinates, coefficients and noise of a position, and the log prior density."""
        return support.read(position, self.layout, data["box"], data["gauge"], data["prior"])

    def log_likelihood(self, position: jax.Array, data: Data) -> jax.Array:
        """Log likelihood of the data, up to a constant that is the same for all positions."""
        return self._log_likelihood(self.unknowns(position, data), data)

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density; −∞ where the labelling rule does not hold."""
        at = self.unknowns(position, data)
        density = self._log_likelihood(at, data) + data["share"] * at.log_prior
        return jnp.where(self._labelled(at.x, data), density, -jnp.inf)

    def log_prior(self, position: jax.Array, data: Data) -> jax.Array:
        """Log prior density with respect to the position, up to a constant; −∞ outside of the labelling rule."""
        at = self.unknowns(position, data)
        return jnp.where(self._labelled(at.x, data), at.log_prior, -jnp.inf)

    @property
    def curvature(self) -> Callable[[jax.Array, Data], jax.Array]:
        """That of the squared residuals by their first derivatives, and that of the prior."""

        def curvature(position: jax.Array, data: Data) -> jax.Array:
            def flat(position: jax.Array) -> jax.Array:
                at = self.unknowns(position, data)
                return jnp.concatenate([at.x, at.coefficients.reshape(-1), at.log_sigma[None]])

            def log_prior(position: jax.Array) -> jax.Array:
                return self.unknowns(position, data).log_prior

            at, slopes = self.unknowns(position, data), jax.jacfwd(flat)(position)
            x, coefficients = self._seen(at, data)
            basis, args = data["basis"], (data["pairs"], data["scene"], data["gauge"])
            joint = likelihood.joint(self.layout.model, x, basis @ coefficients[0], basis, *args)
            if self.adjusted:
                joint = data["adjust"].T @ joint @ data["adjust"]
            of_noise = 2 * data["n_data"] * jnp.outer(slopes[-1], slopes[-1])
            of_data = slopes[:-1].T @ joint @ slopes[:-1] * jnp.exp(-2 * at.log_sigma) + of_noise
            found: jax.Array = of_data + data["share"] * mode.made_positive(-jax.hessian(log_prior)(position))
            return found

        return curvature

    def _log_likelihood(self, at: Unknowns, data: Data) -> jax.Array:
        x, coefficients = self._seen(at, data)
        contrast, offset = (data["basis"] @ one for one in coefficients)
        args = data["pairs"], data["scene"], data["gauge"]
        squares = likelihood.ssr(self.layout.model, x, contrast, offset, *args)
        found: jax.Array = -data["n_data"] * at.log_sigma - 0.5 * squares * jnp.exp(-2 * at.log_sigma)
        return found

    def _seen(self, at: Unknowns, data: Data) -> tuple[jax.Array, jax.Array]:
        """Coordinates and coefficients at which the likelihood is taken."""
        if not self.adjusted:
            return at.x, at.coefficients
        off = jnp.concatenate([at.x, at.coefficients.reshape(-1)]) - data["centre"]
        seen = data["centre"] + data["adjust"] @ off
        n = at.x.shape[0]
        return seen[:n], seen[n:].reshape(at.coefficients.shape)

    def _labelled(self, x: jax.Array, data: Data) -> Any:
        if self.label is None:
            return True
        if self.label == "faster_is_sample":
            return x[3] >= x[0]
        *_, f = coordinates.values(x, data["scene"], data["gauge"], self.layout.model.definitions.fraction_clip)
        return jnp.mean(f) <= 0.5
