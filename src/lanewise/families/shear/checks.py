"""What is wrong with a shear config, beyond what its schema can say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lanewise.errors import Complaint
from lanewise.families.shear import correlation, population_config, scene, simulation_config
from lanewise.families.shear.priors import Prior, centre, parameter
from lanewise.families.shear.scene import DOMAINS, SHAPES, position_prior
from lanewise.manifest import schema
from lanewise.manifest.document import Document, Path

# Keys of a position by its type.
_OF_POSITION = {"Uniform": ("x_min", "x_max", "y_min", "y_max"), "Normal": ("sigma", "x_mean", "y_mean")}
# Keys of a point-spread function by its type, and of the other types.
_OF_PSF = {"Image": ("file", "pixel_scale", "pixel"), "PerExposure": ("fwhm", "pixel_scale", "pixel", "tiles")}
_PLACES_OF_TILES = ("first_x", "first_y", "step_x", "step_y")
_ANALYTIC = ("sigma", "beta", "ellipticity")
# Keys of the published config that name files; here the manifest does.
_ELSEWHERE = {
    "output_path": "remove it; results go to the manifest's output.url",
    "data_path": "remove it; the images of this campaign are simulated",
}


def check(config: Document) -> list[Complaint]:
    """Everything that is wrong with a shear config."""
    value = config.value
    if not isinstance(value, dict):
        return schema.complaints(config, schema.load("shear-config"))
    found = [config.complaint((key,), remedy) for key, remedy in _ELSEWHERE.items() if key in value]
    known = {key: part for key, part in value.items() if key not in _ELSEWHERE}
    found += schema.complaints(replace(config, value=known), schema.load("shear-config"))
    if found:
        return found
    faults = [
        fault for look in (_orders, _noise, _position, _psf, _galaxy, _bands, _parameters) for fault in look(value)
    ]
    faults += population_config.faults(value)
    if simulation_config.KEY in value and not faults:
        faults = list(_simulation(value))
    return [config.complaint(path, message) for path, message in faults]


def _simulation(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The scene that images are drawn from is one of its own, and both have to fit each other."""
    simulated = simulation_config.scene_of(value)
    # What both scenes have was looked at before.
    unsound = schema.faults(simulated, schema.load("shear-config"))
    unsound = unsound or [
        fault for look in (_orders, _position, _psf, _galaxy, _parameters) for fault in look(simulated)
    ]
    for path, message in unsound:
        yield (simulation_config.KEY, *path), message
    if not unsound:
        stamp = scene.image(value["image"])
        galaxies = (scene.galaxy(one["gal"], stamp) for one in (value, simulated))
        yield from simulation_config.faults(value, *galaxies)


def _orders(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Bounds in order."""
    for path, node in _mappings(value, ()):
        if "type" not in node or "min" not in node:
            continue
        low, high = node["min"], node["max"]
        if not low < high:
            yield (*path, "max"), f"expected more than min ({low}), got {high}"
        elif "mean" in node and not low < node["mean"] < high:
            yield (*path, "mean"), f"expected a mean between min ({low}) and max ({high}), got {node['mean']}"


def _position(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Keys of the type, bounds in order, and means inside the stamp."""
    position = value["gal"].get("position", {})
    kind = position.get("type", "Uniform")
    other = "Uniform" if kind == "Normal" else "Normal"
    for key in position:
        if key in _OF_POSITION[other]:
            yield ("gal", "position", key), f"type: {kind} has no {key}; remove it or set type: {other}"
    for axis in "xy":
        size = value["image"][f"size_{axis}"]
        prior = position_prior(position, axis, size)
        low, high = prior.bounds
        if not low < high:
            at = ("gal", "position", f"{axis}_max")
            yield at, f"expected more than {axis}_min ({low:g} px), got {high:g} px"
        elif kind == "Normal" and prior.centre > size:
            at = ("gal", "position", f"{axis}_mean")
            yield at, f"expected a place inside the stamp of {size} px, got {prior.centre:g} px"


def _noise(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """A correlation where the noise is correlated, on a stamp whose covariance fits into memory."""
    image = value["image"]
    kind = image["noise"].get("type", "Gaussian")
    if kind != "Correlated":
        if "correlation" in image["noise"]:
            yield ("image", "noise", "correlation"), f"type: {kind} has none; remove it or set type: Correlated"
        return
    own = image["noise"].get("correlation") == scene.PER_EXPOSURE
    if own and "sigma" in image["noise"]:
        yield ("image", "noise", "sigma"), "the table tells the noise of each exposure; remove it"
    limit = f"at most {correlation.MOST_PIXELS} pixels with Correlated noise, whose covariance is a matrix of them"
    given = image.get("sizes", [0])
    largest = max(scene.SIZES if given == "auto" else given)
    for key, n_pixels in (("size_x", image["size_x"] * image["size_y"]), ("sizes", largest**2)):
        if n_pixels > correlation.MOST_PIXELS and not own:
            yield ("image", key), f"expected {limit}; got {n_pixels}"


def _psf(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    psf = value["psf"]
    kind = psf.get("type", "Gaussian")
    for key in psf:
        if key != "type" and key not in _OF_PSF.get(kind, _ANALYTIC):
            yield ("psf", key), f"type: {kind} has no {key}; remove it or change the type"
    given = [key for key in _PLACES_OF_TILES if key in psf.get("tiles", {})]
    if given and (lacking := [key for key in _PLACES_OF_TILES if key not in given]):
        yield ("psf", "tiles"), f"has {', '.join(given)}, but not {', '.join(lacking)}; give all of them or none"
    if "ellipticity" in psf and kind not in _OF_PSF:
        size = (psf["ellipticity"]["e1"] ** 2 + psf["ellipticity"]["e2"] ** 2) ** 0.5
        if size >= 1:
            yield ("psf", "ellipticity"), f"expected a size below 1, got (e1, e2) of size {size:g}"


def _galaxy(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Keys that this type of galaxy does not have, and shares of the flux."""
    gal = value["gal"]
    kind = gal.get("type", "Exponential")
    if kind == "Sum":
        for key in ("half_light_radius", *SHAPES.values()):
            if key in gal:
                yield ("gal", key), "in a Sum each component has its own; move it to gal.components"
        parts = gal["components"]
        for name, part in parts.items():
            yield from _foreign(("gal", "components", name), part, part["type"])
        rest = [name for name, part in parts.items() if "fraction" not in part]
        if len(rest) != 1:
            shown = ", ".join(rest) or "none"
            message = f"expected one component without a fraction, which takes the rest of the flux, got {shown}"
            yield ("gal", "components"), message
        given = [_centre(part["fraction"]) for part in parts.values() if "fraction" in part]
        if sum(given) >= 1:
            message = f"expected fractions of the flux that leave a rest, got a sum of {sum(given):g}"
            yield ("gal", "components"), message
        return
    if "components" in gal:
        yield ("gal", "components"), f"only a Sum has components, this is type: {kind}; remove them or set type: Sum"
    yield from _foreign(("gal",), gal, kind)


def _foreign(path: Path, part: Mapping[str, Any], kind: str) -> Iterator[tuple[Path, str]]:
    for owner, key in SHAPES.items():
        if key in part and kind != owner:
            yield (*path, key), f"type: {kind} has no {key}, which belongs to a {owner}; remove it or set type: {owner}"


def _parameters(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Galaxies that no realization could have: the truth of every latent is the centre of its prior."""
    gal = value["gal"]
    for path, kind, given in _located(gal):
        low, high = DOMAINS[kind]
        value_or_prior = parameter(given)
        at = centre(value_or_prior)
        opened = low == 0 and high == float("inf")
        where = "a positive value" if opened else f"a value from {low:g} to {high:g}"
        if not scene.inside(kind, at):
            prior, one = ("a prior around ", "one around ") if isinstance(given, Mapping) else ("", "")
            yield path, f"expected {prior}{where}, got {one}{at:g}"
        elif isinstance(value_or_prior, Prior):
            for key, bound in zip(("min", "max"), value_or_prior.bounds, strict=True):
                if key in given and not low <= bound <= high:
                    yield (*path, key), f"expected {where}, got {bound:g}"
    for group, names in (("shear", ("g1", "g2")), ("ellipticity", ("e1", "e2"))):
        if group in gal:
            size = math.hypot(*(_centre(gal[group][name]) for name in names))
            if size >= 1:
                yield ("gal", group), f"expected a size below 1, got ({', '.join(names)}) of size {size:g}"
    shape = gal.get("ellipticity", {})
    if shape.get("disc_power") and not all(isinstance(shape[e], Mapping) for e in ("e1", "e2")):
        message = "a factor on the joint prior of e1 and e2, one of which is a number here; give both a prior"
        yield ("gal", "ellipticity", "disc_power"), message
    if not any(isinstance(gal["shear"][g], dict) for g in ("g1", "g2")):
        message = "expected a prior on g1 or g2, got two numbers; nothing of the shear would be inferred"
        yield ("gal", "shear"), message


def _located(gal: Mapping[str, Any]) -> Iterator[tuple[Path, str, Any]]:
    """Every parameter of the galaxy with its domain, but those of shear and ellipticity, which have one as a pair."""
    for path, part in ((("gal",), gal), *((("gal", "components", n), p) for n, p in gal.get("components", {}).items())):
        for key in ("flux", "half_light_radius", "n", "beta", "fraction"):
            if key in part:
                yield (*path, key), key, part[key]
    for band, part in gal.get("bands", {}).items():
        if "flux_ratio" in part:
            yield ("gal", "bands", band, "flux_ratio"), "flux_ratio", part["flux_ratio"]
        for name, given in part.get("flux_ratios", {}).items():
            yield ("gal", "bands", band, "flux_ratios", name), "flux_ratio", given


def _bands(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """A band has one ratio, or one for each component of a Sum."""
    gal = value["gal"]
    for band, part in gal.get("bands", {}).items():
        place: Path = ("gal", "bands", band)
        if len(part) != 1:
            yield place, "expected flux_ratio (of the galaxy) or flux_ratios (of its components); give one of the two"
        elif "flux_ratios" in part and set(part["flux_ratios"]) != (parts := set(gal.get("components", {}))):
            listed = ", ".join(sorted(parts)) or "no components; give flux_ratio"
            yield (*place, "flux_ratios"), f"expected a ratio of each component; the galaxy has {listed}"


def _centre(value: float | Mapping[str, Any]) -> float:
    return centre(parameter(value))


def _mappings(value: Any, path: Path) -> list[tuple[Path, dict[str, Any]]]:
    if not isinstance(value, dict):
        return []
    below = [found for key, part in value.items() for found in _mappings(part, (*path, key))]
    return [(path, value), *below]
