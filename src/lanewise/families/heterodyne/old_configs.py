"""Configs of the packages heterodyne, homodyne and xpcsjax in our form, and a list of what has no place in it."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lanewise.errors import LanewiseError, UsageError
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne.data import labels
from lanewise.families.heterodyne.models import MODELS, ModelName
from lanewise.manifest.document import Document, dotted, put
from lanewise.manifest.document import Path as Place

_MODELS: Mapping[str, ModelName] = {
    "two_component": "two_component",
    "heterodyne": "two_component",
    "static": "static",
    "static_isotropic": "static",
    "static_anisotropic": "static",
    "laminar_flow": "laminar_flow",
}
_ALIASES = {
    "v_beta": "beta",
    "phi0_het": "phi0",
    "gamma_dot_0": "gamma_dot_t0",
    "gamma_dot_offset": "gamma_dot_t_offset",
}
_GROUPS = ("reference", "sample", "velocity", "fraction", "angle", "diffusion", "shear", "flow", "scaling")
_SCALING = ("contrast", "offset")
_MODES = {"independent": "individual", "individual": "individual", "constant": "constant", "auto": "auto"}
# Settings of the sampling with the same name and meaning here.
_SAMPLING = (
    *("seed", "num_samples", "num_chains", "num_warmup", "max_r_hat", "min_ess"),
    *("max_points_per_shard", "num_shards", "warmstart"),
)
# The last frame of files whose frames are all meant.
_ALL_FRAMES = 100000
# The old packages take the nearest q up to this share.
_Q_WITHIN = 0.1
# Why parts of an old config have no place here; the longest matching path counts. None: nothing is lost.
_REASONS: Mapping[tuple[str, ...], str | None] = {
    ("metadata",): None,
    ("analysis_settings",): None,
    ("initial_parameters", "parameter_names"): None,
    ("initial_parameters", "units"): None,
    ("parameter_space", "model"): None,
    ("initial_parameters",): "starting values have no effect: the starts of a fit cover what the window can resolve",
    ("parameter_space",): "a fit has no priors; those of the sampling are in cmc.priors",
    (
        "optimization",
        "cmc",
    ): "the settings of the sampling are in the section 'cmc', its switch is 'method'; shards are combined in one way",
    (
        "optimization",
        "nlsq",
    ): "the search has its own settings (section 'fit'): it always has many starts and tests its minimum",
    ("optimization",): "the search has its own settings (section 'fit')",
    ("experimental_data", "cache"): "nothing is cached",
    ("experimental_data", "use_caching"): "nothing is cached",
    (
        "experimental_data",
        "phi_angles",
    ): "angles are those of the data file; for a file without angles list them in data.phi",
    ("experimental_data",): "the layout of a data file is recognised by its content",
    ("noise_estimation",): "the noise is always estimated from the data",
    ("output",): "the manifest says where results go: output.url, or --output-dir",
    ("plotting",): "the report has the plots; lanewise aggregate --figures draws more",
    ("logging",): "there are no log files",
    ("performance",): "resources.cpus and --workers share the work",
    ("validation",): "data are always checked, and doubts about a fit are reasons of 'not converged'",
    ("quality_control",): "data are always checked, and doubts about a fit are reasons of 'not converged'",
    ("analyzer_parameters", "geometry"): "only the model laminar_flow has walls",
}


@dataclass
class _Old:
    """An old config, and the paths of it that were carried over or explained."""

    value: Mapping[str, Any]
    done: set[Place] = field(default_factory=set)

    def take(self, *path: str) -> Any:
        """The value at a path, None if there is none; it counts as carried over."""
        self.done.add(path)
        found: Any = self.value
        for step in path:
            found = found.get(step) if isinstance(found, Mapping) else None
        return found

    def rest(self) -> Iterator[tuple[Place, Any]]:
        """What is left, with its path."""

        def below(path: Place, value: Any) -> Iterator[tuple[Place, Any]]:
            if path in self.done or value is None or value in ("", [], {}):
                return
            if isinstance(value, Mapping):
                for key, part in value.items():
                    yield from below((*path, str(key)), part)
            else:
                yield path, value

        yield from below((), self.value)


@dataclass(frozen=True)
class Converted:
    """An old config in our form.

    Attributes:
        config: of the fit, valid.
        inputs: paths of the data files as the old config has them, relative to the working directory.
        lost: what could not be carried over and why, and what means something else here, one sentence each.
    """

    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    lost: tuple[str, ...]


def convert(old: Document, data: Sequence[str] = ()) -> Converted:
    """Carry an old config over.

    Args:
        data: data files in place of the one that the config names. q and angles are compared with the first one.

    Raises:
        UsageError: it names no model and no parameters of one.
    """
    if not isinstance(old.value, Mapping):
        raise UsageError(f"{old.source}: expected the keys of an old config, got {type(old.value).__name__}")
    source, lost = _Old(old.value), list[str]()
    name = _model(old.source, source, lost)
    config: dict[str, Any] = {"data": _data(source, lost), "model": {"type": name}}
    if MODELS[name].needs_gap and (gap := source.take("analyzer_parameters", "geometry", "stator_rotor_gap")):
        config["model"]["gap"] = gap
    parameters, scaling = _parameters(source, name, lost)
    config |= {"parameters": parameters, "scaling": scaling | _scaling_mode(source, lost)}
    if tied := source.take("initial_parameters", "tied_parameters"):
        config["model"]["tied"] = {_own(key): _own(parent) for key, parent in tied.items()}
        for key in config["model"]["tied"]:
            parameters.pop(key, None)
    if (seed := source.take("optimization", "nlsq", "multi_start", "seed")) is not None:
        config["fit"] = {"seed": seed}
    inputs = tuple(data) or _inputs(old.source, source)
    config |= _sampling(source)
    _label(source, config["data"], inputs, lost)
    return Converted(_valid(config, lost), inputs, (*lost, *_left(source)))


def _model(name: str, old: _Old, lost: list[str]) -> ModelName:
    parameters = [_own(key) for key in _given_names(old.value)]
    named = old.take("analysis_mode") or old.take("optimization", "nlsq", "analysis_mode")
    old.done |= {("analysis_mode",), ("optimization", "nlsq", "analysis_mode")}
    if named is None:
        for model in MODELS.values():
            if parameters and set(parameters) - set(_SCALING) <= set(model.names):
                return model.name
    if named not in _MODELS:
        raise UsageError(f"{name}: expected analysis_mode, one of {', '.join(_MODELS)}, got {named!r}; add it")
    if named == "static_isotropic":
        lost.append("analysis_mode static_isotropic: every angle of the file is fitted; choose one with data.phi")
    return _MODELS[named]


def _given_names(value: Mapping[str, Any]) -> list[str]:
    groups = value.get("parameters") or {}
    found = [name for group in groups.values() if isinstance(group, Mapping) for name in group]
    return found or list((value.get("initial_parameters") or {}).get("parameter_names") or ())


def _data(old: _Old, lost: list[str]) -> dict[str, Any]:
    section = "analyzer_parameters"
    found = {key: old.take(section, key) for key in ("dt", "start_frame", "end_frame")}
    found |= {
        "q": old.take(section, "scattering", "wavevector_q"),
        "phi": old.take(section, "scattering", "phi_angles"),
    }
    for key, path in (
        ("dt", ("temporal", "dt")),
        ("q", ("scattering", "wavevector_q")),
        ("phi", ("scattering", "phi_angles")),
    ):
        older = old.take(*path)
        found[key] = older if found[key] is None else found[key]
    first, length = old.take("temporal", "t_start"), old.take("temporal", "time_length")
    if found["start_frame"] is None and first is not None:
        found["start_frame"] = first + 1
    if found["end_frame"] is None and length is not None:
        found["end_frame"] = (first or 0) + length
    if isinstance(found["end_frame"], int) and found["end_frame"] >= _ALL_FRAMES:
        found["end_frame"] = -1
    if old.take(section, "time_unit") not in {None, "seconds", "s"}:
        lost.append(f"{section}.time_unit: data.dt is in seconds; convert it")
    if old.take(section, "frame_step") not in {None, 1}:
        lost.append(f"{section}.frame_step: every frame of the window is fitted; data.bin_frames averages frames")
    if found["phi"] is not None and not isinstance(found["phi"], list):
        found["phi"] = [found["phi"]]
    return {key: value for key, value in found.items() if value is not None}


def _label(old: _Old, data: dict[str, Any], inputs: Sequence[str], lost: list[str]) -> None:
    """Set q and angles to those of the file that the old config means: the nearest q, and angles by their ranges."""
    filtering = old.take("phi_filtering") or {}
    ranges = [(one["min_angle"], one["max_angle"]) for one in filtering.get("target_ranges") or ()]
    filtered = bool(filtering.get("enabled")) and bool(ranges) and "phi" not in data
    if not filtered and "phi" not in data and old.value.get("parameters"):
        lost.append("data.phi: all angles of the file are fitted; heterodyne fits the angle 0 if none are chosen")
    shown = "; ".join(f"{low:g} to {high:g}°" for low, high in ranges)
    try:
        q, phi = labels(inputs[0]) if inputs else (None, None)
    except LanewiseError as error:
        lost.append(f"q and angles are not compared with the data file, which cannot be read: {error}")
        q = phi = None
    if q is not None and "q" in data:
        wanted, held = data["q"], q[np.isfinite(q)]
        nearest = float(held[np.argmin(np.abs(held - wanted))])
        if abs(nearest - wanted) > _Q_WITHIN * wanted:
            lost.append(
                f"analyzer_parameters.scattering.wavevector_q: the file has no q near {wanted:g}; choose data.q"
            )
            phi = None
        elif not np.isclose(nearest, wanted, rtol=1e-5, atol=0):
            lost.append(f"analyzer_parameters.scattering.wavevector_q: {wanted:g} is {nearest:.6g} in the file")
            data["q"] = nearest
        phi = phi if phi is None else phi[np.isclose(q, nearest, rtol=1e-5, atol=0)]
    if not filtered:
        return
    if phi is None:
        lost.append(f"phi_filtering: list the angles in {shown} in data.phi; all are fitted")
        return
    # A range may lie across ±180°.
    chosen = [float(one) for one in phi if any((one - low) % 360 <= (high - low) % 360 for low, high in ranges)]
    if chosen:
        data["phi"] = chosen
    else:
        lost.append(f"phi_filtering: the file has no angle in {shown}; all are fitted")


def _parameters(old: _Old, model: ModelName, lost: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sections `parameters` and `scaling`: bounds, or the number of a parameter that does not vary."""
    found: dict[str, Any] = {}
    for bounds in old.take("parameter_space", "bounds") or ():
        found[_own(bounds.get("name"))] = {key: bounds[key] for key in ("min", "max") if bounds.get(key) is not None}
        if any(str(key).startswith("prior") for key in bounds):
            old.done.discard(("parameter_space", "bounds"))
    values = _values(old)
    for group in (
        *(("parameters", name) for name in old.value.get("parameters") or ()),
        *((name,) for name in _GROUPS),
    ):
        for name, entry in (old.take(*group) or {}).items():
            if not isinstance(entry, Mapping):
                found[_own(name)] = entry
                continue
            unused = [key for key in entry if key not in {"value", "min", "max", "vary"} and entry[key] is not None]
            if unused:
                lost.append(f"{dotted((*group, name))}: {', '.join(unused)}: a fit has no priors")
            if entry.get("vary", True) is False and entry.get("value") is not None:
                found[_own(name)] = entry["value"]
            else:
                found[_own(name)] = {key: entry[key] for key in ("min", "max") if entry.get(key) is not None}
                values.setdefault(_own(name), entry.get("value"))
    active = old.take("initial_parameters", "active_parameters")
    if active:
        for name in (name for name in MODELS[model].names if name not in map(_own, active)):
            if values.get(name) is None:
                lost.append(
                    f"initial_parameters.active_parameters: {name} is not active, but has no value; it is fitted"
                )
            else:
                found[name] = values[name]
    fixed = old.take("initial_parameters", "fixed_parameters") or {}
    found |= {_own(name): value for name, value in fixed.items()}
    ranges = heterodyne_config.default_ranges([model])
    for name in [name for name in found if name not in ranges and name not in _SCALING]:
        lost.append(f"{name}: the model {model} has no such parameter")
        del found[name]
    started = [name for name, value in values.items() if value is not None and isinstance(found.get(name), Mapping)]
    if started:
        lost.append(f"starting values of {', '.join(started)}: {_REASONS['initial_parameters',]}")
    clean = {name: _range(entry) for name, entry in found.items() if entry != {}}
    scaling = {name: clean.pop(name) for name in _SCALING if name in clean}
    return clean, scaling


def _values(old: _Old) -> dict[str, Any]:
    """Starting values by name."""
    names = [_own(name) for name in old.take("initial_parameters", "parameter_names") or ()]
    values = old.take("initial_parameters", "values") or ()
    return {**values} if isinstance(values, Mapping) else dict(zip(names, values, strict=False))


def _range(entry: Any) -> Any:
    """Equal bounds are a number."""
    if isinstance(entry, Mapping) and "min" in entry and entry["min"] == entry.get("max"):
        return entry["min"]
    return entry


def _scaling_mode(old: _Old, lost: list[str]) -> dict[str, str]:
    found = {}
    for path in (("nlsq", "per_angle_mode"), ("nlsq", "anti_degeneracy", "per_angle_mode")):
        mode = old.take("optimization", *path)
        if mode in {*_MODES, "fourier"}:
            found["mode"] = _MODES.get(mode, mode)
        elif mode is not None:
            lost.append(f"optimization.{dotted(path)}: no scaling.mode is {mode!r}; auto is used")
    return found


def _sampling(old: _Old) -> dict[str, Any]:
    """The method if it samples, and the settings that have the same name here."""
    method = old.take("optimization", "method")
    found = {key: old.take("optimization", "cmc", key) for key in _SAMPLING}
    cmc = {key: value for key, value in found.items() if value is not None}
    return ({"method": method} if method not in {None, "nlsq"} else {}) | ({"cmc": cmc} if cmc else {})


def _inputs(name: str, old: _Old) -> tuple[str, ...]:
    """The data file, from the folder of the old config or else the working directory."""
    section = "experimental_data"
    parts = [old.take(section, key) for key in ("file_path", "data_folder_path", "data_file_name")]
    path = parts[0] or (os.path.join(parts[1] or "", parts[2]) if parts[2] else None)
    if path is None:
        return ()
    beside = os.path.normpath(os.path.join(os.path.dirname(name), path))
    return (beside if os.path.exists(beside) else path,)


def _valid(config: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    """The config without the values that are not valid here."""
    while complaints := heterodyne_config.check(Document("old config", config)):
        for one in complaints:
            path = tuple(one.field.split("."))
            lost.append(f"{one.field}: {one.message}")
            config = _without(config, path)
    return {key: part for key, part in config.items() if part}


def _without(config: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The config without the value at a path, or without the nearest part of the path that it has."""
    parent: Any = config
    for end, step in enumerate(path):
        last = end == len(path) - 1
        if last or not isinstance(parent.get(step), Mapping):
            kept = {key: value for key, value in parent.items() if key != step}
            found: dict[str, Any] = put(config, tuple(path[:end]), kept)
            return found
        parent = parent[step]
    return config


def _left(old: _Old) -> Iterator[str]:
    """One sentence for each reason, with the keys that it concerns."""
    keys: dict[str, dict[str, None]] = {}
    for path, _ in old.rest():
        length, reason = _reason(tuple(str(step) for step in path))
        if reason is not None:
            keys.setdefault(reason, {})[dotted(path[:length])] = None
    for reason, names in keys.items():
        yield f"{', '.join(names)}: {reason}"


def _reason(path: tuple[str, ...]) -> tuple[int, str | None]:
    """How much of a path one reason concerns, and why it has no place here; of the last part a beginning is enough."""
    for length in range(len(path), 0, -1):
        for known, reason in _REASONS.items():
            if len(known) == length and known[:-1] == path[: length - 1] and path[length - 1].startswith(known[-1]):
                return length, reason
    return len(path), "no key of a config here has this meaning"


def _own(name: str) -> str:
    return _ALIASES.get(name, name)
