"""The inverse variance of the pixels of an image, from weights, variances and masks that must not contradict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lanewise.errors import DataError
from lanewise.families.shear.scene import Image

# A weight and a variance of one pixel agree within this fraction.
_TOLERANCE = 0.01


def inverse_sigma(image: Image, data: Mapping[str, Any]) -> np.ndarray:
    """1/σ of each pixel of observed data [1/flux], with the shape of their `image`; 0 where it is masked."""
    if "weight" in data:
        return np.sqrt(np.asarray(data["weight"], np.float64))
    assert image.noise.sigma is not None
    return np.full(np.shape(data["image"]), 1 / image.noise.sigma)


def inverse_variance(values: Mapping[str, np.ndarray], paths: Mapping[str, str], sigma: float | None) -> np.ndarray:
    """Inverse variance of each pixel of one image [1/flux²], 0 where it is masked.

    Args:
        values: `image`, shape (ny, nx), and `weight`, `variance` and `mask` (nonzero: masked) of that shape, if any.
        paths: of the files, for error messages.
        sigma: standard deviation of pixels without weight and variance [flux].

    Raises:
        DataError: a variance is not positive, a weight is negative, or the two contradict each other.
    """
    shape = values["image"].shape
    kept = ~(values["mask"] != 0) if "mask" in values else np.ones(shape, bool)
    weight = np.where(kept, values.get("weight", np.ones(shape)).astype(np.float64), 0.0)
    if count := int(np.sum(~((weight >= 0) & np.isfinite(weight)))):
        raise DataError(f"{paths['weight']}: {count} pixels with a weight that is negative or not finite; mask them")
    kept = weight > 0
    if "variance" not in values:
        return weight if "weight" in values else np.where(kept, 1 / float(sigma or 0.0) ** 2, 0.0)
    variance = np.where(kept, values["variance"].astype(np.float64), 1.0)
    if count := int(np.sum(~((variance > 0) & np.isfinite(variance)))):
        raise DataError(f"{paths['variance']}: {count} pixels without a positive variance; mask them")
    other = kept & (np.abs(weight * variance - 1) > _TOLERANCE)
    if "weight" in values and np.any(other):
        first = f"e.g. {weight[other][0]:.5g} for {variance[other][0]:.5g}"
        message = f"the weight of {np.sum(other)} pixels is not 1 / variance ({first}, variance in {paths['variance']})"
        raise DataError(f"{paths['weight']}: {message}; correct one, or give only one")
    return np.where(kept, 1 / variance, 0.0)
