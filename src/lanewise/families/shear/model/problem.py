"""The posterior of one galaxy image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.latents import Latents
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.detection import Finder
from lanewise.families.shear.model.likelihood import choose
from lanewise.families.shear.model.render import STAMP, TOLERANCE, better, choose_grid, draw_on, in_precision
from lanewise.families.shear.scene import DOMAINS, quantity
from lanewise.manifest.protocols import Data

_GUARDED = ("half_light_radius", "n", "beta", "fraction")


class ShearProblem:
    """Gaussian pixel noise around a rendered galaxy, with the config's priors.

    Attributes:
        grid: that the galaxy is drawn on.

    data: `image`, shape (ny, nx) [flux per pixel]; for PerPixel noise also `weight`, of the same shape, the inverse
    variance [1/flux²], 0 where a pixel is masked; `given`, the parameters that the config lets the model know. When
    prepared, also `place`, where the search for the mode begins: x, y [pixel].
    """

    def __init__(self, config: ShearConfig) -> None:
        self._latents = Latents({name: prior.distribution() for name, prior in config.latents.items()})
        self._centres = {name: prior.centre for name, prior in config.latents.items()}
        self._fixed = config.fixed
        self._given = config.simulation.given
        self._find = Finder(config)
        self._dtype = jnp.dtype(config.inference.precision)
        # Sizes, indices and fractions outside their domain have no image; their centres have one.
        self._guarded = {
            name: p if isinstance(p, float) else p.centre
            for name, p in config.galaxy.parameters
            if quantity(name) in _GUARDED
        }
        one_form = config.image.renderer != "fourier"
        self.grid = STAMP if one_form else choose_grid(config)
        self._likelihood = choose(config, self.grid)
        # A fit may end where the grid was not predicted for: ten times the prediction's tolerance is too much, and
        # float32 is enough to see it.
        single = in_precision(config, "float32")
        self._forms = None if one_form else (draw_on(single, self.grid), draw_on(single, better(self.grid)))
        self._tolerance = 10 * TOLERANCE

    @property
    def names(self) -> tuple[str, ...]:
        """Latents, in the order of the position."""
        return self._latents.names

    @property
    def remedy(self) -> str:
        """What a user does where the grid is too small or too coarse."""
        return f"raise image.padding in the config (it was {self.grid.padding})"

    @cached_property
    def prior_widths(self) -> Mapping[str, float]:
        """Of the components of the shear that are inferred."""
        return {name: self._latents.width(name) for name in ("g1", "g2") if name in self.names}

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The image as the likelihood compares it, and what is given."""
        given = {"given": data["given"]} if self._given else {}
        return {**self._likelihood.prepare(data), **given, "place": self._find(data["image"], data.get("weight"))}

    def start(self, data: Data) -> jax.Array:
        """The centre of every prior, where the galaxy is seen to stand."""
        seen = {name: data["place"][at] for at, name in enumerate("xy") if name in self._centres}
        return self._latents.position({**self._centres, **seen}, self._dtype)

    def constrain(self, position: jax.Array) -> jax.Array:
        """Latents in their own units, shape (n,)."""
        return self._latents.constrain(position)

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|."""
        return self._latents.log_jacobian(position)

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density with respect to the position, up to a constant; −inf where no image exists."""
        parameters, exists = self._parameters(position, data)
        prior = self._latents.log_prior(position) + self._latents.log_jacobian(position)
        density: jax.Array = jnp.where(exists, prior + self._likelihood.log_likelihood(parameters, data), -jnp.inf)
        return density

    def log_likelihood(self, latents: Mapping[str, jax.Array], data: Data) -> jax.Array:
        """Log likelihood of a galaxy that exists, up to a constant of the data."""
        value: jax.Array = self._likelihood.log_likelihood(self._complete(latents, data)[0], data)
        return value

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        """Gauss–Newton: JᵀJ of the whitened image, and the priors' own."""

        def whitened(u: jax.Array) -> jax.Array:
            return self._likelihood.prediction(self._parameters(u, data)[0], data)

        jacobian: jax.Array = jax.jacfwd(whitened)(position)
        return jacobian.T @ jacobian + jnp.diag(self._latents.precision(position))

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """Error of the grid's image against a larger and finer one's, in tolerances."""
        if self._forms is None:
            return jnp.zeros((), self._dtype)
        p = {name: value.astype(jnp.float32) for name, value in self._parameters(position, data)[0].items()}
        drawn, expected = (render(p) for render in self._forms)
        return jnp.max(jnp.abs(drawn - expected)) / jnp.max(jnp.abs(expected)) / self._tolerance

    def _parameters(self, position: jax.Array, data: Data) -> tuple[Mapping[str, Any], jax.Array]:
        """Every parameter by name, and whether a galaxy with them exists."""
        return self._complete(self._latents.named(position), data)

    def _complete(self, latents: Mapping[str, jax.Array], data: Data) -> tuple[Mapping[str, Any], jax.Array]:
        """The latents, what is fixed and what is given, and whether a galaxy with them exists.

        Where it does not, parameters that do exist stand in, so that no NaN enters the gradient of the branch not
        taken, and the renderer never sees a shear that it would refuse with an exception.
        """
        p = {
            **{name: jnp.asarray(value, self._dtype) for name, value in self._fixed.items()},
            **{name: data["given"][at] for at, name in enumerate(self._given)},
            **latents,
        }
        exists = jnp.ones((), bool)
        for pair in (("g1", "g2"), ("e1", "e2")):
            fine = p[pair[0]] ** 2 + p[pair[1]] ** 2 < 1
            p |= {name: jnp.where(fine, p[name], 0.0) for name in pair}
            exists &= fine
        for name, harmless in self._guarded.items():
            low, high = DOMAINS[quantity(name)]
            fine = (low < p[name]) & (p[name] < high) if high == np.inf else (low <= p[name]) & (p[name] <= high)
            p[name] = jnp.where(fine, p[name], harmless)
            exists &= fine
        rest = 1 - sum((p[name] for name in self._guarded if quantity(name) == "fraction"), jnp.zeros((), self._dtype))
        return p, exists & (rest >= 0)
