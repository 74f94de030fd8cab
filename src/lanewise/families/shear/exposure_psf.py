"""The point-spread function of an exposure: an image of its own, or of many in a field the nearest to the object."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
        listed = row_planes.table(row, "psf_places", where) if "psf_places" in row.planes else None
        if "psf_index" in row.numbers:
            at = row_planes.numbered(row, "psf", "psf_index", len(images), where)
        elif listed is None:
            at = _nearest(_places(psf.tiles, row, where, grid, field), _place(row, where, place, field))
        else:
            size = images.shape[-1] if psf.tiles else None
            at = _listed(listed, row, where, grid, size, lambda: _place(row, where, place, field))
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
    plane = row_planes.plane(row, "psf", where)
    images = plane.values
    if tiles is None:
        return images, (1, len(images))
    what, size = f"{where}, column psf: {row.planes['psf'].file.path}", tiles.size or plane.tile
    if size is None:
        raise DataError(f"{what}: its header has no STMPSIZE; give the edge of a tile in the config, psf.tiles.size")
    if plane.tile not in (None, size):
        raise DataError(f"{what}: its header has STMPSIZE {plane.tile}, the config psf.tiles.size {size}; correct one")
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


def _listed(
    columns: Mapping[str, np.ndarray],
    row: Row,
    where: str,
    grid: tuple[int, int],
    size: int | None,
    place: Callable[[], Place],
) -> int:
    """Number of the image that a table of places names for the object: the nearest by ra and dec, or by x and y.

    Args:
        columns: x, y [pixel of the field, of which the first is 1] or ra, dec [degree] of each image; for tiles also
            x_center, y_center, the place of its middle in their plane, if not each tile has a row.
        size: edge of a tile [pixel]; None: images are not tiles.
        place: the object's place in the field.
    """
    what = f"{where}, column psf_places: {row.planes['psf_places'].file.path}"
    if {"ra", "dec"} <= columns.keys() & row.numbers.keys():
        turn, dec = np.deg2rad(columns["ra"] - row.numbers["ra"]), np.deg2rad(columns["dec"])
        here = np.deg2rad(row.numbers["dec"])
        # The haversine of the distance, which grows with it.
        distance = np.sin((dec - here) / 2) ** 2 + np.cos(dec) * np.cos(here) * np.sin(turn / 2) ** 2
    elif {"x", "y"} <= columns.keys():
        x, y = place()
        distance = (columns["x"] - 0.5 - x) ** 2 + (columns["y"] - 0.5 - y) ** 2
    else:
        raise DataError(f"{what}: expected columns x and y, or ra and dec for an object with both, got {[*columns]}")
    if not np.isfinite(distance).any():
        raise DataError(f"{what}: no row has a place")
    nearest = int(np.nanargmin(distance))
    n_y, n_x = grid
    if size is None or not {"x_center", "y_center"} <= columns.keys():
        if len(distance) != n_y * n_x:
            raise DataError(f"{what}: has {len(distance)} rows for {n_y * n_x} images; add columns x_center, y_center")
        return nearest
    # Whether the first pixel is 0 or 1, the middle of a tile is in it.
    column, line = (int(columns[axis][nearest] // size) for axis in ("x_center", "y_center"))
    if not (0 <= column < n_x and 0 <= line < n_y):
        raise DataError(f"{what}: row {nearest + 1} has its tile outside the plane of {n_x} × {n_y} tiles")
    return line * n_x + column


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
