"""The unknowns of a posterior within their bounds, and their prior.

The position has one unbounded number per free unknown. A rate is log J(t_ref), alpha and D_offset/J(t_ref), as in a
fit, because the posterior is close to a Gaussian in these; a speed likewise. The bounds of D0, alpha and D_offset make
intervals of these numbers, each with ends that depend on the numbers before it (`engine.latents.Interval` maps them).
The prior is a density in the user's parameters, so the determinants of all these maps belong to the density.

f0 and f2 enter the correlation as the amplitude at mid-window exp(A) = f0 exp(−f1 (f2 − t_mid)) only. With a free f2
the position has A, and its prior is the integral over all f0 and f2 with that amplitude: with L = log f0,

    p(A | f1) = E over f0 of p(f2 = t_mid + (L − A)/f1) / |f1| = E over f2 of p(f0) f0 at log f0 = A + f1 (f2 − t_mid);

the first form is smooth where f2 changes the amplitude by more than f0 does, the second elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.cmc.cursor import Cursor, Reader, Writer
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.nlsq import scaling
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitModel, FitSetting
from lanewise.families.heterodyne.priors import DEFAULTS, Prior, Table

# Blocks of box parameters of each model.
_BLOCKS = {
    "two_component": ("rate", "rate", "speed", "share", "single"),
    "static": ("rate",),
    "laminar_flow": ("rate", "speed", "single"),
}
_SIZES = {"rate": 3, "speed": 3, "share": 3, "single": 1}
# Quantiles of f0 and of f2 in the integral over both, and where the second form of it is used: |f1| times the prior's
# standard deviation of f2.
_NODES, _NARROW = 64, 0.3
# Keeps a logarithm finite where the prior is 0.
_TINY = 1e-300
# Smallest J(t_ref) relative to its largest; a component that slow does not decay.
_SLOWEST = 1e-12
# Half-width of the harmonics of contrast and offset in the mode `fourier`, as in the page's package.
_HARMONICS = np.array([0.2, 0.3])


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


class Priors(NamedTuple):
    """Numbers of the prior.

    Attributes:
        mean, precision, logarithmic: of each box parameter; see `priors.Prior`.
        scaling: mean and precision of each coefficient, shape (2, 2, n_coefficients).
        scaling_low, scaling_high: bounds of each coefficient, shape (2, n_coefficients).
        noise: scale of the half-normal prior of the noise [c2].
        log_f0: quantiles of log f0, shape (n,).
        f2: quantiles of f2, shape (n,).
        of_f0, of_f2: mean, precision, logarithm of the norm, lower and upper bound, and whether logarithmic.
    """

    mean: Any
    precision: Any
    logarithmic: Any
    scaling: Any
    scaling_low: Any
    scaling_high: Any
    noise: Any
    log_f0: Any
    f2: Any
    of_f0: Any
    of_f2: Any


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
    open_ = [kind != "held" and (one or not mean) for one in bounded for mean in _means(basis)]
    f2 = config.parameters.get("f2")
    return Layout(where.model, free, tuple(map(int, box.source)), tuple(open_), f2 is not None and f2.min < f2.max)


def _means(basis: scaling.ScalingBasis) -> list[bool]:
    """Which coefficients are values or means of angles; the others are harmonics."""
    return [bool(np.all(np.isin(column, (0.0, 1.0)))) for column in np.asarray(basis.basis).T]


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


def priors(
    where: FitSetting,
    basis: scaling.ScalingBasis,
    kind: scaling.Kind,
    config: HeterodyneConfig,
    centre: float,
    noise: float,
) -> Priors:
    """The numbers of a config's priors.

    Args:
        centre: mean of the data, which the offset is relative to.
        noise: scale of the prior of the noise.
    """
    chosen: Mapping[str, Prior] = {**DEFAULTS, **config.cmc.priors}
    of_each = [chosen[name] for name in where.model.box_names]
    ends = [config.scaling.contrast.bounds, config.scaling.offset.bounds]
    n = basis.basis.shape[1]
    mean, low, high = (np.zeros((2, n)) for _ in range(3))
    precision = np.zeros((2, n))
    flat = np.array(_means(basis))
    for row, (name, (least, most)) in enumerate(zip(("contrast", "offset"), ends, strict=True)):
        shift = centre if name == "offset" else 0.0
        low[row] = np.where(flat, least - shift, -_HARMONICS[row])
        high[row] = np.where(flat, most - shift, _HARMONICS[row])
        mean[row] = np.where(flat, chosen[name].mean - shift, 0.0)
        precision[row] = np.where(flat, chosen[name].precision, 0.0)
    if kind == "held":
        low = high = np.asarray(basis.held)
    f0, f2 = (_tabulated(chosen, config, name) for name in ("f0", "f2"))
    return Priors(
        np.array([one.mean for one in of_each]),
        np.array([one.precision for one in of_each]),
        np.array([one.logarithmic for one in of_each]),
        np.stack([mean, precision], axis=1),
        low,
        high,
        np.float64(noise),
        np.log(np.maximum(f0.nodes(_NODES), _TINY)),
        f2.nodes(_NODES),
        _numbers(chosen, config, "f0", f0),
        _numbers(chosen, config, "f2", f2),
    )


def _tabulated(chosen: Mapping[str, Prior], config: HeterodyneConfig, name: str) -> Table:
    bounds = config.parameters[name].bounds if name in config.parameters else (0.0, 0.0)
    return chosen[name].tabulated(*bounds)


def _numbers(chosen: Mapping[str, Prior], config: HeterodyneConfig, name: str, table: Table) -> np.ndarray:
    low, high = config.parameters[name].bounds if name in config.parameters else (0.0, 0.0)
    one = chosen[name]
    return np.array([one.mean, one.precision, table.log_norm, low, high, one.logarithmic], dtype=np.float64)


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
                of_amplitude = _log_amplitude(p[at], p[at + 1], gauge, prior)
            else:
                p[at] = interval(at)
                of_amplitude = _log_density(jnp.exp(p[at]), prior.of_f0) + p[at] if of.free[at] else 0.0
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


def _log_density(value: Any, numbers: Any) -> Any:
    """Normalised log density of f0 or f2 at a value within its bounds."""
    mean, precision, log_norm, _, _, logarithmic = numbers
    # No value near 0 in the logarithm where it is not used: its second derivative would be NaN.
    seen = jnp.where(logarithmic > 0, jnp.log(jnp.where(logarithmic > 0, jnp.maximum(value, _TINY), 1.0)), value)
    return -0.5 * ((seen - mean) * precision) ** 2 - jnp.where(logarithmic > 0, seen, 0.0) - log_norm


def _log_amplitude(amplitude: Any, f1: Any, gauge: Any, prior: Priors) -> Any:
    """Log prior density of the logarithm of the share's amplitude at mid-window, for a free f2."""
    is_narrow = jnp.abs(f1) * jnp.std(prior.f2) < _NARROW
    slope = jnp.where(is_narrow, 1.0, f1)
    f2 = gauge.t_mid + (prior.log_f0 - amplitude) / slope
    wide = jnp.mean(_within(f2, prior.of_f2)) / jnp.abs(slope)
    log_f0 = amplitude + f1 * (prior.f2 - gauge.t_mid)
    f0 = jnp.exp(jnp.minimum(log_f0, 1.0))
    narrow = jnp.mean(_within(f0, prior.of_f0) * f0)
    return jnp.log(jnp.where(is_narrow, narrow, wide) + _TINY)


def _within(value: Any, numbers: Any) -> Any:
    """Density of f0 or f2; 0 outside its bounds."""
    inside = (value >= numbers[3]) & (value <= numbers[4])
    return jnp.where(inside, jnp.exp(_log_density(jnp.where(inside, value, numbers[3]), numbers)), 0.0)
