"""The two-time correlations of one component: at rest (static), or in the laminar flow between two walls.

The rate J(t) = D0 t^alpha + D_offset [Å²/s] is that of `c2`. In the flow a particle moves with a speed proportional to
its distance from a wall. With the shear Γ = ∫(gamma_dot_t0 t^beta + gamma_dot_t_offset) dt and the gap h of the walls,
the correlation of the intensity is exp(−q² ∫J dt) sinc²(q h Γ cos(φ − phi0)/2), sinc x = sin x / x. The shear rate has
no floor: its sign may change within a window.

All functions accept NumPy arrays and JAX arrays, as those of `c2` do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import Array, Definitions, Fields

STATIC_BOUNDS: Mapping[str, tuple[float, float]] = {
    "D0": (100.0, 1e6),
    "alpha": (-5.0, 5.0),
    "D_offset": (-1e5, 1e5),
}
FLOW_BOUNDS: Mapping[str, tuple[float, float]] = {
    **STATIC_BOUNDS,
    "gamma_dot_t0": (1e-6, 0.5),
    "beta": (-2.0, 2.0),
    "gamma_dot_t_offset": (-0.1, 0.1),
    "phi0": (-10.0, 10.0),
}
# Below this, sinc and its derivative follow from their series.
_SMALL = 1e-3


def static(params: Array, t: Array, q: Array, dt: float, phi: Array, by: Definitions) -> Array:
    """The correlation without contrast and offset, shape (n_phi, N, N); 1 on the diagonal.

    Args:
        params: D0, alpha, D_offset.
        q: one number, or one per angle [1/Å].
    """
    t, q, phi = c2.alike(params, t, q, phi)
    integral = c2.between(c2.cumulative(c2.rate(t, *params[:3]), dt))
    decay = c2.field_decay(integral, by.stretch * q[..., None, None]) ** 2
    return decay + 0 * phi[:, None, None]


def laminar_flow(params: Array, t: Array, q: Array, dt: float, phi: Array, by: Definitions) -> Array:
    """`static` in a laminar flow, with the parameters gamma_dot_t0, beta, gamma_dot_t_offset and phi0 after its own."""
    t, q, phi = c2.alike(params, t, q, phi)
    shear = c2.between(_sheared(params, t, dt))
    half_width = _half_width(q, phi, params[6], by)
    return static(params, t, q, dt, phi, by) * sinc(half_width[:, None, None] * shear)[0] ** 2


def static_fields(params: np.ndarray, t: np.ndarray, q: Array, dt: float, phi: np.ndarray, by: Definitions) -> Fields:
    """The field has one part."""
    rates = c2.cumulative(c2.rate(t, *params[:3]), dt)[None]
    return Fields(rates, np.ones_like(rates), np.zeros((1, len(phi), len(t))))


def flow_fields(params: np.ndarray, t: np.ndarray, q: Array, dt: float, phi: np.ndarray, by: Definitions) -> Fields:
    """The parts of the field are layers of the flow, at the nodes of a Gauss–Legendre rule."""
    half_phase = np.multiply.outer(_half_width(np.asarray(q), phi, params[6], by), _sheared(params, t, dt))
    # A rule of n nodes integrates exp(iux) over −1 … 1 to 1e-6 for |u| < n − 6; powers of two bound recompilations.
    largest = float(np.ptp(half_phase, axis=1).max())
    nodes, weights = np.polynomial.legendre.leggauss(max(8, 2 ** int(np.ceil(np.log2(largest + 6)))))
    rates = c2.cumulative(c2.rate(t, *params[:3]), dt)
    ones = np.ones((len(nodes), len(t)))
    return Fields(rates * ones, np.sqrt(weights / 2)[:, None] * ones, nodes[:, None, None] * half_phase)


def sinc(u: Array) -> tuple[Array, Array]:
    """sin u / u and its derivative."""
    xp = np if isinstance(u, np.ndarray) else u.__array_namespace__()
    small = abs(u) < _SMALL
    safe = xp.where(small, 1.0, u)
    value = xp.where(small, 1 - u**2 / 6, xp.sin(safe) / safe)
    return value, xp.where(small, -u / 3 * (1 - u**2 / 10), (xp.cos(safe) - value) / safe)


def _sheared(params: Array, t: Array, dt: float) -> Array:
    return c2.cumulative(params[3] * c2.power(t, params[4]) + params[5], dt)


def _half_width(q: Array, phi: Array, phi0: Array, by: Definitions) -> Array:
    """Half the difference of the phases at the walls per unit of shear, for each angle."""
    assert by.gap is not None
    angle = (phi - phi0) * (np.pi / 180)
    xp = np if isinstance(angle, np.ndarray) else angle.__array_namespace__()
    return q * by.gap / 2 * xp.cos(angle)
