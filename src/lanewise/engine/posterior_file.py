"""posterior.nc: netCDF-4, readable by ArviZ before and since 1.0.

Written by h5py with the few attributes of netCDF-4: a tenth of the time of a netCDF library, which counts where a
campaign has ten thousand of these files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import h5py
import numpy as np

from lanewise.engine import flat
from lanewise.engine.results import Result

# Groups whose arrays have no axes chain and draw.
WITHOUT_DRAWS = frozenset({"observed_data", "constant_data", "loo", "loo_khat", "population"})
# Groups whose arrays have the units of the data.
_OF_DATA = frozenset({"observed_data", "constant_data", "posterior_predictive"})
# Name → the names of its axes after chain and draw, and values of shape (chain, draw, …).
Arrays = Mapping[str, tuple[tuple[str, ...], np.ndarray]]


def posterior_nc(result: Result, arrays: Arrays | None = None, attributes: Mapping[str, str] | None = None) -> bytes:
    """The file's content: the groups posterior and sample_stats, and those of the result.

    Args:
        arrays: the posterior as arrays; default: one of shape (chain, draw) for each name.
        attributes: of the file.
    """
    chosen = {name: ((), draws) for name, draws in result.posterior.items()} if arrays is None else arrays
    stats: Arrays = {name: ((), values) for name, values in _sample_stats(result).items()}
    # netCDF-4 wants everything in the order of its creation. The name is that of no file: the driver is in memory.
    with h5py.File("posterior.nc", "w", driver="core", backing_store=False, track_order=True) as file:
        # Numbers of dimensions are those of the file, not of a group.
        numbers = count()
        file.attrs.update({"inference_method": result.method, **(attributes or {})})
        for name, of_each in (("posterior", chosen), ("sample_stats", stats)):
            sizes = dict(zip(("chain", "draw"), result.shape, strict=True))
            of_draws = {key: (("chain", "draw", *axes), values) for key, (axes, values) in of_each.items()}
            _write_group(file, name, numbers, of_draws, sizes)
        for name, part in result.groups.items():
            first = () if name in WITHOUT_DRAWS else ("chain", "draw")
            variables = {key: (_axes(key, one, first), one) for key, one in part.items()}
            group = _write_group(file, name, numbers, variables)
            for key in part.keys() & result.units.keys() if name in _OF_DATA else ():
                group[key].attrs["units"] = result.units[key]
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _axes(name: str, values: np.ndarray, first: tuple[str, ...]) -> tuple[str, ...]:
    return (*first, *(f"{name}_dim_{k}" for k in range(values.ndim - len(first))))


def _write_group(
    file: h5py.File, name: str, numbers: Iterator[int], variables: Arrays, sizes: Mapping[str, int] | None = None
) -> h5py.Group:
    """Write a group of netCDF, and return it.

    Args:
        numbers: of dimensions; taken for those of this group.
        variables: name → the names of all axes, and values.
        sizes: axis → size, of axes that the group has in any case.
    """
    group = file.create_group(name, track_order=True)
    group.attrs["inference_method"] = file.attrs["inference_method"]
    every = dict(sizes or {})
    for axes, values in variables.values():
        every |= dict(zip(axes, values.shape, strict=True))
    scales = {}
    for axis, size in every.items():
        scales[axis] = group.create_dataset(axis, data=np.arange(size), track_order=True)
        scales[axis].make_scale(axis)
        scales[axis].attrs["_Netcdf4Dimid"] = np.int32(next(numbers))
    for key, (axes, values) in variables.items():
        data, of_values = flat.stored(values)
        variable = group.create_dataset(key, data=data, track_order=True)
        variable.attrs.update(of_values)
        for k, axis in enumerate(axes):
            h5py.h5ds.attach_scale(variable.id, scales[axis].id, k)
    return group


def _sample_stats(result: Result) -> dict[str, np.ndarray]:
    widths = {f"laplace_std_{name}": np.full(result.shape, width) for name, width in result.laplace_std.items()}
    return {**result.stats, **widths}
