"""The posterior of one galaxy image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.latents import Latents
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model import bands, exposures
from lanewise.families.shear.model.detection import Finder
from lanewise.families.shear.model.grid import Grid, GridRenderer
from lanewise.families.shear.model.likelihood import choose
from lanewise.families.shear.model.render import (
    SHIFT_TOLERANCE,
    TOLERANCE,
    better,
    choose_grid,
    finer,
    in_precision,
    is_strict,
)
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.scene import GUARDED, inside, quantity
from lanewise.manifest.problem import Data
from lanewise.methods import mode

# A patient search: powers of the likelihood, from a millionth of the S/N on by factors of ten; the longest Newton step
# that is left at each [width of its posterior], and the most steps.
_POWERS = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
_NEAR, _STEPS = 0.1, 50


class ShearProblem:
    """Posterior of a rendered galaxy with Gaussian pixel noise and the config's priors.

    Args:
        grid: of the renderer; default: the cheapest whose predicted error does not matter.
        patient: begin the search with the modes of tempered likelihoods; for lanes that ended in the wrong place.

    The latents x and y count from the lower left corner, as everything that a user sees. Inside they are offsets from
    the middle of the stamp, which float32 resolves better.

    Attributes:
        config: the scene and its priors.
        grid: the renderer's grid.

    data: `image`, shape (ny, nx) [flux per pixel]; for PerPixel noise also `weight`, of the same shape, the inverse
    variance [1/flux²], 0 for a masked pixel; `given`, the true values that the config gives to the model; `centre`, the
    mean of this image's Normal prior on x, y, in place of the config's. After `prepare` also `place`, the offset x, y
    at which the search for the mode starts [pixel from the middle].

    Of an object with exposures, the data have a leading axis (`exposures.OBSERVED`), and x, y are offsets along the
    axes of the sky, in units of the config's pixel scale: `jacobian`, shape (e, 2, 2) [arcsec per pixel], from pixels
    to the sky; `offset`, shape (e, 2), the place of the object [pixel from the middle of the stamp]; `flux_factor`,
    shape (e,), flux in the exposure over that of the galaxy; `psf`, shape (e, ny, nx), and `psf_centre`, shape (e, 2);
    `band`, shape (e, n_bands), 1 for the exposure's band and 0 for others; `power`, shape (e, ny, nx // 2 + 1), of its
    noise the variance per pixel of each mode of rfft2 [flux²].
    """

    def __init__(self, config: ShearConfig, grid: Grid | None = None, *, patient: bool = False) -> None:
        self.config, self._patient = config, patient
        self._middle = config.image.middle
        position = [cast("Prior", config.parameters[axis]) for axis in "xy"]
        # A Normal prior is evaluated at the distance from its mean, which may differ from image to image.
        self._mean = np.array([prior.centre for prior in position]) if position[0].type == "Normal" else None
        zero = self._middle if self._mean is None else dict(zip("xy", self._mean, strict=True))
        priors = {name: prior.shifted(-zero[name]) if name in zero else prior for name, prior in config.latents.items()}
        # From x, y to the position.
        self._axes = np.array([[name == axis for name in priors] for axis in "xy"], config.inference.precision)
        self._latents = Latents({name: prior.distribution() for name, prior in priors.items()})
        self._centres = {name: prior.centre for name, prior in priors.items()}
        self._disc_power = config.galaxy.disc_power
        self._fixed = config.fixed
        self._given = config.simulation.given
        self._find = Finder(config)
        self._dtype = jnp.dtype(config.inference.precision)
        # Sizes, indices and fractions outside their domain have no image; `_complete` replaces them by these values.
        self._guarded = {name: value for name, value in config.galaxy.centres.items() if quantity(name) in GUARDED}
        self.grid = grid or choose_grid(config)
        self._likelihood = choose(config, self.grid)
        # A fit may end far from the points at which the grid's error was predicted, so `flaw` measures it there. It
        # allows ten times the error of an image, which float32 resolves, and twice the shift of an estimate.
        single = in_precision(config, "float32")
        self._check_renderers = (
            GridRenderer(single, self.grid),
            GridRenderer(single, better(self.grid), "better_modes"),
        )
        self._sigma = None if is_strict(config) else config.image.noise.sigma

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latents, in the order of the position."""
        return self._latents.names

    @property
    def model(self) -> str:
        """The grid, and the start of the search, in words."""
        return f"{self.grid}, tempered start" if self._patient else str(self.grid)

    @cached_property
    def finer(self) -> ShearProblem | None:
        """With the next finer grid, see `render.finer`; after the last one with a patient search."""
        grid = finer(self.config, self.grid)
        if grid is not None:
            return ShearProblem(self.config, grid)
        return None if self._patient else ShearProblem(self.config, self.grid, patient=True)

    @property
    def remedy(self) -> str:
        """Advice to the user if the grid is too small or too coarse."""
        return f"raise image.padding in the config (it was {self.grid.padding})"

    @cached_property
    def prior_widths(self) -> Mapping[str, float]:
        """Standard deviation of the prior, for each inferred shear component [reduced shear]."""
        return {name: self._latents.width(name) for name in ("g1", "g2") if name in self.names}

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The data in the likelihood's form, with `given`, `centre` and `place`."""
        found = self._likelihoods(data)
        if self._given:
            found["given"] = data["given"] - self._origin(self._given)
        if self._mean is not None:
            found["centre"] = data.get("centre", self._mean) - self._origin("xy")
        found["place"] = self._place(data, found.get("centre"))
        return found

    def seen(self, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What `image` needs to know of the data: the frames and modes of exposures, and given parameters."""
        found = {"given": data["given"] - self._origin(self._given)} if self._given else {}
        if exposures.are_in(data):
            shown = [
                {**self._check_renderers[0].prepare(one), "frame": one.frame, **_band(own)}
                for one, own in exposures.each(self.config, data)
            ]
            found |= {name: np.stack([each[name] for each in shown]) for name in shown[0]}
        return found

    def _likelihoods(self, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The data in the likelihood's form, and the modes by which `flaw` checks it; exposures along the first axis.

        With `modes` they are those of the likelihood, too.
        """
        if not exposures.are_in(data):
            return dict(self._likelihood.prepare(data))
        parts = [
            {
                **self._check_renderers[0].prepare(one),
                **self._check_renderers[1].prepare(one),
                **self._likelihood.prepare(own, one),
                **_band(own),
            }
            for one, own in exposures.each(self.config, data)
        ]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def _place(self, data: Mapping[str, np.ndarray], centre: np.ndarray | None) -> np.ndarray:
        """Offset x, y at which the search for the mode starts, shape (2,)."""
        if not exposures.are_in(data):
            return self._find(data["image"], data.get("weight"), centre)
        first, own = next(iter(exposures.each(self.config, data)))
        return self._find.on_sky(own["image"], own.get("weight"), first.frame, first.offset)

    def start(self, data: Data) -> jax.Array:
        """Start of the search, shape (n,): the centre of every prior, and the detected x and y.

        Of a patient problem the mode of the last tempered likelihood, found from that of the one before.
        """
        seen = {name: data["place"][at] for at, name in enumerate("xy") if name in self._centres}
        position = self._latents.position({**self._centres, **seen}, self._dtype)
        if not self._patient:
            return position

        def closer(at: jax.Array, power: jax.Array) -> tuple[jax.Array, None]:
            hill = mode.Hill(
                lambda u: self._tempered(u, data, power) - self.log_jacobian(u),
                lambda u: self._curved(u, data, power),
            )
            return mode.find(hill, at, _NEAR, _STEPS).position, None

        return jax.lax.scan(closer, position, jnp.asarray(_POWERS, self._dtype))[0]

    def constrain(self, position: jax.Array) -> jax.Array:
        """Latents in their own units, shape (n,)."""
        return self._latents.constrain(position) + jnp.asarray(self._origin(self.names), self._dtype)

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|."""
        return self._latents.log_jacobian(position)

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density of the position, up to a constant; −inf if the parameters have no image."""
        return self._tempered(position, data)

    def _tempered(self, position: jax.Array, data: Data, power: jax.Array | None = None) -> jax.Array:
        """The log density with a power of the likelihood, as of an image with more noise; None: the likelihood."""
        parameters, exists = self._parameters(position, data)
        prior = self._latents.log_prior(self._from_mean(position, data)) + self._latents.log_jacobian(position)
        if self._disc_power:
            prior += self._disc_power * _log_disc(_shape(parameters))
        likelihood = self._log_likelihood(parameters, data)
        return jnp.where(exists, prior + (likelihood if power is None else power * likelihood), -jnp.inf)

    def log_likelihood(self, latents: Mapping[str, jax.Array], data: Data) -> jax.Array:
        """Log likelihood up to a constant of the data; assumes parameters inside their domains."""
        inner = {name: value - self._middle.get(name, 0.0) for name, value in latents.items()}
        return self._log_likelihood(self._complete(inner, data)[0], data)

    def _log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The sum over the exposures."""
        return jnp.sum(exposures.over(lambda one: self._likelihood.log_likelihood(self._in_band(p, one), one), data))

    def _in_band(self, p: Mapping[str, Any], one: Data) -> Mapping[str, Any]:
        return bands.seen(self.config.galaxy, p, one)

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        """Gauss–Newton curvature, shape (n, n): JᵀJ of the whitened image plus the priors' curvature."""
        return self._curved(position, data)

    def _curved(self, position: jax.Array, data: Data, power: jax.Array | None = None) -> jax.Array:
        """The curvature with a power of the likelihood, as `_tempered`."""

        def whitened(u: jax.Array) -> jax.Array:
            p = self._parameters(u, data)[0]
            found: jax.Array = exposures.over(lambda one: self._likelihood.prediction(self._in_band(p, one), one), data)
            return found.ravel()

        jacobian: jax.Array = jax.jacfwd(whitened)(position)
        information = jacobian.T @ jacobian
        found: jax.Array = information if power is None else power * information
        found = found + jnp.diag(self._latents.precision(position))
        if not self._disc_power:
            return found

        def shape(u: jax.Array) -> jax.Array:
            return _shape(self._parameters(u, data)[0])

        slopes = jax.jacfwd(shape)(position)
        # The factor's logarithm is concave in e1 and e2, so the sum stays positive semi-definite.
        found -= self._disc_power * slopes.T @ jax.hessian(_log_disc)(shape(position)) @ slopes
        return found

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """Error of the image against that of a better grid, in units of the tolerance; a scalar.

        A strict grid has a largest error relative to the peak. Else the shift of the estimates counts, too: by the
        Gauss-Newton step that the error causes, unless the norm of the whitened error, which no shift exceeds [standard
        deviations], is small.
        """
        drawn, expected = (self._drawn(position, data, at) for at in (0, 1))
        error: jax.Array = jnp.max(jnp.abs(drawn - expected)) / jnp.max(jnp.abs(expected)) / (10 * TOLERANCE)
        if self._sigma is None:
            return error
        whitened = ((drawn - expected) / self._sigma).ravel()
        least = jnp.minimum(error, jnp.linalg.norm(whitened) / (2 * SHIFT_TOLERANCE))

        def shift() -> jax.Array:
            slopes = jax.jacfwd(lambda u: self._drawn(u, data, 0).ravel())(position) / self._sigma
            covariance = jnp.linalg.inv(self.curvature(position, data))
            moved = covariance @ (slopes.T @ whitened.astype(slopes.dtype)) / jnp.sqrt(jnp.diag(covariance))
            return jnp.max(jnp.abs(moved)).astype(least.dtype) / (2 * SHIFT_TOLERANCE)

        found: jax.Array = jnp.minimum(least, jax.lax.cond(least > 1, shift, lambda: least))
        return found

    def image(self, latents: jax.Array, seen: Data) -> jax.Array:
        """The image for latents in their own units, shape (n,), in float32, shape ([e,] ny, nx) [flux per pixel].

        Args:
            seen: from the data by `seen`.
        """
        inner = latents - self._origin(self.names)
        p = self._complete(dict(zip(self.names, inner, strict=True)), seen)[0]
        return self._rendered(p, seen, 0)

    def _drawn(self, position: jax.Array, data: Data, which: int) -> jax.Array:
        """The image on the grid (0) or on a better one (1), in float32, shape ([e,] ny, nx) [flux per pixel]."""
        return self._rendered(self._parameters(position, data)[0], data, which)

    def _rendered(self, p: Mapping[str, Any], data: Data, which: int) -> jax.Array:
        single = {name: value.astype(jnp.float32) for name, value in p.items()}
        drawn: jax.Array = exposures.over(
            lambda one: self._check_renderers[which](self._in_band(single, one), one), data
        )
        return drawn

    def _from_mean(self, position: jax.Array, data: Data) -> jax.Array:
        """The position with x and y less the mean of this image's Normal prior; as it is if they have bounds."""
        return position if self._mean is None else position - data["centre"] @ self._axes

    def _origin(self, names: Sequence[str]) -> np.ndarray:
        """The middle of the stamp for x and y, 0 for other parameters."""
        return np.array([self._middle.get(name, 0.0) for name in names])

    def _parameters(self, position: jax.Array, data: Data) -> tuple[Mapping[str, Any], jax.Array]:
        """All parameters by name, and whether they are inside their domains."""
        return self._complete(self._latents.named(position), data)

    def _complete(self, latents: Mapping[str, jax.Array], data: Data) -> tuple[Mapping[str, Any], jax.Array]:
        """Latents, fixed and given parameters by name, and whether they are inside their domains.

        Values outside are replaced by valid ones: no NaN enters the gradient of the branch not taken, and the renderer
        gets no shear for which it would raise an exception.
        """
        p = {
            **{name: jnp.asarray(value, self._dtype) for name, value in self._fixed.items()},
            **{name: data["given"][at] for at, name in enumerate(self._given)},
            **latents,
        }
        exists = jnp.ones((), bool)
        for pair in (("g1", "g2"), ("e1", "e2")):
            valid = p[pair[0]] ** 2 + p[pair[1]] ** 2 < 1
            p |= {name: jnp.where(valid, p[name], 0.0) for name in pair}
            exists &= valid
        for name, replacement in self._guarded.items():
            valid = inside(name, p[name])
            p[name] = jnp.where(valid, p[name], replacement)
            exists &= valid
        rest = 1 - sum((p[name] for name in self._guarded if quantity(name) == "fraction"), jnp.zeros((), self._dtype))
        return p, exists & (rest >= 0)


def _band(own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {bands.BAND: own[bands.BAND]} if bands.BAND in own else {}


def _shape(p: Mapping[str, Any]) -> jax.Array:
    """e1, e2, shape (2,)."""
    return jnp.stack([p["e1"], p["e2"]])


def _log_disc(shape: jax.Array) -> jax.Array:
    """log (1 − e1² − e2²) inside the unit disc."""
    return jnp.log1p(-jnp.sum(shape**2))
