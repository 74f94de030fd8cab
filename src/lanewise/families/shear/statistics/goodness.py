"""How well a model image describes an image: χ², matched filters for what the model lacks, and the pull of the priors.

A change of the latents can take the part of the residual that lies along the model's slopes. The rest does not depend
on the fit: in white noise its χ² has one degree of freedom per pixel less one per latent, whatever the priors are, and
it is independent of the estimates, so that to exclude by it does not bias them. The part along the slopes is what the
priors keep the fit from taking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import fft, special

from lanewise.engine.results import Goodness
from lanewise.statistics.regression import Array

# A filter is not applied where a change of the latents takes all but this share of its power, or where less than the
# second share of its power lies on pixels that count.
_FREE, _INSIDE = 0.01, 0.25


class Filter(NamedTuple):
    """The image of what is looked for, shape ([e,] ny, nx), and its centre (x, y) [pixel from the lower left corner].

    The centre has the shape (2,) or (e, 2).
    """

    name: str
    image: Array
    centre: Any


def goodness(data: Array, root: Array, model: Array, slopes: Array, filters: tuple[Filter, ...]) -> Goodness | None:
    """The goodness of a fit.

    Args:
        data, model: the image and that of a fit near its mode, shape (ny, nx), or (e, ny, nx) for e exposures
            [flux per pixel].
        root: 1/σ of each pixel, 0 for a masked one, whose data may be anything.
        slopes: derivatives of the model by the latents, in any units, shape (n, ny, nx) or (n, e, ny, nx).
        filters: what is looked for beside single pixels.

    Returns:
        None if no pixel is left for the test, or if the model, a slope or χ² is not finite: a fit that did not converge
        can end at a size that overflows.

    Source:
        The projection of a linear least-squares fit. p-values of the places of a filter, and of the three tests, are
        added (Bonferroni), so that p is at most what it says.
    """
    if not (np.all(np.isfinite(model)) and np.all(np.isfinite(slopes))):
        return None
    counted = root > 0
    residual = np.where(counted, data, model) - model
    residual *= root
    basis = _basis(slopes * root)
    dof = int(counted.sum()) - len(basis)
    if dof <= 0:
        return None
    along = np.tensordot(basis, residual, axes=residual.ndim)
    free = residual - np.tensordot(along, basis, axes=1)
    with np.errstate(over="ignore"):
        chi2, held = float(np.sum(free**2)), float(along @ along)
    if not np.isfinite(chi2 + held):
        return None
    sigma, place, name, n_places = _peak(free, root, basis, filters)
    chi2_p, prior_p = float(special.chdtrc(dof, chi2)), float(special.chdtrc(max(len(basis), 1), held))
    peak_p = min(1.0, 2 * n_places * float(special.ndtr(-abs(sigma))))
    return Goodness(
        chi2=chi2,
        dof=dof,
        chi2_p=chi2_p,
        peak_sigma=sigma,
        peak_exposure=place[0],
        peak_x=place[2] + 0.5,
        peak_y=place[1] + 0.5,
        peak_shape=name,
        peak_p=peak_p,
        prior_sigma=held**0.5,
        prior_p=prior_p,
        p=min(1.0, 3 * min(chi2_p, peak_p, prior_p)),
    )


def sizes(found: Goodness, signal: float) -> Mapping[str, float]:
    """What each test sees, relative to the galaxy: its S/N over that of the galaxy; the p-values by the same names."""
    excess = max(found.chi2 - found.dof, 0.0) ** 0.5
    seen = {"chi2_p": excess, "peak_p": abs(found.peak_sigma), "prior_p": found.prior_sigma}
    return {name: size / signal if signal > 0 else np.inf for name, size in seen.items()}


def _basis(slopes: Array) -> Array:
    """Orthonormal images with the same span, shape (n, [e,] ny, nx); slopes that vanish are left out."""
    flat = slopes.reshape(len(slopes), -1)
    size = np.linalg.norm(flat, axis=1)
    flat = flat[size > 0] / size[size > 0, None]
    orthonormal = np.linalg.qr(flat.T)[0].T
    return orthonormal.reshape(-1, *slopes.shape[1:])


def _peak(
    free: Array, root: Array, basis: Array, filters: tuple[Filter, ...]
) -> tuple[float, tuple[int, int, int], str, int]:
    """Largest residual of any filter [σ], its place (exposure, y, x), the filter's name, and the number of places."""
    if free.ndim == 2:
        sigma, (y, x), name, n_places = _peak_of_one(free, root, basis, filters)
        return sigma, (0, y, x), name, n_places
    found = [
        _peak_of_one(
            free[at],
            root[at],
            basis[:, at],
            tuple(Filter(each.name, each.image[at], each.centre[at]) for each in filters),
        )
        for at in range(len(free))
    ]
    best = max(range(len(found)), key=lambda at: abs(found[at][0]))
    sigma, (y, x), name, _ = found[best]
    return sigma, (best, y, x), name, sum(n_places for *_, n_places in found)


def _peak_of_one(
    free: Array, root: Array, basis: Array, filters: tuple[Filter, ...]
) -> tuple[float, tuple[int, int], str, int]:
    """The same of one image, shape (ny, nx), with its place (y, x)."""
    counted = root > 0
    share = 1 - np.sum(basis**2, axis=0)
    found = [("pixel", free, share, counted & (share > _FREE))]
    ny, nx = free.shape
    padded = fft.next_fast_len(2 * ny, real=True), fft.next_fast_len(2 * nx, real=True)
    images = fft.rfft2(np.stack([root * free, root**2, *(root * basis)]), padded)
    for name, image, centre in filters:
        about = _about(image, padded, centre)
        kernel, square = fft.rfft2(np.stack([about, about**2])).conj()
        product = fft.irfft2(np.concatenate([images[:1] * kernel, images[1:2] * square, images[2:] * kernel]), padded)
        dot, power, *taken = product[:, :ny, :nx]
        left = power - np.sum(np.square(taken), axis=0)
        usable = (left > _FREE * power) & (power > _INSIDE * power.max())
        found.append((name, dot, left, usable))
    best = (0.0, (0, 0), "pixel")
    for name, dot, left, usable in found:
        z = np.where(usable, dot / np.sqrt(np.where(usable, left, 1.0)), 0.0)
        y, x = np.unravel_index(int(np.abs(z).argmax()), z.shape)
        if abs(z[y, x]) > abs(best[0]):
            best = float(z[y, x]), (int(y), int(x)), name
    return (*best, sum(int(usable.sum()) for *_, usable in found))


def _about(image: Array, padded: tuple[int, int], centre: Sequence[float]) -> Array:
    """A larger, periodic image in which `centre` is at the centre of the first pixel."""
    ky, kx = fft.fftfreq(padded[0])[:, None], fft.rfftfreq(padded[1])
    turn = np.exp(2j * np.pi * (kx * (centre[0] - 0.5) + ky * (centre[1] - 0.5)))
    moved: Array = fft.irfft2(fft.rfft2(image, padded) * turn, padded)
    return moved
