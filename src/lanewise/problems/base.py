"""What a problem family gives to the rest: its plan, and one realization's density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lanewise.document import Document, Path
from lanewise.errors import Complaint

if TYPE_CHECKING:
    import jax
    import numpy as np

    from lanewise.manifest import Config, Manifest

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Member:
    """One realization as its family enumerates it.

    Attributes:
        run_id: name of its directory, unique in the campaign.
        seed: seed of its data.
        truth: the parameters that the campaign sets, in the order of the output.
    """

    run_id: str
    seed: int
    truth: Mapping[str, float]


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
        ...

    @property
    def remedy(self) -> str:
        """What a user does where `flaw` is too much; the end of a sentence."""
        ...

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What the density needs of an observation, computed once on the host; `data` of the functions below."""
        ...

    def start(self, data: Data) -> jax.Array:
        """A position to begin at."""
        ...

    def constrain(self, position: jax.Array) -> jax.Array:
        """Latents in their own units, shape (n,)."""
        ...

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density with respect to the *position*, up to a constant."""
        ...

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|, so that a mode can be sought in the latents' own coordinates."""
        ...

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        """A positive semi-definite stand-in for −∇² log density + ∇² log jacobian, shape (n, n)."""
        ...

    def flaw(self, position: jax.Array) -> jax.Array:
        """Error of a fast model at this position against its careful form, over what may be tolerated; 1 is too much.

        A problem with one form of its model returns 0.
        """
        ...


class Family(Protocol):
    """A family's module, `problems/<family>/family.py`; only `problem` and `observe` may import JAX or GalSim."""

    def check_config(self, config: Document) -> Sequence[Complaint]:
        """Everything that is wrong with the config."""
        ...

    def parse_config(self, value: Mapping[str, Any]) -> Config:
        """A checked config as frozen types."""
        ...

    def check_extent(self, manifest: Document) -> Sequence[Complaint]:
        """What the schema cannot say of the manifest's keys that are this family's own."""
        ...

    def parse_extent(self, value: Mapping[str, Any]) -> Any:
        """What the campaign runs over, as frozen types, from a checked manifest."""
        ...

    def check_campaign(self, manifest: Manifest) -> Sequence[tuple[Path, str]]:
        """What is wrong between manifest and config: where in the manifest, and the complaint."""
        ...

    def members(self, manifest: Manifest) -> tuple[Member, ...]:
        """Every realization of the campaign, in order."""
        ...

    def observe(self, config: Any, member: Member) -> Observation:
        """Simulate or load one realization's data."""
        ...

    def problem(self, config: Any) -> Problem:
        """The density that all realizations of the campaign share."""
        ...
