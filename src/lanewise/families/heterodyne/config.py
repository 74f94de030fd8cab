"""The heterodyne config as frozen types; the schema describes each key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lanewise.errors import Complaint, ManifestError
from lanewise.families.heterodyne import sampling
from lanewise.families.heterodyne.c2 import Convention, Definitions, FractionClip, TimeOrigin
from lanewise.families.heterodyne.models import MODELS, ModelName
from lanewise.families.heterodyne.sampling import Cmc
from lanewise.manifest import schema, typed
from lanewise.manifest.document import Document
from lanewise.manifest.family import climbed
from lanewise.manifest.manifest import Rung

SCHEMA = "heterodyne-config"
All = Literal["all"]
Quantity = Literal["q", "phi", "t"]
ErrorKind = Literal["auto", "independent", "speckle"]
Label = Literal["as_bounded", "minority_is_sample", "faster_is_sample"]
ScalingMode = Literal["auto", "constant", "individual", "fourier"]
Method = Literal["nlsq", "cmc", "both"]


@dataclass(frozen=True)
class Range:
    """Bounds of a fitted value; equal bounds fix it."""

    min: float
    max: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound."""
        return self.min, self.max


def default_ranges(names: Iterable[ModelName]) -> dict[str, Range]:
    """The default bounds of the parameters of these models."""
    return {name: Range(*bounds) for one in names for name, bounds in MODELS[one].bounds.items()}


@dataclass(frozen=True)
class Units:
    """Units of the numbers in a file; without one, the file's attributes count, else 1/Å, degree and s."""

    q: str | None = None
    phi: str | None = None
    t: str | None = None

    def of(self, kind: Quantity) -> str | None:
        """The unit of one kind of numbers."""
        return {"q": self.q, "phi": self.phi, "t": self.t}[kind]


@dataclass(frozen=True)
class Keys:
    """Where the arrays of a file are, if it has no known layout."""

    c2: str
    q: str | None = None
    phi: str | None = None
    t: str | None = None
    matrices: Literal["first", "last"] = "first"


@dataclass(frozen=True)
class Selection:
    """The part of a file that is fitted, and how its numbers are to be understood.

    Without q it is the only q of the file; several are fitted together, with shared parameters. Frames count from 1
    everywhere.
    """

    q: float | Sequence[float] | All | None = None
    phi: Sequence[float] | All = "all"
    dt: float | None = None
    start_frame: int = 1
    end_frame: int = -1
    dt_insist: bool = False
    time: Literal["file", "frames"] | None = None
    mask_frames: Literal["auto"] | Sequence[int | str] = "auto"
    mask_pairs: Sequence[str] | None = None
    bin_frames: int = 1
    train: int | None = None
    keys: Keys | None = None
    units: Units | None = None


@dataclass(frozen=True)
class Model:
    """The model that is fitted, others to compare it with, and definitions.

    Attributes:
        tied: parameter → the parameter whose value it has.
    """

    type: ModelName = "two_component"
    compare: Sequence[ModelName] = ()
    fraction_clip: FractionClip = "soft"
    convention: Convention = "intensity"
    gap: float | None = None
    time_origin: TimeOrigin = "window"
    label: Label = "as_bounded"
    tied: Mapping[str, str] = field(default_factory=dict)

    @property
    def definitions(self) -> Definitions:
        """What no fit changes."""
        return Definitions(self.fraction_clip, self.convention, self.gap)


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
    """A parsed heterodyne config.

    Attributes:
        method: what estimates the parameters; `cmc` and `both` fit, and sample from there.
    """

    method: Method = "nlsq"
    data: Selection = field(default_factory=Selection)
    model: Model = field(default_factory=Model)
    parameters: Mapping[str, Range] = field(default_factory=lambda: default_ranges(["two_component"]))
    scaling: Scaling = field(default_factory=Scaling)
    fit: FitSettings = field(default_factory=FitSettings)
    errors: Errors = field(default_factory=Errors)
    outputs: OutputSettings = field(default_factory=OutputSettings)
    cmc: Cmc = field(default_factory=Cmc)

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting, defaults included, JSON-ready; those of the sampling only if there is one.

        Files are told by their SHA-256.
        """
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        plain["cmc"] |= {name: [one.sha256 for one in getattr(self.cmc, name)] for name in sampling.FILES}
        if not self.sampled:
            del plain["method"], plain["cmc"]
        return plain

    @property
    def sampled(self) -> bool:
        """Whether the posterior is sampled."""
        return self.method != "nlsq"

    @property
    def precision(self) -> str:
        """Precision of the fits."""
        return "float64"

    def climbed(self, rung: Rung) -> HeterodyneConfig:
        """The config with the settings of the fit, or of the sampling, changed by a rung of the ladder."""
        if self.sampled:
            cmc = climbed(self.cmc, rung)
            # A shard of another split would not fit to the others, which are tasks of their own.
            return replace(self, cmc=cmc if cmc.shard is None else replace(cmc, split=self.cmc.split))
        return replace(self, fit=climbed(self.fit, rung))


def check(config: Document) -> list[Complaint]:
    """All errors of a heterodyne config."""
    found = schema.complaints(config, schema.load(SCHEMA))
    if found:
        return found
    value = config.value
    found += [*_check_data(config), *_check_model(config), *_check_sampling(config)]
    for section, defaults in (("parameters", default_ranges(MODELS)), ("scaling", _SCALES)):
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


def _check_data(config: Document) -> Iterator[Complaint]:
    data = config.value.get("data", {})
    if data.get("dt_insist") and "dt" not in data:
        yield config.complaint(("data", "dt_insist"), "expected the key 'dt' beside it, got none; add it")
    masked = data.get("mask_frames", "auto")
    blocks = [("mask_frames", at, [one]) for at, one in enumerate(masked if isinstance(masked, list) else ())]
    blocks += [("mask_pairs", at, one.split(" x ")) for at, one in enumerate(data.get("mask_pairs", ()))]
    for key, at, sides in blocks:
        for low, high in (frame_range(side) for side in sides if side != "auto"):
            if not 1 <= low <= high:
                yield config.complaint(
                    ("data", key, at), f"expected frames counted from 1 and first ≤ last, got {low} and {high}"
                )


def _check_model(config: Document) -> Iterator[Complaint]:
    model = config.value.get("model", {})
    kinds = _kinds(model)
    needing = [name for name in kinds if MODELS[name].needs_gap]
    if needing and "gap" not in model:
        key = "type" if needing[0] == kinds[0] else "compare"
        yield config.complaint(
            ("model", key), f"{needing[0]} needs the distance of its walls; add 'gap' [Å] to 'model'"
        )
    for at, name in enumerate(kinds[1:]):
        if name in kinds[: at + 1]:
            yield config.complaint(("model", "compare", at), f"{name} is fitted already; remove it")
    known = default_ranges(kinds)
    given = config.value.get("parameters", {})
    for name in given:
        if name not in known:
            yield config.complaint(
                ("parameters", name), f"{' and '.join(kinds)} has no parameter {name}; it has {', '.join(known)}"
            )
    tied = model.get("tied", {})
    for name, source in tied.items():
        groups = [group for group in MODELS[kinds[0]].tied if name in group]
        place = ("model", "tied", name)
        if not groups:
            possible = ", ".join(sorted(one for group in MODELS[kinds[0]].tied for one in group)) or "none"
            yield config.complaint(place, f"expected a parameter of {kinds[0]} that can be tied ({possible})")
        elif source not in groups[0] - {name}:
            yield config.complaint(place, f"expected one of {', '.join(sorted(groups[0] - {name}))}, got '{source}'")
        elif source in tied:
            yield config.complaint(place, f"{source} is tied itself; tie {name} to {tied[source]}")
        elif name in given:
            yield config.complaint(("parameters", name), f"{name} is tied to {source}, which has the bounds; remove it")


def _check_sampling(config: Document) -> Iterator[Complaint]:
    value = config.value
    cmc = value.get("cmc", {})
    if (shard := cmc.get("shard")) is not None:
        if "shard_results" in cmc:
            yield config.complaint(("cmc", "shard_results"), "a run that samples one shard combines none; remove it")
        if not shard < (n_shards := cmc.get("num_shards", 1)):
            yield config.complaint(("cmc", "shard"), f"expected a number below num_shards ({n_shards}), got {shard}")
    known = [*MODELS[_kinds(value.get("model", {}))[0]].names, "contrast", "offset"]
    tied = value.get("model", {}).get("tied", {})
    for name, prior in cmc.get("priors", {}).items():
        place = ("cmc", "priors", name)
        if name not in known or name in tied:
            yield config.complaint(place, f"expected a parameter with a value of its own: {', '.join(known)}")
            continue
        needed = {"mean", "sd"} if prior["type"].endswith("normal") else set()
        if needed != prior.keys() - {"type"}:
            text = "with mean and sd" if needed else "without mean and sd"
            yield config.complaint(place, f"expected a {prior['type']} prior {text}, got {', '.join(prior)}")
        default = _SCALES.get(name) or default_ranges(MODELS)[name]
        bounds = _range(value.get("scaling" if name in _SCALES else "parameters", {}).get(name, {}), default)
        if prior["type"].startswith("log") and not bounds.min > 0 and bounds.max > bounds.min:
            yield config.complaint(
                place, f"expected a lower bound > 0 for a {prior['type']} prior; it is {bounds.min:g}"
            )


def _kinds(model: Mapping[str, Any]) -> list[ModelName]:
    """The model of a section `model`, and those that it is compared with."""
    return [model.get("type", Model.type), *model.get("compare", ())]


def frame_range(entry: int | str) -> tuple[int, int]:
    """First and last frame of a number or of a range such as "40-42"."""
    low, _, high = (entry if isinstance(entry, str) else str(int(entry))).partition("-")
    return int(low), int(high or low)


def parse(value: Mapping[str, Any]) -> HeterodyneConfig:
    """The frozen types of a config that has been checked."""
    data, scaling = dict(value.get("data", {})), dict(value.get("scaling", {}))
    for key in ("q", "phi"):
        if isinstance(data.get(key), list):
            data[key] = tuple(float(one) for one in data[key])
    for key in ("mask_frames", "mask_pairs"):
        if isinstance(data.get(key), list):
            data[key] = tuple(one if isinstance(one, str) else int(one) for one in data[key])
    data |= {key: typed.build(kind, data[key]) for key, kind in (("keys", Keys), ("units", Units)) if key in data}
    scaling |= {name: _range(scaling[name], default) for name, default in _SCALES.items() if name in scaling}
    given, errors = value.get("parameters", {}), value.get("errors", {})
    model = value.get("model", {})
    ranges = default_ranges(_kinds(model))
    return HeterodyneConfig(
        method=value.get("method", "nlsq"),
        cmc=sampling.parse(value.get("cmc", {})),
        data=typed.build(Selection, data),
        model=typed.build(Model, model | {"compare": tuple(model.get("compare", ()))}),
        parameters={name: _range(given.get(name, {}), default) for name, default in ranges.items()},
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
