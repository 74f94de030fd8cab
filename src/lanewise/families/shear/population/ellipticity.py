"""Distributions of intrinsic ellipticity, and what a shear makes of them.

Ellipticities are in the g-convention, |e| = (1 − q) / (1 + q), in which a shear maps e to (e + g) / (1 + g* e). All
distributions here depend on |e| alone.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.ellipticity_table import Array, Table

# A density over the disc |e| < 1 is exp(−|e|²/2σ²) times (1 − |e|²) to this power. If |e| has a Rayleigh distribution,
# e is Gaussian.
POWERS = {"Gaussian": 0, "Rayleigh": 0, "BernsteinArmstrong": 2}


def log_density(
    e: jax.Array, g: jax.Array, kind: str, sigma: float | jax.Array, table: Table | None = None
) -> jax.Array:
    """Log density of sheared ellipticities.

    Args:
        e: sheared ellipticities, shape (…, 2), |e| < 1.
        g: reduced shear, shape (…, 2), |g| < 1.
        kind: a key of `POWERS`, or `Table`.
        sigma: width per component, which a table does not need.
        table: for the kind `Table`.

    Returns:
        ln p(e | g), normalised over the disc, with the Jacobian of the shear.

    Source:
        Schneider et al. 2015 (arXiv:1411.2608); Bernstein & Armstrong 2014 (arXiv:1304.1843), eq. 24 for the disc.
    """
    along, across = e[..., 0] * g[..., 0] + e[..., 1] * g[..., 1], e[..., 1] * g[..., 0] - e[..., 0] * g[..., 1]
    stretch = (1 - along) ** 2 + across**2  # |1 − g* e|²
    intrinsic = jnp.sum((e - g) ** 2, axis=-1) / stretch
    jacobian = 2 * jnp.log1p(-jnp.sum(g**2, axis=-1)) - 2 * jnp.log(stretch)
    if table is not None:
        return jacobian + _tabulated(intrinsic, table)
    found: jax.Array = -intrinsic / (2 * sigma**2) + jacobian - log_norm(kind, sigma)
    return found + POWERS[kind] * jnp.log1p(-intrinsic) if POWERS[kind] else found


def log_norm(kind: str, sigma: float | jax.Array) -> jax.Array:
    """Log of the integral of the density over the disc."""
    a = 0.5 / sigma**2
    tail = -jnp.expm1(-a)
    if POWERS[kind] == 0:
        return jnp.log(jnp.pi * tail / a)
    return jnp.log(jnp.pi * (1 / a - 2 / a**2 + 2 * tail / a**3))


def draw(kind: str, sigma: float, random: np.random.Generator, table: Table | None = None) -> tuple[float, float]:
    """One intrinsic ellipticity (e1, e2)."""
    while True:
        square, turn, share = random.random(3)
        square = gaussian_square(square, sigma) if table is None else float(table.squares(square))
        if table is not None or share < (1 - square) ** POWERS[kind]:
            size, angle = math.sqrt(square), 2 * math.pi * turn
            return size * math.cos(angle), size * math.sin(angle)


def spread(kind: str, sigma: float, shares: Array, table: Table | None = None) -> tuple[Array, Array]:
    """|e|² and weights of galaxies that are spread over the distribution as shares are over (0, 1).

    A table has quantiles of its own; the others are those of a Gaussian over the disc, with weights.
    """
    if table is not None:
        return table.squares(shares), np.ones_like(shares)
    squares = np.array([gaussian_square(share, sigma) for share in shares])
    return squares, (1 - squares) ** POWERS[kind]


def gaussian_square(share: float, sigma: float) -> float:
    """The quantile of |e|² of a Gaussian over the disc, at a share in (0, 1)."""
    a = 0.5 / sigma**2
    return -math.log1p(share * math.expm1(-a)) / a


def _tabulated(square: jax.Array, table: Table) -> jax.Array:
    knots, coefficients = (jnp.asarray(part, square.dtype) for part in table.pieces)
    piece = jnp.searchsorted(knots[1:-1], square)
    c, off = coefficients[:, piece], square - knots[piece]
    found: jax.Array = ((c[0] * off + c[1]) * off + c[2]) * off + c[3]
    return found


def sheared(e: tuple[float, float], g: tuple[float, float]) -> tuple[float, float]:
    """The ellipticity after a shear."""
    found = (complex(*e) + complex(*g)) / (1 + complex(*g).conjugate() * complex(*e))
    return found.real, found.imag
