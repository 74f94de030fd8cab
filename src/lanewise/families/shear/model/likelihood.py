"""The likelihood of an image: pixel by pixel, or mode by mode if the stamp's own grid is accurate enough.

Each is Gaussian, a function of the parameters by name. `prepare` whitens the data on the host, once per image.
`prediction` is the whitened model, shape (n_data,): with its Jacobian J, JᵀJ is the Fisher information.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.fourier import Grid, GridRenderer, ModeLikelihood
from lanewise.families.shear.model.render import STAMP
from lanewise.manifest.problem import Data

# (flux, half_light_radius, e1, e2, g1, g2, x, y) by name → image of shape (ny, nx) [flux per pixel]
Renderer = Callable[[Mapping[str, Any]], jax.Array]


class PixelLikelihood:
    """Independent Gaussian noise, with the same standard deviation in every pixel."""

    def __init__(self, render: Renderer, sigma: float) -> None:
        self._render, self._sigma = render, sigma

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The image in units of the noise σ, shape (ny, nx)."""
        return {"image": data["image"] / self._sigma}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """−χ²/2."""
        return -0.5 * jnp.sum((data["image"] - self._render(p) / self._sigma) ** 2)

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The model image in units of the noise σ, shape (ny nx,)."""
        return self._render(p).ravel() / self._sigma


class WeightedLikelihood:
    """Independent Gaussian noise with one variance per pixel; data: `image` and `weight`, the inverse variance."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The image in units of each pixel's σ, and `root` = 1/σ, shape (ny, nx).

        Masked pixels (weight 0) become 0, also if they are not finite. Negative or NaN weights become NaN.
        """
        root = np.sqrt(np.where(data["weight"] >= 0, data["weight"], np.nan))
        return {"image": np.where(root == 0, 0.0, data["image"]) * root, "root": root}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """−χ²/2 over the pixels that are not masked."""
        return -0.5 * jnp.sum((data["image"] - self._render(p) * data["root"]) ** 2)

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The model image in units of each pixel's σ, shape (ny nx,); 0 for a masked pixel."""
        whitened: jax.Array = self._render(p) * data["root"]
        return whitened.ravel()


Likelihood = ModeLikelihood | PixelLikelihood | WeightedLikelihood


def choose(config: ShearConfig, grid: Grid) -> Likelihood:
    """The pixel likelihood if pixels have different variances, else modes if the stamp's own grid is enough."""
    noise = config.image.noise
    if noise.type == "PerPixel" or noise.sigma is None:
        return WeightedLikelihood(GridRenderer(config, grid))
    if grid == STAMP:
        return ModeLikelihood(config, noise.sigma)
    return PixelLikelihood(GridRenderer(config, grid), noise.sigma)
