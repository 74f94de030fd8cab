"""The inference problem of one member of a realization, and its data, for the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from lanewise.manifest.status import LaneStatus

if TYPE_CHECKING:
    import jax
    import numpy as np

Data = Mapping[str, Any]
Reduce = Callable[["Problem", Mapping[str, "jax.Array"], Mapping[str, "jax.Array"], Data], Mapping[str, "jax.Array"]]
ConfigT = TypeVar("ConfigT")
# The family's result; engine.results.Result in lanewise, a room above this one.
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Observation:
    """The data of one realization, member by member.

    Attributes:
        members: the arrays of the density for each member. The sequence may make a member's data when they are asked
            for; an error there is the failure of this member alone. None: there is nothing to infer of this member,
            which is OK and leaves no record. Shapes are equal for all members of the campaign, but for the arrays named
            in `ragged`, and unless there is a `shape`.
        truth: every true parameter: set by the campaign, or the centre of its prior.
        ragged: arrays with one row per datum; members may have different numbers of rows. The engine pads the rows
            by copies of the first, and adds the array `mask` (bool, one value per row), False for padding.
        sizes: rows of each member's ragged arrays; empty without ragged arrays.
        padded: rows after padding; 0: chosen by the engine for each member from its size alone.
        shape: of a realization whose arrays have other shapes than others of the campaign, e.g. the pixels of an
            image; equal for equal shapes, and the argument of `Lanes.shaped`. Empty: that of the campaign.
    """

    members: Sequence[Mapping[str, np.ndarray] | None]
    truth: Mapping[str, float]
    ragged: tuple[str, ...] = ()
    sizes: Sequence[int] = ()
    padded: int = 0
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, np.ndarray], truth: Mapping[str, float]) -> Self:
        """The observation of a realization with one member."""
        return cls((data,), truth)

    @property
    def data(self) -> Mapping[str, np.ndarray]:
        """The data of the only member."""
        (data,) = self.members
        assert data is not None
        return data


@dataclass(frozen=True)
class Members:
    """What the lanes of a realization's members left.

    Attributes:
        status: `LaneStatus` of each member, shape (member,).
        record: array per name, shape (member, chain, …); NaN (0 for integers) for members without a record.
        reasons: number of a member that is not OK → the sentence that explains it.
    """

    status: np.ndarray
    record: Mapping[str, np.ndarray] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Status, as in files → number of members."""
        return dict(Counter(LaneStatus(int(one)).word for one in self.status))


@dataclass(frozen=True)
class Membership(Generic[ConfigT, ResultT]):
    """How realizations of several members end.

    Attributes:
        combine: the realization's result from its members. It gets the config, a result without posterior whose
            status is OK, and the members; it sets the posterior, and the status if members were lost. It may change
            the status of members, too.
        reduce: what a lane leaves in place of its draws, computed on the device: a pure function of the problem, the
            records of all rounds by name, see `methods.base.Method`, the records of the lane as a whole, and the
            data. Steps whose `keep` is False are no draws. Shapes of the result must not depend on the size of the
            member. If there are `ess`, `khat` or `rhat`, a member is not converged where the manifest's thresholds
            say so: the sum of `ess` over its lanes, and the largest `khat` and `rhat`.
            None: the lane leaves its draws: arrays (chain, draw) by latent.
    """

    combine: Callable[[ConfigT, ResultT, Members], ResultT]
    reduce: Reduce | None = None


class Problem(Protocol):
    """The inference problem of one member; the engine maps it over lanes.

    A position is an unconstrained vector of shape (n,), the latents are one of shape (m,), m = len(names). Often n = m;
    a simplex has one number more than its position, for example.
    """

    def __hash__(self) -> int:
        """Hash: equal problems share compiled programs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Latents, in the order of `constrain`."""

    @property
    def model(self) -> str:
        """Which of several models of the data this is, for the record; empty if there is only one."""

    @property
    def finer(self) -> Problem | None:
        """The same problem with a more accurate model, for lanes with a `flaw` above 1; None if there is none."""

    @property
    def remedy(self) -> str:
        """Remedy for a `flaw` above 1 if there is no finer model; the end of a sentence."""

    @property
    def prior_widths(self) -> Mapping[str, float]:
        """Prior standard deviation of each latent of interest; see `mark_uninformative`."""

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Arrays for the density, computed on the host from a member's (padded) data; `data` of the functions below."""

    def start(self, data: Data) -> jax.Array:
        """Start position, shape (n,)."""

    def constrain(self, position: jax.Array) -> jax.Array:
        """The latents in their own units, shape (m,)."""

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density with respect to the *position*, up to a constant [nats]."""

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|; with it, a mode can be found in the latents' own coordinates."""

    @property
    def curvature(self) -> Callable[[jax.Array, Data], jax.Array] | None:
        """Of position and data: a positive semi-definite approximation of −∇² log density + ∇² log jacobian, (n, n).

        None: the methods use the Hessian, made positive; see `methods.mode.made_positive`.
        """

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
