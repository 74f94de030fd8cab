"""What a fit needs to know of a model: its coordinates, its bounds, its correlation with derivatives, and its starts.

A fit steps in coordinates in which the problem is well conditioned. Bounds, fixed and tied values refer to the user's
parameters: a step is cut to a box in the *box parameters*, which are these or nearly these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.config import Range
from lanewise.families.heterodyne.models import Model
from lanewise.families.heterodyne.nlsq.scene import Ages, Scene


class Box(NamedTuple):
    """Bounds of the box parameters, each of shape (n,).

    Attributes:
        low, high: bounds; equal bounds fix a parameter.
        source: index of the parameter whose value each one has: its own, or that of the one it is tied to. The bounds
            of a tied one are equal, and have no meaning.
    """

    low: Any
    high: Any
    source: Any


class FitModel(Protocol):
    """A model with n coordinates. It is hashable: equal models share their compiled programs."""

    @property
    def physics(self) -> Model:
        """What the rest of the family knows of it."""

    @property
    def definitions(self) -> Definitions:
        """What no fit changes."""

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """Names of the n coordinates."""

    @property
    def box_names(self) -> tuple[str, ...]:
        """Names of the n box parameters."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Coordinates that belong together."""

    @property
    def exchangeable(self) -> bool:
        """Whether it has two components that may be exchanged (`labels`)."""

    def setting(self, ranges: Mapping[str, Range], tied: Mapping[str, str], t: np.ndarray) -> FitSetting:
        """Gauge and box of a fit over the ages t [s], shape (N,)."""

    def to_box(self, x: jax.Array, gauge: Any) -> jax.Array:
        """Box parameters of the coordinates x, both of shape (n,)."""

    def from_box(self, p: jax.Array, gauge: Any) -> jax.Array:
        """Coordinates of box parameters; NaN where there are none."""

    def from_parameters(self, parameters: jax.Array, gauge: Any) -> jax.Array:
        """Coordinates of the user's parameters, in their order."""

    def limited(self, x: jax.Array, p: jax.Array, gauge: Any, box: Box) -> jax.Array:
        """The coordinates x of the box parameters p, within what the box cannot express."""

    def report(self, x: jax.Array, gauge: Any) -> tuple[jax.Array, jax.Array]:
        """The user's parameters, and the values of `Model.headline`."""

    def rates(self, x: jax.Array, t: jax.Array, gauge: Any) -> jax.Array:
        """The curves of `Model.rates` at the ages t [s], shape (n_rates, N)."""

    def ages(self, x: jax.Array, scene: Scene, gauge: Any) -> Ages:
        """Factors per age and per angle."""

    def columns(self, at_i: jax.Array, at_j: jax.Array, ages: Ages, scene: Scene) -> jax.Array:
        """∂g/∂x and g of pairs of ages, shape (n_phi, n + 1, n_pairs).

        Args:
            at_i, at_j: columns of `ages.table` at the first and the second age of each pair, shape (…, n_pairs).
        """

    def correlation(self, x: jax.Array, first: jax.Array, second: jax.Array, scene: Scene, gauge: Any) -> jax.Array:
        """g of pairs of ages, shape (n_phi, …) for indices of shape (…)."""

    def design(self, u: np.ndarray, scene: Scene, box: Box) -> np.ndarray:
        """Starts over what the window can resolve, from uniform numbers; both of shape (n_starts, n)."""

    def anchor(self, t: np.ndarray) -> Mapping[int, tuple[float, float]]:
        """Expected value and spread of coordinates, where there is an expectation."""

    def max_step(self, x: jax.Array) -> jax.Array:
        """Largest step of each coordinate, beyond which the linear model is useless."""


@dataclass(frozen=True)
class FitSetting:
    """Model, gauge and box of one fit.

    Attributes:
        gauge: times to which the coordinates refer; its type is the model's own, and it has a `t_ref`.
        notes: directions that no data determine, one sentence each.
    """

    model: FitModel
    gauge: Any
    box: Box
    notes: tuple[str, ...] = ()


def box(names: tuple[str, ...], ranges: Mapping[str, Range], tied: Mapping[str, str]) -> Box:
    """The box of parameters that are the user's."""
    low, high = np.array([ranges[name].bounds for name in names]).T.copy()
    source = np.array([names.index(tied.get(name, name)) for name in names])
    low[source != np.arange(len(names))] = high[source != np.arange(len(names))] = 0.0
    return Box(low, high, source)


def cut(x: jax.Array, model: FitModel, gauge: Any, box: Box) -> jax.Array:
    """The coordinates x after their box parameters are clipped to the box."""
    p = jnp.clip(model.to_box(x, gauge), box.low, box.high)[box.source]
    return model.limited(model.from_box(p, gauge), p, gauge, box)


def slopes(p: jax.Array, model: FitModel, gauge: Any, box: Box) -> jax.Array:
    """Derivatives of the coordinates by the box parameters, shape (n, n); those by tied ones are 0."""
    found: jax.Array = jax.jacfwd(lambda p: model.from_box(p[box.source], gauge))(p)
    return found
