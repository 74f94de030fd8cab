"""Errors and χ² of a fit under speckle noise, from simulated replicates of the fitted model.

Least squares treats the entries of a correlation as independent: it is a composite likelihood. The covariance of its
estimates is H⁻¹ J H⁻¹ with H the curvature and J the covariance of the score (Varin, Reid & Firth 2011). J comes from
replicates; the covariance of the noise is 1/P of that of a single pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from lanewise.errors import DataError
from lanewise.families.heterodyne.nlsq.frames import Shared
from lanewise.families.heterodyne.nlsq.replicates import N_PARTS, PIXELS, Tables

# Under independent noise, `auto` finds shared noise in 4 % of fits. A false alarm costs time, and errors that are a
# little too large; shared noise that is missed makes errors too small.
SHARED_Z = 1.5
# More modes than these are simulated by these: their fluctuations are nearly Gaussian, and are scaled.
_MAX_MODES = 16
# Largest 1/flux that is looked for.
_MAX_U = 1e6


@dataclass(frozen=True)
class Detector:
    """What made the noise, as given or estimated.

    Attributes:
        pixels: pixels of each angle.
        modes: modes per pixel, 1/contrast if they are not given.
        flux: photons per pixel and frame; infinite if no shot noise is seen.
    """

    pixels: tuple[float, ...]
    modes: float
    flux: float


@dataclass(frozen=True)
class SpeckleNoise:
    """The consequences of speckle noise for a fit.

    Attributes:
        detector: what made the noise.
        score: covariance of the score of coordinates, contrast and offset coefficients, as `Normal.joint`.
        ssr: expected sum of squared residuals of a right model.
        p_value: probability that the sum of squares of a right model is as large as found, or larger.
    """

    detector: Detector
    score: np.ndarray
    ssr: float
    p_value: float


def mode_weights(contrast: float, modes: int | None) -> np.ndarray:
    """Weights of the modes: equal for a given number; else they sum up to 1 and their squares to the contrast."""
    if modes is not None:
        n = min(modes, _MAX_MODES)
        return np.full(n, 1 / n)
    n = int(np.clip(np.ceil(1 / max(contrast, 1e-3) - 1e-9), 1, _MAX_MODES))
    if n in {1, _MAX_MODES}:
        return np.full(n, 1 / n)
    # n − 1 equal weights and one smaller one.
    equal = (1 + np.sqrt(max(contrast * n - 1, 0.0) / (n - 1))) / n
    return np.array([equal] * (n - 1) + [1 - (n - 1) * equal])


def judge(
    tables: Tables,
    *,
    shared: Shared,
    ssr: float,
    contrast: np.ndarray,
    basis: np.ndarray,
    inverse: np.ndarray,
    modes: float,
    pixels: np.ndarray | None,
    flux: float | None,
    source: str,
) -> SpeckleNoise:
    """The noise behind the residuals of a fit, and what follows from it.

    Without `flux` it follows from the level of the noise if `pixels` are given, else from the correlation of
    neighbours. Without `pixels` they follow from the level.

    Args:
        shared: the evidence in the weighted residuals.
        ssr: weighted sum of squared residuals.
        contrast: contrast of each angle, shape (n_phi,).
        basis: `ScalingBasis.basis`.
        inverse: H⁻¹ of coordinates, contrast and offset coefficients.
        modes: as reported.

    Raises:
        DataError: pixels and flux cannot be found from these residuals.
    """
    if pixels is None and flux is None and shared.z <= SHARED_Z:
        raise DataError(
            f"{source or 'these data'}: errors for speckle noise need the number of pixels: it cannot be estimated, "
            f"because the residuals show no noise that frames share (z = {shared.z:.1f}, {SHARED_Z:g} are needed); "
            "give errors.pixels, or choose errors: independent"
        )
    estimate = _Level(_means(tables.forms), pixels, flux)
    u, scale = estimate(shared.products, shared.squares)
    scores = _joint(tables.scores, contrast, basis)
    powers = u ** np.arange(N_PARTS)
    score = np.einsum("a,p,larpk,larpm->km", scale, powers, scores, scores) / (scores.shape[0] * scores.shape[2])
    absorbed = float(np.trace(inverse @ score))

    def excess(observed: np.ndarray) -> float:
        """ssr minus its expectation, where the third differences give the level of the noise."""
        u, scale = estimate(*observed[1:].reshape(2, -1))
        return float(observed[0] - scale @ (estimate.means[0] @ u ** np.arange(N_PARTS)))

    observed = np.concatenate([[ssr], shared.products, shared.squares])
    slope = optimize.approx_fprime(observed, excess, 1e-4 * np.abs(observed))
    variance = max(float(slope @ _covariance(tables.forms, scores, inverse, u, scale) @ slope), 0.0)
    expected = float(scale @ (estimate.means[0] @ powers)) - absorbed
    # Match the variance by a χ² distribution of as many degrees of freedom.
    freedom = 2 * expected**2 / max(variance, 1e-300)
    p_value = float(stats.chi2.sf(freedom * ssr / expected, freedom))
    detector = Detector(tuple(PIXELS / scale), modes, 1 / u if u > 0 else float("inf"))
    return SpeckleNoise(detector, score, expected, p_value)


def _means(forms: np.ndarray) -> np.ndarray:
    """Expectation of each form by angle and part, shape (3, n_phi, N_PARTS)."""
    own = np.einsum("lfarprp->fap", forms)
    return np.asarray(own / (forms.shape[0] * forms.shape[3]))


def replicated(raw: np.ndarray, detector: Detector, contrast: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Scores of data with the noise of this detector.

    Args:
        raw: `replicates.shard_scores`.
        contrast, basis: as for `judge`.

    Returns:
        Scores of coordinates, contrast and offset coefficients, shape (n_replicates, n_parts_of_data, n).
    """
    scale, u = PIXELS / np.array(detector.pixels), 1 / detector.flux
    half = np.sqrt(u) ** np.arange(N_PARTS)
    whole = np.einsum("a,p,lkarpn->lrkn", np.sqrt(scale), half, _joint(raw, contrast, basis))
    return np.asarray(whole.reshape(-1, *whole.shape[2:]))


def _joint(raw: np.ndarray, contrast: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Scores of coordinates, contrast and offset coefficients, shape (…, n_phi, per_lane, N_PARTS, n)."""
    of_x = contrast[:, None, None, None] * raw[..., :-2]
    return np.concatenate([of_x, *(basis[:, None, None] * raw[..., at, None] for at in (-2, -1))], axis=-1)


def _covariance(forms: np.ndarray, scores: np.ndarray, inverse: np.ndarray, u: float, scale: np.ndarray) -> np.ndarray:
    """Covariance of ssr after the fit, and of products and squares of each angle, shape (1 + 2 n_phi,) squared.

    Sums of squares of Gaussian noise δ: Cov(δᵀAδ, δᵀBδ) = 2 E[(δᵀAδ′)(δᵀBδ′)] for independent replicates δ, δ′.
    """
    half = np.sqrt(u) ** np.arange(N_PARTS)
    every = np.einsum("a,p,q,lfarpsq->lfars", scale, half, half, forms)
    whole = np.einsum("a,p,larpk->lrk", np.sqrt(scale), half, scores)
    ssr = every[:, 0].sum(axis=1) - whole @ inverse @ np.swapaxes(whole, 1, 2)
    above = np.triu_indices(ssr.shape[-1], 1)
    level = every[:, 1:].reshape(len(every), -1, *ssr.shape[1:])
    pairs = np.concatenate([ssr[:, None], level], axis=1)[..., *above]
    return np.asarray(2 * np.einsum("lip,ljp->ij", pairs, pairs) / (pairs.shape[0] * pairs.shape[2]))


@dataclass(frozen=True)
class _Level:
    """1/flux, and the noise of each angle relative to that of `PIXELS` pixels.

    Attributes:
        means: expectation of the three forms by angle and part, shape (3, n_phi, N_PARTS).
        pixels, flux: as given.
    """

    means: np.ndarray
    pixels: np.ndarray | None
    flux: float | None

    def __call__(self, products: np.ndarray, squares: np.ndarray) -> tuple[float, np.ndarray]:
        """From mean products and mean squares of third differences, per angle."""
        powers = np.arange(N_PARTS)
        if self.flux is not None:
            u = 1 / self.flux
        elif self.pixels is not None:
            level = (PIXELS / self.pixels) @ self.means[2]
            u = _root(lambda u: float(level @ u**powers - squares.sum()), rising=True)
        else:
            ratio = float((products / squares).sum())
            u = _root(
                lambda u: ratio - float(((self.means[1] @ u**powers) / (self.means[2] @ u**powers)).sum()), rising=True
            )
        if self.pixels is not None:
            return u, np.broadcast_to(PIXELS / self.pixels, squares.shape)
        return u, squares / (self.means[2] @ u**powers)


def _root(f: Callable[[float], float], *, rising: bool) -> float:
    """The root of a function that rises from 0 to _MAX_U; the nearer end if there is none."""
    if f(0.0) >= 0:
        return 0.0
    if f(_MAX_U) <= 0:
        return _MAX_U
    return float(optimize.brentq(f, 0.0, _MAX_U, xtol=1e-9, rtol=1e-9))
