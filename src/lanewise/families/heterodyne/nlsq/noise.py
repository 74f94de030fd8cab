"""The noise of one value, from the data without a model, so that the reduced χ² can test the model."""

from __future__ import annotations

import numpy as np

# At constant lag the correlation changes slowly with age: a third difference removes it and scales the noise by √20.
_DIFFERENCE = (1.0, -3.0, 3.0, -1.0)
_GAIN = 20.0
_MAD_TO_SIGMA = 1.4826


def sigma(matrices: np.ndarray) -> float:
    """Standard deviation of independent noise in symmetric correlations, shape (n_phi, N, N); robust to outliers.

    Differences with a value that is NaN are left out.
    If the noise of neighbouring values is correlated, the result is too small, and the reduced χ² too large.
    """
    n = matrices.shape[-1]
    differences = []
    for lag in range(1, n - 3):
        at_lag = np.diagonal(matrices, lag, axis1=1, axis2=2)
        length = at_lag.shape[-1] - 3
        terms = [w * at_lag[:, k : k + length] for k, w in enumerate(_DIFFERENCE)]
        differences.append(np.sum(terms, axis=0).ravel())
    return float(_MAD_TO_SIGMA * np.nanmedian(np.abs(np.concatenate(differences))) / np.sqrt(_GAIN))
