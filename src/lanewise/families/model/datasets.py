"""The data sets of a campaign: the rows of one id in a long table, or one file each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from lanewise.errors import DataError
from lanewise.families.model import tables
from lanewise.families.model.tables import Column, Table
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Single
from lanewise.manifest.problem import Observation
from lanewise.storage.inputs import Input

KEY, CALIBRATION = "inputs", "calibration"
# The role of a realization's `DataSet`.
DATA = "data"
# Rows are padded to these numbers, or to two sizes per factor of two. For few rows a program costs more to compile
# than the rows that a coarse grid adds.
_FEW, _FINE = (16, 64), 64
_LONGEST_NAME = 180
_SIMULATED = "sim+"
_TAKEN = {"calibration.csv", "summary.csv", "summary.parquet", "report.html", "stats"}


@dataclass(frozen=True)
class Inputs:
    """What `data` holds, and where it comes from.

    Attributes:
        files: the one table, or one file per data set.
        table: whether it is a table.
        id: column whose value tells data sets apart; empty: each row is a data set.
        columns: name in `data` → name in the file, of what has one value per row.
        scalars: the same, of what has one value per data set.
        padding: whether rows are added, up to a size that many data sets share, and masked.
        max_rows: a data set with more rows fails; 0: no limit.
    """

    files: tuple[Input, ...]
    table: bool
    id: str
    columns: tuple[tuple[str, str], ...]
    scalars: tuple[tuple[str, str], ...]
    padding: bool
    max_rows: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names in `data`."""
        return tuple(name for name, _ in (*self.columns, *self.scalars))


@dataclass(frozen=True)
class DataSet:
    """One data set, pinned by its values.

    Attributes:
        index: its number in the campaign's inputs.
        id: as the table has it, as text; or the file's name without suffix.
    """

    inputs: Inputs = field(repr=False)
    index: int
    id: str

    @property
    def content(self) -> str:
        """SHA-256 of names, types and values."""
        found = hashlib.sha256()
        for name, column in sorted(_columns(self).items()):
            values = np.ascontiguousarray(column.values)
            found.update(f"{name}\0{column.whole}\0{values.dtype.str}\0{values.shape}\0".encode())
            found.update(values.tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class Drawn:
    """A simulated data set: as this one, with truths and observed columns drawn from the model."""

    template: DataSet

    @property
    def content(self) -> list[str]:
        """That of the data set, marked."""
        return ["drawn", self.template.content]


@dataclass(frozen=True)
class Extent:
    """The data sets of a campaign, and the number of simulated ones with the seed of the first."""

    inputs: Inputs
    count: int = 0
    base_seed: int = 42


def extent_of(manifest: Manifest) -> Extent:
    """The data sets of a campaign of kind model."""
    assert isinstance(manifest.extent, Extent)
    return manifest.extent


def parse_extent(value: Mapping[str, Any]) -> Extent:
    """The data sets of a resolved manifest."""
    return Extent(parse(value[KEY]), **value.get(CALIBRATION, {}))


def parse(value: Mapping[str, Any]) -> Inputs:
    """The resolved key `inputs`."""
    of = [value["table"]] if "table" in value else value["files"]
    return Inputs(
        files=tuple(Input(one["path"], one["sha256"]) for one in of),
        table="table" in value,
        id=value.get("id", ""),
        columns=pairs(value.get("columns", [])),
        scalars=pairs(value.get("scalars", [])),
        padding=value.get("padding", True),
        max_rows=value.get("max_rows", 0),
    )


def pairs(value: Sequence[str] | Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Name in `data` and name in the file, of a list of columns or a mapping."""
    return tuple(value.items()) if isinstance(value, Mapping) else tuple((name, name) for name in value)


@lru_cache(maxsize=8)
def all_of(inputs: Inputs) -> tuple[DataSet, ...]:
    """Every data set, in the order of the table's first rows, or of the files.

    Raises:
        DataError: the table has no such column, a column holds text, a row has no id, or two data sets share an id.
    """
    if not inputs.table:
        return tuple(DataSet(inputs, at, one.stem) for at, one in enumerate(inputs.files))
    for _, source in (*inputs.columns, *inputs.scalars):
        _check(_table(inputs.files[0]), source)
    return tuple(DataSet(inputs, at, name) for at, name in enumerate(_rows(inputs)))


def _check(table: Table, source: str) -> None:
    if table.column(source).values.dtype.kind not in "fib":
        first = np.ravel(table.column(source).values)[0]
        message = f"column '{source}' holds text, such as '{first}'; a model takes numbers: encode it, e.g. as 0, 1, 2"
        raise DataError(f"{table.path}: {message}")


@lru_cache(maxsize=8)
def _rows(inputs: Inputs) -> dict[str, np.ndarray]:
    """The rows of each id, in the order of first appearance."""
    table = _table(inputs.files[0])
    if not inputs.id:
        n = len(table.column((*inputs.columns, *inputs.scalars)[0][1]).values)
        return {str(at): np.array([at]) for at in range(n)}
    values = table.column(inputs.id).values
    if values.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(values))
        values = np.where(np.isnan(values), 0, values)
        values = values.astype(np.int64) if np.all(values == np.round(values)) else values
    else:
        missing = np.flatnonzero([str(one) == "" for one in values]) if values.dtype.kind in "OU" else np.array([])
    if missing.size:
        raise DataError(f"{table.path}: row {missing[0] + 1} has no {inputs.id}; give it one, or remove the row")
    _, first, inverse, counts = np.unique(
        values.astype(str), return_index=True, return_inverse=True, return_counts=True
    )
    order = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    return {str(values[order[at][0]]): order[at] for at in np.argsort(first)}


@lru_cache(maxsize=4)
def _table(file: Input) -> Table:
    return tables.read(file)


def _columns(one: DataSet) -> dict[str, Column]:
    """The columns of a data set by their names in `data`, as they stand in the file."""
    inputs = one.inputs
    if not inputs.table:
        table = tables.read(inputs.files[one.index])
        return {name: table.column(source) for name, source in (*inputs.columns, *inputs.scalars)}
    table, rows = _table(inputs.files[0]), _rows(inputs)[one.id]
    found = {}
    for name, source in (*inputs.columns, *inputs.scalars):
        column = table.column(source)
        found[name] = Column(column.values[rows], column.whole, column.unit)
    return found


def whole(inputs: Inputs) -> frozenset[str]:
    """The names in `data` that hold integers, by the table, or the first file."""
    table = _table(inputs.files[0])
    pairs = (*inputs.columns, *inputs.scalars)
    return frozenset(name for name, source in pairs if table.column(source).whole)


def units(inputs: Inputs) -> dict[str, str]:
    """Name in `data` → its unit, where the table, or the first file, says one."""
    table = _table(inputs.files[0])
    found = {name: table.column(source).unit for name, source in (*inputs.columns, *inputs.scalars)}
    return {name: unit for name, unit in found.items() if unit}


def labels(inputs: Inputs) -> dict[str, str]:
    """Names in `data`, each with its unit as in `flux [mJy]`, where there is one."""
    known = units(inputs)
    return {name: f"{name} [{known[name]}]" if name in known else name for name in inputs.names}


def observe(one: DataSet) -> Observation:
    """The arrays of a data set: columns of shape (row, …), scalars of shape ().

    Raises:
        DataError: it is empty, too long, or a value is missing, not finite, or not the same in all rows.
        InputUnreachable: its file is not there, or storage cannot be reached.
    """
    inputs, columns = one.inputs, _columns(one)
    vectors = {name: columns[name].values for name, _ in inputs.columns}
    n = len(next(iter(vectors.values()), ()))
    if lengths := {name: len(values) for name, values in vectors.items() if len(values) != n}:
        name, other = next(iter(lengths.items()))
        raise DataError(f"{_file(one)}: {name} has {other} rows, {inputs.columns[0][0]} has {n}; make them equal")
    if inputs.columns and (n == 0 or all(_all_missing(values) for values in vectors.values())):
        raise DataError(f"{_where(one)}: is empty: no row has a value of {', '.join(vectors)}")
    if inputs.max_rows and n > inputs.max_rows:
        raise DataError(f"{_where(one)}: has {n} rows, inputs.max_rows is {inputs.max_rows}; raise it or cut the data")
    for name, source in (*inputs.columns, *inputs.scalars):
        _check_values(one, name, source, columns[name])
    scalars = {name: np.ravel(columns[name].values)[0] for name, _ in inputs.scalars}
    data = {name: np.asarray(values) for name, values in {**vectors, **scalars}.items()}
    if not inputs.columns:
        return Observation.of(data, {})
    return Observation((data,), {}, ragged=tuple(vectors), sizes=(n,), padded=padded(n) if inputs.padding else n)


def _all_missing(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.all(np.isnan(values)))


def _check_values(one: DataSet, name: str, source: str, column: Column) -> None:
    values = column.values
    if values.dtype.kind not in "fib":
        raise DataError(f"{_file(one)}: column '{source}' holds text; a model takes numbers")
    if name in whole(one.inputs) and not column.whole:
        raise DataError(f"{_file(one)}: column '{source}' holds fractions, that of the first file integers")
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        at, got = tuple(bad[0]), values[tuple(bad[0])]
        what = "is missing" if np.isnan(got) else f"is {got}"
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DataError(f"{_where(one, at[0] if at else 0)}, column {source}: {what}{more}; mend or remove it")
    if name in dict(one.inputs.scalars) and values.size > 1:
        other = np.flatnonzero(np.ravel(values) != np.ravel(values)[0])
        if other.size:
            got, first = np.ravel(values)[other[0]], np.ravel(values)[0]
            text = f"is {got}, the first row of the data set has {first}; a scalar has one value per data set"
            raise DataError(f"{_where(one, other[0])}, column {source}: {text}; put it under inputs.columns")


def _file(one: DataSet) -> str:
    return one.inputs.files[0 if one.inputs.table else one.index].filename


def _where(one: DataSet, row: int | None = None) -> str:
    """File, id and row of a value; rows count from 1, without the header."""
    inputs = one.inputs
    of = f" ({inputs.id} {one.id})" if inputs.table and inputs.id else ""
    if row is None:
        return f"{_file(one)}{of}"
    return f"{_file(one)}, row {(_rows(inputs)[one.id][row] if inputs.table else row) + 1}{of}"


def padded(n_rows: int) -> int:
    """Number of rows that a data set is padded to; it depends on this data set alone."""
    if n_rows <= _FINE:
        return next(size for size in _FEW if n_rows <= size)
    size = 1 << (n_rows - 1).bit_length()
    return 3 * size // 4 if n_rows <= 3 * size // 4 else size


def realizations(extent: Extent) -> Iterator[Single]:
    """Every data set, whose seed follows from its id, whatever else the table holds; then the simulated ones."""
    every = all_of(extent.inputs)
    for one in every:
        yield Single(run_id(one.id), seed(one.id), {}, {DATA: one})
    for at in range(extent.count):
        number = extent.base_seed + at
        yield Single(f"{_SIMULATED}{number}", number, {}, {DATA: Drawn(every[at % len(every)])})


def is_simulated(name: str) -> bool:
    """Whether this is the run id of a simulated data set; a sign + in an id is escaped."""
    return name.startswith(_SIMULATED)


def run_id(identifier: str) -> str:
    """The id made safe for a path; `identifier_of` gives it back.

    Raises:
        DataError: it is too long for the name of a directory.
    """
    text = quote(identifier, safe="")
    if len(text) > _LONGEST_NAME:
        raise DataError(f"the id '{identifier[:40]}…' has {len(text)} characters; expected at most {_LONGEST_NAME}")
    # Not hidden, not our own folder, and none of the files beside it.
    return f"%{ord(text[0]):02X}{text[1:]}" if text[0] in "._" or text in _TAKEN else text


def identifier_of(name: str) -> str:
    """The id of a data set from its run id."""
    return unquote(name)


def seed(identifier: str) -> int:
    """A seed from the id, from 1 to 2³¹ − 1."""
    return 1 + int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big") % (2**31 - 1)
