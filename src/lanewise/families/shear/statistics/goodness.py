"""How well a model image describes an image: χ², matched filters for what the model lacks, and the pull of the priors.

A change of the latents can take the part of the residual that lies along the model's slopes. The rest does not depend
on the fit: in white noise its χ² has one degree of freedom per pixel less one per latent, whatever the priors are, and
it is independent of the estimates, so that to exclude by it does not bias them. The part along the slopes is what the
priors keep the fit from taking.

`measure` is traced by JAX, for one fit; `goodness` makes p-values of what it measured, on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft, special

from lanewise.engine.results import Goodness

# A filter is not applied where a change of the latents takes all but this share of its power, or where less than the
# second share of its power lies on pixels that count.
_FREE, _INSIDE = 0.01, 0.25


class Measured(NamedTuple):
    """Numbers of a fit, arrays of shape ().

    Attributes:
        chi2: of the residual without its part along the slopes.
        held: χ² of that part.
        n_pixels: pixels that count.
        n_slopes: independent slopes.
        peak: largest residual of any filter [σ].
        place: its index in an array of shape (1 + filters, e, ny, nx), of which the first row is of single pixels.
        n_places: places at which a filter was applied.
        signal_to_noise: that of the model image.
    """

    chi2: Any
    held: Any
    n_pixels: Any
    n_slopes: Any
    peak: Any
    place: Any
    n_places: Any
    signal_to_noise: Any


def measure(
    data: jax.Array, root: jax.Array, model: jax.Array, slopes: jax.Array, shapes: jax.Array, centres: jax.Array
) -> Measured:
    """What the tests need to know of a fit.

    Args:
        data, model: the image and that of a fit near its mode in e exposures, shape (e, ny, nx) [flux per pixel].
        root: 1/σ of each pixel, 0 for a masked one, whose data may be anything.
        slopes: derivatives of the model by the latents, in any units, shape (n, e, ny, nx).
        shapes: of the filters: images of what is looked for beside single pixels, shape (f, e, ny, nx).
        centres: their centres (x, y) [pixel from the lower left corner], shape (f, e, 2).

    Returns:
        Numbers that are not finite if the model, a slope or χ² is not: a fit that did not converge can end at a size
        that overflows.

    Source:
        The projection of a linear least-squares fit.
    """
    counted = root > 0
    residual = (jnp.where(counted, data, model) - model) * root
    basis = _basis(slopes * root)
    along = jnp.tensordot(basis, residual, axes=residual.ndim)
    free = residual - jnp.tensordot(along, basis, axes=1)
    z, usable = jax.vmap(_matched, in_axes=(0, 0, 1, 1, 1), out_axes=1)(free, root, basis, shapes, centres)
    place = jnp.argmax(jnp.abs(z))
    return Measured(
        chi2=jnp.sum(free**2),
        held=along @ along,
        n_pixels=jnp.sum(counted),
        n_slopes=jnp.sum(jnp.sum(basis**2, axis=(1, 2, 3)) > 0.5),
        peak=z.ravel()[place],
        place=place,
        n_places=jnp.sum(usable),
        signal_to_noise=jnp.linalg.norm((model * root).ravel()),
    )


def goodness(found: Measured, shape: tuple[int, int, int], filters: Sequence[str]) -> Goodness | None:
    """The goodness of a fit.

    Args:
        found: on the host.
        shape: (e, ny, nx).
        filters: names of the shapes.

    Returns:
        None if no pixel is left for the test, or if a number is not finite.

    Source:
        p-values of the places of a filter, and of the three tests, are added (Bonferroni), so that p is at most what it
        says.
    """
    chi2, held, sigma, signal = (float(x) for x in (found.chi2, found.held, found.peak, found.signal_to_noise))
    n_slopes = int(found.n_slopes)
    dof = int(found.n_pixels) - n_slopes
    if dof <= 0 or not np.isfinite(chi2 + held + sigma + signal):
        return None
    chi2_p, prior_p = float(special.chdtrc(dof, chi2)), float(special.chdtrc(max(n_slopes, 1), held))
    peak_p = min(1.0, 2 * int(found.n_places) * float(special.ndtr(-abs(sigma))))
    at, exposure, y, x = (int(i) for i in np.unravel_index(int(found.place), (1 + len(filters), *shape)))
    return Goodness(
        chi2=chi2,
        dof=dof,
        chi2_p=chi2_p,
        peak_sigma=sigma,
        peak_exposure=exposure,
        peak_x=x + 0.5,
        peak_y=y + 0.5,
        peak_shape=("pixel", *filters)[at],
        peak_p=peak_p,
        prior_sigma=held**0.5,
        prior_p=prior_p,
        p=min(1.0, 3 * min(chi2_p, peak_p, prior_p)),
        signal_to_noise=signal,
    )


def sizes(found: Goodness) -> Mapping[str, float]:
    """What each test sees, relative to the galaxy: its S/N over that of the galaxy; the p-values by the same names."""
    excess = max(found.chi2 - found.dof, 0.0) ** 0.5
    signal = found.signal_to_noise or 0.0
    seen = {"chi2_p": excess, "peak_p": abs(found.peak_sigma), "prior_p": found.prior_sigma}
    return {name: size / signal if signal > 0 else np.inf for name, size in seen.items()}


def _basis(slopes: jax.Array) -> jax.Array:
    """Orthonormal images with the same span, shape (n, e, ny, nx); zero where a slope depends on those before it."""
    flat = slopes.reshape(len(slopes), -1)
    size = jnp.linalg.norm(flat, axis=1, keepdims=True)
    least = float(np.finfo(flat.dtype).eps) ** 0.5

    def orthogonal(at: int, rows: jax.Array) -> jax.Array:
        before = jnp.where(jnp.arange(len(rows)) < at, 1, 0)
        row = rows[at]
        # Once more, against what rounding leaves of the others.
        for _ in range(2):
            row = row - (before * (rows @ row)) @ rows
        left = jnp.linalg.norm(row)
        return rows.at[at].set(jnp.where(left < least, 0, row / left))

    # A slope that is not finite stays so.
    unit = jnp.where(size == 0, 0, flat / size)
    rows: jax.Array = jax.lax.fori_loop(0, len(flat), orthogonal, unit)
    return rows.reshape(slopes.shape)


def _matched(
    free: jax.Array, root: jax.Array, basis: jax.Array, shapes: jax.Array, centres: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Residuals of single pixels and of every filter [σ], and where they count, shape (1 + f, ny, nx).

    The filters are periodic beyond a third of a stamp at its edge, which only what is that far from a shape's centre
    reaches: no error, since their power is that of the same filter.
    """
    counted = root > 0
    share = 1 - jnp.sum(basis**2, axis=0)
    ny, nx = free.shape
    padded = fft.next_fast_len(ny + ny // 3, real=True), fft.next_fast_len(nx + nx // 3, real=True)
    images = jnp.fft.rfft2(jnp.stack([root * free, root**2, *(root * basis)]), padded)
    ky, kx = jnp.fft.fftfreq(padded[0])[:, None], jnp.fft.rfftfreq(padded[1])
    found = [(free, share, counted & (share > _FREE))]
    for image, centre in zip(shapes, centres, strict=True):
        # The shape around the centre of the first pixel, and its square.
        kernel = jnp.fft.rfft2(image, padded) * jnp.exp(2j * np.pi * (kx * (centre[0] - 0.5) + ky * (centre[1] - 0.5)))
        square = jnp.fft.rfft2(jnp.fft.irfft2(kernel, padded) ** 2)
        by = jnp.stack([kernel, square, *[kernel] * len(basis)]).conj()
        dot, power, *taken = jnp.fft.irfft2(images * by, padded)[:, :ny, :nx]
        left = power - sum(one**2 for one in taken)
        found.append((dot, left, (left > _FREE * power) & (power > _INSIDE * power.max())))
    z = [jnp.where(usable, dot / jnp.sqrt(jnp.where(usable, left, 1)), 0) for dot, left, usable in found]
    return jnp.stack(z), jnp.stack([usable for *_, usable in found])
