"""What a problem family gives to the rest: its plan, its results, and how one realization is inferred."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lanewise.errors import Complaint
from lanewise.manifest import identity
from lanewise.manifest.document import Document, Path

if TYPE_CHECKING:
    import jax
    import numpy as np

    from lanewise.engine.results import AnyResult
    from lanewise.machine.progress import Reporter
    from lanewise.manifest.loading import Config, Manifest
    from lanewise.manifest.plan import Chunk
    from lanewise.storage.checkpoints import Keeper

Data = Mapping[str, Any]


class Planned(Protocol):
    """One realization as its family enumerates it."""

    @property
    def run_id(self) -> str:
        """Name of its directory, unique in the campaign."""
        ...

    @property
    def seed(self) -> int:
        """Of its data, or of the search for its estimate."""
        ...

    @property
    def name(self) -> str:
        """What a reader calls it; the run id, if that says what it is."""
        ...

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of all that fixes its numbers, given the campaign's `identity.settings`."""
        ...

    def changed(self, change: Callable[[Any], Any]) -> Planned:
        """The same realization with its own config changed, for a retry; itself where the campaign's config is its."""
        ...


@dataclass(frozen=True)
class Member:
    """A simulated realization: a truth and a seed.

    Attributes:
        run_id: name of its directory, unique in the campaign.
        seed: seed of its data.
        truth: the parameters that the campaign sets, in the order of the output.
    """

    run_id: str
    seed: int
    truth: Mapping[str, float]

    @property
    def name(self) -> str:
        """The run id."""
        return self.run_id

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of settings, truth and seed."""
        return identity.of({"settings": shared, "truth": dict(self.truth), "seed": self.seed})

    def changed(self, change: Callable[[Any], Any]) -> Member:
        """Itself."""
        return self


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

    @property
    def prior_widths(self) -> Mapping[str, float]:
        """Standard deviation of the prior of each latent that the campaign asks for; see `mark_uninformative`."""
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

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """Error of a fast model at this position against its careful form, over what may be tolerated; 1 is too much.

        A problem with one form of its model returns 0.
        """
        ...


class Solver(Protocol):
    """Computes the chunks of one campaign."""

    @property
    def made(self) -> Mapping[str, Any]:
        """What a commit should say of how the last chunk was computed, JSON-ready."""
        ...

    def run(self, chunk: Chunk, progress: Reporter, keeper: Keeper) -> Sequence[AnyResult]:
        """One result per realization, in order; a realization's failure is in its result.

        Args:
            keeper: of the chunk's checkpoints; what it has loaded is not computed again.
        """
        ...


class Outputs(Protocol):
    """What a family's results look like in storage; bytes depend on the results alone."""

    def files(self, result: Any) -> Mapping[str, bytes]:
        """The files of a realization's directory by name; empty if it has none."""
        ...

    def summary_row(self, result: Any) -> Mapping[str, Any]:
        """What the realization brings to summary.csv, JSON-ready; with run_id, status and reason."""
        ...

    def packed_nc(self, results: Sequence[Any]) -> bytes:
        """A chunk's results in one netCDF-4 file."""
        ...

    def unpack(self, data: bytes) -> Sequence[AnyResult]:
        """The results in such a file."""
        ...


class Family(Protocol):
    """A family's module, `problems/<family>/family.py`; only `problem`, `observe` and `solver` import JAX or GalSim."""

    def check_config(self, config: Document) -> Sequence[Complaint]:
        """Everything that is wrong with the config."""
        ...

    def resolve_config(self, config: Document) -> Mapping[str, Any]:
        """A checked config with every file that it names found, pinned to its content, and absolute."""
        ...

    def parse_config(self, value: Mapping[str, Any]) -> Config:
        """A checked config as frozen types."""
        ...

    def check_extent(self, manifest: Document) -> Sequence[Complaint]:
        """What the schema cannot say of the manifest's keys that are this family's own."""
        ...

    def resolve(self, manifest: Document) -> Mapping[str, Any]:
        """A checked manifest that stands for the same campaign wherever it is read; the config is still to be inlined.

        Raises:
            ManifestError: something that it names is not there.
        """
        ...

    def parse_extent(self, value: Mapping[str, Any]) -> Any:
        """What the campaign runs over, as frozen types, from a resolved manifest."""
        ...

    def check_campaign(self, manifest: Manifest) -> Sequence[tuple[Path, str]]:
        """What is wrong between manifest and config: where in the manifest, and the complaint."""
        ...

    def settings(self, manifest: Manifest) -> Mapping[str, Any]:
        """What the campaign's realizations share, JSON-ready: part of identities, and what a refusal can name."""
        ...

    def members(self, manifest: Manifest) -> Sequence[Planned]:
        """Every realization of the campaign, in order."""
        ...

    def no_extension(self, manifest: Manifest) -> str:
        """What a user does instead of `lanewise extend`; empty for a campaign that has realizations to add."""
        ...

    def outputs(self) -> Outputs:
        """How its results are stored."""
        ...

    def solver(self, manifest: Manifest) -> Solver | None:
        """The family's own way to compute a chunk; None if it is a `LaneFamily`, whose lanes the engine runs.

        Raises:
            MachineError: this machine lacks the device that the manifest requires.
        """
        ...


class LaneFamily(Family, Protocol):
    """A family that describes one realization as a density, which the engine maps over lanes."""

    def observe(self, config: Any, member: Member) -> Observation:
        """Simulate or load one realization's data."""
        ...

    def problem(self, config: Any) -> Problem:
        """The density that all realizations of the campaign share."""
        ...
