"""Known true parameters of images from files: a table with a row per image and a column per parameter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lanewise.errors import ManifestError
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.scene import Image
from lanewise.manifest.document import Document, Path
from lanewise.manifest.locations import beside, split
from lanewise.manifest.schema import nearest
from lanewise.storage.store import Store


def read(manifest: Document, place: Path) -> list[dict[str, float]]:
    """The rows of the CSV file that the manifest names at `place`, each with values by column.

    Raises:
        ManifestError: the file is missing, or is not a table of finite numbers with a header.
    """
    where = beside(manifest.source, manifest.at(place))
    folder, file = split(where)
    try:
        lines = list(csv.reader(io.StringIO(Store(folder).read(file).decode("utf-8-sig")), strict=True))
    except FileNotFoundError:
        message = f"{where}: no such file; check the path"
        raise ManifestError([manifest.complaint(place, message, unreachable=True)]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError([manifest.complaint(place, f"{where}: cannot be read: {error}")]) from None
    found, complaints = [], []
    header = [name.strip() for name in lines[0]] if lines else []
    for name in sorted({name for name in header if header.count(name) > 1}):
        complaints.append(manifest.complaint(place, f"{where}: line 1: the column '{name}' appears twice; keep one"))
    for number, row in enumerate(lines[1:], start=2):
        try:
            if row:
                found.append(_row(header, row))
        except ValueError as error:
            complaints.append(manifest.complaint(place, f"{where}: line {number}: {error}"))
    if complaints:
        raise ManifestError(complaints)
    return found


def misfits(truths: Sequence[Mapping[str, float]], config: ShearConfig, place: Path) -> Iterator[tuple[Path, str]]:
    """Complaints about parameters that the galaxy does not have, about |g| ≥ 1, and about centres outside the stamp.

    Args:
        place: place of the table in the manifest.
    """
    known = config.parameters
    for name in dict.fromkeys(name for row in truths for name in row):
        if name not in known:
            yield place, f"the galaxy has no parameter '{name}'; {nearest(name, known)}"
    for index, row in enumerate(truths):
        g1, g2 = row.get("g1", 0.0), row.get("g2", 0.0)
        if g1 * g1 + g2 * g2 >= 1:
            yield place, f"expected |g| < 1, got ({g1:g}, {g2:g}) for image {index}"
        yield from outside(row, index, config.image, place)


def outside(row: Mapping[str, float], index: int, image: Image, place: Path) -> Iterator[tuple[Path, str]]:
    """Complaints about a centre outside the stamp, which may count from another point than the lower left corner."""
    for axis, size in (("x", image.size_x), ("y", image.size_y)):
        if not 0 <= row.get(axis, 0.0) <= size:
            text = f"expected pixels from the lower left corner of the stamp, 0 to {size}, got {row[axis]:g}"
            yield place, f"{axis}: {text} for image {index}"


def _row(header: Sequence[str], row: Sequence[str]) -> dict[str, float]:
    if len(row) != len(header):
        raise ValueError(f"expected {len(header)} values, one for each column, got {len(row)}")
    values = {name: float(text) for name, text in zip(header, row, strict=True)}
    for name, value in values.items():
        if not np.isfinite(value):
            raise ValueError(f"expected a finite number for {name}, got {value}")
    return values
