"""The images that a row of a table of exposures names, read from their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lanewise.errors import DataError
from lanewise.families.shear import stamp_files
from lanewise.families.shear.exposure_table import Row
from lanewise.families.shear.stamp_files import Stamps


def plane(row: Row, role: str, where: str) -> Stamps:
    """All images of the plane of a role.

    Args:
        where: table and row, for error messages.

    Raises:
        DataError: the file has changed, or cannot be read as images.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    try:
        return stamp_files.plane(row.planes[role].file, row.planes[role].name)
    except DataError as error:
        raise DataError(f"{where}, column {role}: {error}") from None


def table(row: Row, role: str, where: str) -> Mapping[str, np.ndarray] | None:
    """The columns of the binary table of a role, by name in lower case; None if it is a plane.

    Raises:
        DataError: the file has changed, or cannot be read.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    try:
        return stamp_files.table(row.planes[role].file, row.planes[role].name)
    except DataError as error:
        raise DataError(f"{where}, column {role}: {error}") from None


def layer(row: Row, role: str, where: str) -> Stamps:
    """The plane of a role with its one image that belongs to the row, shape (1, ny, nx).

    Raises:
        DataError: as `plane`, or there is no such image.
    """
    found = plane(row, role, where)
    n, column = len(found.values), "psf_index" if role == "psf" and "psf_index" in row.numbers else "index"
    if n > 1 and column not in row.numbers:
        needed = "psf_index (or index)" if role == "psf" else column
        path = row.planes[role].file.path
        raise DataError(f"{where}, column {role}: {path}: has {n} images; give one in the column {needed}")
    at = numbered(row, role, column, n, where) if column in row.numbers and n > 1 else 0
    return replace(found, values=found.values[at : at + 1])


def numbered(row: Row, role: str, column: str, n: int, where: str) -> int:
    """The number in a column of one of the n images of a plane.

    Raises:
        DataError: there is no such image.
    """
    at = int(row.numbers[column])
    if not 0 <= at < n:
        path = row.planes[role].file.path
        raise DataError(f"{where}, column {column}: {path}: has {n} images, expected 0 to {n - 1}, got {at}")
    return at
