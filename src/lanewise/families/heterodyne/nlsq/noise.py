"""The noise of one value, from the data alone: no model enters, so that a reduced χ² can convict one."""

from __future__ import annotations

import numpy as np

# Along age at constant lag the correlation changes slowly; a third difference leaves the noise times √20.
_DIFFERENCE = (1.0, -3.0, 3.0, -1.0)
_GAIN = 20.0
_MAD_TO_SIGMA = 1.4826


def sigma(matrices: np.ndarray) -> float:
    """Standard deviation of independent noise, from (n_phi, N, N) symmetric correlations; robust to outliers.

    Where neighbouring values share their noise, this is too small, and the reduced χ² too large.
    """
    n = matrices.shape[-1]
    differences = []
    for lag in range(1, n - 3):
        along = np.diagonal(matrices, lag, axis1=1, axis2=2)
        length = along.shape[-1] - 3
        terms = [w * along[:, k : k + length] for k, w in enumerate(_DIFFERENCE)]
        differences.append(np.sum(terms, axis=0).ravel())
    return float(_MAD_TO_SIGMA * np.median(np.abs(np.concatenate(differences))) / np.sqrt(_GAIN))
