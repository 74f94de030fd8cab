"""Speckle: fields, intensities and photon counts of single pixels, and the correlation that they give.

Nothing here knows how a fit treats noise. Each part of the field (the components, or the layers of a flow) is one
complex Gaussian field per pixel and mode. It is an Ornstein–Uhlenbeck path whose field correlation is exp(−q²/2 ∫J dt),
turned by the phase of the drift. The intensity of a pixel is the mean of |field|² over the modes, so that the contrast
is Σ weight² of the modes (1/M for M equal ones). Entries of a correlation that share a frame share the noise of its
pixels.
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
from lanewise.families.heterodyne.c2 import Fields
from lanewise.families.heterodyne.simulate import Detector, Experiment

# Pixels per batch: a batch of 3 angles × 100 frames has some MB.
_BATCH = 512


class Flow(NamedTuple):
    """The parts of a field (`Fields`) as a simulation needs them.

    Attributes:
        kept: field correlation from each frame to the next, shape (n_parts, n_phi, N − 1), or n_phi = 1 for one q.
        amplitude: as in `Fields`, shape (n_parts, N).
        phase: as in `Fields`, shape (n_parts, n_phi, N).
    """

    kept: Any
    amplitude: Any
    phase: Any


def flow(of: Fields, q: Any) -> Flow:
    """The flow at q, one number or one per angle, times the stretch of the model's definitions [1/Å]."""
    kept = c2.field_decay(np.diff(of.rates)[:, None], np.asarray(q)[..., None])
    return Flow(kept, of.amplitude, of.phase)


def intensities(key: jax.Array, of: Flow, weights: jax.Array, n_pixels: int) -> jax.Array:
    """Intensities of pixels, shape (n_phi, n_pixels, N), float32; their expectation is 1.

    Args:
        weights: weight of each mode in the intensity; their sum is 1.
    """
    n_parts, n_phi, _ = of.phase.shape
    shape = (2, n_parts, n_phi, n_pixels, len(weights))  # real and imaginary part, part of the field, …
    of = Flow(*(jnp.asarray(part, jnp.float32) for part in of))
    weights = jnp.asarray(weights, jnp.float32)

    def fresh(frame: Any) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, frame), shape, jnp.float32) * np.float32(np.sqrt(0.5))

    def step(field: jax.Array, frame: jax.Array) -> tuple[jax.Array, jax.Array]:
        cos, sin = (of.amplitude[:, None, frame] * f(of.phase[:, :, frame]) for f in (jnp.cos, jnp.sin))
        cos, sin = cos[..., None, None], sin[..., None, None]
        real = (cos * field[0] - sin * field[1]).sum(axis=0)
        imaginary = (sin * field[0] + cos * field[1]).sum(axis=0)
        kept = of.kept[:, :, jnp.minimum(frame, of.kept.shape[2] - 1)][:, :, None, None]
        return kept * field + jnp.sqrt(1 - kept**2) * fresh(frame + 1), (real**2 + imaginary**2) @ weights

    _, found = jax.lax.scan(step, fresh(0), jnp.arange(of.amplitude.shape[1]))
    return jnp.moveaxis(found, 0, -1)


@partial(jax.jit, static_argnames="modes")
def _correlation(key: jax.Array, of: Flow, modes: int, flux: jax.Array, pixels: jax.Array) -> jax.Array:
    """⟨I1 I2⟩/(⟨I1⟩⟨I2⟩) of photon counts, averaged over pixels in batches."""
    _, n_phi, n = of.phase.shape
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
        truth: the parameters of the model by name.

    Raises:
        DataError: there is a frame without photons.
    """
    model, t = where.model, c2.time_grid(where.n_frames, where.dt)
    phi = np.array(where.phi)
    fields = model.fields(model.vector(truth), t, where.q, where.dt, phi, where.definitions)
    of = flow(fields, where.definitions.stretch * where.q)
    found = np.asarray(
        _correlation(jax.random.key(seed), of, detector.modes, detector.flux, detector.pixels), dtype=np.float64
    )
    if not np.isfinite(found).all():
        raise DataError(
            f"{detector.pixels} pixels with {detector.flux:g} photons per frame: a frame has no photon at all; "
            "raise pixels or flux"
        )
    return found
