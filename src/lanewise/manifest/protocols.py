"""What a family's results, solver and conclusion are to the rest."""

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
    """What every family's result says of its realization."""

    @property
    def run_id(self) -> str:
        """Name of its directory."""

    @property
    def seed(self) -> int:
        """Seed of its data, or of the search for its estimate."""

    @property
    def status(self) -> LaneStatus:
        """What became of it."""

    @property
    def reason(self) -> str:
        """Why it is not OK; empty if it is."""

    @property
    def method(self) -> str:
        """What inferred it."""

    @property
    def tries(self) -> tuple[Try, ...]:
        """Every attempt, the first run with them; empty if it was never retried."""

    def with_tries(self, tries: tuple[Try, ...]) -> Self:
        """The same result with these attempts on record."""


@dataclass(frozen=True)
class Try:
    """One attempt at a realization that was retried.

    Attributes:
        retry: 0 for the first run.
        change: what was done otherwise, in words; empty for nothing.
        method, status, reason: as the attempt ended.
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
    """A block of lanes between two rounds.

    Attributes:
        rounds: number of finished rounds.
        state: leaves of the lanes' state, each with a leading lane axis.
        records: one array per name, over all rounds so far.
    """

    rounds: int
    state: tuple[np.ndarray, ...]
    records: Mapping[str, np.ndarray]


class Keeper(Protocol):
    """Keeps what is done of one chunk in storage.

    Attributes:
        blocks: blocks of lanes by the number of their first lane, or tasks by their place in the chunk.
    """

    blocks: dict[int, Saved]

    def due(self, done: int, total: int) -> bool:
        """Whether it is time for a checkpoint, after `done` of the chunk's `total` steps."""

    def save(self) -> None:
        """Write all blocks as they stand."""


class Solver(Protocol):
    """Computes the chunks of one campaign."""

    @property
    def made(self) -> Mapping[str, Any]:
        """What a commit should say of how the last chunk was computed, JSON-ready."""

    def run(self, chunk: Chunk, progress: Reporter, keeper: Keeper) -> Sequence[AnyResult]:
        """One result per realization, in order; a realization's failure is in its result.

        Args:
            keeper: of the chunk's checkpoints; what it has loaded is not computed again.
        """


ResultT = TypeVar("ResultT")


class Outputs(Protocol[ResultT]):
    """What a family's results look like in storage; bytes depend on the results alone."""

    def files(self, result: ResultT, /) -> Mapping[str, bytes]:
        """The files of a realization's directory by name; empty if it has none."""

    def summary_row(self, result: ResultT, /) -> Mapping[str, Any]:
        """What the realization brings to summary.csv, JSON-ready; with run_id, status and reason."""

    def packed_nc(self, results: Sequence[ResultT], /) -> bytes:
        """A chunk's results in one netCDF-4 file."""

    def unpack(self, data: bytes, /) -> Sequence[ResultT]:
        """The results in such a file."""


@dataclass(frozen=True)
class DamagedChunk:
    """A committed chunk that cannot be read, and why; its realizations are missing."""

    chunk: int
    reason: str


@dataclass(frozen=True)
class Conclusion:
    """What a campaign came to.

    Attributes:
        results: the family's own: `BiasResults` of shears, the `Survey` of fits.
        lines: for a reader.
        strict_code: exit code of `aggregate --strict`.
        missing: run ids that the plan has and storage has not.
        damaged: committed chunks that cannot be read; what they held is missing.
        extend_count: more realizations per point that would decide; None if that is not what is missing.
    """

    results: object
    lines: tuple[str, ...]
    strict_code: int
    missing: frozenset[str]
    damaged: tuple[DamagedChunk, ...]
    extend_count: int | None = None


@dataclass(frozen=True)
class Forecast:
    """What one quantity needs.

    Attributes:
        component: the quantity.
        sigma_m: its error in the pilot, what is committed.
        target: the error that is wanted.
        n: realizations behind it.
        n_needed: in all, n (σ_m / target)².
        count: for `lanewise extend --count`; 0 if the pilot is enough.
    """

    component: str
    sigma_m: float
    target: float
    n: int
    n_needed: int
    count: int
