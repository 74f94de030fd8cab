"""The plan: the realizations of a campaign and their chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Simulated:
    """A simulated realization: a truth and a seed.

    Attributes:
        run_id: name of its directory, unique in the campaign.
        seed: seed of its data.
        truth: true parameters that the campaign sets, in the order of the output.
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
