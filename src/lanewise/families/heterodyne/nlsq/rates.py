"""Coordinates of a rate and of a speed, which every model has: each is well determined at the geometric mean age.

D0 and D_offset are degenerate over decades, while J at the mean age t_ref is well determined. The coordinates of a rate
are therefore log J(t_ref), alpha, s with J(t) = J(t_ref) [(1 − s)(t/t_ref)^alpha + s]. Those of a speed (a drift or a
shear rate) are v(t_ref), beta, v_offset: it is linear, because its sign may change within the window.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.nlsq.scene import Scene

RATE_NAMES = ("log J{0}(t_ref)", "alpha{0}", "D_offset{0} / J{0}(t_ref)")
# log10 of q² ∫J dt and of the phase [rad] over the window: from hardly any decay to decay within a frame.
_DECAY = (-1.5, 2.0)
_PHASE = (-1.0, 2.0)
_EXPONENT = (-1.0, 1.0)
_SHARE = (0.0, 0.5)
# Largest steps of a rate's coordinates; expected values and spreads of alpha, s and beta. They exclude rates that are 0
# for part of the window, and extreme exponents.
RATE_STEP = (2.0, 1.0, 1.0)
ALPHA, SHARE, BETA = (0.0, 1.0), (0.2, 0.4), (0.0, 0.7)


def t_ref(t: np.ndarray) -> float:
    """Geometric mean of the ages that are positive."""
    return float(np.exp(np.log(t[t > 0]).mean()))


def rate(own: jax.Array, t: jax.Array, t_ref: jax.Array) -> jax.Array:
    """J at the ages t [Å²/s]."""
    log_j, alpha, share = own
    return jnp.asarray(c2.floored(jnp.exp(log_j) * ((1 - share) * c2.power(t / t_ref, alpha) + share)))


def speed(own: jax.Array, t: jax.Array, t_ref: jax.Array) -> jax.Array:
    """The speed at the ages t."""
    v, beta, v_off = own
    return jnp.asarray((v - v_off) * c2.power(t / t_ref, beta) + v_off)


def rate_to_box(own: jax.Array, t_ref: jax.Array) -> list[jax.Array]:
    """D0, alpha and D_offset."""
    log_j, alpha, share = own
    return [jnp.exp(log_j) * (1 - share) * t_ref**-alpha, alpha, jnp.exp(log_j) * share]


def rate_from_box(p: jax.Array, t_ref: jax.Array) -> list[jax.Array]:
    """The coordinates of D0, alpha and D_offset; log J is NaN if J(t_ref) is not positive."""
    d0, alpha, d_offset = p
    j = d0 * t_ref**alpha + d_offset
    return [jnp.log(jnp.where(j > 0, j, jnp.nan)), alpha, d_offset / j]


def speed_to_box(own: jax.Array, t_ref: jax.Array) -> list[jax.Array]:
    """The amplitude, beta and the constant part."""
    v, beta, v_off = own
    return [(v - v_off) * t_ref**-beta, beta, v_off]


def speed_from_box(p: jax.Array, t_ref: jax.Array) -> list[jax.Array]:
    """The coordinates of the amplitude, beta and the constant part."""
    v0, beta, v_off = p
    return [v0 * t_ref**beta + v_off, beta, v_off]


def rate_starts(u: np.ndarray, scene: Scene, stretch: float) -> list[np.ndarray]:
    """Starts of a rate that the window resolves, from uniform numbers of shape (n, 3).

    Args:
        stretch: `Definitions.stretch`.
    """
    t, q = np.asarray(scene.t), stretch * mean_q(scene)
    log_j = np.log(10.0) * between(u[:, 0], *_DECAY) - np.log(q**2 * (t[-1] - t[0]))
    return [log_j, between(u[:, 1], *_EXPONENT), between(u[:, 2], *_SHARE)]


def speed_starts(u: np.ndarray, scene: Scene, phase: float) -> list[np.ndarray]:
    """Starts of a speed that the window resolves, from uniform numbers of shape (n, 3).

    Args:
        phase: phase per unit of the speed's integral, at the angle where it is largest.
    """
    t = np.asarray(scene.t)
    v = 10 ** between(u[:, 0], *_PHASE) / ((t[-1] - t[0]) * phase)
    return [v, between(u[:, 1], *_EXPONENT), (between(u[:, 2], *_SHARE) - 0.25) * 0.4 * v]


def largest_cosine(scene: Scene, phi0: float) -> float:
    """Largest |cos(φ + phi0)| of the angles, at least 0.1."""
    return max(float(np.abs(np.cos(np.deg2rad(np.asarray(scene.phi) + phi0))).max()), 0.1)


def mean_q(scene: Scene) -> float:
    """Geometric mean of q."""
    return float(np.exp(np.log(np.asarray(scene.q)).mean()))


def between(u: np.ndarray, low: float, high: float) -> np.ndarray:
    """Uniform numbers in 0 … 1 moved to low … high."""
    return low + (high - low) * u
