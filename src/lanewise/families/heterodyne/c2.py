"""The two-time correlation of two components that diffuse, drift and interfere.

Each component has a rate J(t) = D0 t^alpha + D_offset [Å²/s]. The correlation of its field between two ages decays by
exp(−q²/2 ∫J dt), that of its intensity by exp(−q² ∫J dt). J is thus twice the diffusion coefficient D of the usual
exp(−2 q² D τ). The sample drifts relative to the reference with v(t) = v0 t^beta + v_offset [Å/s], in the direction
−phi0 [degree]. Its fraction of the field is f(t) = f0 exp(f1 (t − f2)) + f3, kept within [0, 1].

That is the convention `intensity`. With the convention `field`, J is this D: the correlation of a field decays by
exp(−q² ∫J dt), that of its intensity by exp(−2 q² ∫J dt).

All functions accept NumPy arrays (float64, no JAX needed) and JAX arrays (traced, in their own precision).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

Array = Any  # a NumPy or a JAX array, or a number

# Default bounds of the parameters in a fit; the parameters are always in this order.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "D0_ref": (100.0, 1e6),
    "alpha_ref": (-5.0, 5.0),
    "D_offset_ref": (-1e5, 1e5),
    "D0_sample": (100.0, 1e6),
    "alpha_sample": (-5.0, 5.0),
    "D_offset_sample": (-1e5, 1e5),
    "v0": (1e-6, 1e4),
    "beta": (-2.0, 2.0),
    "v_offset": (-100.0, 100.0),
    "f0": (0.0, 1.0),
    "f1": (-10.0, 10.0),
    "f2": (-1e4, 1e4),
    "f3": (0.0, 1.0),
    "phi0": (-10.0, 10.0),
}
NAMES = tuple(BOUNDS)
FractionClip = Literal["soft", "hard"]
TimeOrigin = Literal["window", "absolute"]
Convention = Literal["intensity", "field"]

# Keeps √ differentiable on the diagonal; the diagonal is 1 − q²·1e-6/2 instead of 1.
SMOOTHING = 1e-12
_SHARPNESS = 50.0
_EXPONENT = {"soft": 500.0, "hard": 100.0}


@dataclass(frozen=True)
class Definitions:
    """What a model means and no fit changes.

    Attributes:
        fraction_clip: how the sample's fraction is kept within [0, 1].
        convention: whether J is that of the intensity, exp(−q² ∫J dt), or of the field, exp(−2 q² ∫J dt).
        gap: distance between the walls of a laminar flow [Å]; None if it is not known.
    """

    fraction_clip: FractionClip = "soft"
    convention: Convention = "intensity"
    gap: float | None = None

    @property
    def stretch(self) -> float:
        """Factor of q in the decays, so that those of the intensity are exp(−(stretch · q)² ∫J dt)."""
        return _STRETCH[self.convention]


_STRETCH = {"intensity": 1.0, "field": float(np.sqrt(2.0))}


class Fields(NamedTuple):
    """The field of a pixel as a sum of independent complex Gaussian parts.

    Attributes:
        rates: ∫J dt of each part at each age, shape (n_parts, N).
        amplitude: amplitude of each part, shape (n_parts, N); their squares add up to 1.
        phase: phase of each part [rad], shape (n_parts, n_phi, N).
    """

    rates: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray


def time_grid(n_frames: int, dt: float, start_frame: int = 1, time_origin: TimeOrigin = "window") -> np.ndarray:
    """Ages [s] of the frames of a window, shape (n_frames,).

    Args:
        start_frame: first frame of the window, counted from 1.
        time_origin: with `window`, the first age is dt for every window; with `absolute`, ages count from the first
            frame of the file, so that D0, alpha, v0, beta and f mean the same in all windows of a file.
    """
    first = start_frame if time_origin == "absolute" else 1
    return (first + np.arange(n_frames)) * dt


def two_time_correlation(
    params: Array,
    t: Array,
    q: Array,
    dt: float,
    phi: Array,
    contrast: Array,
    offset: Array,
    fraction_clip: FractionClip = "soft",
    convention: Convention = "intensity",
) -> Array:
    """The noise-free correlation of every pair of ages, one matrix per angle.

    Args:
        params: 14 values in the order of `NAMES`; a JAX array makes the result a JAX array, differentiable in it.
        t: ages, shape (N,), evenly spaced by dt [s]; see `time_grid`.
        q: scattering vector [1/Å]; one number, or one per angle.
        dt: time between frames [s].
        phi: angle of each matrix, shape (n_phi,) [degree]; phi0 is added to it.
        contrast: height of the correlation; one number, or one per angle.
        offset: value without any correlation; one number, or one per angle.
        fraction_clip: how f is kept within [0, 1]: `soft` is smooth (f = 0 becomes 0.014), `hard` is exact.
        convention: whether J is that of the `intensity` or of the `field`; see the module.

    Returns:
        Shape (n_phi, N, N), exactly symmetric; the diagonal is offset + contrast.

    Raises:
        ValueError: there are not 14 parameters, or fraction_clip is unknown.
    """
    xp, params = _namespace(params)
    if params.shape != (len(NAMES),):
        raise ValueError(f"expected {len(NAMES)} parameters ({', '.join(NAMES)}), got an array of shape {params.shape}")
    if fraction_clip not in _EXPONENT:
        raise ValueError(f"expected fraction_clip soft or hard, got {fraction_clip!r}")
    t, q, phi, contrast, offset = alike(params, t, q, phi, contrast, offset)
    d0_r, alpha_r, off_r, d0_s, alpha_s, off_s, v0, beta, v_off, _, _, _, _, phi0 = params
    f = fraction(params, t, fraction_clip)
    # A value per angle broadcasts over the matrix of that angle.
    stretched = _STRETCH[convention] * q[..., None, None]
    reference = field_decay(between(cumulative(rate(t, d0_r, alpha_r, off_r), dt)), stretched)
    sample = field_decay(between(cumulative(rate(t, d0_s, alpha_s, off_s), dt)), stretched)
    path = between(cumulative(v0 * power(t, beta) + v_off, dt))
    angle = q * xp.cos(xp.deg2rad(phi + phi0))
    n = f**2 + (1 - f) ** 2
    u, w, m = (1 - f) ** 2, f**2, f * (1 - f)
    decays = outer(u) * reference**2 + outer(w) * sample**2
    interference = 2 * outer(m) * reference * sample * xp.cos(angle[:, None, None] * abs(path))
    return offset[..., None, None] + contrast[..., None, None] * ((decays + interference) / outer(n))


def fields(params: np.ndarray, t: np.ndarray, q: Array, dt: float, phi: np.ndarray, by: Definitions) -> Fields:
    """The parts of the field: reference and sample; arguments as for `two_time_correlation`."""
    d0_r, alpha_r, off_r, d0_s, alpha_s, off_s, v0, beta, v_off, _, _, _, _, phi0 = params
    rates = [rate(t, d0_r, alpha_r, off_r), rate(t, d0_s, alpha_s, off_s)]
    f = fraction(params, t, by.fraction_clip)
    parts = np.stack([1 - f, f])
    phase = np.multiply.outer(q * np.cos(np.deg2rad(phi + phi0)), cumulative(v0 * power(t, beta) + v_off, dt))
    return Fields(
        np.stack([cumulative(one, dt) for one in rates]),
        parts / np.sqrt((parts**2).sum(axis=0)),
        np.stack([np.zeros_like(phase), phase]),
    )


def rate(t: Array, d0: Array, alpha: Array, d_offset: Array) -> Array:
    """J at the ages t [Å²/s]."""
    return floored(d0 * power(t, alpha) + d_offset)


def fraction(params: Array, t: Array, clip: FractionClip) -> Array:
    """The sample's fraction of the field at the ages t."""
    xp, _ = _namespace(params)
    f0, f1, f2, f3 = params[9:13]
    limit = _EXPONENT[clip]
    return clip_fraction(f0 * xp.exp(xp.clip(f1 * (t - f2), -limit, limit)) + f3, clip)


def power(t: Array, exponent: Array) -> Array:
    """t^exponent for t > 0; 0 for t ≤ 0 and every exponent."""
    xp, t = _namespace(t)
    return xp.where(t > 0, xp.where(t > 0, t, 1.0) ** exponent, 0.0)


def floored(j: Array) -> Array:
    """The rate j with negative values set to 0."""
    xp, j = _namespace(j)
    return xp.maximum(j, 0.0)


def cumulative(x: Array, dt: Array) -> Array:
    """∫x dt from the first age to each age, by the trapezoidal rule; same shape as x."""
    xp, x = _namespace(x)
    steps = dt * (x[:-1] + x[1:]) / 2
    return xp.concatenate([xp.zeros(1, dtype=x.dtype), xp.cumsum(steps)])


def clip_fraction(raw: Array, clip: FractionClip) -> Array:
    """The fraction kept within [0, 1]: `soft` by two softplus functions of sharpness 50, `hard` exactly."""
    xp, raw = _namespace(raw)
    if clip == "hard":
        return xp.clip(raw, 0.0, 1.0)
    low = xp.logaddexp(_SHARPNESS * raw, 0.0) / _SHARPNESS
    return 1 - xp.logaddexp(_SHARPNESS * (1 - low), 0.0) / _SHARPNESS


def between(x: Array) -> Array:
    """x[j] − x[i] for all pairs, shape (N, N)."""
    return x[None, :] - x[:, None]


def outer(x: Array) -> Array:
    """x[i] x[j] for all pairs, shape (N, N)."""
    return x[:, None] * x[None, :]


def field_decay(integral: Array, q: Array) -> Array:
    """exp(−q²/2 |∫J dt|), the correlation of one component's field."""
    xp, integral = _namespace(integral)
    return xp.exp(xp.clip(-(q**2) / 2 * xp.sqrt(integral**2 + SMOOTHING), -700.0, 0.0))


def alike(params: Array, *others: Array) -> list[Array]:
    """The others as arrays of the module and of the precision of params."""
    xp, params = _namespace(params)
    return [xp.asarray(one, dtype=params.dtype) for one in others]


def _namespace(x: Array) -> tuple[ModuleType, Array]:
    """The array module of x, NumPy or jax.numpy, and x as an array of that module."""
    if isinstance(x, np.ndarray | float | int | list | tuple):
        return np, np.asarray(x, dtype=np.float64)
    return x.__array_namespace__(), x
