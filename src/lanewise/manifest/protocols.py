"""Protocols of a family's results, solver and conclusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from lanewise.machine.progress import Reporter
from lanewise.manifest.plan import Chunk
from lanewise.manifest.status import LaneStatus

if TYPE_CHECKING:
    import numpy as np


class AnyResult(Protocol):
    """The common properties of every family's results."""

    @property
    def run_id(self) -> str:
        """Name of its directory."""

    @property
    def seed(self) -> int:
        """Seed of its data, or of the search for its estimate."""

    @property
    def status(self) -> LaneStatus:
        """Status of the realization."""

    @property
    def reason(self) -> str:
        """Why the status is not OK; otherwise empty."""

    @property
    def method(self) -> str:
        """Method that computed it."""

    @property
    def tries(self) -> tuple[Try, ...]:
        """Every attempt, including the first run; empty without retries."""

    @property
    def member_counts(self) -> Mapping[str, int]:
        """Status of its members, as in files → their number; empty for a realization with one member."""

    def with_tries(self, tries: tuple[Try, ...]) -> Self:
        """A copy with these attempts."""


@dataclass(frozen=True)
class Needs:
    """What a chunk of a family with a solver needs.

    Attributes:
        host_bytes: peak memory of the process.
        seconds: time on cores like those on which it was measured.
        seconds_most: if more samplers must run than at first; None if the time does not depend on that.
        what: what is computed, for people.
        remedy: what to do if the memory is too small.
    """

    host_bytes: int
    seconds: float
    what: str
    remedy: str
    seconds_most: float | None = None


@dataclass(frozen=True)
class Try:
    """One attempt at a retried realization.

    Attributes:
        retry: number of the retry; 0 for the first run.
        change: what was changed, in words; empty if nothing.
        method, status, reason: those of the attempt's result.
    """

    retry: int
    change: str
    method: str
    status: str
    reason: str

    @classmethod
    def of(cls, result: AnyResult, *, retry: int, change: str) -> Try:
        """The attempt that gave a result."""
        return cls(retry, change, method=result.method, status=result.status.word, reason=result.reason)


@dataclass(frozen=True)
class Saved:
    """A block of lanes between two rounds, or after the last one.

    Attributes:
        rounds: number of finished rounds.
        state: leaves of the lanes' state, each with a leading lane axis; empty if the block is finished.
        records: one array per name: the records of all rounds so far, or what a finished block left.
        units: what the lanes compute, one row per lane; a solver without lanes has none.
        width: lanes of the block, with padding.
    """

    rounds: int
    state: tuple[np.ndarray, ...]
    records: Mapping[str, np.ndarray]
    units: np.ndarray | None = None
    width: int = 0


class Keeper(Protocol):
    """Keeps the state of one chunk in storage.

    Attributes:
        blocks: blocks of lanes by the number of their first lane, or tasks by their place in the chunk.
    """

    blocks: dict[int, Saved]

    def due(self, done: int, total: int) -> bool:
        """Whether to write a checkpoint after `done` of the chunk's `total` steps."""

    def save(self) -> None:
        """Write all blocks in their current state."""


class Solver(Protocol):
    """Computes the chunks of one campaign."""

    @property
    def made(self) -> Mapping[str, Any]:
        """How the last chunk was computed, JSON-ready; part of the commit's provenance."""

    def run(self, chunk: Chunk, progress: Reporter, keeper: Keeper) -> Sequence[AnyResult]:
        """One result per realization, in order; a realization's failure is in its result.

        Args:
            keeper: the chunk's checkpoints; parts that it has loaded are not computed again.
        """


ResultT = TypeVar("ResultT")


class Outputs(Protocol[ResultT]):
    """The files of a family's results; their bytes depend on the results alone."""

    def files(self, result: ResultT, /) -> Mapping[str, bytes]:
        """The files of a realization's directory by name; empty if it has none."""

    def summary_row(self, result: ResultT, /) -> Mapping[str, Any]:
        """The realization's row of summary.csv, JSON-ready; it has run_id, status and reason."""

    def packed_nc(self, results: Sequence[ResultT], /) -> bytes:
        """A chunk's results in one netCDF-4 file."""

    def unpack(self, data: bytes, /) -> Sequence[ResultT]:
        """The results in such a file."""


@dataclass(frozen=True)
class DamagedChunk:
    """A committed chunk that cannot be read, and the reason; its realizations count as missing."""

    chunk: int
    reason: str


@dataclass(frozen=True)
class Conclusion:
    """The conclusion of a campaign.

    Attributes:
        results: the family's own type, e.g. `BiasResults` or `Survey`.
        lines: text for people.
        strict_code: exit code of `aggregate --strict`.
        missing: run ids of planned realizations without results.
        damaged: committed chunks that cannot be read; their realizations are missing.
        extend_count: further realizations per point that would decide the verdict; None if they would not help.
    """

    results: object
    lines: tuple[str, ...]
    strict_code: int
    missing: frozenset[str]
    damaged: tuple[DamagedChunk, ...]
    extend_count: int | None = None


@dataclass(frozen=True)
class Design:
    """A way to draw the realizations, and what the target error needs with it.

    Attributes:
        name: plain, pairs, rings, or pairs in rings.
        n_needed: total number of realizations.
        seconds: their computing time in one container [s]; None before it is known.
    """

    name: str
    n_needed: int
    seconds: float | None = None


@dataclass(frozen=True)
class Forecast:
    """Number of realizations that the target error of one component needs.

    Attributes:
        component: the component of the shear.
        sigma_m: standard error of m from the committed realizations.
        target: requested standard error of m.
        n: number of realizations behind sigma_m.
        n_needed: total number needed, n (σ_m / target)².
        count: argument of `lanewise extend --count`; 0 if the target is reached.
        designs: what the pilot tells about the ways to draw the realizations; empty for a single true shear.
        galaxies: simulated images of galaxies in all n_needed realizations; one each without a population.
        seconds: computing time of all n_needed realizations in one container; None if not known.
    """

    component: str
    sigma_m: float
    target: float
    n: int
    n_needed: int
    count: int
    designs: tuple[Design, ...] = ()
    galaxies: int = 0
    seconds: float | None = None
