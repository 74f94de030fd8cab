"""A galaxy's Fourier transform, the sum over its components, and its derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model import profiles


class Ellipse(NamedTuple):
    """Quadratic form |Sᵀk|² r² = xx kx² + 2 xy kx ky + yy ky² [arcsec²]; r is the first component's scale radius."""

    xx: jax.Array
    xy: jax.Array
    yy: jax.Array


class Part(NamedTuple):
    """Quantities that a component's transform depends on, or the derivatives with respect to them.

    Attributes:
        flux: flux of the component.
        size: squared ratio of its scale radius to that of the first component; None for the first.
        shape: Sersic index or Moffat exponent; None if it is fixed.
    """

    flux: jax.Array
    size: jax.Array | None
    shape: jax.Array | None


class Light:
    """The transform of a config's galaxy, without the phase of its centre."""

    def __init__(self, config: ShearConfig, dtype: Any) -> None:
        self._components = [component for _, component in config.galaxy.components]
        self._profiles = [profiles.build(component, config.parameters, dtype) for component in self._components]

    def ellipse(self, p: Mapping[str, Any]) -> Ellipse:
        """The quadratic form of a galaxy with distortion (e1, e2), sheared by (g1, g2)."""
        (a, b, c, d) = _product(_shear(p["g1"], p["g2"]), _shear(*intrinsic_shear(p)))
        r2 = self._squared_radius(0, p)
        return Ellipse(r2 * (a * a + b * b), r2 * (a * c + b * d), r2 * (c * c + d * d))

    def parts(self, p: Mapping[str, Any]) -> tuple[Part, ...]:
        """Flux, size and shape of each component, for these parameters."""
        rest = 1.0 - sum(p[c.fraction] for c in self._components if c.fraction)
        found = []
        for at, (component, profile) in enumerate(zip(self._components, self._profiles, strict=True)):
            flux = p["flux"] * (p[component.fraction] if component.fraction else rest)
            size = self._squared_radius(at, p) / self._squared_radius(0, p) if at else None
            found.append(Part(flux, size, p[component.shape] if component.shape and profile.free else None))
        return tuple(found)

    def transform(self, t: jax.Array, parts: tuple[Part, ...]) -> jax.Array:
        """Σ flux · T(size · t) with the array shape of t; differentiable."""
        return sum(
            (part.flux * profile.transform(_scaled(t, part), part.shape) for part, profile in self._each(parts)),
            jnp.zeros_like(t),
        )

    def slopes(self, t: jax.Array, parts: tuple[Part, ...]) -> tuple[jax.Array, jax.Array, tuple[Part, ...]]:
        """The transform, its derivative with respect to t, and those with respect to each part, all shaped as t."""
        value, by_t = jnp.zeros_like(t), jnp.zeros_like(t)
        by_parts = []
        for part, profile in self._each(parts):
            unit, slope, by_shape = profile.slopes(_scaled(t, part), part.shape)
            value += part.flux * unit
            flux_slope = part.flux * slope
            by_t += flux_slope if part.size is None else part.size * flux_slope
            by_size = None if part.size is None else flux_slope * t
            by_parts.append(Part(unit, by_size, None if by_shape is None else part.flux * by_shape))
        return value, by_t, tuple(by_parts)

    def _squared_radius(self, at: int, p: Mapping[str, Any]) -> Any:
        return (p[self._components[at].half_light_radius] / self._profiles[at].half_light) ** 2

    def _each(self, parts: tuple[Part, ...]) -> Any:
        return zip(parts, self._profiles, strict=True)


def intrinsic_shear(p: Mapping[str, Any]) -> tuple[Any, Any]:
    """The reduced shear of distortion (e1, e2); unlike GalSim's conversion it is differentiable at e = 0."""
    to_g = 1 / (1 + jnp.sqrt(1 - p["e1"] ** 2 - p["e2"] ** 2))
    return p["e1"] * to_g, p["e2"] * to_g


def _scaled(t: jax.Array, part: Part) -> jax.Array:
    return t if part.size is None else part.size * t


def _shear(g1: Any, g2: Any) -> tuple[Any, Any, Any, Any]:
    """Elements of the shear matrix of unit determinant, row by row."""
    norm = 1 / jnp.sqrt(1 - g1 * g1 - g2 * g2)
    return norm * (1 + g1), norm * g2, norm * g2, norm * (1 - g1)


def _product(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, Any, Any, Any]:
    (a, b, c, d), (e, f, g, h) = left, right
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h
