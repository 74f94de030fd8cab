"""The plan: the realizations of a campaign and their chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from lanewise.manifest import identity
from lanewise.manifest.manifest import Config


class Planned(Protocol):
    """A planned realization of a family."""

    @property
    def run_id(self) -> str:
        """Name of its directory, unique in the campaign."""

    @property
    def seed(self) -> int:
        """Seed of its data, or of the search for its estimate."""

    @property
    def name(self) -> str:
        """Name for people; often the run id."""

    @property
    def truth(self) -> Mapping[str, float]:
        """True parameters that are known before the data are made; empty if there are none."""

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of everything that determines its numbers; `shared` are the plan's `settings`."""

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """A copy with a changed config, for a retry; unchanged if it has no config of its own."""


class Pinned(Protocol):
    """Data of a realization that are read rather than simulated."""

    @property
    def content(self) -> Any:
        """What fixes them, JSON-ready; not where they lie."""
        ...


@dataclass(frozen=True)
class Single:
    """A realization that is told from others by its truth, its seed and, where they are read, its data.

    Attributes:
        truth: the parameters that the campaign sets, in the order of the output; of data that are read, what is known
            to be true of them, which may be nothing.
        sources: data that are read, by role; empty where they are simulated from truth and seed.
    """

    run_id: str
    seed: int
    truth: Mapping[str, float]
    sources: Mapping[str, Pinned] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run id."""
        return self.run_id

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of settings, truth, seed and the content of the sources."""
        content = {"settings": shared, "truth": dict(self.truth), "seed": self.seed}
        if self.sources:
            content["data"] = {role: one.content for role, one in self.sources.items()}
        return identity.of(content)

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """Unchanged: it has no config of its own."""
        return self


@dataclass(frozen=True)
class Realization:
    """One inference problem of the plan, with its identity."""

    planned: Planned
    identity: str

    @property
    def run_id(self) -> str:
        """Name of its directory."""
        return self.planned.run_id


@dataclass(frozen=True)
class Chunk:
    """The realizations that one container computes."""

    index: int
    realizations: tuple[Realization, ...]

    @property
    def name(self) -> str:
        """The index in file names, five digits."""
        return f"{self.index:05d}"

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Names of its realizations' directories."""
        return tuple(realization.run_id for realization in self.realizations)


@dataclass(frozen=True)
class Plan:
    """All chunks of a campaign.

    Attributes:
        width: lanes in flight on the device.
        settings: settings that all realizations share, including the family's name (`kind`).
    """

    chunks: tuple[Chunk, ...]
    width: int
    settings: Mapping[str, Any]

    @property
    def realizations(self) -> tuple[Realization, ...]:
        """Every realization, in order."""
        return tuple(r for chunk in self.chunks for r in chunk.realizations)
