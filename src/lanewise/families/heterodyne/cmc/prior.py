"""The numbers of a posterior's prior, and its density where that is more than a normal one.

f0 and f2 enter the correlation as the amplitude at mid-window exp(A) = f0 exp(−f1 (f2 − t_mid)) only. With a free f2
the position has A, and its prior is the integral over all f0 and f2 with that amplitude: with L = log f0,

    p(A | f1) = E over f0 of p(f2 = t_mid + (L − A)/f1) / |f1| = E over f2 of p(f0) f0 at log f0 = A + f1 (f2 − t_mid);

the first form is smooth where f2 changes the amplitude by more than f0 does, the second elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.nlsq import scaling
from lanewise.families.heterodyne.nlsq.fit_model import FitSetting
from lanewise.families.heterodyne.priors import DEFAULTS, Prior, Table

# Quantiles of f0 and of f2 in the integral over both, and where the second form of it is used: |f1| times the prior's
# standard deviation of f2.
_NODES, _NARROW = 64, 0.3
# Keeps a logarithm finite where the prior is 0.
_TINY = 1e-300
# Half-width of the harmonics of contrast and offset in the mode `fourier`, as in the page's package.
_HARMONICS = np.array([0.2, 0.3])


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
    flat = np.array(means(basis))
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


def means(basis: scaling.ScalingBasis) -> list[bool]:
    """Which coefficients are values or means of angles; the others are harmonics."""
    return [bool(np.all(np.isin(column, (0.0, 1.0)))) for column in np.asarray(basis.basis).T]


def log_density(value: Any, numbers: Any) -> Any:
    """Normalised log density of f0 or f2 at a value within its bounds."""
    mean, precision, log_norm, _, _, logarithmic = numbers
    # No value near 0 in the logarithm where it is not used: its second derivative would be NaN.
    seen = jnp.where(logarithmic > 0, jnp.log(jnp.where(logarithmic > 0, jnp.maximum(value, _TINY), 1.0)), value)
    return -0.5 * ((seen - mean) * precision) ** 2 - jnp.where(logarithmic > 0, seen, 0.0) - log_norm


def log_amplitude(amplitude: Any, f1: Any, gauge: Any, prior: Priors) -> Any:
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
    return jnp.where(inside, jnp.exp(log_density(jnp.where(inside, value, numbers[3]), numbers)), 0.0)
