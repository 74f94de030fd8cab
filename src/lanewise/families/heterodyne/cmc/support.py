"""The unknowns of a posterior within their bounds, and their prior.

The position has one unbounded number per free unknown. A rate is log J(t_ref), alpha and D_offset/J(t_ref), as in a
fit, because the posterior is close to a Gaussian in these; a speed likewise. The bounds of D0, alpha and D_offset make
intervals of these numbers, each with ends that depend on the numbers before it (`cursor` maps them). The prior is a
density in the user's parameters, so the determinants of all these maps belong to the density.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.cmc.cursor import Cursor, Reader, Writer
from lanewise.families.heterodyne.cmc.prior import Priors, log_amplitude, log_density, means
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.nlsq import scaling
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitModel, FitSetting

# Blocks of box parameters of each model.
_BLOCKS = {
    "two_component": ("rate", "rate", "speed", "share", "single"),
    "static": ("rate",),
    "laminar_flow": ("rate", "speed", "single"),
}
_SIZES = {"rate": 3, "speed": 3, "share": 3, "single": 1}
# Smallest J(t_ref) relative to its largest; a component that slow does not decay.
_SLOWEST = 1e-12


@dataclass(frozen=True)
class Layout:
    """Which unknowns a position has; static, so that equal layouts share compiled programs.

    Attributes:
        free: whether each box parameter is unknown and its own, not tied.
        source: index of the parameter whose value each one has.
        free_scaling: whether each coefficient of contrast, then of offset, is unknown.
        has_gauge: whether f2 is free, with the amplitude in place of f0.
    """

    model: FitModel
    free: tuple[bool, ...]
    source: tuple[int, ...]
    free_scaling: tuple[bool, ...]
    has_gauge: bool

    @property
    def size(self) -> int:
        """Length of a position: parameters, coefficients, and the noise."""
        return sum(self.free) + sum(self.free_scaling) + 1


class Unknowns(NamedTuple):
    """What a position says.

    Attributes:
        x: coordinates of the fit.
        coefficients: of contrast and of offset, shape (2, n_coefficients).
        log_sigma: logarithm of the noise of a value of weight 1 [c2].
        log_prior: log density with respect to the position, up to a constant.
    """

    x: jax.Array
    coefficients: jax.Array
    log_sigma: jax.Array
    log_prior: jax.Array


def layout(where: FitSetting, basis: scaling.ScalingBasis, kind: scaling.Kind, config: HeterodyneConfig) -> Layout:
    """The unknowns of a fit's posterior."""
    box = owned(where.box)
    free = tuple(
        bool(low < high and source == k)
        for k, (low, high, source) in enumerate(zip(box.low, box.high, box.source, strict=True))
    )
    bounded = [one.min < one.max for one in (config.scaling.contrast, config.scaling.offset)]
    open_ = [kind != "held" and (one or not mean) for one in bounded for mean in means(basis)]
    f2 = config.parameters.get("f2")
    return Layout(where.model, free, tuple(map(int, box.source)), tuple(open_), f2 is not None and f2.min < f2.max)


def owned(box: Box) -> Box:
    """The box in which of tied parameters the first has the value, so that no value is needed before it is known."""
    low, high, source = (np.array(part) for part in box)
    for root in np.unique(source):
        group = np.flatnonzero(source == root)
        first = group.min()
        bounds = low[root], high[root]
        low[group] = high[group] = 0.0
        low[first], high[first] = bounds
        source[group] = first
    return Box(low, high, source)


def read(position: jax.Array, of: Layout, box: Box, gauge: Any, prior: Priors) -> Unknowns:
    """The unknowns at a position, and the log prior density with respect to the position."""
    cursor = Reader(position)
    p, of_amplitude = _parameters(cursor, of, box, gauge, prior, None)
    coefficients = _coefficients(cursor, of, prior, None)
    log_sigma = cursor.line(lambda: None)
    seen = jnp.where(prior.logarithmic, jnp.log(jnp.where(prior.logarithmic, p, 1.0)), p)
    each = -0.5 * ((seen - prior.mean) * prior.precision) ** 2 - jnp.where(prior.logarithmic, seen, 0.0)
    own = np.array(of.free) & ~_shares(of)
    off = (coefficients - prior.scaling[:, 0]) * prior.scaling[:, 1]
    log_prior = (
        jnp.sum(jnp.where(own, each, 0.0))
        - 0.5 * jnp.sum(off**2)
        + of_amplitude
        - 0.5 * jnp.exp(2 * log_sigma) / prior.noise**2
        + log_sigma
        + cursor.log_jacobian
    )
    return Unknowns(of.model.from_box(p, gauge), coefficients, log_sigma, log_prior)


def position(
    x: jax.Array, coefficients: jax.Array, log_sigma: jax.Array, of: Layout, box: Box, gauge: Any, prior: Priors
) -> jax.Array:
    """The position of these unknowns; those at a bound are moved inside."""
    cursor = Writer()
    _parameters(cursor, of, box, gauge, prior, of.model.to_box(x, gauge))
    _coefficients(cursor, of, prior, coefficients)
    cursor.line(lambda: log_sigma)
    found: jax.Array = cursor.position
    return found


def _shares(of: Layout) -> np.ndarray:
    """Which box parameters are log f0, whose prior is that of the amplitude."""
    found = np.zeros(len(of.free), bool)
    at = 0
    for block in _BLOCKS[of.model.physics.name]:
        found[at] = block == "share"
        at += _SIZES[block]
    return found


def _parameters(cursor: Cursor, of: Layout, box: Box, gauge: Any, prior: Priors, known: Any) -> tuple[Any, Any]:
    """The box parameters, shape (n,), and the log prior density of the share's amplitude."""
    p: list[Any] = [None] * len(of.free)

    def interval(k: int) -> Any:
        if of.free[k]:
            return cursor.interval(box.low[k], box.high[k], lambda: known[k])
        return p[of.source[k]] if of.source[k] != k else box.low[k]

    of_amplitude: Any = 0.0
    at = 0
    for block in _BLOCKS[of.model.physics.name]:
        if block in {"rate", "speed"}:
            p[at + 1] = interval(at + 1)
            _pair(cursor, at, block == "rate", p, of, box, gauge.t_ref, known)
        elif block == "share":
            p[at + 1], p[at + 2] = interval(at + 1), interval(at + 2)
            if of.has_gauge:
                p[at] = cursor.line(partial(_item, known, at))
                of_amplitude = log_amplitude(p[at], p[at + 1], gauge, prior)
            else:
                p[at] = interval(at)
                of_amplitude = log_density(jnp.exp(p[at]), prior.of_f0) + p[at] if of.free[at] else 0.0
        else:
            p[at] = interval(at)
        at += _SIZES[block]
    return jnp.stack([jnp.asarray(one, jnp.float64) for one in p]), of_amplitude


def _pair(cursor: Cursor, at: int, is_rate: bool, p: list[Any], of: Layout, box: Box, t_ref: Any, known: Any) -> None:
    """Amplitude and constant part of a rate or a speed, from its value at t_ref and its constant part."""
    a, c = at, at + 2
    power = t_ref ** p[at + 1]
    ends = []
    for k in (a, c):
        fixed = p[of.source[k]] if of.source[k] != k else box.low[k]
        ends.append((box.low[k], box.high[k]) if of.free[k] else (fixed, fixed))
    (a_low, a_high), (c_low, c_high) = ends
    if not of.free[a] and not of.free[c]:
        p[a], p[c] = a_low, c_low
        return
    low, high = a_low * power + c_low, a_high * power + c_high

    def value() -> Any:
        return known[a] * power + known[c]

    if is_rate:
        low = jnp.maximum(low, _SLOWEST * high)
        w = jnp.exp(cursor.interval(jnp.log(low), jnp.log(high), lambda: jnp.log(value())))
        unit = w
        cursor.scaled(jnp.log(w))
    else:
        w, unit = cursor.interval(low, high, value), jnp.ones(())
    if of.free[a] and of.free[c]:
        c_low, c_high = jnp.maximum(c_low, w - a_high * power), jnp.minimum(c_high, w - a_low * power)
        p[c] = unit * cursor.interval(c_low / unit, c_high / unit, lambda: known[c] / unit)
        cursor.scaled(jnp.log(unit))
    else:
        p[c] = w - a_low * power if of.free[c] else c_low
    p[a] = (w - p[c]) / power if of.free[a] else a_low
    if of.free[a]:
        cursor.scaled(-jnp.log(power))


def _coefficients(cursor: Cursor, of: Layout, prior: Priors, known: Any) -> Any:
    """Coefficients of contrast and offset, shape (2, n); those that are not free have their lower bound."""
    low, high = prior.scaling_low.reshape(-1), prior.scaling_high.reshape(-1)
    known_flat = None if known is None else known.reshape(-1)
    flat = [
        cursor.interval(low[k], high[k], partial(_item, known_flat, k)) if free else low[k]
        for k, free in enumerate(of.free_scaling)
    ]
    return jnp.stack(flat).reshape(prior.scaling_low.shape)


def _item(values: Any, at: int) -> Any:
    return values[at]
