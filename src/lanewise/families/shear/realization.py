"""A realization of a shear or calibration campaign: one image of a galaxy, simulated or read from files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lanewise.manifest import identity
from lanewise.manifest.manifest import Config
from lanewise.storage.inputs import Input


@dataclass(frozen=True)
class Source:
    """One image of one file.

    Attributes:
        name: of the array in the file.
        index: of the image in the file.
    """

    file: Input
    name: str
    index: int


@dataclass(frozen=True)
class OneImage:
    """One image of a galaxy; see `plan.Planned`.

    Attributes:
        truth: the parameters that the campaign sets, in the order of the output; of an image from a file, what is known
            to be true of it, which may be nothing.
        sources: where the image is read from, by role: `images`, and `variance` and `mask` where there are any; empty
            for an image that is simulated from its truth and seed.
    """

    run_id: str
    seed: int
    truth: Mapping[str, float]
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run id."""
        return self.run_id

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of settings, truth, seed and the content of the files; not of their paths."""
        content = {"settings": shared, "truth": dict(self.truth), "seed": self.seed}
        if self.sources:
            content["data"] = {role: [one.file.sha256, one.name, one.index] for role, one in self.sources.items()}
        return identity.of(content)

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """Itself: it has no config of its own."""
        return self
