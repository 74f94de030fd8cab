"""Read images from a FITS file, and the size of a pixel that its header states."""

from __future__ import annotations

import gzip
import io
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanewise.errors import DataError

# Two sizes of a pixel agree within this fraction; over the field of a survey camera the size varies as much.
SCALE_TOLERANCE = 0.01
# Step of the numerical derivatives of celestial coordinates [pixel].
_STEP = 0.5
_ARCSEC_PER_RADIAN = 180 * 3600 / np.pi
_GZIP = b"\x1f\x8b"
_SCALE_KEY = re.compile(r"CDELT[12]|(CD|PC)[12]_[12]")


def read(raw: bytes, path: str, name: str) -> tuple[np.ndarray, float | None]:
    """One image or cube of a FITS file, compressed by gzip or not, and the size of its pixels [arcsec], if stated.

    Args:
        raw: content of the file.
        path: for error messages.
        name: name or number of the extension; empty: the only one with an image.

    Raises:
        DataError: there is no such image, several have the name, or the header contradicts itself or square pixels.
    """
    values, header = _read(raw, path, name)
    return values, _pixel_scale(header, path)


@dataclass(frozen=True)
class Sky:
    """Celestial coordinates of an image; pixels count from the lower left corner, +u is west and +v is north."""

    coordinates: Any

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """x, y of a place in the sky [degree]."""
        x, y = self.coordinates.all_world2pix(*self._in_order(ra, dec), 0)
        return float(x) + 0.5, float(y) + 0.5

    def jacobian(self, x: float, y: float) -> np.ndarray:
        """((du/dx, du/dy), (dv/dx, dv/dy)) in the tangential plane at a pixel [arcsec per pixel], shape (2, 2)."""
        steps = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) * _STEP
        world = np.deg2rad(self.coordinates.all_pix2world(steps + np.array([x - 0.5, y - 0.5]), 0))
        ra, dec = (world[:, at] for at in self._in_order(0, 1))
        # Gnomonic projection; small differences of angles, without loss of digits.
        turn = ra - ra[0]
        depth = np.sin(dec[0]) * np.sin(dec) + np.cos(dec[0]) * np.cos(dec) * np.cos(turn)
        west = -np.cos(dec) * np.sin(turn) / depth
        north = (np.sin(dec - dec[0]) + 2 * np.sin(dec[0]) * np.cos(dec) * np.sin(turn / 2) ** 2) / depth
        sky = np.stack([west, north]) * _ARCSEC_PER_RADIAN
        return np.stack([sky[:, 1] - sky[:, 2], sky[:, 3] - sky[:, 4]], axis=1) / (2 * _STEP)

    def _in_order(self, ra: Any, dec: Any) -> tuple[Any, Any]:
        """In the order of the header's axes."""
        return (dec, ra) if self.coordinates.wcs.lat == 0 else (ra, dec)


def read_with_sky(raw: bytes, path: str, name: str) -> tuple[np.ndarray, Sky | None, int | None]:
    """One image or cube as `read`, whose pixels may be oblong, and what its header tells of it.

    Returns:
        The pixels; celestial coordinates, or None; the keyword STMPSIZE, edge of the stamps that the image holds side
        by side [pixel], or None.

    Raises:
        DataError: there is no such image, or several have the name.
    """
    from astropy import wcs

    values, header = _read(raw, path, name)
    with warnings.catch_warnings():
        # Suppress astropy's warnings about deprecated keywords.
        warnings.simplefilter("ignore")
        coordinates = wcs.WCS(header)
    stated = header.get("STMPSIZE")
    tile = None if stated is None else int(stated)
    return values, Sky(coordinates.celestial) if coordinates.has_celestial else None, tile


def table(raw: bytes, name: str) -> dict[str, np.ndarray] | None:
    """The columns of numbers of a binary table, by name in lower case; None if an image or nothing has this name.

    Args:
        name: name or number of the extension; empty: the only table, if there is no image.
    """
    from astropy.io import fits

    with _opened(raw) as units:
        tables = {at: one for at, one in enumerate(units) if isinstance(one, fits.BinTableHDU) and not one.is_image}
        if name:
            found = [one for at, one in tables.items() if name.upper() in (str(at), one.name.upper())]
        else:
            found = [] if any(one.is_image and one.shape for one in units) else [*tables.values()]
        if len(found) != 1:
            return None
        data = found[0].data
        return {
            one.lower(): np.asarray(data[one]).astype(np.float64) for one in data.names if data[one].dtype.kind in "fiu"
        }


def _read(raw: bytes, path: str, name: str) -> tuple[np.ndarray, Any]:
    with _opened(raw) as units:
        unit = _chosen(units, path, name)
        # FITS is big-endian; arithmetic is faster in the native byte order.
        return np.asarray(unit.data).astype(unit.data.dtype.newbyteorder("=")), unit.header


def _opened(raw: bytes) -> Any:
    """The units of a FITS file, compressed by gzip or not."""
    from astropy.io import fits

    # astropy decompresses files by their name, not what is in memory.
    return fits.open(io.BytesIO(gzip.decompress(raw) if raw.startswith(_GZIP) else raw), memmap=False)


def _chosen(units: Any, path: str, name: str) -> Any:
    images = {index: unit for index, unit in enumerate(units) if unit.is_image and unit.shape}
    listed = ", ".join(
        f"{index} ({unit.name or 'no name'}, {' × '.join(map(str, unit.shape[::-1]))})"
        for index, unit in images.items()
    )
    found = [unit for index, unit in images.items() if name.upper() in ("", str(index), unit.name.upper())]
    if len(found) == 1:
        return found[0]
    there = f"{path}: has {len(found) or 'no'} images" + (f" '{name}'" if name else "")
    raise DataError(f"{there}; it has {listed or 'none'}; name one of them: {path}#NUMBER or #NAME")


def _pixel_scale(header: Any, path: str) -> float | None:
    """Square root of the pixel area [arcsec]; None if the header states no size in a unit of angle."""
    jacobian = _jacobian(header)
    scale = None
    if jacobian is not None:
        large, small = np.linalg.svd(jacobian, compute_uv=False)
        # No square pixel agrees with both sides.
        if large * (1 - SCALE_TOLERANCE) > small * (1 + SCALE_TOLERANCE):
            found = f"the header's pixels are {small:.5g} × {large:.5g} arcsec, a ratio of {large / small:.4g}"
            raise DataError(f"{path}: {found}; the model has square pixels: resample the images")
        scale = float(np.sqrt(large * small))
    if "GS_SCALE" not in header:
        return scale
    named = float(header["GS_SCALE"])
    if scale is not None and abs(named / scale - 1) > SCALE_TOLERANCE:
        raise DataError(f"{path}: GS_SCALE says {named:.5g} arcsec per pixel, the coordinates {scale:.5g}; correct one")
    return named


def _jacobian(header: Any) -> np.ndarray | None:
    """Steps on the sky per pixel [arcsec], shape (2, 2); None if the header states none in a unit of angle."""
    from astropy import units, wcs

    # Coordinates without these keys have steps of 1 by default.
    if not any(_SCALE_KEY.fullmatch(key) for key in header):
        return None
    with warnings.catch_warnings():
        # Suppress astropy's warnings about deprecated keywords.
        warnings.simplefilter("ignore")
        coordinates = wcs.WCS(header)
        if coordinates.has_celestial:
            coordinates = coordinates.celestial
        steps, angles = coordinates.pixel_scale_matrix[:2, :2], list(coordinates.wcs.cunit)[:2]
    if "GS_WCS" in header and not any(map(str, angles)):  # GalSim's own coordinates: arcsec, without a unit
        return np.asarray(steps)
    if len(angles) < 2 or any(unit.physical_type != "angle" for unit in angles):
        return None
    return np.asarray(steps * [[unit.to(units.arcsec)] for unit in angles])
