"""Fourier transforms T(t) of galaxy profiles of unit flux; t = |Sᵀk|² r², S is the shear, r the scale radius.

A profile has a closed form or a series. Both have `transform` and `slopes`, whose `shape` is the Sersic index or the
Moffat exponent; other profiles ignore it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lanewise.families.shear.model.radial import RadialSeries
from lanewise.families.shear.priors import Parameter
from lanewise.families.shear.scene import DOMAINS, SHAPES, Component


@dataclass(frozen=True)
class ClosedForm:
    """A profile without a shape parameter; its transform has a closed form.

    Attributes:
        evaluate: t → (T, dT/dt).
        half_light: half-light radius in units of the scale radius.
        free: always False.
    """

    evaluate: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    half_light: float
    free: bool = False

    def transform(self, t: jax.Array, shape: Any) -> jax.Array:
        """T with the array shape of t; differentiable."""
        return self.evaluate(t)[0]

    def slopes(self, t: jax.Array, shape: Any) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """T, ∂T/∂t and None."""
        return *self.evaluate(t), None


def _exponential(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    # The transform of exp(−r/r₀) is (1 + k² r₀²)^(−3/2).
    root = jax.lax.rsqrt(1 + t)
    cube = root * root * root
    return cube, -1.5 * cube * root * root


def _gaussian(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    value = jnp.exp(-0.5 * t)
    return value, -0.5 * value


_CLOSED = {
    # The solution of (1 + x) exp(−x) = ½.
    "Exponential": ClosedForm(_exponential, 1.6783469900166608),
    "Gaussian": ClosedForm(_gaussian, math.sqrt(2 * math.log(2))),
}
DE_VAUCOULEURS = 4.0
Profile = ClosedForm | RadialSeries


def build(component: Component, parameters: dict[str, Parameter], dtype: Any) -> Profile:
    """A component's profile, accurate for every shape within its prior and its domain."""
    if component.type in _CLOSED:
        return _CLOSED[component.type]
    if component.shape is None:
        return RadialSeries("Sersic", DE_VAUCOULEURS, DE_VAUCOULEURS, dtype)
    shape = parameters[component.shape]
    if isinstance(shape, float):
        return RadialSeries(component.type, shape, shape, dtype)
    least, most = DOMAINS[SHAPES[component.type]]
    low, high = shape.bounds
    return RadialSeries(component.type, max(low, least), min(high, most), dtype)
