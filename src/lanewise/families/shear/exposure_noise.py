"""The noise of an exposure whose pixels are correlated: its covariance or its power spectrum, from a file."""

from __future__ import annotations

import functools

import numpy as np

from lanewise.errors import DataError
from lanewise.families.shear import correlation, row_planes
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.exposure_table import NOISE, Row
from lanewise.statistics.numbers import percent

# Largest relative error of a posterior width by the periodic covariance. The exact one, which `likelihood.choose` takes
# above a fifth of this, would be a matrix of all pixels for every exposure.
_WIDTH_ERROR_MAX = 0.01


def read(config: ShearConfig, row: Row, where: str) -> dict[str, np.ndarray]:
    """`power`: variance per pixel of each mode of rfft2 of the noise on a periodic stamp, (ny, nx // 2 + 1) [flux²].

    Args:
        where: table and row, for error messages.

    Raises:
        DataError: the row has none of `NOISE` or both, the file is not as it must be, or the stamp is too small for a
            noise that is correlated so far.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    given = [role for role in NOISE if role in row.planes]
    if len(given) != 1:
        found = "both" if given else "neither"
        raise DataError(f"{where}: expected one of the columns {' and '.join(NOISE)}, got {found}")
    role = given[0]
    values = row_planes.layer(row, role, where).values[0].astype(np.float64)
    try:
        return {"power": _power(config, role, values.tobytes(), values.shape)}
    except DataError as error:
        raise DataError(f"{where}, column {role}: {row.planes[role].file.path}: {error}") from None


# Remembered: the exposures of many objects are cut out of one image, and share its noise.
@functools.lru_cache(maxsize=64)
def _power(config: ShearConfig, role: str, raw: bytes, shape: tuple[int, int]) -> np.ndarray:
    # Plans and reports read no exposures, and start without JAX.
    from lanewise.families.shear.model import correlated

    values = np.frombuffer(raw).reshape(shape)
    lags = values if role == "correlation" else correlation.of_power(values)
    correlation.scaled(lags)  # refuses what is no covariance
    power = correlation.periodic_power(lags, (config.image.size_y, config.image.size_x))
    error = correlated.width_error(config, power, lags) if power.min() > 0 else np.inf
    if error > _WIDTH_ERROR_MAX:
        wrong = f"errors would be wrong by {percent(error, '.2g')}" if np.isfinite(error) else "it has no likelihood"
        size = f"{config.image.size_x} × {config.image.size_y} pixels"
        raise DataError(f"the noise is correlated too far for a stamp of {size}: {wrong}; cut out larger stamps")
    return power
