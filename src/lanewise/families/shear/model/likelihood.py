"""The likelihood of an image: pixel by pixel, or mode by mode where the stamp's own grid is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.fourier import ModeLikelihood
from lanewise.families.shear.model.render import STAMP, Grid, Renderer, build
from lanewise.manifest.protocols import Data


class Likelihood(Protocol):
    """Gaussian, of the parameters by name."""

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What is compared, computed once on the host."""
        ...

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """Up to a constant."""
        ...

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The whitened model, flat; JᵀJ of it is the Fisher information."""
        ...


class PixelLikelihood:
    """Independent Gaussian noise of one width in every pixel."""

    def __init__(self, render: Renderer, sigma: float) -> None:
        self._render, self._sigma = render, sigma

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The image, whitened."""
        return {"image": data["image"] / self._sigma}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """Up to a constant."""
        return -0.5 * jnp.sum((data["image"] - self._render(p) / self._sigma) ** 2)

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The whitened model, flat."""
        return self._render(p).ravel() / self._sigma


class WeightedLikelihood:
    """Independent Gaussian noise with a variance of its own in every pixel; data: `image` and `weight`."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The image, whitened, 0 where the weight is 0 whatever stands there; a weight that is none is NaN."""
        root = np.sqrt(np.where(data["weight"] >= 0, data["weight"], np.nan))
        return {"image": np.where(root == 0, 0.0, data["image"]) * root, "root": root}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """Up to a constant."""
        return -0.5 * jnp.sum((data["image"] - self._render(p) * data["root"]) ** 2)

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The whitened model, flat."""
        whitened: jax.Array = self._render(p) * data["root"]
        return whitened.ravel()


def choose(config: ShearConfig, grid: Grid) -> Likelihood:
    """Pixels where each has a variance of its own; else modes where the stamp's own grid is enough."""
    noise = config.image.noise
    if noise.type == "PerPixel" or noise.sigma is None:
        return WeightedLikelihood(build(config, grid))
    if config.image.renderer == "fourier" and grid == STAMP:
        return ModeLikelihood(config, noise.sigma)
    return PixelLikelihood(build(config, grid), noise.sigma)
