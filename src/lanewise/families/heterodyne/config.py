"""The heterodyne config as frozen types; the schema describes each key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lanewise.errors import Complaint, ManifestError
from lanewise.families.heterodyne.c2 import BOUNDS, FractionClip, TimeOrigin
from lanewise.manifest import schema, typed
from lanewise.manifest.document import Document
from lanewise.manifest.family import climbed
from lanewise.manifest.manifest import Rung

SCHEMA = "heterodyne-config"
All = Literal["all"]
ErrorKind = Literal["auto", "independent", "speckle"]
Label = Literal["as_bounded", "minority_is_sample", "faster_is_sample"]
ScalingMode = Literal["auto", "constant", "individual", "fourier"]


@dataclass(frozen=True)
class Range:
    """Bounds of a fitted value; equal bounds fix it."""

    min: float
    max: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound."""
        return self.min, self.max


DEFAULT_RANGES: Mapping[str, Range] = {name: Range(*bounds) for name, bounds in BOUNDS.items()}


@dataclass(frozen=True)
class Selection:
    """The part of a file that is fitted. Without q it is the only q of the file; `all` fits each q on its own."""

    q: float | All | None = None
    phi: Sequence[float] | All = "all"
    dt: float | None = None
    start_frame: int = 1
    end_frame: int = -1


@dataclass(frozen=True)
class Model:
    """Definitions of the ages, of the fraction, and of the sample where the data do not name it."""

    fraction_clip: FractionClip = "soft"
    time_origin: TimeOrigin = "window"
    label: Label = "as_bounded"


@dataclass(frozen=True)
class Scaling:
    """How contrast and offset may differ between the angles, and their bounds."""

    mode: ScalingMode = "auto"
    contrast: Range = Range(0.0, 1.0)
    offset: Range = Range(0.5, 1.5)


@dataclass(frozen=True)
class FitSettings:
    """Settings of the search for the minimum, and of the criteria that it must meet."""

    seed: int = 0
    candidates: int = 512
    starts: int = 24
    polish: int = 8
    hops: int = 16
    rounds: int = 4
    max_iterations: int = 100
    agreement: int = 3
    reduced_chi2_max: float = 1.2


@dataclass(frozen=True)
class Errors:
    """The noise for which errors and χ² hold; what is not given of a detector is estimated."""

    noise: ErrorKind = "auto"
    pixels: float | None = None
    modes: int | None = None
    flux: float | None = None


@dataclass(frozen=True)
class OutputSettings:
    """What is written on request."""

    c2: bool = False


@dataclass(frozen=True)
class HeterodyneConfig:
    """A parsed heterodyne config."""

    data: Selection = field(default_factory=Selection)
    model: Model = field(default_factory=Model)
    parameters: Mapping[str, Range] = field(default_factory=lambda: dict(DEFAULT_RANGES))
    scaling: Scaling = field(default_factory=Scaling)
    fit: FitSettings = field(default_factory=FitSettings)
    errors: Errors = field(default_factory=Errors)
    outputs: OutputSettings = field(default_factory=OutputSettings)

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting, defaults included, JSON-ready."""
        plain: Mapping[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def method(self) -> str:
        """Name of the method that estimates the parameters."""
        return "nlsq"

    @property
    def precision(self) -> str:
        """Precision of the fits."""
        return "float64"

    def climbed(self, rung: Rung) -> HeterodyneConfig:
        """The config with the fit settings changed by a rung of the ladder."""
        return replace(self, fit=climbed(self.fit, rung))


def check(config: Document) -> list[Complaint]:
    """All errors of a heterodyne config."""
    found = schema.complaints(config, schema.load(SCHEMA))
    if found:
        return found
    value = config.value
    for section, defaults in (("parameters", DEFAULT_RANGES), ("scaling", _SCALES)):
        for name, part in value.get(section, {}).items():
            if not isinstance(part, Mapping):
                continue
            bounds = _range(part, defaults[name])
            if not bounds.min < bounds.max:
                found.append(
                    config.complaint(
                        (section, name, "max" if "max" in part else "min"),
                        f"expected min < max, got {bounds.min:g} and {bounds.max:g}; write the number alone to fix it",
                    )
                )
    fit = {**vars(FitSettings()), **value.get("fit", {})}
    for small, large in (
        ("starts", "candidates"),
        ("hops", "candidates"),
        ("polish", "starts"),
        ("agreement", "polish"),
    ):
        if fit[small] > fit[large]:
            found.append(
                config.complaint(
                    ("fit", small if small in value.get("fit", {}) else large),
                    f"expected {small} ≤ {large}, got {fit[small]} and {fit[large]}",
                )
            )
    return found


def parse(value: Mapping[str, Any]) -> HeterodyneConfig:
    """The frozen types of a config that has been checked."""
    data, scaling = dict(value.get("data", {})), dict(value.get("scaling", {}))
    if isinstance(data.get("phi"), list):
        data["phi"] = tuple(float(angle) for angle in data["phi"])
    scaling |= {name: _range(scaling[name], default) for name, default in _SCALES.items() if name in scaling}
    given, errors = value.get("parameters", {}), value.get("errors", {})
    return HeterodyneConfig(
        data=typed.build(Selection, data),
        model=typed.build(Model, value.get("model", {})),
        parameters={name: _range(given.get(name, {}), default) for name, default in DEFAULT_RANGES.items()},
        scaling=typed.build(Scaling, scaling),
        fit=typed.build(FitSettings, value.get("fit", {})),
        errors=typed.build(Errors, {"noise": errors} if isinstance(errors, str) else errors),
        outputs=typed.build(OutputSettings, value.get("outputs", {})),
    )


def checked(value: Mapping[str, Any]) -> HeterodyneConfig:
    """Check a config and parse it.

    Raises:
        ManifestError: the config is invalid; the error lists every reason.
    """
    complaints = check(Document("config", dict(value)))
    if complaints:
        raise ManifestError(complaints)
    return parse(value)


_SCALES = {"contrast": Scaling.contrast, "offset": Scaling.offset}


def _range(value: float | Mapping[str, Any], default: Range) -> Range:
    if isinstance(value, Mapping):
        return Range(float(value.get("min", default.min)), float(value.get("max", default.max)))
    return Range(float(value), float(value))
