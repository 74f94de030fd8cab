"""What the draws say about the correlation along the cuts of the fit: the model there, and where a new value falls."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.result import Estimate, FitResult
from lanewise.families.heterodyne.nlsq.scene import Scene

# As many of the draws are used.
_DRAWS = 1000


class Predicted(NamedTuple):
    """Along the cuts of `Bands`, each of shape (n_phi, n_cuts, N); NaN before the first frame of a cut.

    Attributes:
        means, sds: mean and standard deviation of the model.
        new_sds: standard deviation of a new value, whose noise is that of the draws.
    """

    means: np.ndarray
    sds: np.ndarray
    new_sds: np.ndarray


def predicted(finish: Finish, fit: FitResult, posterior: Mapping[str, np.ndarray]) -> Predicted:
    """The posterior predictive distribution along the cuts of a fit.

    Args:
        posterior: draws of the same data by quantity, shape (chain, draw).
    """
    draws = {name: values.reshape(-1) for name, values in posterior.items()}
    n = len(draws["noise"])
    draws = {name: values[np.linspace(0, n - 1, min(n, _DRAWS)).astype(int)] for name, values in draws.items()}
    n = len(draws["noise"])

    def drawn(name: str, fixed: Estimate) -> np.ndarray:
        return draws.get(name, np.full(n, fixed.value))

    def of_angles(name: str, fixed: tuple[Estimate, ...]) -> np.ndarray:
        shared = [name] * len(fixed) if name in draws else [f"{name}_{k}" for k in range(len(fixed))]
        return np.stack([drawn(key, one) for key, one in zip(shared, fixed, strict=True)], axis=1)

    parameters = np.stack([drawn(name, one) for name, one in fit.parameters.items()], axis=1)
    scales = of_angles("contrast", fit.contrast), of_angles("offset", fit.offset)
    problem, frames = finish.searcher.problem, fit.bands.cut_frames
    means, variances = (
        np.asarray(part)
        for part in _moments(
            *map(jnp.asarray, (parameters, *scales, frames)), problem.scene, problem.gauge, model=finish.where.model
        )
    )
    noise = np.mean(draws["noise"] ** 2) * finish.noise.factor(finish.data.n_frames)[:, frames] ** 2
    later = np.arange(finish.data.n_frames) > frames[:, None]
    parts = means, np.sqrt(variances), np.sqrt(variances + noise)
    return Predicted(*(np.where(later, part, np.nan) for part in parts))


@partial(jax.jit, static_argnames="model")
def _moments(
    parameters: jax.Array,
    contrast: jax.Array,
    offset: jax.Array,
    frames: jax.Array,
    scene: Scene,
    gauge: Any,
    *,
    model: FitModel,
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over draws of the correlation from each of `frames` to every other one."""
    every = jnp.arange(scene.t.shape[0])

    def cuts(one: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        g = model.correlation(model.from_parameters(one[0], gauge), frames[:, None], every[None, :], scene, gauge)
        return one[2][:, None, None] + one[1][:, None, None] * g

    draws = (parameters, contrast, offset)
    # Sums are relative to the first draw, so that they do not lose digits.
    first = cuts(jax.tree.map(lambda part: part[0], draws))

    def add(total: tuple[jax.Array, jax.Array], one: Any) -> tuple[tuple[jax.Array, jax.Array], None]:
        off = cuts(one) - first
        return (total[0] + off, total[1] + off**2), None

    (off, squares), _ = jax.lax.scan(add, (jnp.zeros_like(first), jnp.zeros_like(first)), draws)
    n = parameters.shape[0]
    return first + off / n, jnp.maximum(squares / n - (off / n) ** 2, 0.0)
