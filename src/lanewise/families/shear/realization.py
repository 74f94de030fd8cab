"""A simulated realization: a truth and a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from lanewise.manifest import identity
from lanewise.manifest.manifest import Config


@dataclass(frozen=True)
class Simulated:
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

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """Itself: it has no config of its own."""
        return self
