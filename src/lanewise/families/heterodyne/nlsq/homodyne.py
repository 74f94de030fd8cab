"""One component at rest or in a laminar flow, as a fit needs them.

The coordinates are those of a rate; in a flow, those of the shear rate and phi0 follow. Derivatives of g are products
of factors per pair and per age, as in `two_component`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.config import Range
from lanewise.families.heterodyne.homodyne import sinc
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import fit_model, rates
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitSetting
from lanewise.families.heterodyne.nlsq.scene import Ages, Scene


class Gauge(NamedTuple):
    """Geometric mean of the ages [s], to which the coordinates refer."""

    t_ref: Any


@dataclass(frozen=True)
class Static:
    """The model `static`, a `FitModel`."""

    definitions: Definitions = Definitions()  # noqa: RUF009  # frozen

    physics = MODELS["static"]
    coordinate_names = tuple(name.format("") for name in rates.RATE_NAMES)
    box_names = physics.names
    groups = ((0, 1, 2),)
    exchangeable = False

    def setting(self, ranges: Mapping[str, Range], tied: Mapping[str, str], t: np.ndarray) -> FitSetting:
        """Gauge and box of a fit over the ages t [s], shape (N,)."""
        return FitSetting(self, Gauge(rates.t_ref(t)), fit_model.box(self.box_names, ranges, tied))

    def to_box(self, x: jax.Array, gauge: Gauge) -> jax.Array:
        """The parameters of the coordinates x."""
        return jnp.stack(rates.rate_to_box(x, gauge.t_ref))

    def from_box(self, p: jax.Array, gauge: Gauge) -> jax.Array:
        """The coordinates of parameters."""
        return jnp.stack(rates.rate_from_box(p, gauge.t_ref))

    def from_parameters(self, parameters: jax.Array, gauge: Gauge) -> jax.Array:
        """The same as `from_box`."""
        return self.from_box(parameters, gauge)

    def limited(self, x: jax.Array, p: jax.Array, gauge: Gauge, box: Box) -> jax.Array:
        """The box says all."""
        return x

    def report(self, x: jax.Array, gauge: Gauge) -> tuple[jax.Array, jax.Array]:
        """The three parameters, and J at t_ref."""
        return self.to_box(x, gauge), jnp.exp(x[:1])

    def rates(self, x: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
        """J at the ages t [s], shape (1, N)."""
        return rates.rate(x, t, gauge.t_ref)[None]

    def ages(self, x: jax.Array, scene: Scene, gauge: Gauge) -> Ages:
        """Factors per age: the integral of J and its derivatives."""
        nothing = jnp.zeros(scene.phi.shape[0], x.dtype)
        return Ages(_integral(rates.rate, x, scene, gauge), nothing, nothing)

    def columns(self, at_i: jax.Array, at_j: jax.Array, ages: Ages, scene: Scene) -> jax.Array:
        """∂g/∂x and g of pairs of ages, shape (n_phi, 4, n_pairs)."""
        decay, by_rate = _decay(at_i, at_j, ages, scene, self.definitions)
        return jnp.concatenate([by_rate, decay[:, None]], axis=1)

    def correlation(self, x: jax.Array, first: jax.Array, second: jax.Array, scene: Scene, gauge: Gauge) -> jax.Array:
        """g of pairs of ages, shape (n_phi, …) for indices of shape (…)."""
        integral = c2.cumulative(rates.rate(x[:3], scene.t, gauge.t_ref), scene.dt)
        between = integral[second] - integral[first]
        q = jnp.broadcast_to(jnp.asarray(scene.q), scene.phi.shape).reshape(-1, *(1,) * between.ndim)
        return jnp.asarray(c2.field_decay(between, self.definitions.stretch * q) ** 2)

    def design(self, u: np.ndarray, scene: Scene, box: Box) -> np.ndarray:
        """Starts over what the window can resolve, from uniform numbers; both of shape (n_starts, 3)."""
        return np.stack(rates.rate_starts(u, scene, self.definitions.stretch), axis=1)

    def anchor(self, t: np.ndarray) -> Mapping[int, tuple[float, float]]:
        """Expected value and spread of exponent and share."""
        return {1: rates.ALPHA, 2: rates.SHARE}

    def max_step(self, x: jax.Array) -> jax.Array:
        """Largest step of each coordinate."""
        return jnp.asarray(rates.RATE_STEP)


@dataclass(frozen=True)
class LaminarFlow:
    """The model `laminar_flow`, a `FitModel`; its definitions have a gap."""

    definitions: Definitions

    physics = MODELS["laminar_flow"]
    coordinate_names = (*Static.coordinate_names, "gamma_dot(t_ref)", "beta", "gamma_dot_t_offset", "phi0")
    box_names = physics.names
    groups = ((0, 1, 2), (3, 4, 5, 6))
    exchangeable = False

    @property
    def _at_rest(self) -> Static:
        return Static(self.definitions)

    def setting(self, ranges: Mapping[str, Range], tied: Mapping[str, str], t: np.ndarray) -> FitSetting:
        """Gauge and box of a fit over the ages t [s], shape (N,)."""
        return FitSetting(self, Gauge(rates.t_ref(t)), fit_model.box(self.box_names, ranges, tied))

    def to_box(self, x: jax.Array, gauge: Gauge) -> jax.Array:
        """The parameters of the coordinates x."""
        return jnp.stack([*rates.rate_to_box(x[:3], gauge.t_ref), *rates.speed_to_box(x[3:6], gauge.t_ref), x[6]])

    def from_box(self, p: jax.Array, gauge: Gauge) -> jax.Array:
        """The coordinates of parameters."""
        return jnp.stack([*rates.rate_from_box(p[:3], gauge.t_ref), *rates.speed_from_box(p[3:6], gauge.t_ref), p[6]])

    def from_parameters(self, parameters: jax.Array, gauge: Gauge) -> jax.Array:
        """The same as `from_box`."""
        return self.from_box(parameters, gauge)

    def limited(self, x: jax.Array, p: jax.Array, gauge: Gauge, box: Box) -> jax.Array:
        """The box says all."""
        return x

    def report(self, x: jax.Array, gauge: Gauge) -> tuple[jax.Array, jax.Array]:
        """The seven parameters, and J and |gamma_dot| at t_ref."""
        return self.to_box(x, gauge), jnp.stack([jnp.exp(x[0]), jnp.abs(x[3])])

    def rates(self, x: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
        """J and gamma_dot at the ages t [s], shape (2, N)."""
        return jnp.stack([rates.rate(x[:3], t, gauge.t_ref), rates.speed(x[3:6], t, gauge.t_ref)])

    def ages(self, x: jax.Array, scene: Scene, gauge: Gauge) -> Ages:
        """Factors per age: the integrals of J and of the shear rate, and their derivatives."""
        parts = [_integral(f, own, scene, gauge) for f, own in ((rates.rate, x[:3]), (rates.speed, x[3:6]))]
        return Ages(jnp.concatenate(parts, axis=1), *self._waves(x[6], scene))

    def columns(self, at_i: jax.Array, at_j: jax.Array, ages: Ages, scene: Scene) -> jax.Array:
        """∂g/∂x and g of pairs of ages, shape (n_phi, 8, n_pairs)."""
        decay, by_rate = _decay(at_i[:4], at_j[:4], ages, scene, self.definitions)
        shear, d_shear = at_j[4] - at_i[4], at_j[5:] - at_i[5:]
        value, slope = jax.lax.optimization_barrier(sinc(ages.wave[:, None] * shear))
        by_phase = 2 * decay * value * slope
        columns = [
            by_rate * (value**2)[:, None],
            (by_phase * ages.wave[:, None])[:, None] * d_shear,
            (by_phase * ages.d_wave[:, None] * shear)[:, None],
            (decay * value**2)[:, None],
        ]
        return jnp.concatenate(columns, axis=1)

    def correlation(self, x: jax.Array, first: jax.Array, second: jax.Array, scene: Scene, gauge: Gauge) -> jax.Array:
        """g of pairs of ages, shape (n_phi, …) for indices of shape (…)."""
        shear = c2.cumulative(rates.speed(x[3:6], scene.t, gauge.t_ref), scene.dt)
        wave, _ = self._waves(x[6], scene)
        value, _ = sinc(jnp.multiply.outer(wave, shear[second] - shear[first]))
        return jnp.asarray(self._at_rest.correlation(x, first, second, scene, gauge) * value**2)

    def design(self, u: np.ndarray, scene: Scene, box: Box) -> np.ndarray:
        """Starts over what the window can resolve, from uniform numbers; both of shape (n_starts, 7)."""
        phi0 = float(box.low[6]), float(box.high[6])
        assert self.definitions.gap is not None
        half_width = rates.mean_q(scene) * self.definitions.gap / 2
        phase = half_width * rates.largest_cosine(scene, -float(np.mean(phi0)))
        columns = [*rates.rate_starts(u[:, :3], scene, self.definitions.stretch)]
        columns += [*rates.speed_starts(u[:, 3:6], scene, phase), rates.between(u[:, 6], *phi0)]
        return np.stack(columns, axis=1)

    def anchor(self, t: np.ndarray) -> Mapping[int, tuple[float, float]]:
        """Expected value and spread of exponents, of the share, and of the constant part."""
        return {**self._at_rest.anchor(t), 4: rates.BETA, 5: (0.0, 0.05)}

    def max_step(self, x: jax.Array) -> jax.Array:
        """Largest step of each coordinate; those of the shear rate are relative to it."""
        shear = jnp.abs(x[3]) + 1e-6
        return jnp.stack([*map(jnp.asarray, rates.RATE_STEP), 0.5 * shear, jnp.ones(()), shear, jnp.asarray(5.0)])

    def _waves(self, phi0: jax.Array, scene: Scene) -> tuple[jax.Array, jax.Array]:
        """Half the phase between the walls per unit of shear at each angle, and its derivative by phi0 [degree]."""
        assert self.definitions.gap is not None
        angle = jnp.deg2rad(scene.phi - phi0)
        half_width = scene.q * self.definitions.gap / 2
        return half_width * jnp.cos(angle), half_width * jnp.sin(angle) * (np.pi / 180)


def _integral(f: Any, own: jax.Array, scene: Scene, gauge: Gauge) -> jax.Array:
    """∫f dt at each age and its derivatives by the three coordinates it depends on, shape (N, 4)."""

    def of(own: jax.Array) -> jax.Array:
        return jnp.asarray(c2.cumulative(f(own, scene.t, gauge.t_ref), scene.dt))

    return jnp.concatenate([of(own)[:, None], jax.jacfwd(of)(own)], axis=1)


def _decay(at_i: jax.Array, at_j: jax.Array, ages: Ages, scene: Scene, by: Definitions) -> tuple[jax.Array, jax.Array]:
    """The decay by the rate, shape (n_phi, n_pairs), and its derivatives, shape (n_phi, 3, n_pairs)."""
    q = by.stretch * jnp.asarray(scene.q)[..., None]
    one = jnp.ones_like(ages.wave)[:, None]
    decay = jax.lax.optimization_barrier(c2.field_decay(at_j[0] - at_i[0], q)) ** 2 * one
    return decay, (-(q**2) * decay)[:, None] * (at_j[1:4] - at_i[1:4])
