"""Tables as users have them: CSV, Parquet, Arrow, NPZ and HDF5, as arrays by column."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lanewise.errors import DataError
from lanewise.manifest import schema
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

# A header such as `flux [mJy]`.
_WITH_UNIT = re.compile(r"(.*\S)\s*\[(.*)\]")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        values: shape (row, …): float64, int64 or bool, or text; NaN where a number is missing.
        whole: whether its numbers are integers, also if some are missing.
        unit: as the file says; empty if it does not.
    """

    values: np.ndarray
    whole: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """The columns of a file by name."""

    path: str
    columns: Mapping[str, Column] = field(repr=False)

    def column(self, name: str) -> Column:
        """A column.

        Raises:
            DataError: there is none of this name.
        """
        if name not in self.columns:
            raise DataError(f"{self.path}: has no column '{name}'; {schema.nearest(name, list(self.columns))}")
        return self.columns[name]


def read(file: Input) -> Table:
    """A table of any of the formats.

    Raises:
        DataError: the file has changed, or is no such table.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    raw = inputs.read(file)
    name = file.filename.lower().removesuffix(".gz")
    for suffixes, reader in _READERS.items():
        if name.endswith(suffixes):
            try:
                return Table(file.path, dict(reader(raw, file)))
            except DataError:
                raise
            except Exception as error:  # each library has its own error classes
                raise DataError(f"{file.path}: cannot be read as a table: {error}") from None
    known = ", ".join(suffix for suffixes in _READERS for suffix in suffixes)
    raise DataError(f"{file.path}: expected a file that ends in one of {known}")


_Columns = Iterable[tuple[str, Column]]


def _csv(raw: bytes, file: Input) -> _Columns:
    import pandas as pd

    separator = "\t" if ".tsv" in file.filename.lower() else ","
    text = gzip.decompress(raw) if file.filename.lower().endswith(".gz") else raw
    # Nullable types: a missing number makes no floats of a column of integers.
    frame = pd.read_csv(io.BytesIO(text), sep=separator, dtype_backend="numpy_nullable")
    for header in frame.columns:
        series = frame[header]
        name, unit = _named(str(header))
        if pd.api.types.is_bool_dtype(series) and not series.hasnans:
            yield name, Column(series.to_numpy(bool), unit=unit)
        elif pd.api.types.is_numeric_dtype(series):
            yield name, _numbers(series.to_numpy(np.float64, na_value=np.nan), series, unit)
        else:
            yield name, Column(series.to_numpy(object, na_value=""), unit=unit)


def _numbers(values: np.ndarray, series: Any, unit: str) -> Column:
    import pandas as pd

    whole = pd.api.types.is_integer_dtype(series)
    if whole and not series.hasnans:
        return Column(series.to_numpy(np.int64), whole=True, unit=unit)
    return Column(values, whole=whole, unit=unit)


def _parquet(raw: bytes, file: Input) -> _Columns:
    from pyarrow import parquet

    return _arrow_columns(parquet.read_table(io.BytesIO(raw)))


def _arrow(raw: bytes, file: Input) -> _Columns:
    from pyarrow import feather

    return _arrow_columns(feather.read_table(io.BytesIO(raw)))


def _arrow_columns(table: Any) -> _Columns:
    import pyarrow as pa

    for index, item in enumerate(table.schema):
        known = {key.decode(): value.decode() for key, value in (item.metadata or {}).items()}
        name, unit = _named(item.name)
        unit = known.get("unit") or known.get("units") or unit
        column = table.column(index)
        whole, floating = pa.types.is_integer(item.type), pa.types.is_floating(item.type)
        if whole and not column.null_count:
            yield name, Column(column.to_numpy().astype(np.int64), whole=True, unit=unit)
        elif whole or floating:
            yield name, Column(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), whole=whole, unit=unit)
        else:
            yield name, _array(np.array(column.to_pylist()), unit)


def _npz(raw: bytes, file: Input) -> _Columns:
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        for name in arrays.files:
            yield _named(name)[0], _array(arrays[name], _named(name)[1])


def _hdf5(raw: bytes, file: Input) -> _Columns:
    import h5py

    found: list[tuple[str, Column]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            unit = item.attrs.get("units", item.attrs.get("unit", ""))
            values = item.asstr()[...] if h5py.check_string_dtype(item.dtype) else item[...]
            found.append((name, _array(np.asarray(values), unit.decode() if isinstance(unit, bytes) else str(unit))))

    with h5py.File(io.BytesIO(raw), "r") as content:
        content.visititems(visit)
    return found


def _array(values: np.ndarray, unit: str) -> Column:
    if values.dtype.kind in "iu":
        return Column(values.astype(np.int64), whole=True, unit=unit)
    if values.dtype.kind == "f":
        return Column(values.astype(np.float64), unit=unit)
    return Column(values, unit=unit)


def _named(header: str) -> tuple[str, str]:
    """Name and unit of a column's header."""
    found = _WITH_UNIT.fullmatch(header.strip())
    return (found[1], found[2]) if found else (header.strip(), "")


_READERS: dict[tuple[str, ...], Callable[[bytes, Input], _Columns]] = {
    (".csv", ".tsv"): _csv,
    (".parquet", ".pq"): _parquet,
    (".arrow", ".feather"): _arrow,
    (".npz",): _npz,
    (".h5", ".hdf5"): _hdf5,
}
