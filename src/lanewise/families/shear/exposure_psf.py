"""The point-spread function of an exposure: an image of its own, or of many in a field the nearest to the object."""

from __future__ import annotations

import numpy as np

from lanewise.errors import DataError
from lanewise.families.shear import psf_image, row_planes
from lanewise.families.shear.exposure_table import Row
from lanewise.families.shear.point_spread import PsfImages, Tiles

Place = tuple[float, float]


def read(psf: PsfImages, row: Row, where: str, place: Place, field: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    """`psf`, of unit sum, shape (ny, nx), and `psf_centre`, its centre x, y, shape (2,).

    Args:
        where: table and row, for error messages.
        place: of the object in the image of the exposure [pixel from the lower left corner].
        field: (ny, nx) of this image if it shows the field; None if it is but a stamp.

    Raises:
        DataError: the files, or what the row and the config say of them, are not as they must be.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    if psf.tiles is None and "psf_places" not in row.planes:
        chosen = row_planes.layer(row, "psf", where).values[0]
    else:
        images, grid = _images(psf.tiles, row, where)
        if "psf_index" in row.numbers:
            at = row_planes.numbered(row, "psf", "psf_index", len(images), where)
        else:
            at = _nearest(_places(psf.tiles, row, where, grid, field), _place(row, where, place, field))
        chosen = images[at]
    try:
        image = psf_image.normalized(chosen, row.planes["psf"].file.path)
    except DataError as error:
        raise DataError(f"{where}, column psf: {error}") from None
    ny, nx = image.shape
    return {"psf": image, "psf_centre": np.array((row.numbers.get("psf_x", nx / 2), row.numbers.get("psf_y", ny / 2)))}


def _images(tiles: Tiles | None, row: Row, where: str) -> tuple[np.ndarray, tuple[int, int]]:
    """All images of the plane, shape (n, ny, nx), and their numbers along y and x in it.

    Tiles are counted row by row from the lower left corner.
    """
    images = row_planes.plane(row, "psf", where).values
    if tiles is None:
        return images, (1, len(images))
    what, size = f"{where}, column psf: {row.planes['psf'].file.path}", tiles.size
    if len(images) != 1:
        raise DataError(f"{what}: has {len(images)} images, expected one plane of tiles (psf.tiles)")
    ny, nx = images[0].shape
    if ny % size or nx % size:
        raise DataError(f"{what}: {nx} × {ny} pixels are no whole number of tiles of {size} × {size} (psf.tiles.size)")
    n_y, n_x = ny // size, nx // size
    return images[0].reshape(n_y, size, n_x, size).swapaxes(1, 2).reshape(-1, size, size), (n_y, n_x)


def _places(
    tiles: Tiles | None, row: Row, where: str, grid: tuple[int, int], field: tuple[int, ...] | None
) -> np.ndarray:
    """x, y of the place in the field to which each image belongs [pixel from the lower left corner], shape (n, 2)."""
    n_y, n_x = grid
    if "psf_places" in row.planes:
        found = row_planes.plane(row, "psf_places", where).values
        if found.shape != (1, n_y * n_x, 2):
            shape = found.shape[1:] if len(found) == 1 else found.shape
            message = f"expected x and y of each image of column psf, shape ({n_y * n_x}, 2), got {shape}"
            raise DataError(f"{where}, column psf_places: {row.planes['psf_places'].file.path}: {message}")
        return np.asarray(found[0], np.float64)
    assert tiles is not None
    if tiles.first is not None and tiles.step is not None:
        x, y = (first + step * np.arange(n) for first, step, n in zip(tiles.first, tiles.step, (n_x, n_y), strict=True))
    elif field is not None:
        x, y = ((np.arange(n) + 0.5) * size / n for size, n in zip(field[::-1], (n_x, n_y), strict=True))
    else:
        message = "tiles cover the image evenly, which is but a stamp here"
        raise DataError(f"{where}, column image: {message}; give psf.tiles.first_x, first_y, step_x and step_y")
    return np.stack([np.tile(x, n_y), np.repeat(y, n_x)], axis=1)


def _place(row: Row, where: str, place: Place, field: tuple[int, ...] | None) -> Place:
    """The object's place in the field that the images of the point-spread function cover."""
    if "tile_x" in row.numbers:
        return row.numbers["tile_x"], row.numbers["tile_y"]
    if field is None:
        message = "the image is but a stamp, and does not tell the object's place in the field of the tiles"
        raise DataError(f"{where}, column image: {message}; give it in the columns tile_x and tile_y")
    return place


def _nearest(places: np.ndarray, place: Place) -> int:
    """Number of the nearest place; of equals the first."""
    return int(np.argmin(np.sum((places - np.asarray(place)) ** 2, axis=1)))
