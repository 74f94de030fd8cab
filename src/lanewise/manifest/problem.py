"""The inference problem of one realization, and its data, for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import jax
    import numpy as np

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Observation:
    """The data of one realization.

    Attributes:
        data: arrays of the density; their shapes are the same for all realizations of the campaign.
        truth: every true parameter: set by the campaign, or the centre of its prior.
    """

    data: Mapping[str, np.ndarray]
    truth: Mapping[str, float]


class Problem(Protocol):
    """One realization's inference problem; the engine maps it over lanes.

    A position is an unconstrained vector of shape (n,), n = len(names).
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Latents, in the order of the position."""

    @property
    def remedy(self) -> str:
        """Remedy for a `flaw` above 1; the end of a sentence."""

    @property
    def prior_widths(self) -> Mapping[str, float]:
        """Prior standard deviation of each latent of interest; see `mark_uninformative`."""

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Arrays for the density, computed once on the host from an observation; `data` of the functions below."""

    def start(self, data: Data) -> jax.Array:
        """Start position, shape (n,)."""

    def constrain(self, position: jax.Array) -> jax.Array:
        """The latents in their own units, shape (n,)."""

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density with respect to the *position*, up to a constant [nats]."""

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|; with it, a mode can be found in the latents' own coordinates."""

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        """A positive semi-definite approximation of −∇² log density + ∇² log jacobian, shape (n, n)."""

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """Error of the fast model against the accurate one at this position, in units of the tolerance.

        0 if the problem has only one model.
        """


@dataclass(frozen=True)
class LaneInference:
    """Inference settings of a config.

    Attributes:
        method: method of results that no stage has computed.
        precision: `float32` or `float64`.
        rng_seed: root of all random keys.
        stages: methods with their settings, each for the realizations that the ones before did not settle.
        khat_max: with several stages, a realization is settled only if its k̂ is below this value.
    """

    method: str
    precision: str
    rng_seed: int
    stages: tuple[tuple[str, object], ...]
    khat_max: float
