"""The exposures of one object, read from the files that a table names, on stamps of the object's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lanewise.errors import DataError
from lanewise.families.shear import exposure_noise, exposure_psf, row_planes
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.exposure_table import JACOBIAN, Exposures, Row
from lanewise.families.shear.fits_images import SCALE_TOLERANCE
from lanewise.families.shear.pixel_weights import inverse_variance
from lanewise.families.shear.point_spread import PsfImages
from lanewise.families.shear.scene import Image
from lanewise.families.shear.stamp_files import Stamps
from lanewise.manifest.problem import Observation

# Planes with the pixels of the image.
_LAYERS = ("image", "weight", "variance", "rms", "mask", "background")
# A pixel's size may differ from the config's by this fraction: the renderer's grid is chosen for the latter.
_SCALE_RANGE = 0.25
_Arrays = dict[str, np.ndarray]


def observe(config: ShearConfig, exposures: Exposures, truth: Mapping[str, float]) -> Observation:
    """Read the exposures of an object, without those of which every pixel is masked.

    Returns:
        data: as `ShearProblem` has them, with a leading axis for the exposures.

    Raises:
        DataError: a file has changed or has no such image, images of one exposure differ in shape, every pixel of
            every exposure is masked, or a value is not as it must be; it names table, row, file and column.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    if config.image.sizes:
        size = max(_size_of(config.image.sizes, row, f"{exposures.table}, row {row.number}") for row in exposures.rows)
        config = config.on_stamp((size, size))
    kept, _ = _read(config, exposures)
    data = _stacked(kept)
    shape = data["image"].shape[1:] if config.image.sizes else ()
    return Observation((data,), truth, ragged=tuple(data), sizes=(len(kept),), shape=shape)


def galaxy(config: ShearConfig, exposures: Exposures) -> dict[str, np.ndarray]:
    """Read the exposures of a galaxy of a population, whose number must be known before they are read.

    Returns:
        As the data of `observe`, with those of which every pixel is masked at the end: without weight they add a
            constant to the log likelihood.

    Raises:
        DataError: as `observe`.
        InputUnreachable: as `observe`.
    """
    kept, masked = _read(config, exposures)
    return _stacked([*kept, *masked])


def arrays(config: ShearConfig) -> tuple[str, ...]:
    """Names of the arrays of `galaxy`, all with a row for each exposure."""
    own = {
        "weight": config.image.noise.type == "PerPixel",
        "power": config.image.noise.per_exposure,
        "band": bool(config.galaxy.bands),
        "psf": isinstance(config.psf, PsfImages),
        "psf_centre": isinstance(config.psf, PsfImages),
    }
    return ("image", "jacobian", "offset", "flux_factor", *(name for name, there in own.items() if there))


def _read(config: ShearConfig, exposures: Exposures) -> tuple[list[_Arrays], list[_Arrays]]:
    """The exposures with pixels that count, at least one, and those without."""
    seen = [_exposure(config, row, f"{exposures.table}, row {row.number}") for row in exposures.rows]
    counted = [bool(np.any(one.get("weight", np.ones(1)) > 0)) for one in seen]
    if not any(counted):
        rows = ", ".join(str(row.number) for row in exposures.rows)
        raise DataError(f"{exposures.table}: every pixel of object {exposures.id} is masked (rows {rows})")
    pairs = list(zip(seen, counted, strict=True))
    return [one for one, counts in pairs if counts], [one for one, counts in pairs if not counts]


def _stacked(seen: Sequence[_Arrays]) -> _Arrays:
    """The arrays of exposures along a first axis."""
    psfs = [one["psf"] for one in seen if "psf" in one]
    data = {name: np.stack([one[name] for one in seen]) for name in seen[0] if name != "psf"}
    if psfs:
        # Smaller images are filled up with zeros above and to the right of them; their centres are told apart.
        shape = np.max([one.shape for one in psfs], axis=0)
        data["psf"] = np.stack([_cut(one, [0, 0], tuple(shape)) for one in psfs])
    return data


def _exposure(config: ShearConfig, row: Row, where: str) -> dict[str, np.ndarray]:
    if isinstance(config.psf, PsfImages) and "psf" not in row.planes:
        raise DataError(f"{where}, column psf: is missing; with psf: {{type: PerExposure}} every exposure has its own")
    read = {role: row_planes.layer(row, role, where) for role in _LAYERS if role in row.planes}
    image, stamp = read["image"].values[0], config.image
    for role, one in read.items():
        if one.values[0].shape != image.shape:
            (ny, nx), (my, mx) = one.values[0].shape, image.shape
            path = row.planes[role].file.path
            raise DataError(f"{where}, column {role}: {path}: {nx} × {ny} pixels, the image has {mx} × {my}")
    x, y = _place(row, read["image"], where)
    jacobian = _jacobian(config, row, read["image"], (x, y), where)
    values = {role: one.values[0] for role, one in read.items()}
    if "mask" in values and "mask_bits" in row.numbers:
        values["mask"] = values["mask"].astype(np.int64) & int(row.numbers["mask_bits"])
    values["image"] = values["image"].astype(np.float64) - values.pop("background", 0.0)
    paths = {role: f"{where}, column {role}: {one.file.path}" for role, one in row.planes.items()}
    if "rms" in values:
        rms = values.pop("rms").astype(np.float64)
        # What is not positive stays so, and is told.
        values["variance"], paths["variance"] = rms * np.abs(rms), paths["rms"]
    windows = [
        _window(n, size, at if {"x", "ra"} & set(row.numbers) else None)
        for n, size, at in zip(image.shape, (stamp.size_y, stamp.size_x), (y, x), strict=True)
    ]
    if None in windows:
        size = f"{image.shape[1]} × {image.shape[0]} pixels, the config's stamp has {stamp.size_x} × {stamp.size_y}"
        raise DataError(f"{paths['image']}: {size}; give the object's place in the columns x and y, or ra and dec")
    origin = [one for one in windows if one is not None]
    found = _noise(stamp, values, paths, origin)
    found |= {
        "jacobian": jacobian,
        "offset": np.array([x - origin[1] - stamp.size_x / 2, y - origin[0] - stamp.size_y / 2]),
        "flux_factor": np.array(row.numbers.get("flux_factor", 1.0)),
    }
    if config.image.noise.per_exposure:
        found |= exposure_noise.read(config, row, where)
    if config.galaxy.bands:
        found["band"] = np.array([float(name == row.band) for name, _ in config.galaxy.bands])
    if not isinstance(config.psf, PsfImages):
        return found
    whole = any(n > size for n, size in zip(image.shape, (stamp.size_y, stamp.size_x), strict=True))
    return found | exposure_psf.read(config.psf, row, where, (x, y), image.shape if whole else None)


def _size_of(sizes: Sequence[int], row: Row, where: str) -> int:
    """The smallest size that holds the column stamp_size, or without it the whole image [pixel]."""
    if "stamp_size" in row.numbers:
        asked, what = row.numbers["stamp_size"], f"{where}, column stamp_size: got {row.numbers['stamp_size']:g}"
    else:
        _, ny, nx = row_planes.plane(row, "image", where).values.shape
        asked = max(ny, nx)
        what = f"{where}, column image: {row.planes['image'].file.path}: {nx} × {ny} pixels"
    if found := [size for size in sizes if size >= asked]:
        return min(found)
    raise DataError(f"{what}; the largest of image.sizes is {max(sizes)}; add a larger one, or give stamp_size")


def _place(row: Row, image: Stamps, where: str) -> tuple[float, float]:
    """The object's place in the image [pixel from the lower left corner]: its middle unless the table tells it."""
    if "x" in row.numbers:
        return row.numbers["x"], row.numbers["y"]
    if "ra" not in row.numbers:
        _, ny, nx = image.values.shape
        return nx / 2, ny / 2
    if image.sky is None:
        path = row.planes["image"].file.path
        raise DataError(f"{where}, column ra: {path}: its header has no celestial coordinates; give x and y")
    return image.sky.pixel(row.numbers["ra"], row.numbers["dec"])


def _jacobian(config: ShearConfig, row: Row, image: Stamps, place: tuple[float, float], where: str) -> np.ndarray:
    """From pixels to the sky [arcsec per pixel], shape (2, 2): the table's, the header's, or square pixels."""
    scale = config.image.pixel_scale
    if JACOBIAN[0] in row.numbers:
        found = np.array([row.numbers[name] for name in JACOBIAN]).reshape(2, 2)
    elif image.sky is not None:
        found = image.sky.jacobian(*place)
    else:
        return scale * np.eye(2)
    size = _size(found)
    if image.sky is not None and not abs(size / _size(image.sky.jacobian(*place)) - 1) <= SCALE_TOLERANCE:
        stated = f"its header has pixels of {_size(image.sky.jacobian(*place)):.5g} arcsec"
        path = row.planes["image"].file.path
        raise DataError(f"{where}, column dudx: {path}: {stated}, the table's Jacobian {size:.5g}; correct one")
    if not abs(size / scale - 1) <= _SCALE_RANGE:
        message = f"the Jacobian's pixels have {size:.5g} arcsec, the config's image.pixel_scale is {scale:g}"
        raise DataError(f"{where}: {message}; set it to the typical size")
    return found


def _size(jacobian: np.ndarray) -> float:
    """Root of the area of a pixel [arcsec]."""
    return float(np.sqrt(abs(np.linalg.det(jacobian))))


def _window(n: int, size: int, at: float | None) -> int | None:
    """First pixel of the stamp along an axis of n pixels; None if an object must be cut out of more, and where is not
    known."""
    if n == size:
        return 0
    if n < size:
        return -((size - n) // 2)
    return None if at is None else round(at - size / 2)


def _noise(
    stamp: Image, values: Mapping[str, np.ndarray], paths: Mapping[str, str], origin: list[int]
) -> dict[str, np.ndarray]:
    """The stamp's image, and for PerPixel noise its inverse variance: 0 outside the file, and where a pixel is NaN."""
    size = stamp.size_y, stamp.size_x
    inside = _cut(np.ones(values["image"].shape, bool), origin, size)
    cut = {role: _cut(array, origin, size) for role, array in values.items()}
    if stamp.noise.type != "PerPixel":
        if not inside.all():
            message = "is smaller than the stamp, or the object too near its edge"
            raise DataError(f"{paths['image']}: {message}; it needs image.noise: {{type: PerPixel}} in the config")
        return {"image": cut["image"]}
    left_out = ~inside | np.isnan(cut["image"])
    mask = left_out | (cut["mask"] != 0) if "mask" in cut else left_out
    if not {"weight", "variance"} & set(cut) and stamp.noise.sigma is None:
        message = "has no weight, variance or rms, and the config's noise has no sigma; give one of them"
        raise DataError(f"{paths['image'].partition(', column')[0]}: {message}")
    weight = inverse_variance({**cut, "mask": mask}, paths, stamp.noise.sigma)
    return {"image": np.where(weight > 0, cut["image"], 0.0), "weight": weight}


def _cut(array: np.ndarray, origin: list[int], size: tuple[int, ...]) -> np.ndarray:
    """The stamp that begins at a pixel (y, x) of the array, 0 outside the array."""
    found = np.zeros(size, array.dtype)
    source, target = [], []
    for first, n, whole in zip(origin, size, array.shape, strict=True):
        low, high = max(first, 0), max(min(first + n, whole), 0)
        source.append(slice(low, max(low, high)))
        target.append(slice(low - first, max(low, high) - first))
    found[tuple(target)] = array[tuple(source)]
    return found
