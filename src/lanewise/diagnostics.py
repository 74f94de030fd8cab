"""Convergence diagnostics of many quantities at once.

Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021 (arXiv:1903.08008), as ArviZ computes them; arrays are of shape
(…, chain, draw). Unlike ArviZ's, R̂ of one chain is defined: it compares the chain's halves.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, special, stats

Array = np.ndarray


def rhat(draws: Array) -> Array:
    """Rank-normalised split R̂, the larger of bulk and folded; shape (…). NaN for constant or non-finite draws."""
    split = _split(draws)
    folded = np.abs(split - np.median(split, axis=(-2, -1), keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.fmax(_rhat(_rank_normalise(split)), _rhat(_rank_normalise(folded)))
    return np.where(_usable(draws), found, np.nan)


def ess_bulk(draws: Array) -> Array:
    """Bulk effective sample size; shape (…). NaN where the draws are constant or not finite."""
    return np.where(_usable(draws), _ess(_rank_normalise(_split(draws))), np.nan)


def ess_tail(draws: Array) -> Array:
    """Tail effective sample size: the smaller of those of the 5 % and 95 % quantiles; shape (…)."""
    sizes = []
    for probability in (0.05, 0.95):
        quantile = np.quantile(draws, probability, axis=(-2, -1), keepdims=True)
        sizes.append(_ess(_split((draws <= quantile).astype(float))))
    found: Array = np.minimum(*sizes)
    return np.where(_usable(draws), found, np.nan)


def bfmi(energy: Array) -> Array:
    """Bayesian fraction of missing information per chain, shape (…, chain); Betancourt 2016, arXiv:1604.00695."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.mean(np.diff(energy, axis=-1) ** 2, axis=-1) / np.var(energy, axis=-1, ddof=1)
    return found


def _usable(draws: Array) -> Array:
    flat = draws.reshape(*draws.shape[:-2], -1)
    usable: Array = np.isfinite(flat).all(-1) & (np.ptp(flat, axis=-1) > 0)
    return usable


def _split(draws: Array) -> Array:
    """Each chain as two; the middle draw of an odd length is dropped."""
    half = draws.shape[-1] // 2
    return np.concatenate([draws[..., :half], draws[..., -half:]], axis=-2)


def _rank_normalise(draws: Array) -> Array:
    flat = draws.reshape(*draws.shape[:-2], -1)
    rank = stats.rankdata(flat, method="average", axis=-1, nan_policy="omit")
    normal: Array = special.ndtri((rank - 0.375) / (flat.shape[-1] + 0.25))
    return normal.reshape(draws.shape)


def _rhat(draws: Array) -> Array:
    n = draws.shape[-1]
    within = np.var(draws, axis=-1, ddof=1).mean(-1)
    between = n * np.var(draws.mean(-1), axis=-1, ddof=1)
    found: Array = np.sqrt((between / within + n - 1) / n)
    return found


def _autocovariance(draws: Array) -> Array:
    n = draws.shape[-1]
    size = fft.next_fast_len(2 * n, real=True)
    centred = draws - draws.mean(-1, keepdims=True)
    spectrum = fft.rfft(centred, size, axis=-1)
    found: Array = fft.irfft(spectrum * spectrum.conj(), size, axis=-1)[..., :n] / n
    return found


def _ess(draws: Array) -> Array:
    """Effective sample size by Geyer's initial monotone sequence over the chains' joint autocorrelation."""
    n_chains, n = draws.shape[-2:]
    covariance = _autocovariance(draws)
    within = covariance[..., 0].mean(-1) * n / (n - 1)
    spread = within * (n - 1) / n
    if n_chains > 1:
        spread = spread + np.var(draws.mean(-1), axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within[..., None] - covariance.mean(-2)) / spread[..., None]
    rho[..., 0] = 1.0
    flat = rho.reshape(-1, n)
    sizes = np.array([_geyer(one, n_chains * n) for one in flat])
    return sizes.reshape(draws.shape[:-2])


def _geyer(rho: Array, total: int) -> float:
    """Sum the pairs ρ₂ₖ + ρ₂ₖ₊₁ while positive, made monotone, and the even term of the pair that ended it."""
    even, odd = rho[0 : 2 * (rho.size // 2) : 2], rho[1::2]
    pairs = even + odd
    # The last lags are averages of a handful of products: none beyond n − 3 is looked at.
    limit = max(0, (rho.size - 3) // 2)
    ended = np.flatnonzero(~(pairs[:limit] > 0))
    end = int(ended[0]) if ended.size else limit
    last = even[end] if even[end] > 0 or pairs[end] >= 0 else 0.0
    tau = -1 + 2 * np.minimum.accumulate(pairs[:end]).sum() + last
    return float(total / max(tau, 1 / np.log10(total)))
