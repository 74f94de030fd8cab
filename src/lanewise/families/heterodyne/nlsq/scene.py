"""The conditions of a measurement, and the factors of a model at them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax


class Scene(NamedTuple):
    """Conditions of the measurement.

    Attributes:
        t, dt: ages, shape (N,), and their spacing [s].
        q: one number, or one for each matrix [1/Å]; with one number, the exponentials of a pair serve all matrices.
        phi: angle of each matrix [degree], shape (n_phi,).
    """

    t: Any
    dt: Any
    q: Any
    phi: Any


class Ages(NamedTuple):
    """Factors per age and per angle.

    Attributes:
        table: one row per age, shape (N, n_columns), so that one gather fetches everything of an age.
        wave: phase per unit of the path, or half of it per unit of shear, per angle.
        d_wave: its derivative with respect to phi0 [1/degree].
    """

    table: jax.Array
    wave: jax.Array
    d_wave: jax.Array
