"""The part of a config that names the method and its settings; separate from the methods' code, without JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Self

from lanewise.manifest.family import climbed
from lanewise.manifest.manifest import Rung
from lanewise.manifest.problem import LaneInference
from lanewise.methods import STAGES, settings


@dataclass(frozen=True)
class Inference:
    """The method and the settings of every method."""

    method: str = "nuts"
    precision: str = "float64"
    rng_seed: int = 0
    map: settings.MapSettings = field(default_factory=settings.MapSettings)
    laplace: settings.LaplaceSettings = field(default_factory=settings.LaplaceSettings)
    vi: settings.ViSettings = field(default_factory=settings.ViSettings)
    importance: settings.ImportanceSettings = field(default_factory=settings.ImportanceSettings)
    hmc: settings.HmcSettings = field(default_factory=settings.HmcSettings)
    nuts: settings.NutsSettings = field(default_factory=settings.NutsSettings)
    auto: settings.AutoSettings = field(default_factory=settings.AutoSettings)

    @property
    def settings(self) -> Any:
        """Settings of the method."""
        return getattr(self, self.method)

    @property
    def stages(self) -> tuple[tuple[str, Any], ...]:
        """The methods that run, in their order, with their settings."""
        return tuple((name, getattr(self, name)) for name in STAGES.get(self.method, (self.method,)))

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting that can change a number, JSON-ready, without the settings of other methods."""
        found = {
            "method": self.method,
            "precision": self.precision,
            "rng_seed": self.rng_seed,
            **asdict(self.settings),
        }
        if self.method in STAGES:
            found["stages"] = {name: asdict(settings) for name, settings in self.stages}
        return found

    @property
    def for_lanes(self) -> LaneInference:
        """The same for the engine."""
        return LaneInference(self.method, self.precision, self.rng_seed, self.stages, self.auto.khat_max)

    def climbed(self, rung: Rung) -> Self:
        """With another method and the settings that there are for it, or with other settings of its method."""
        if rung.method is not None:
            return replace(self, method=rung.method)
        return replace(self, **{self.method: climbed(self.settings, rung)})


# Method → the type of its settings.
SETTINGS: dict[str, Any] = {
    one.name: one.default_factory for one in fields(Inference) if one.default_factory is not MISSING
}
