"""Arrays of different shapes in one variable of a packed file: flat, one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def write(group: Any, several: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write the arrays of each name, of all that have one, as one variable."""
    parts: dict[str, list[np.ndarray]] = {}
    for arrays in several:
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array.ravel())
    for name, flat in parts.items():
        values = np.concatenate(flat)
        group.dimensions[name] = len(values)
        write_variable(group, (name,), {name: values})


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


def write_variable(group: Any, dimensions: tuple[str, ...], variables: Mapping[str, np.ndarray]) -> None:
    """Write arrays of these dimensions."""
    for name, values in variables.items():
        data, attributes = stored(values)
        group.create_variable(name, dimensions, data=data).attrs.update(attributes)


def stored(values: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """The values as a netCDF file has them, and the attributes that say so."""
    # netCDF has no booleans: xarray's convention is a byte with the attribute dtype.
    return (values.astype(np.int8), {"dtype": "bool"}) if values.dtype == bool else (values, {})


def read_variable(variable: Any) -> np.ndarray:
    """An array that `write_variable` has written."""
    values: np.ndarray = variable[...]
    return values.astype(bool) if variable.attrs.get("dtype") == "bool" else values
