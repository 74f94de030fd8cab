"""What the engine infers: one realization's inference problem and its data."""

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
    """What one realization is inferred from.

    Attributes:
        data: arrays that enter the density; of equal shapes over the campaign.
        truth: every true parameter, set by the campaign or central in its prior.
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
        """What a user does where `flaw` is too much; the end of a sentence."""

    @property
    def prior_widths(self) -> Mapping[str, float]:
        """Standard deviation of the prior of each latent that the campaign asks for; see `mark_uninformative`."""

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What the density needs of an observation, computed once on the host; `data` of the functions below."""

    def start(self, data: Data) -> jax.Array:
        """A position to begin at."""

    def constrain(self, position: jax.Array) -> jax.Array:
        """Latents in their own units, shape (n,)."""

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density with respect to the *position*, up to a constant."""

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|, so that a mode can be sought in the latents' own coordinates."""

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        """A positive semi-definite stand-in for −∇² log density + ∇² log jacobian, shape (n, n)."""

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """Error of a fast model at this position against its careful form, over what may be tolerated; 1 is too much.

        A problem with one form of its model returns 0.
        """


@dataclass(frozen=True)
class LaneInference:
    """How a config's lanes are inferred.

    Attributes:
        method: as results name it before a stage has run.
        precision: `float32` or `float64`.
        rng_seed: root of all random keys.
        stages: methods with their settings, each for what the ones before did not settle.
        khat_max: with several stages: one that leaves a k̂ below this has settled a realization.
    """

    method: str
    precision: str
    rng_seed: int
    stages: tuple[tuple[str, object], ...]
    khat_max: float
