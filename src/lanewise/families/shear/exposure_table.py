"""A table of exposures: a row for each exposure, which names the image files, and objects of one row or several."""

from __future__ import annotations

import functools
import gzip
import io
import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import stamp_files
from lanewise.manifest import schema
from lanewise.manifest.document import Document, Path
from lanewise.manifest.locations import beside
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

if TYPE_CHECKING:
    import pandas as pd

# Columns of the noise's covariance, of which an exposure has one.
NOISE = ("correlation", "noise_power")
# Columns that name an image of a file, and columns of numbers that an exposure may have.
PLANES = (
    *("image", "weight", "variance", "rms", "mask", "background", "psf", "psf_places"),
    *NOISE,
)
JACOBIAN = ("dudx", "dudy", "dvdx", "dvdy")
_NUMBERS = (
    *JACOBIAN,
    *("x", "y", "ra", "dec", "psf_x", "psf_y", "psf_index", "tile_x", "tile_y"),
    *("flux_factor", "index", "mask_bits", "stamp_size"),
)
# Columns that an exposure has together or not at all.
_TOGETHER = (JACOBIAN, ("x", "y"), ("ra", "dec"), ("psf_x", "psf_y"), ("tile_x", "tile_y"))
COLUMNS = ("id", "band", *PLANES, *_NUMBERS)


@dataclass(frozen=True)
class Plane:
    """An image in a file.

    Attributes:
        name: of the array or FITS extension; empty: the only one.
    """

    file: Input
    name: str


@dataclass(frozen=True)
class Row:
    """One exposure of one object.

    Attributes:
        number: of the row in the table, from 1, for error messages.
        planes: by role.
        numbers: values of the columns of numbers, by name; those that are not given are absent.
        band: name of its band; empty: not given.
    """

    number: int
    planes: Mapping[str, Plane]
    numbers: Mapping[str, float]
    band: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """What fixes the exposure, JSON-ready; not where the files lie."""
        planes = {role: [one.file.sha256, one.name] for role, one in self.planes.items()}
        return {**planes, **self.numbers, **({"band": self.band} if self.band else {})}


@dataclass(frozen=True)
class Exposures:
    """The exposures of one object, for the plan.

    Attributes:
        id: of the object, as text.
        table: path of the table, for error messages.
    """

    id: str
    table: str
    rows: tuple[Row, ...]

    @property
    def content(self) -> list[dict[str, Any]]:
        """What fixes them, JSON-ready."""
        return [row.content for row in self.rows]


@dataclass(frozen=True)
class ExposureTable:
    """A pinned table, and the files that its rows name.

    Attributes:
        files: path as it is resolved beside the table → the pinned file.
        n_objects: their number, for a plan without the table.
    """

    file: Input
    files: Mapping[str, Input] = field(repr=False, hash=False)
    n_objects: int

    @property
    def content(self) -> list[str]:
        """SHA-256 of the table and of the files."""
        return [self.file.sha256, *sorted({one.sha256 for one in self.files.values()})]

    @property
    def ids(self) -> Sequence[str]:
        """The objects in the order of their first rows."""
        return _read(self.file).ids

    @property
    def unused(self) -> Sequence[str]:
        """Columns without a meaning."""
        return [name for name in _read(self.file).columns if name not in COLUMNS]

    @property
    def columns(self) -> Sequence[str]:
        """Columns with a meaning."""
        return [name for name in _read(self.file).columns if name in COLUMNS]

    @property
    def bands(self) -> Sequence[str]:
        """The bands that occur; an empty name where a row has none."""
        return sorted({row.get("band", "") for row in _read(self.file).rows})

    def exposures(self, index: int) -> Exposures:
        """The exposures of the object with this number."""
        table = _read(self.file)
        rows = tuple(self._row(table.rows[at], int(at) + 1) for at in table.of_object(index))
        return Exposures(table.ids[index], self.file.path, rows)

    def _row(self, values: Mapping[str, Any], number: int) -> Row:
        planes = {}
        for role in PLANES:
            if role in values:
                path, name = _located(self.file.path, values[role])
                planes[role] = Plane(self.files[path], name)
        numbers = {name: float(values[name]) for name in _NUMBERS if name in values}
        return Row(number, planes, numbers, values.get("band", ""))


def parse(value: Mapping[str, Any]) -> ExposureTable:
    """The table of a resolved manifest."""
    files = {one["path"]: Input(one["path"], one["sha256"]) for one in value["files"]}
    return ExposureTable(Input(value["path"], value["sha256"]), files, value["objects"])


def resolve(manifest: Document, place: Path) -> dict[str, Any]:
    """The table at `place`, pinned with every file that a row names.

    Raises:
        ManifestError: a file is missing, the table cannot be read, or a row is not as it must be.
    """
    value = manifest.at(place)
    if isinstance(value, Mapping):
        return dict(value)
    found = inputs.resolve(manifest, place)
    if len(found) != 1:
        raise ManifestError([manifest.complaint(place, f"expected one table, got {len(found)}")])
    table = Input(found[0]["path"], found[0]["sha256"])
    try:
        return {**found[0], "objects": len(_read(table).ids), "files": list(_files(table))}
    except DataError as error:
        raise ManifestError([manifest.complaint(place, str(error))]) from None


def _files(table: Input) -> Iterator[dict[str, str]]:
    """Every file that a row names, once, with its SHA-256."""
    known = set()
    for number, row in enumerate(_read(table).rows, start=1):
        for role in PLANES:
            if role not in row:
                continue
            path, _ = _located(table.path, row[role])
            if path in known:
                continue
            known.add(path)
            try:
                one = inputs.pin(path)
            except DataError as error:
                raise DataError(f"{table.path}, row {number}, column {role}: {error}") from None
            yield {"path": path, "sha256": one.sha256}


@functools.lru_cache(maxsize=1 << 16)
def _located(table: str, written: str) -> tuple[str, str]:
    """Path of a file, relative to the table, and the name of the array after #.

    Remembered: it looks for a file, and a survey names the same one in every row.
    """
    path, name = stamp_files.split_name(written, table)
    where = beside(table, path)
    return (where if "://" in where else os.path.abspath(where)), name


@dataclass(frozen=True)
class _Table:
    """The checked rows, and which of them belong to each object.

    Attributes:
        rows: values by column, without those that are missing.
        order: rows sorted by object; those of object i are order[starts[i]:starts[i + 1]].
    """

    columns: tuple[str, ...]
    ids: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    order: np.ndarray
    starts: np.ndarray

    def of_object(self, index: int) -> np.ndarray:
        return self.order[self.starts[index] : self.starts[index + 1]]


@functools.lru_cache(maxsize=2)
def _read(file: Input) -> _Table:
    """Raises DataError: the file has changed, cannot be read as a table, or a row is not as it must be."""
    import pandas as pd

    raw, name = inputs.read(file), file.filename.lower()
    reader = next((one for suffix, one in _READERS.items() if name.removesuffix(".gz").endswith(suffix)), None)
    if reader is None:
        raise DataError(f"{file.path}: expected a table that ends in {', '.join(_READERS)}, or these with .gz")
    try:
        frame = reader(gzip.decompress(raw) if name.endswith(".gz") else raw)
        lists = [one for one in frame.columns if len(frame) and isinstance(frame[one].iloc[0], list | np.ndarray)]
        frame = frame.explode(lists, ignore_index=True) if lists else frame
    except Exception as error:  # each library has its own error classes
        raise DataError(f"{file.path}: cannot be read as a table: {error}") from None
    for needed in ("id", "image"):
        if needed not in frame.columns:
            near = schema.nearest(needed, list(map(str, frame.columns)))
            raise DataError(f"{file.path}: has no column '{needed}'; {near}")
    if not len(frame):
        raise DataError(f"{file.path}: has no rows")
    known = [str(one) for one in frame.columns if one in COLUMNS]
    rows = [
        _row_of(dict(zip(known, values, strict=True)), f"{file.path}, row {number}")
        for number, values in enumerate(zip(*(frame[one] for one in known), strict=True), start=1)
    ]
    codes, ids = pd.factorize(np.array([row["id"] for row in rows], dtype=object))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(ids) + 1))
    return _Table(tuple(map(str, frame.columns)), list(ids), rows, order, starts)


def _row_of(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of a row that are there, checked."""
    import pandas as pd

    found = {name: value for name, value in values.items() if not (pd.isna(value) or value == "")}
    for needed in ("id", "image"):
        if needed not in found:
            raise DataError(f"{where}, column {needed}: is missing")
    row: dict[str, Any] = {name: str(found[name]) for name in ("id", "band") if name in found}
    for name, value in found.items():
        if name in PLANES:
            if not isinstance(value, str):
                raise DataError(f"{where}, column {name}: expected a path, got {value!r}")
            row[name] = value
        elif name in _NUMBERS:
            try:
                row[name] = float(value)
            except (TypeError, ValueError):
                raise DataError(f"{where}, column {name}: expected a number, got {value!r}") from None
            if not np.isfinite(row[name]):
                raise DataError(f"{where}, column {name}: expected a finite number, got {row[name]}")
    for group in _TOGETHER:
        there = [name for name in group if name in row]
        if there and len(there) < len(group):
            lacking = ", ".join(name for name in group if name not in row)
            raise DataError(f"{where}: has {', '.join(there)}, but not {lacking}; give all of {', '.join(group)}")
    if row.get("flux_factor", 1.0) <= 0:
        raise DataError(f"{where}, column flux_factor: expected a positive number, got {row['flux_factor']:g}")
    return row


def _csv(raw: bytes) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(io.BytesIO(raw), dtype=dict.fromkeys(("id", "band", *PLANES), str))


def _parquet(raw: bytes) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(raw))


def _fits(raw: bytes) -> pd.DataFrame:
    import pandas as pd
    from astropy.table import Table

    table = Table.read(io.BytesIO(raw), format="fits")
    table.convert_bytestring_to_unicode()
    columns = {}
    for name in table.colnames:
        values = np.ma.filled(table[name], np.nan) if table[name].dtype.kind == "f" else np.asarray(table[name])
        if values.dtype.kind in "fiu":
            values = values.astype(values.dtype.newbyteorder("="))
        strip = values.dtype.kind in "US"
        columns[name] = [
            [str(one).strip() if strip else one for one in each]
            if np.ndim(each)
            else (str(each).strip() if strip else each)
            for each in values
        ]
    return pd.DataFrame(columns)


_READERS = {".parquet": _parquet, ".pq": _parquet, ".csv": _csv, ".fits": _fits, ".fit": _fits}
