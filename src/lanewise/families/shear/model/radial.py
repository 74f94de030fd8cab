"""Radial transforms as Chebyshev series: smooth in the wave number and in a profile's shape, cheap on every device.

The series is fitted to the exact transform of `hankel` when a problem is built. It covers only the shapes that the
prior allows, has the number of terms that the precision needs, and is checked between the nodes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.model import hankel

_MOST_TERMS = 160
_SHAPE_NODES = (12, 24, 40)
_TOLERANCES = {"float64": 1e-9, "float32": 1e-7}


@dataclass(frozen=True)
class Exact:
    """A profile's exact transform, and coordinates in which its series needs few terms (found by experiment).

    Attributes:
        transform: (t, shape) → T, on the host.
        onset: shape → ln t₀; the series is a polynomial in ln(1 + t/t₀).
        end: shape → ln t_end; beyond t_end T is constant, at a level that the pixel suppresses.
    """

    transform: Callable[[np.ndarray, float], np.ndarray]
    onset: Callable[[Any], Any]
    end: Callable[[Any], Any]


EXACT = {
    "Sersic": Exact(hankel.sersic, lambda n: 3.2 + n * (0.18 * n - 3.6), lambda n: 18.5 + 0 * n),
    "Moffat": Exact(hankel.moffat, lambda beta: 3.0 - 17.5 / (beta - 1), lambda beta: 5.5 + 1.5 / (beta - 1)),
}


class RadialSeries:
    """T(t, shape) for shapes from `low` to `high` (equal if the shape is fixed); |error| < 1e-9, 1e-7 in float32.

    t = |Sᵀk|² · half_light_radius². The result is meaningless for shapes outside the range.
    """

    half_light = 1.0

    def __init__(self, kind: str, low: float, high: float, dtype: Any) -> None:
        self._exact = EXACT[kind]
        self._low, self._high = math.log(low), math.log(high)
        self._dtype = jnp.dtype(dtype)
        coefficients = _fit(kind, low, high, _TOLERANCES[self._dtype.name])
        self._value = Polynomial(coefficients, self._dtype)

    @property
    def free(self) -> bool:
        """Whether the shape is a free parameter."""
        return self._high > self._low

    def transform(self, t: jax.Array, shape: Any) -> jax.Array:
        """T with the array shape of t; differentiable with respect to t and shape."""
        at, onset, length = self._coordinates(self._shape(shape))
        return self._value(self._y(t, onset, length), at)

    def slopes(self, t: jax.Array, shape: Any) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """T, ∂T/∂t and ∂T/∂shape, each with the array shape of t; the last is None if the shape is fixed."""
        (at, onset, length), (at_slope, onset_slope, length_slope) = jax.jvp(
            self._coordinates, (self._shape(shape),), (jnp.ones((), self._dtype),)
        )
        y = self._y(t, onset, length)
        y_t = jnp.where(y < 1, 2 / (length * (jnp.exp(onset) + t)), 0.0)
        value, by_y = self._value(y, at), self._value.along(y, at)
        if not self.free:
            return value, by_y * y_t, None
        y_s = jnp.where(y < 1, -onset_slope * t * y_t - length_slope / length * (y + 1), 0.0)
        return value, by_y * y_t, at_slope * self._value.across(y, at) + by_y * y_s

    def _shape(self, shape: Any) -> jax.Array:
        return jnp.asarray(shape if self.free else math.exp(self._low), self._dtype)

    def _coordinates(self, shape: Any) -> tuple[Any, Any, Any]:
        """The shape scaled to −1…1, ln t₀, and ln(1 + t_end/t₀)."""
        onset = self._exact.onset(shape)
        width = (self._high - self._low) or 1.0
        at = (2 * jnp.log(shape) - self._low - self._high) / width
        return at, onset, jnp.log1p(jnp.exp(self._exact.end(shape) - onset))

    def _y(self, t: jax.Array, onset: Any, length: Any) -> jax.Array:
        return jnp.minimum(2 / length * jnp.log1p(t * jnp.exp(-onset)) - 1, 1.0)


class Polynomial:
    """Σ C[i, j] T_i(s) T_j(y) for an array y and a scalar s.

    Its derivatives are evaluated as polynomials with their own coefficients. Automatic differentiation of the
    recurrence would multiply the program's length with every order; compiling a Hessian would take 15 s.
    """

    def __init__(self, coefficients: np.ndarray, dtype: Any) -> None:
        self._coefficients, self._dtype = coefficients, dtype
        self._table = coefficients.astype(dtype)
        self._call = jax.custom_jvp(self._evaluate)
        self._call.defjvp(self._jvp)

    def __call__(self, y: jax.Array, s: Any) -> jax.Array:
        """The sum, with the array shape of y."""
        return self._call(y, s)

    @functools.cached_property
    def along(self) -> Polynomial:
        """The derivative with respect to y."""
        return Polynomial(_derivative(self._coefficients, 1), self._dtype)

    @functools.cached_property
    def across(self) -> Polynomial:
        """The derivative with respect to s."""
        return Polynomial(_derivative(self._coefficients, 0), self._dtype)

    def _evaluate(self, y: jax.Array, s: Any) -> jax.Array:
        row = _series(self._table, s) if len(self._table) > 1 else self._table[0]
        found: jax.Array = _series(row, y)
        return found

    def _jvp(self, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        dot = self.along(*primals) * tangents[0]
        if len(self._table) > 1:
            dot += self.across(*primals) * tangents[1]
        return self(*primals), dot


def _series(coefficients: Any, y: Any) -> Any:
    """Σ coefficients[k] T_k(y) by Clenshaw's recurrence; unrolled, so that XLA fuses it into one loop over y."""
    one = two = 0.0 * y
    for k in range(coefficients.shape[0] - 1, 0, -1):
        one, two = coefficients[k] + 2 * y * one - two, one
    return coefficients[0] + y * one - two


def _derivative(coefficients: np.ndarray, axis: int) -> np.ndarray:
    if coefficients.shape[axis] == 1:
        return np.zeros_like(coefficients)
    return np.polynomial.chebyshev.chebder(coefficients, axis=axis)


@functools.lru_cache(maxsize=16)
def _fit(kind: str, low: float, high: float, tolerance: float) -> np.ndarray:
    """Coefficients, shape (terms in the shape, terms in y), without negligible ones."""
    for nodes in (1,) if low == high else _SHAPE_NODES:
        table = _interpolate(kind, low, high, nodes)
        # A quarter of the tolerance for the dropped terms of each axis, half for the interpolation error.
        rows = _n_terms(np.abs(table).sum(axis=1), tolerance / 4)
        columns = _n_terms(np.abs(table).sum(axis=0), tolerance / 4)
        kept = table[:rows, :columns]
        if columns < _MOST_TERMS and (nodes == 1 or rows < nodes) and _error(kind, low, high, kept) < tolerance:
            return kept
    raise AssertionError(f"{kind} from {low} to {high}: the series did not reach {tolerance}")


def _n_terms(sizes: np.ndarray, tolerance: float) -> int:
    tails = np.cumsum(sizes[::-1])[::-1]
    return max(1, int(np.count_nonzero(tails > tolerance)))


def _nodes(count: int) -> np.ndarray:
    return np.cos((np.arange(count) + 0.5) * np.pi / count)


def _shapes_at(low: float, high: float, at: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.log(low) + (np.log(high) - np.log(low)) * (at + 1) / 2))


def _exact_at(kind: str, shape: float, y: np.ndarray) -> np.ndarray:
    exact = EXACT[kind]
    onset = exact.onset(shape)
    length = np.log1p(np.exp(exact.end(shape) - onset))
    return exact.transform(np.exp(onset) * np.expm1(length * (y + 1) / 2), float(shape))


def _interpolate(kind: str, low: float, high: float, nodes: int) -> np.ndarray:
    y = _nodes(_MOST_TERMS)
    table = np.stack([_exact_at(kind, shape, y) for shape in _shapes_at(low, high, _nodes(nodes))])
    for axis in (0, 1):
        count = table.shape[axis]
        angles = np.outer(np.arange(count), np.arccos(_nodes(count)))
        transform = 2 / count * np.cos(angles)
        transform[0] /= 2
        table = np.moveaxis(np.tensordot(transform, table, axes=(1, axis)), 0, axis)
    return table


def _error(kind: str, low: float, high: float, coefficients: np.ndarray) -> float:
    """Largest difference to the exact transform, between the nodes."""
    y = np.linspace(-1, 1, 97)
    worst = 0.0
    for at in np.linspace(-1, 1, 7) if low < high else (0.0,):
        row = np.polynomial.chebyshev.chebval(at, coefficients)
        expected = _exact_at(kind, float(_shapes_at(low, high, np.asarray(at))), y)
        worst = max(worst, float(np.abs(np.polynomial.chebyshev.chebval(y, row) - expected).max()))
    return worst
