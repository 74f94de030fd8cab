"""The 13 coordinates in which a fit steps, and the 14 parameters that it reports.

D0 and D_offset are degenerate over decades, while J at the geometric mean age is well determined. f0 and f2 enter only
as f0 exp(−f1 f2). The coordinates of a fit are therefore, in this order,

    log J_ref(t_ref), alpha_ref, s_ref,  the same three for the sample,  v(t_ref), beta, v_offset,  A, f1, f3,  phi0

with J(t) = J(t_ref) [(1 − s)(t/t_ref)^alpha + s] and f(t) = exp(A + f1 (t − t_mid)) + f3. The rates are logarithmic;
the drift is linear, because its sign may change within the window.

Bounds and fixed values refer to the user's parameters. A step is taken in the coordinates, and then cut to a box in the
*box parameters*: the user's parameters without f2, and with log f0 at the f2 of the gauge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import NAMES, FractionClip
from lanewise.families.heterodyne.config import HeterodyneConfig

N_COORDINATES = 13
BOX_NAMES = tuple(name for name in NAMES if name != "f2")
_F0_FLOOR = 1e-6
# If f2 is free, f0 at mid-time may exceed its bound; `report` then moves f2 until it does not. e¹² saturates f.
_LOG_F0_MARGIN = 12.0


class Gauge(NamedTuple):
    """The times to which the coordinates refer [s].

    Attributes:
        t_ref: geometric mean of the ages.
        t_mid: mean of the first and the last age.
        f2: the f2 at which f0 is cut to its bounds during the fit.
        room: distance from t_mid to the lower and to the upper bound of f2, shape (2,); zeros if f2 is fixed.
    """

    t_ref: Any
    t_mid: Any
    f2: Any
    room: Any


class Box(NamedTuple):
    """Bounds of the box parameters, each of shape (13,); equal bounds fix a parameter."""

    low: Any
    high: Any


@dataclass(frozen=True)
class FitSetting:
    """Gauge and box of one fit, with the user's bounds of f0 and whether f2 is fixed."""

    gauge: Gauge
    box: Box
    f0: tuple[float, float]
    f2_fixed: bool


def setting(config: HeterodyneConfig, t: np.ndarray) -> FitSetting:
    """Gauge and box of a fit over the ages t [s], shape (N,)."""
    positive = t[t > 0]
    t_ref, t_mid = float(np.exp(np.log(positive).mean())), float((t[0] + t[-1]) / 2)
    f2_low, f2_high = config.parameters["f2"].bounds
    fixed = f2_low == f2_high
    low, high = np.array([config.parameters[name].bounds for name in BOX_NAMES]).T.copy()
    at = BOX_NAMES.index("f0")
    f0_low, f0_high = max(low[at], _F0_FLOOR), max(high[at], _F0_FLOOR)
    room = np.zeros(2) if fixed else np.array([max(t_mid - f2_low, 0.0), max(f2_high - t_mid, 0.0)])
    log_f0_margin = 0.0 if fixed else _LOG_F0_MARGIN
    low[at] = np.log(f0_low) - (log_f0_margin if low[at] > _F0_FLOOR else 0.0)
    high[at] = np.log(f0_high) + log_f0_margin
    return FitSetting(Gauge(t_ref, t_mid, f2_low if fixed else t_mid, room), Box(low, high), (f0_low, f0_high), fixed)


def to_box(x: jax.Array, gauge: Gauge) -> jax.Array:
    """Box parameters, shape (13,), of the coordinates x, shape (13,)."""
    l_r, a_r, s_r, l_s, a_s, s_s, v, beta, v_off, a, f1, f3, phi0 = x
    rates = [
        part
        for log_j, alpha, share in ((l_r, a_r, s_r), (l_s, a_s, s_s))
        for part in (jnp.exp(log_j) * (1 - share) * gauge.t_ref**-alpha, alpha, jnp.exp(log_j) * share)
    ]
    v0 = (v - v_off) * gauge.t_ref**-beta
    return jnp.stack([*rates, v0, beta, v_off, a + f1 * (gauge.f2 - gauge.t_mid), f1, f3, phi0])


def from_box(p: jax.Array, gauge: Gauge) -> jax.Array:
    """Coordinates, shape (13,), of box parameters; log J is NaN if J(t_ref) is not positive."""
    d_r, a_r, o_r, d_s, a_s, o_s, v0, beta, v_off, log_f0, f1, f3, phi0 = p
    rates = []
    for d0, alpha, d_offset in ((d_r, a_r, o_r), (d_s, a_s, o_s)):
        j = d0 * gauge.t_ref**alpha + d_offset
        rates += [jnp.log(jnp.where(j > 0, j, jnp.nan)), alpha, d_offset / j]
    v = v0 * gauge.t_ref**beta + v_off
    return jnp.stack([*rates, v, beta, v_off, log_f0 - f1 * (gauge.f2 - gauge.t_mid), f1, f3, phi0])


def cut(x: jax.Array, gauge: Gauge, box: Box) -> jax.Array:
    """The coordinates x after their box parameters are clipped to the box."""
    p = jnp.clip(to_box(x, gauge), box.low, box.high)
    cut_x = from_box(p, gauge)
    f1 = p[10]
    # f0 at its upper bound needs f2 = t_mid + (log f0_max − A)/f1, which must be within the bounds of f2.
    largest_shift = jnp.abs(f1) * jnp.where(f1 > 0, gauge.room[0], gauge.room[1])
    limit = box.high[9] - jnp.where(jnp.any(gauge.room > 0), _LOG_F0_MARGIN, 0.0) + largest_shift
    limited = jnp.minimum(cut_x[9], limit)
    return cut_x.at[9].set(jnp.where(jnp.any(gauge.room > 0), limited, cut_x[9]))


@jax.jit
def report(x: jax.Array, gauge: Gauge, log_f0: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The 14 parameters at the coordinates x, and J_ref, J_sample, |v| at t_ref.

    Args:
        log_f0: logarithms of f0's bounds; if f0 at the gauge's f2 is outside, f2 is moved until it is on the bound.
    """
    p = to_box(x, gauge)
    at_gauge, f1 = p[9], p[10]
    inside = jnp.clip(at_gauge, log_f0[0], log_f0[1])
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


def profiles(x: jax.Array, *, t: jax.Array, dt: jax.Array, gauge: Gauge, clip: FractionClip) -> Profiles:
    """The profiles that enter the correlation, at coordinates x, with their derivatives; t and dt [s]."""
    parts = _parts(x, t, dt, gauge, clip)
    return Profiles(*(f(own) for f, own in parts), *(jax.jacfwd(f)(own) for f, own in parts))


def values(x: jax.Array, *, t: jax.Array, dt: jax.Array, gauge: Gauge, clip: FractionClip) -> tuple[jax.Array, ...]:
    """The first four of `profiles`, without derivatives: both rate integrals, the path and the fraction."""
    return tuple(f(own) for f, own in _parts(x, t, dt, gauge, clip))


def rates(x: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
    """J of reference and sample [Å²/s] and v [Å/s] at the ages t [s], shape (3, N)."""
    return jnp.stack([_rate(x[0:3], t, gauge), _rate(x[3:6], t, gauge), _speed(x[6:9], t, gauge)])


def _rate(own: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
    log_j, alpha, share = own
    return jnp.asarray(c2.floored(jnp.exp(log_j) * ((1 - share) * c2.power(t / gauge.t_ref, alpha) + share)))


def _speed(own: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
    v, beta, v_off = own
    return jnp.asarray((v - v_off) * c2.power(t / gauge.t_ref, beta) + v_off)


def _parts(
    x: jax.Array, t: jax.Array, dt: jax.Array, gauge: Gauge, clip: FractionClip
) -> list[tuple[Callable[[jax.Array], jax.Array], jax.Array]]:
    """Each profile as a function of three coordinates, and the values of these coordinates."""

    def diffusion(own: jax.Array) -> jax.Array:
        return jnp.asarray(c2.cumulative(_rate(own, t, gauge), dt))

    def drift(own: jax.Array) -> jax.Array:
        return jnp.asarray(c2.cumulative(_speed(own, t, gauge), dt))

    def share(own: jax.Array) -> jax.Array:
        a, f1, f3 = own
        return jnp.asarray(c2.clip_fraction(jnp.exp(jnp.clip(a + f1 * (t - gauge.t_mid), -500.0, 100.0)) + f3, clip))

    return [(diffusion, x[0:3]), (diffusion, x[3:6]), (drift, x[6:9]), (share, x[9:12])]
