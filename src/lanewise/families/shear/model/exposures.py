"""Exposures of one object: each has a Jacobian, a centre and a point-spread function of its own; log likelihoods add.

The galaxy and its shear have the axes of the sky, an exposure those of its pixels. The Jacobian J takes pixels to the
sky, w = J (p − o), where p = o is the place of the object. In Fourier space it acts on the wave vectors: a galaxy with
the transform F(k) has the transform exp(−i k·so) F(Aᵀk) in an exposure, where A = s J⁻¹, s is the config's pixel scale,
and k belongs to the pixel coordinates s p [arcsec].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from lanewise.families.shear import psf_image
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model import psf
from lanewise.families.shear.model.light import Ellipse
from lanewise.families.shear.point_spread import PsfImages
from lanewise.manifest.problem import Data

# Arrays with a row for each exposure, as they are observed.
OBSERVED = ("image", "weight", "jacobian", "offset", "flux_factor", "psf", "psf_centre", "band", "power")
# Prepared arrays that belong to the object as a whole.
_SHARED = ("given", "centre", "place")


@dataclass(frozen=True)
class Exposure:
    """How an exposure sees the sky.

    Attributes:
        frame: A = s J⁻¹, shape (2, 2), without unit.
        offset: place of the object [pixel from the middle of the stamp], shape (2,).
        flux_factor: flux in this exposure over that of the galaxy.
        psf: image of the point-spread function, shape (ny, nx), of unit sum; None: that of the config.
        psf_centre: its centre (x, y) [pixel from the lower left corner].
        counts: False for an exposure that only fills up the array.
    """

    frame: np.ndarray
    offset: np.ndarray
    flux_factor: float = 1.0
    psf: np.ndarray | None = None
    psf_centre: tuple[float, float] | None = None
    counts: bool = True

    def transfer(self, config: ShearConfig, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        """Factor from the galaxy's transform at Aᵀk to that of the exposure, without the pixel; complex."""
        scale = config.image.pixel_scale
        if self.psf is None:
            found = psf.transform(config.psf, kx, ky, self.frame)
        else:
            assert isinstance(config.psf, PsfImages)
            found = psf_image.transform(self.psf, config.psf.pixel_scale, kx=kx, ky=ky, centre=self.psf_centre)
        turn = np.exp(-1j * scale * (kx * self.offset[0] + ky[:, None] * self.offset[1]))
        return np.asarray(self.counts * self.flux_factor * found * turn)


def each(config: ShearConfig, data: Mapping[str, np.ndarray]) -> Iterator[tuple[Exposure, Mapping[str, np.ndarray]]]:
    """Every exposure with its own arrays."""
    for at in range(len(data["image"])):
        own = {name: data[name][at] for name in OBSERVED if name in data}
        centre = own.get("psf_centre")
        yield (
            Exposure(
                config.image.pixel_scale * np.linalg.inv(own["jacobian"]),
                own["offset"],
                float(own["flux_factor"]),
                own.get("psf"),
                None if centre is None else (float(centre[0]), float(centre[1])),
                bool(data["mask"][at]) if "mask" in data else True,
            ),
            own,
        )


def are_in(data: Mapping[str, Any]) -> bool:
    """Whether the data, observed or prepared, are those of exposures."""
    return "jacobian" in data or "frame" in data


def over(function: Callable[[Data], Any], data: Data) -> Any:
    """The function of each exposure's data, with a leading axis; of data without exposures, as it is."""
    if not are_in(data):
        return function(data)
    shared = {name: data[name] for name in _SHARED if name in data}
    own = {name: array for name, array in data.items() if name not in shared}
    return jax.vmap(lambda one: function({**shared, **one}))(own)


def seen(ellipse: Ellipse, x: Any, y: Any, frame: jax.Array) -> tuple[Ellipse, Any, Any]:
    """The ellipse A M Aᵀ, and the centre A (x, y), in the pixel coordinates of an exposure."""
    (a, b), (c, d) = frame
    xx, xy, yy = ellipse
    return (
        Ellipse(
            a * a * xx + 2 * a * b * xy + b * b * yy,
            a * c * xx + (a * d + b * c) * xy + b * d * yy,
            c * c * xx + 2 * c * d * xy + d * d * yy,
        ),
        a * x + b * y,
        c * x + d * y,
    )
