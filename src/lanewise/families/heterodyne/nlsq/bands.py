"""What a fit says about every age, with errors: the rates, the drift, and the correlation along some cuts."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.scene import Scene
from lanewise.families.heterodyne.nlsq.uncertainty import Uncertainty

# Cuts begin at these shares of the window.
_CUTS = (0.0, 0.25, 0.5, 0.75)


class Minimum(NamedTuple):
    """A minimum as functions of the age need it.

    Attributes:
        x: coordinates, shape (n,).
        coefficients: coefficients of contrast and of offset, shape (2, n_coefficients).
        basis: `ScalingBasis.basis`.
        centre: what was subtracted from the data.
    """

    x: Any
    coefficients: Any
    basis: Any
    centre: Any
    scene: Scene
    gauge: Any


class Bands(NamedTuple):
    """Values and standard errors; an error is infinite if the data do not determine the value.

    Attributes:
        rates: the curves of `Model.rates` at each age, shape (n_rates, N).
        rates_errors: their errors.
        cut_frames: first frame (0-based) of each cut, shape (n_cuts,).
        cuts: the model between the first frame of each cut and every later one, shape (n_phi, n_cuts, N); NaN before.
        cuts_errors: their errors.
    """

    rates: np.ndarray
    rates_errors: np.ndarray
    cut_frames: np.ndarray
    cuts: np.ndarray
    cuts_errors: np.ndarray


def bands(at: Minimum, errors: Uncertainty, model: FitModel) -> Bands:
    """The bands at a minimum."""
    n = len(np.asarray(at.scene.t))
    frames = np.unique([int(share * n) for share in _CUTS])
    values, slopes = _functions(at, jnp.asarray(frames), model)
    of_rates, of_cuts = (np.sqrt(errors.variances(np.asarray(slope))) for slope in slopes)
    later = np.arange(n) > frames[:, None]
    rates, cuts = (np.asarray(value) for value in values)
    return Bands(rates, of_rates, frames, np.where(later, cuts, np.nan), np.where(later, of_cuts, np.nan))


@partial(jax.jit, static_argnames="model")
def _functions(
    at: Minimum, frames: jax.Array, model: FitModel
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Rates and cuts, and their derivatives by all unknowns along a last axis."""

    def of(unknowns: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, coefficients = unknowns[: len(at.x)], unknowns[len(at.x) :].reshape(2, -1)
        contrast, offset = (at.basis @ one for one in coefficients)
        every = jnp.arange(at.scene.t.shape[0])
        g = model.correlation(x, frames[:, None], every[None, :], at.scene, at.gauge)
        cuts = at.centre + offset[:, None, None] + contrast[:, None, None] * g
        return model.rates(x, at.scene.t, at.gauge), cuts

    unknowns = jnp.concatenate([at.x, at.coefficients.reshape(-1)])
    return of(unknowns), jax.jacfwd(of)(unknowns)
