"""Estimates for a scene before a run: the error of g from one image, and the light outside the stamp.

They are correct to about ten percent, and affect warnings to the user, never a number of the results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from scipy import special

from lanewise.families.shear import brightness
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.scene import Component
from lanewise.statistics.numbers import number, percent

_SERSIC_INDEX = {"Gaussian": 0.5, "Exponential": 1.0, "DeVaucouleurs": 4.0}
# The first as `statistics.validity.RESPONSE_MIN`, whose module every container would have to import.
_SHRINKAGE, _LIGHT_OUTSIDE = 0.9, 0.05
# A Gaussian of this width is already narrower inside the unit disc, by a tenth.
_WIDEST = 0.4


def remarks(config: ShearConfig) -> Iterator[str]:
    """Warnings about a valid scene: a prior that is narrow against the error of g, a stamp that is too small."""
    width = shear_width(config)
    for name, prior in config.latents.items():
        if name not in ("g1", "g2") or config.population is not None:
            continue
        if prior.type == "Normal":
            sigma = prior.fields["sigma"]
            kept = sigma**2 / (sigma**2 + width**2)
            if kept < _SHRINKAGE:
                yield (
                    f"gal.shear.{name}: the prior's sigma is {sigma:g}, and one image measures {name} to about "
                    f"±{number(width, '.2g')}: posterior means keep about {percent(kept, '.0f')} of the shear "
                    f"(λ ≈ {kept:.2f}); below "
                    f"{_SHRINKAGE:g} the verdict on m is INVALID; {_remedy(3 * width)}"
                )
        elif prior.type == "Uniform":
            low, high = prior.bounds
            kept = _kept_between((high - low) / 2 / width)
            if kept < _SHRINKAGE:
                yield (
                    f"gal.shear.{name}: the prior ends at {low:g} and {high:g}, and one image measures "
                    f"{name} to about ±{number(width, '.2g')}: posterior means keep about "
                    f"{percent(kept, '.0f')} of the shear in the middle "
                    f"(λ ≈ {kept:.2f}), less at the ends; bounds {number(8 * width, '.2g')} apart or more avoid it"
                )
    lost = light_outside(config)
    if lost > _LIGHT_OUTSIDE:
        yield (
            f"image: about {percent(lost, '.0f')} of the galaxy's light falls outside the stamp; the model "
            "accounts for it, but a "
            "larger image.size_x and size_y would lower the error"
        )


def _remedy(sigma: float) -> str:
    """What to do for a prior of a wanted width, which |g| < 1 limits."""
    if sigma > _WIDEST:
        return "no prior inside |g| < 1 is wide enough to avoid it; it takes images with a higher S/N"
    return f"a sigma of {number(sigma, '.2g')} or more avoids it"


def shear_width(config: ShearConfig) -> float:
    """Standard error of g from one image [reduced shear].

    √2 / (S/N) divided by R² = r_galaxy² / (r_galaxy² + r_psf²), by which the point-spread function dilutes the shape.
    """
    galaxy = brightness.galaxy_radius(config.galaxy)
    response = galaxy**2 / (galaxy**2 + brightness.psf_radius(config.psf) ** 2)
    return math.sqrt(2) / brightness.signal_to_noise(config.image, config.psf, config.galaxy) / response


def light_outside(config: ShearConfig) -> float:
    """Fraction of the galaxy's light outside the largest circle inside the stamp."""
    edge = min(config.image.size_x, config.image.size_y) * config.image.pixel_scale / 2
    blur = math.hypot(1.0, brightness.psf_radius(config.psf) / brightness.galaxy_radius(config.galaxy))
    return sum(share * _outside(config, part, edge / blur) for part, share in brightness.shares(config.galaxy))


def _kept_between(half: float) -> float:
    """Variance of a unit Gaussian truncated at ±`half`; it equals the response of its mean to a shift."""
    density = math.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)
    return 1 - 2 * half * density / math.erf(half / math.sqrt(2))


def _outside(config: ShearConfig, part: Component, radius: float) -> float:
    """Fraction of a component's light outside a radius [arcsec]."""
    ratio = radius / config.galaxy.centres[part.half_light_radius]
    if part.type == "Moffat":
        slope = 1 - config.galaxy.centres[part.shape or "beta"]
        # (1 + r²)^(1−β) is ½ at the half-light radius.
        return float((1 + (2 ** (-1 / slope) - 1) * ratio**2) ** slope)
    index = config.galaxy.centres[part.shape] if part.shape else _SERSIC_INDEX[part.type]
    scale = special.gammaincinv(2 * index, 0.5)
    return float(special.gammaincc(2 * index, scale * ratio ** (1 / index)))
