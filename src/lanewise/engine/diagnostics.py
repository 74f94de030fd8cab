"""Convergence diagnostics of many quantities at once.

Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021 (arXiv:1903.08008), as ArviZ computes them. Unlike in ArviZ, R̂ of one
chain is defined: it compares the two halves of the chain. The result for one quantity is bit-identical whatever other
quantities are in the call.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from scipy import special

Array = np.ndarray

_TAILS = (0.05, 0.95)
# Draws in a block of quantities: small enough for the cache of a core, large enough that threads spend little time
# holding the interpreter lock.
_BLOCK_DRAWS = 1 << 17
# Lags that are summed directly. Most chains are uncorrelated by then; for the others, use a Fourier transform.
_SHORT = 8


@dataclass(frozen=True)
class Summary:
    """Diagnostics per quantity; NaN where the draws are constant or not finite.

    Attributes:
        rhat: rank-normalised split R̂, the larger of bulk and folded.
        ess: bulk effective sample size.
        ess_tail: the smaller of the effective sample sizes of the 5 % and 95 % quantiles.
        ess_sd: effective sample size of the squared deviations, which sets the error of the standard deviation.
            Antithetic chains do not increase it, unlike that of the mean.
        mcse_mean, mcse_sd: Monte Carlo standard error of the mean and of the standard deviation.
    """

    rhat: Array
    ess: Array
    ess_tail: Array
    ess_sd: Array
    mcse_mean: Array
    mcse_sd: Array


def summarise(draws: Array) -> Summary:
    """Diagnostics of draws, shape (…, chain, draw); each result has shape (…)."""
    n_chains, n_draws = draws.shape[-2:]
    flat = draws.reshape(-1, n_chains, n_draws).astype(float, copy=False)
    step = max(1, _BLOCK_DRAWS // (n_chains * n_draws))
    blocks = [flat[at : at + step] for at in range(0, len(flat), step)]
    # NumPy releases the interpreter lock in sorts, transforms and sums: threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(_block, blocks))
    shape = draws.shape[:-2]
    return Summary(*(np.concatenate([getattr(p, f.name) for p in parts]).reshape(shape) for f in fields(Summary)))


def bfmi(energy: Array) -> Array:
    """Bayesian fraction of missing information per chain, shape (…, chain); Betancourt 2016, arXiv:1604.00695."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.mean(np.diff(energy, axis=-1) ** 2, axis=-1) / np.var(energy, axis=-1, ddof=1)
    return found


def _block(draws: Array) -> Summary:
    """Diagnostics of draws, shape (quantity, chain, draw)."""
    flat = draws.reshape(len(draws), -1)
    with np.errstate(invalid="ignore"):
        spread = flat.max(axis=-1) - flat.min(axis=-1)
    usable = np.isfinite(spread) & (spread > 0)
    # Replace unusable draws by zeros, to avoid warnings and slow arithmetic.
    draws = draws if usable.all() else np.where(usable[:, None, None], draws, 0.0)
    split = _split(draws)
    bulk, ordered = _rank_normalise(split)
    folded, _ = _rank_normalise(np.abs(split - _median(ordered)))
    centred = draws - draws.mean(axis=(-2, -1), keepdims=True)
    squared = centred * centred
    if draws.shape[-1] % 2:
        ordered = np.sort(draws.reshape(len(draws), -1), axis=-1)
    tails = (_split(draws <= _quantile(ordered, p)) for p in _TAILS)
    with np.errstate(divide="ignore", invalid="ignore"):
        (rhat, ess), (_, ess_mean), (_, ess_sd), *ends = map(_mixing, (bulk, split, _split(squared), *tails))
        variance, fourth = squared.mean(axis=(-2, -1)), (squared * squared).mean(axis=(-2, -1))
        total = draws.shape[-2] * draws.shape[-1]
        found = Summary(
            rhat=np.fmax(rhat, _rhat(folded)),
            ess=ess,
            ess_tail=np.minimum(*(size for _, size in ends)),
            ess_sd=ess_sd,
            mcse_mean=np.sqrt(variance * total / (total - 1) / ess_mean),
            mcse_sd=np.sqrt((fourth - variance**2) / ess_sd / variance / 4),
        )
    return Summary(*(np.where(usable, getattr(found, f.name), np.nan) for f in fields(found)))


def _split(draws: Array) -> Array:
    """Split each chain into halves; the middle draw of an odd length is dropped."""
    half = draws.shape[-1] // 2
    return np.concatenate([draws[..., :half], draws[..., -half:]], axis=-2)


def _rank_normalise(draws: Array) -> tuple[Array, Array]:
    """Normal scores of the ranks (ties get their mean rank), and the sorted draws, shape (quantity, all)."""
    flat = draws.reshape(len(draws), -1)
    total = flat.shape[-1]
    # Ranks are multiples of ½, so one table of normal scores serves all quantities.
    scores = special.ndtri((np.arange(2 * total + 1) / 2 - 0.375) / (total + 0.25))
    order = np.argsort(flat, axis=-1)
    ordered = np.take_along_axis(flat, order, axis=-1)
    normal = np.empty(flat.shape)
    np.put_along_axis(normal, order, np.broadcast_to(scores[2::2], flat.shape), axis=-1)
    equal = np.zeros(flat.shape, bool)
    np.equal(ordered[:, 1:], ordered[:, :-1], out=equal[:, :-1])
    place = np.flatnonzero(equal)
    if place.size:
        # Runs of equal draws, from first to last position.
        begins = np.flatnonzero(np.diff(place, prepend=-2) != 1)
        length = np.diff(begins, append=place.size) + 1
        first = np.repeat(place[begins], length)
        members = first + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        twice = 2 * (first % total) + np.repeat(length, length) + 1
        normal[members // total, order.ravel()[members]] = scores[twice]
    return normal.reshape(draws.shape), ordered


def _median(ordered: Array) -> Array:
    """Median, shape (quantity, 1, 1), rounded as by NumPy: the two middle draws must tie in their distance to it."""
    n = ordered.shape[-1]
    found: Array = ((ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2)[:, None, None]
    return found


def _quantile(ordered: Array, probability: float) -> Array:
    """Quantile, shape (quantity, 1, 1), linear between the order statistics like NumPy's default."""
    at = probability * (ordered.shape[-1] - 1)
    below = int(at)
    share = at - below
    low, high = ordered[:, below, None, None], ordered[:, below + 1, None, None]
    found: Array = high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share
    return found


def _rhat(draws: Array) -> Array:
    n = draws.shape[-1]
    within = np.var(draws, axis=-1, ddof=1).mean(-1)
    between = n * np.var(draws.mean(-1), axis=-1, ddof=1)
    found: Array = np.sqrt((between / within + n - 1) / n)
    return found


def _mixing(draws: Array) -> tuple[Array, Array]:
    """R̂, and the effective sample size from Geyer's initial sequence of the chains' joint autocorrelation."""
    n_chains, n = draws.shape[-2:]
    mean = draws.mean(-1)
    centred = draws - mean[..., None]
    covariance = _first_lags(centred) if n > _SHORT else _all_lags(centred)
    within = covariance[:, 0] * n / (n - 1)
    spread = covariance[:, 0] + np.var(mean, axis=-1, ddof=1)
    tau, ended = _geyer(1 - (within[:, None] - covariance) / spread[:, None], n)
    if not ended.all():
        late = ~ended
        tau[late], _ = _geyer(1 - (within[late, None] - _all_lags(centred[late])) / spread[late, None], n)
    total = n_chains * n
    return np.sqrt(spread / within), total / np.maximum(tau, 1 / np.log10(total))


def _first_lags(centred: Array) -> Array:
    """Autocovariance of the first lags, mean over the chains, shape (quantity, lag)."""
    n = centred.shape[-1]
    lags = [np.einsum("qcn,qcn->qc", centred[..., : n - lag], centred[..., lag:]) for lag in range(_SHORT)]
    found: Array = np.stack(lags, axis=-1).mean(axis=-2) / n
    return found


def _all_lags(centred: Array) -> Array:
    """Autocovariance of all lags, mean over the chains, shape (quantity, lag)."""
    # Few chains need it, and a run would wait for it to be imported.
    from scipy import fft

    n = centred.shape[-1]
    size = fft.next_fast_len(2 * n, real=True)
    spectrum = fft.rfft(centred, size, axis=-1)
    power = np.mean(spectrum.real**2 + spectrum.imag**2, axis=-2)
    found: Array = fft.irfft(power, size, axis=-1)[..., :n] / n
    return found


def _geyer(rho: Array, n: int) -> tuple[Array, Array]:
    """Autocorrelation time, and whether the sequence ends within the given lags; n is the chain length.

    Sums the pairs ρ₂ₖ + ρ₂ₖ₊₁, made monotone, while they are positive. Then adds the even term of the next pair.
    """
    rho[:, 0] = 1.0
    n_pairs = rho.shape[-1] // 2
    even = rho[:, 0 : 2 * n_pairs : 2]
    pairs = even + rho[:, 1::2]
    # The last lags are means of very few products: ignore lags beyond n − 3.
    limit = max(0, (n - 3) // 2)
    stops = ~(pairs > 0)
    stops[:, limit:] = True
    ended = stops.any(axis=1)
    end = np.argmax(stops, axis=1)
    at = np.arange(len(rho))
    last = np.where((even[at, end] > 0) | (pairs[at, end] >= 0), even[at, end], 0.0)
    # Running sums: a longer sequence in the same call does not change the bits of a short one.
    sums = np.cumsum(np.minimum.accumulate(pairs[:, : max(1, end.max())], axis=1), axis=1)
    return -1 + 2 * np.where(end > 0, sums[at, end - 1], 0.0) + last, ended
