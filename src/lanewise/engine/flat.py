"""Arrays of different shapes in one variable of a packed file: flat, one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

# Values of a compressed piece, and the fewest that are worth one: a short array would gain less than its index costs.
_PIECE, _FEW = 2**16, 2**10
# Bytes of equal rank side by side, then deflated: signs and exponents of similar numbers shrink, every bit stays.
_COMPRESSED: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def write(group: Any, several: Sequence[Mapping[str, np.ndarray]], compress: bool = False) -> None:
    """Write the arrays of each name, of all that have one, as one variable.

    Args:
        compress: without loss.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for arrays in several:
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array.ravel())
    for name, flat in parts.items():
        values = np.concatenate(flat)
        group.dimensions[name] = len(values)
        pieces = {**_COMPRESSED, "chunks": (min(len(values), _PIECE),)} if compress and len(values) >= _FEW else {}
        write_variable(group, (name,), {name: values}, pieces)


class Reader:
    """Reads the arrays back, in the order in which they were written."""

    def __init__(self, group: Any) -> None:
        self._arrays = {name: read_variable(group[name]) for name in group.variables}
        self._before: dict[str, int] = {}

    def take(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """The next array of this name."""
        first, n = self._before.get(name, 0), math.prod(shape)
        self._before[name] = first + n
        return self._arrays[name][first : first + n].reshape(shape)


def write_variable(
    group: Any,
    dimensions: tuple[str, ...],
    variables: Mapping[str, np.ndarray],
    pieces: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write arrays of these dimensions, in `pieces` as HDF5 takes them."""
    for name, values in variables.items():
        data, attributes = stored(values)
        group.create_variable(name, dimensions, data=data, **pieces).attrs.update(attributes)


def stored(values: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """The values as a netCDF file has them, and the attributes that say so."""
    # netCDF has no booleans: xarray's convention is a byte with the attribute dtype.
    return (values.astype(np.int8), {"dtype": "bool"}) if values.dtype == bool else (values, {})


def read_variable(variable: Any) -> np.ndarray:
    """An array that `write_variable` has written."""
    values: np.ndarray = variable[...]
    return values.astype(bool) if variable.attrs.get("dtype") == "bool" else values
