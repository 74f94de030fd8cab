"""How bright and how wide a galaxy appears on its stamp, and the floating-point type that carries it.

They approximate the galaxy convolved with the point-spread function by a Gaussian of the same half-light radius, and
are correct to about ten percent.
"""

from __future__ import annotations

import math

import numpy as np

from lanewise.families.shear import correlation, priors, psf_image
from lanewise.families.shear.point_spread import AnyPsf, PsfImage, PsfImages
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.scene import Component, Galaxy, Image

# Half-light radius of a Gaussian in units of σ.
_HALF_LIGHT = math.sqrt(2 * math.log(2))
# S/N up to which rounding in float32 loses nothing (docs/methods.md), and above which it exceeds the noise.
_FLOAT32_SAFE, FLOAT32_LIMIT = 1e3, 1e4
# The share of galaxies that the choice of the precision must hold for.
_NEARLY_ALL = 0.9999


def precision(image: Image, psf: AnyPsf, galaxy: Galaxy) -> str:
    """What `precision: auto` stands for: float32 if it carries the S/N of the brightest galaxies, else float64.

    An estimate from an image without noise is as good as the arithmetic, and variances of pixels that only files tell
    may be small: float64.
    """
    if not image.noise.simulated:
        return "float64"
    flux = dict(galaxy.parameters)["flux"]
    brightest = flux.quantile(_NEARLY_ALL) if isinstance(flux, Prior) else flux
    signal = signal_to_noise(image, psf, galaxy) * brightest / priors.centre(flux)
    return "float32" if signal <= _FLOAT32_SAFE else "float64"


def signal_to_noise(image: Image, psf: AnyPsf, galaxy: Galaxy) -> float:
    """S/N of the flux if all other parameters are known: flux √Σp² / σ, p = image of unit flux; ∞ without σ.

    In correlated noise √Σ|p̂|²/power over the modes of the stamp.
    """
    if not image.noise.sigma:
        return math.inf
    sigma_pixel = gaussian_sigma(psf, galaxy) / image.pixel_scale
    if image.noise.type == "Correlated":
        return galaxy.centres["flux"] * _correlated_signal(image, sigma_pixel)
    # A profile smaller than a pixel puts all its flux into one pixel: Σp² ≤ 1.
    squares = min(1.0, 1 / (4 * math.pi * sigma_pixel**2))
    return galaxy.centres["flux"] * math.sqrt(squares) / image.noise.sigma


def _correlated_signal(image: Image, sigma_pixel: float) -> float:
    ky, kx = np.fft.fftfreq(image.size_y), np.fft.rfftfreq(image.size_x)
    shape = np.exp(-4 * (np.pi * sigma_pixel) ** 2 * (ky[:, None] ** 2 + kx**2))
    power = correlation.power(image)
    # Every mode but those of the first column stands for two.
    weight = np.where((power > 0) & (kx > 0), 2.0, power > 0) / (image.size_x * image.size_y)
    return math.sqrt(float(np.sum(weight * shape / np.where(power > 0, power, 1.0))))


def gaussian_sigma(psf: AnyPsf, galaxy: Galaxy) -> float:
    """Standard deviation of the Gaussian that approximates the galaxy convolved with the PSF [arcsec]."""
    return math.hypot(galaxy_radius(galaxy), psf_radius(psf)) / _HALF_LIGHT


def galaxy_radius(galaxy: Galaxy) -> float:
    """Half-light radius of the galaxy [arcsec]; for a sum, the mean weighted by flux."""
    return sum(share * galaxy.centres[part.half_light_radius] for part, share in shares(galaxy))


def psf_radius(psf: AnyPsf) -> float:
    """Half-light radius of the point-spread function [arcsec]."""
    if isinstance(psf, PsfImage):
        return psf_image.half_light_radius(psf)
    psf = psf.typical if isinstance(psf, PsfImages) else psf
    if psf.type == "Moffat":
        # sigma is the full width at half maximum.
        scale = psf.sigma / (2 * math.sqrt(2 ** (1 / psf.beta) - 1))
        return scale * math.sqrt(2 ** (1 / (psf.beta - 1)) - 1)
    return psf.sigma * _HALF_LIGHT


def shares(galaxy: Galaxy) -> list[tuple[Component, float]]:
    """Each component with its fraction of the flux."""
    parts = [part for _, part in galaxy.components]
    given = {part: galaxy.centres[part.fraction] for part in parts if part.fraction}
    return [(part, given.get(part, 1 - sum(given.values()))) for part in parts]
