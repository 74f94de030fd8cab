"""The likelihood of an image: pixel by pixel, or mode by mode if the stamp's own grid is accurate enough.

Each is Gaussian, a function of the parameters by name. `prepare` whitens the data on the host, once per image.
`prediction` is the whitened model, shape (n_data,): with its Jacobian J, JᵀJ is the Fisher information.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model import correlated
from lanewise.families.shear.model.correlated import CorrelatedLikelihood
from lanewise.families.shear.model.exposures import Exposure
from lanewise.families.shear.model.fourier import ModeLikelihood
from lanewise.families.shear.model.grid import Grid, GridRenderer
from lanewise.families.shear.model.render import STAMP
from lanewise.manifest.problem import Data


class PixelLikelihood:
    """Independent Gaussian noise in every pixel, for drawn images.

    Args:
        sigma: standard deviation of a pixel [flux]; None: data have `weight`, the inverse variance of every pixel.
    """

    def __init__(self, renderer: GridRenderer, sigma: float | None) -> None:
        self._renderer, self._sigma = renderer, sigma

    def prepare(self, data: Mapping[str, np.ndarray], exposure: Exposure | None = None) -> Mapping[str, np.ndarray]:
        """The image in units of the noise, shape (ny, nx), and `root` = 1/σ, of that shape or of shape ().

        Masked pixels (weight 0) become 0, also if they are not finite. Negative or NaN weights become NaN. Of an
        exposure also its `frame`; its modes are the renderer's to prepare.
        """
        if exposure is not None:
            whitened = self.prepare(data)
            return {"frame": exposure.frame, **{name: exposure.counts * array for name, array in whitened.items()}}
        if self._sigma is not None:
            return {"image": data["image"] / self._sigma, "root": np.array(1 / self._sigma)}
        root = np.sqrt(np.where(data["weight"] >= 0, data["weight"], np.nan))
        return {"image": np.where(root == 0, 0.0, data["image"]) * root, "root": root}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """−χ²/2 over the pixels that are not masked."""
        return -0.5 * jnp.sum((data["image"] - self._renderer(p, data) * data["root"]) ** 2)

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The model image in units of each pixel's σ, shape (ny nx,); 0 for a masked pixel."""
        whitened: jax.Array = self._renderer(p, data) * data["root"]
        return whitened.ravel()


Likelihood = ModeLikelihood | PixelLikelihood | CorrelatedLikelihood


def choose(config: ShearConfig, grid: Grid) -> Likelihood:
    """The pixel likelihood if pixels have different variances, else modes if the stamp's own grid is enough.

    Correlated noise has a periodic covariance where that changes no width by much, otherwise the exact one. Exposures
    with noise of their own have a periodic one; `exposure_noise` refuses those that it does not serve.
    """
    noise = config.image.noise
    if noise.per_exposure:
        if grid == STAMP:
            return ModeLikelihood(config, None)
        return CorrelatedLikelihood(config, GridRenderer(config, grid), periodic=True)
    if noise.type == "Correlated":
        periodic = correlated.periodic_error(config) < correlated.TOLERANCE
        if periodic and grid == STAMP:
            return ModeLikelihood(config, correlated.mode_sigma(config.image))
        return CorrelatedLikelihood(config, GridRenderer(config, grid), periodic=periodic)
    sigma = None if noise.type == "PerPixel" else noise.sigma
    if grid == STAMP and sigma is not None:
        return ModeLikelihood(config, sigma)
    return PixelLikelihood(GridRenderer(config, grid), sigma)
