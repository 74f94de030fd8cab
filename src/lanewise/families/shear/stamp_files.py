"""Read stamps from FITS, NPZ, NPY or HDF5 files: one image or an array of them."""

from __future__ import annotations

import functools
import io
import os
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import fits_images
from lanewise.families.shear.fits_images import Sky
from lanewise.manifest.document import Document, Path
from lanewise.manifest.locations import beside
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

# What readers of damaged files raise.
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Stamps:
    """The images of one file.

    Attributes:
        values: pixel values in the file's own units, shape (n, ny, nx).
        pixel_scale: size of a pixel [arcsec] from a FITS header; None if the file states none.
        sky: celestial coordinates from a FITS header; None if it has none, or if they were not asked for.
        tile: edge of the stamps that the image holds side by side [pixel], from a FITS header; as `sky`.
    """

    values: np.ndarray
    pixel_scale: float | None
    sky: Sky | None = None
    tile: int | None = None


def resolve(manifest: Document, place: Path) -> list[dict[str, Any]]:
    """Every file that the path or pattern at `place` names, with its SHA-256 and the name of an array after #.

    Raises:
        ManifestError: a file is missing.
    """
    path, name = split_name(manifest.at(place), manifest.source)
    named = manifest.override(place, path, manifest.origin(place)[0]) if name else manifest
    return [{**one, "name": name} for one in inputs.resolve(named, place)]


def resolve_one(config: Document, place: Path) -> dict[str, Any]:
    """As `resolve`, of a path that must name one file.

    Raises:
        ManifestError: the file is missing, or there are several.
    """
    found = resolve(config, place)
    if len(found) != 1:
        raise ManifestError([config.complaint(place, f"expected one file, got {len(found)}")])
    return found[0]


def split_name(written: str, source: str) -> tuple[str, str]:
    """A path as it is written in `source`, and the name of an array after #; empty without one."""
    path, sign, name = written.rpartition("#")
    if not sign or os.path.exists(beside(source, written)):  # a # in the name of the file or of its directory
        return written, ""
    return path, name


@functools.lru_cache(maxsize=4)
def load(file: Input, name: str) -> Stamps:
    """The images in a pinned file; neighbours of one file read it once.

    Raises:
        DataError: the file has changed, or cannot be read as images.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    return read(inputs.read(file), file.path, name)


_planes: OrderedDict[tuple[Input, str], Stamps] = OrderedDict()
# Planes in memory for the next object [bytes].
_PLANES_BYTES = 1 << 29


def plane(file: Input, name: str) -> Stamps:
    """The images in a pinned file with their coordinates in the sky, whose pixels need not be squares.

    The last planes are kept, up to 512 MiB: the objects of a survey lie many to a file.

    Raises:
        DataError: the file has changed, or cannot be read as images.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    found = _planes.pop((file, name), None) or read(inputs.read(file), file.path, name, sky=True)
    _planes[file, name] = found
    while len(_planes) > 1 and sum(one.values.nbytes for one in _planes.values()) > _PLANES_BYTES:
        _planes.popitem(last=False)
    return found


@functools.lru_cache(maxsize=8)
def table(file: Input, name: str) -> dict[str, np.ndarray] | None:
    """The columns of a binary table in a pinned FITS file; None if it is no table, or no FITS file.

    Raises:
        DataError: the file has changed, or cannot be read.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    if not any(file.path.lower().endswith(suffix) for suffix, one in _READERS.items() if one is fits_images.read):
        return None
    raw = inputs.read(file)
    try:
        return fits_images.table(raw, name)
    except _UNREADABLE as error:
        raise DataError(f"{file.path}: cannot be read: {error}") from None


def read(raw: bytes, path: str, name: str = "", *, sky: bool = False) -> Stamps:
    """The images in a file.

    Args:
        raw: content of the file.
        path: path of the file, for error messages; its suffix decides the format.
        name: name of the array in an NPZ or HDF5 file, or name or number of the FITS extension; empty: the only one.
        sky: read celestial coordinates, and not the size of a pixel.

    Raises:
        DataError: the file cannot be read as images.
    """
    reader = next((one for suffix, one in _READERS.items() if path.lower().endswith(suffix)), None)
    if reader is None:
        raise DataError(f"{path}: expected a file that ends in {', '.join(_READERS)}")
    try:
        if sky and reader is fits_images.read:
            values, coordinates, tile = fits_images.read_with_sky(raw, path, name)
            scale = None
        else:
            (values, scale), coordinates, tile = reader(raw, path, name), None, None
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if values.dtype.kind not in "fiub" or values.ndim not in {2, 3}:
        found = f"{values.dtype} of shape {values.shape}"
        raise DataError(f"{path}: expected numbers of shape (ny, nx) or (n, ny, nx), got {found}")
    return Stamps(values if values.ndim == 3 else values[None], scale, coordinates, tile)


def contradiction(stated: float, configured: float, key: str) -> str:
    """What is wrong between the size of a pixel in a header and that at a key of the config [arcsec], or nothing."""
    if abs(stated / configured - 1) <= fits_images.SCALE_TOLERANCE:
        return ""
    return f"the header says {stated:.5g} arcsec per pixel, the config's {key} is {configured:g}; correct one"


def _npy(raw: bytes, path: str, name: str) -> tuple[np.ndarray, float | None]:
    # Pickled objects could run arbitrary code.
    return np.load(io.BytesIO(raw), allow_pickle=False), None


def _npz(raw: bytes, path: str, name: str) -> tuple[np.ndarray, float | None]:
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        return arrays[_chosen(list(arrays.files), name, path)], None


def _hdf5(raw: bytes, path: str, name: str) -> tuple[np.ndarray, float | None]:
    import h5py

    with h5py.File(io.BytesIO(raw), "r") as file:
        names: list[str] = []
        file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
        return file[_chosen(names, name.strip("/"), path)][...], None


def _chosen(names: list[str], name: str, path: str) -> str:
    listed = ", ".join(names) or "none"
    if name:
        if name not in names:
            raise DataError(f"{path}: has no array '{name}'; it has {listed}")
        return name
    if len(names) != 1:
        raise DataError(f"{path}: has {len(names)} arrays ({listed}); name one of them: {path}#NAME")
    return names[0]


_READERS = {
    ".fits": fits_images.read,
    ".fit": fits_images.read,
    ".fits.gz": fits_images.read,
    ".fits.fz": fits_images.read,
    ".npz": _npz,
    ".npy": _npy,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}
