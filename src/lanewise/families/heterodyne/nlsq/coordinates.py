"""The 13 coordinates of two components, and the 14 parameters that a fit reports.

f0 and f2 enter only as f0 exp(−f1 f2). The coordinates of a fit are therefore, in this order,

    log J_ref(t_ref), alpha_ref, s_ref,  the same three for the sample,  v(t_ref), beta, v_offset,  A, f1, f3,  phi0

with rates and drift as in `rates`, and f(t) = exp(A + f1 (t − t_mid)) + f3. The box parameters are the user's without
f2, and with log f0 at the f2 of the gauge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import NAMES, FractionClip
from lanewise.families.heterodyne.config import Range
from lanewise.families.heterodyne.nlsq import fit_model, rates
from lanewise.families.heterodyne.nlsq.fit_model import Box
from lanewise.families.heterodyne.nlsq.scene import Scene

BOX_NAMES = tuple(name for name in NAMES if name != "f2")
_F0_FLOOR = 1e-6
# If f2 is free, f0 at mid-time may exceed its bound; `report` then moves f2 until it does not. e¹² saturates f.
_LOG_F0_MARGIN = 12.0
_F0_F2 = "f0 with f2: only f0 exp(−f1 f2) is determined by any data; f2 is set to mid-window"


class Gauge(NamedTuple):
    """The times to which the coordinates refer [s].

    Attributes:
        t_ref: geometric mean of the ages.
        t_mid: mean of the first and the last age.
        f2: the f2 at which f0 is cut to its bounds during the fit.
        room: distance from t_mid to the lower and to the upper bound of f2, shape (2,); zeros if f2 is fixed.
        log_f0: logarithms of the bounds of f0, shape (2,).
    """

    t_ref: Any
    t_mid: Any
    f2: Any
    room: Any
    log_f0: Any


def setting(ranges: Mapping[str, Range], tied: Mapping[str, str], t: np.ndarray) -> tuple[Gauge, Box, tuple[str, ...]]:
    """Gauge, box and notes of a fit over the ages t [s], shape (N,)."""
    t_mid = float((t[0] + t[-1]) / 2)
    f2_low, f2_high = ranges["f2"].bounds
    fixed = f2_low == f2_high
    box = fit_model.box(BOX_NAMES, ranges, tied)
    at = BOX_NAMES.index("f0")
    f0_low, f0_high = max(box.low[at], _F0_FLOOR), max(box.high[at], _F0_FLOOR)
    room = np.zeros(2) if fixed else np.array([max(t_mid - f2_low, 0.0), max(f2_high - t_mid, 0.0)])
    log_f0_margin = 0.0 if fixed else _LOG_F0_MARGIN
    box.low[at] = np.log(f0_low) - (log_f0_margin if box.low[at] > _F0_FLOOR else 0.0)
    box.high[at] = np.log(f0_high) + log_f0_margin
    gauge = Gauge(rates.t_ref(t), t_mid, f2_low if fixed else t_mid, room, np.log(np.array([f0_low, f0_high])))
    return gauge, box, () if fixed else (_F0_F2,)


def to_box(x: jax.Array, gauge: Gauge) -> jax.Array:
    """Box parameters, shape (13,), of the coordinates x, shape (13,)."""
    a, f1, f3, phi0 = x[9:]
    reference, sample = (rates.rate_to_box(own, gauge.t_ref) for own in (x[0:3], x[3:6]))
    drift = rates.speed_to_box(x[6:9], gauge.t_ref)
    return jnp.stack([*reference, *sample, *drift, a + f1 * (gauge.f2 - gauge.t_mid), f1, f3, phi0])


def from_box(p: jax.Array, gauge: Gauge) -> jax.Array:
    """Coordinates, shape (13,), of box parameters; log J is NaN if J(t_ref) is not positive."""
    log_f0, f1, f3, phi0 = p[9:]
    reference, sample = (rates.rate_from_box(own, gauge.t_ref) for own in (p[0:3], p[3:6]))
    drift = rates.speed_from_box(p[6:9], gauge.t_ref)
    return jnp.stack([*reference, *sample, *drift, log_f0 - f1 * (gauge.f2 - gauge.t_mid), f1, f3, phi0])


def from_parameters(parameters: jax.Array, gauge: Gauge) -> jax.Array:
    """Coordinates, shape (13,), of the 14 parameters."""
    f0, f1, f2 = parameters[9:12]
    log_f0 = jnp.log(jnp.maximum(f0, _F0_FLOOR)) + f1 * (gauge.f2 - f2)
    return from_box(jnp.concatenate([parameters[:9], jnp.stack([log_f0, f1]), parameters[12:]]), gauge)


def limited(x: jax.Array, p: jax.Array, gauge: Gauge, box: Box) -> jax.Array:
    """The coordinates with an amplitude of the share that some f2 within its bounds allows."""
    f1 = p[10]
    # f0 at its upper bound needs f2 = t_mid + (log f0_max − A)/f1, which must be within the bounds of f2.
    largest_shift = jnp.abs(f1) * jnp.where(f1 > 0, gauge.room[0], gauge.room[1])
    limit = box.high[9] - jnp.where(jnp.any(gauge.room > 0), _LOG_F0_MARGIN, 0.0) + largest_shift
    amplitude = jnp.minimum(x[9], limit)
    return x.at[9].set(jnp.where(jnp.any(gauge.room > 0), amplitude, x[9]))


def report(x: jax.Array, gauge: Gauge) -> tuple[jax.Array, jax.Array]:
    """The 14 parameters at the coordinates x, and J_ref, J_sample, |v| at t_ref.

    If f0 at the gauge's f2 is outside its bounds, f2 is moved until it is on the bound.
    """
    p = to_box(x, gauge)
    at_gauge, f1 = p[9], p[10]
    inside = jnp.clip(at_gauge, gauge.log_f0[0], gauge.log_f0[1])
    moved = inside != at_gauge
    f2 = gauge.f2 + jnp.where(moved, (inside - at_gauge) / jnp.where(moved, f1, 1.0), 0.0)
    parameters = jnp.concatenate([p[:9], jnp.stack([jnp.exp(inside), f1, f2]), p[11:]])
    return parameters, jnp.stack([jnp.exp(x[0]), jnp.exp(x[3]), jnp.abs(x[6])])


class Profiles(NamedTuple):
    """Rate integrals, path and fraction over the ages, shape (N,), and their derivatives `d_…`, shape (N, 3).

    Each derivative is with respect to the three coordinates that the profile depends on.
    """

    reference: jax.Array
    sample: jax.Array
    path: jax.Array
    f: jax.Array
    d_reference: jax.Array
    d_sample: jax.Array
    d_path: jax.Array
    d_f: jax.Array


def profiles(x: jax.Array, scene: Scene, gauge: Gauge, clip: FractionClip) -> Profiles:
    """The profiles that enter the correlation, at coordinates x, with their derivatives."""
    parts = _parts(x, scene, gauge, clip)
    return Profiles(*(f(own) for f, own in parts), *(jax.jacfwd(f)(own) for f, own in parts))


def values(x: jax.Array, scene: Scene, gauge: Gauge, clip: FractionClip) -> tuple[jax.Array, ...]:
    """The first four of `profiles`, without derivatives: both rate integrals, the path and the fraction."""
    return tuple(f(own) for f, own in _parts(x, scene, gauge, clip))


def curves(x: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
    """J of reference and sample [Å²/s] and v [Å/s] at the ages t [s], shape (3, N)."""
    of_rates = [rates.rate(own, t, gauge.t_ref) for own in (x[0:3], x[3:6])]
    return jnp.stack([*of_rates, rates.speed(x[6:9], t, gauge.t_ref)])


def _parts(
    x: jax.Array, scene: Scene, gauge: Gauge, clip: FractionClip
) -> list[tuple[Callable[[jax.Array], jax.Array], jax.Array]]:
    """Each profile as a function of three coordinates, and the values of these coordinates."""

    def diffusion(own: jax.Array) -> jax.Array:
        return jnp.asarray(c2.cumulative(rates.rate(own, scene.t, gauge.t_ref), scene.dt))

    def drift(own: jax.Array) -> jax.Array:
        return jnp.asarray(c2.cumulative(rates.speed(own, scene.t, gauge.t_ref), scene.dt))

    def share(own: jax.Array) -> jax.Array:
        a, f1, f3 = own
        exponent = jnp.clip(a + f1 * (scene.t - gauge.t_mid), -500.0, 100.0)
        return jnp.asarray(c2.clip_fraction(jnp.exp(exponent) + f3, clip))

    return [(diffusion, x[0:3]), (diffusion, x[3:6]), (drift, x[6:9]), (share, x[9:12])]
