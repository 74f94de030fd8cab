"""Speckle: fields, intensities and photon counts of single pixels, and the correlation that they give.

Nothing here knows how a fit treats noise. Each component has one complex Gaussian field per pixel and mode. It is an
Ornstein–Uhlenbeck path whose field correlation is exp(−q²/2 ∫J dt). The field of the sample is turned by the phase of
the drift. The intensity of a pixel is the mean of |field|² over the modes, so that the contrast is Σ weight² of the
modes (1/M for M equal ones). Entries of a correlation that share a frame share the noise of its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import NAMES
from lanewise.families.heterodyne.simulate import Detector, Experiment

# Pixels per batch: a batch of 3 angles × 100 frames has some MB.
_BATCH = 512


class Flow(NamedTuple):
    """The model as the fields need it.

    Attributes:
        kept: field correlation from each frame to the next, reference then sample, shape (2, N − 1).
        amplitude: amplitude of reference and sample in each frame, shape (2, N); their squares add up to 1.
        phase: phase of the sample's drift, shape (n_phi, N) [rad].
    """

    kept: Any
    amplitude: Any
    phase: Any


def flow(*, rates: Any, path: Any, fraction: Any, wave: Any, q: Any) -> Flow:
    """The flow of NumPy or JAX arrays.

    Args:
        rates: ∫J dt of reference and sample at each age, shape (2, N).
        path: ∫v dt at each age, shape (N,).
        fraction: share of the sample's field at each age, shape (N,).
        wave: component of q along the drift at each angle, shape (n_phi,).
        q: scattering vector [1/Å].
    """
    parts = jnp.stack([1 - fraction, fraction])
    amplitude = parts / jnp.sqrt((parts**2).sum(axis=0))
    return Flow(c2.field_decay(jnp.diff(jnp.asarray(rates)), q), amplitude, wave[:, None] * path)


def intensities(key: jax.Array, of: Flow, weights: jax.Array, n_pixels: int) -> jax.Array:
    """Intensities of pixels, shape (n_phi, n_pixels, N), float32; their expectation is 1.

    Args:
        weights: weight of each mode in the intensity; their sum is 1.
    """
    n_phi = of.phase.shape[0]
    shape = (2, 2, n_phi, n_pixels, len(weights))  # real and imaginary part, component, …
    of = Flow(*(jnp.asarray(part, jnp.float32) for part in of))
    weights = jnp.asarray(weights, jnp.float32)

    def fresh(frame: Any) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, frame), shape, jnp.float32) * np.float32(np.sqrt(0.5))

    def step(field: jax.Array, frame: jax.Array) -> tuple[jax.Array, jax.Array]:
        a_r, a_s = of.amplitude[:, frame]
        cos, sin = (f(of.phase[:, frame])[:, None, None] for f in (jnp.cos, jnp.sin))
        (re_r, re_s), (im_r, im_s) = field
        real = a_r * re_r + a_s * (cos * re_s - sin * im_s)
        imaginary = a_r * im_r + a_s * (sin * re_s + cos * im_s)
        kept = of.kept[:, jnp.minimum(frame, of.kept.shape[1] - 1)][:, None, None, None]
        return kept * field + jnp.sqrt(1 - kept**2) * fresh(frame + 1), (real**2 + imaginary**2) @ weights

    _, found = jax.lax.scan(step, fresh(0), jnp.arange(of.amplitude.shape[1]))
    return jnp.moveaxis(found, 0, -1)


@partial(jax.jit, static_argnames="modes")
def _correlation(key: jax.Array, of: Flow, modes: int, flux: jax.Array, pixels: jax.Array) -> jax.Array:
    """⟨I1 I2⟩/(⟨I1⟩⟨I2⟩) of photon counts, averaged over pixels in batches."""
    n_phi, n = of.phase.shape
    weights = jnp.full(modes, 1 / modes)

    def add(batch: jax.Array, totals: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        for_fields, for_counts = jax.random.split(jax.random.fold_in(key, batch))
        counts = jax.random.poisson(for_counts, flux * intensities(for_fields, of, weights, _BATCH))
        used = batch * _BATCH + jnp.arange(_BATCH) < pixels
        counts = jnp.where(used[:, None], counts, 0).astype(jnp.float32)
        return totals[0] + jnp.einsum("api,apj->aij", counts, counts), totals[1] + counts.sum(axis=1)

    empty = jnp.zeros((n_phi, n, n), jnp.float32), jnp.zeros((n_phi, n), jnp.float32)
    products, sums = jax.lax.fori_loop(0, -(-pixels // _BATCH), add, empty)
    return jnp.asarray(pixels * products / (sums[:, :, None] * sums[:, None, :]))


def simulate(truth: Mapping[str, float], where: Experiment, detector: Detector, seed: int) -> np.ndarray:
    """Correlations with the noise of speckle and photons, shape (n_phi, N, N).

    The diagonal contains shot noise, as in measured data. Contrast, offset and noise of `where` are not used: contrast
    and offset are 1/modes and 1.

    Args:
        truth: the 14 parameters by name.

    Raises:
        DataError: there is a frame without photons.
    """
    p, t = {name: truth[name] for name in NAMES}, c2.time_grid(where.n_frames, where.dt)
    rates = [
        c2.cumulative(c2.floored(p[f"D0_{one}"] * c2.power(t, p[f"alpha_{one}"]) + p[f"D_offset_{one}"]), where.dt)
        for one in ("ref", "sample")
    ]
    path = c2.cumulative(p["v0"] * c2.power(t, p["beta"]) + p["v_offset"], where.dt)
    raw = p["f0"] * np.exp(p["f1"] * (t - p["f2"])) + p["f3"]
    fraction = c2.clip_fraction(raw, where.fraction_clip)
    wave = where.q * np.cos(np.deg2rad(np.array(where.phi) + p["phi0"]))
    of = flow(rates=np.stack(rates), path=path, fraction=fraction, wave=wave, q=where.q)
    found = np.asarray(
        _correlation(jax.random.key(seed), of, detector.modes, detector.flux, detector.pixels), dtype=np.float64
    )
    if not np.isfinite(found).all():
        raise DataError(
            f"{detector.pixels} pixels with {detector.flux:g} photons per frame: a frame has no photon at all; "
            "raise pixels or flux"
        )
    return found
