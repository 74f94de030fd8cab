"""The scene as frozen types: stamp and galaxy; the schema documents each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lanewise.families.shear.priors import Parameter, Prior, centre, parameter, uniform
from lanewise.manifest import typed
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

# `noise.correlation` of HST images of COSMOS, which GalSim ships.
COSMOS = "COSMOS"
# `noise.correlation` where each exposure of a table has a noise of its own.
PER_EXPOSURE = "PerExposure"
# `image.sizes: auto` [pixel]: three in two factors of two, so that a stamp has at most 2.25 times the pixels asked for.
SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# The shape parameter of a profile, besides its size.
SHAPES = {"Sersic": "n", "Moffat": "beta"}
# Domains of the parameters, in which a galaxy is drawn to 1e-9. Sersic profiles with n < ½ oscillate in Fourier space;
# the wings of a Moffat profile with β < 2 do not fit any stamp.
DOMAINS = {
    "flux": (0.0, float("inf")),
    "flux_ratio": (0.0, float("inf")),
    "half_light_radius": (0.0, float("inf")),
    "n": (0.5, 6.0),
    "beta": (2.0, 10.0),
    "fraction": (0.0, 1.0),
    "e1": (-1.0, 1.0),
    "e2": (-1.0, 1.0),
    "g1": (-1.0, 1.0),
    "g2": (-1.0, 1.0),
}
# Outside their domain there is no image; of g and e this depends on both components.
GUARDED = ("half_light_radius", "n", "beta", "fraction", "flux_ratio")


def quantity(name: str) -> str:
    """The quantity of a parameter, e.g. `n` for `n` and for `bulge_n`: a key of DOMAINS, or x or y."""
    return next((kind for kind in DOMAINS if name == kind or name.endswith(f"_{kind}")), name)


def inside(name: str, value: Any) -> Any:
    """Whether the value of a parameter is in its domain; of an array, for each element."""
    low, high = DOMAINS[quantity(name)]
    return (low < value) & (value < high) if high == float("inf") else (low <= value) & (value <= high)


@dataclass(frozen=True)
class Correlation:
    """The correlation of noise between pixels.

    Attributes:
        file: with the correlation at whole-pixel lags of the stamp, see `correlation`; None: GalSim's of COSMOS.
        array: name of the array in the file; empty: the only one.
    """

    file: Input | None = None
    array: str = ""

    @property
    def content(self) -> Any:
        """The values that affect the numbers of a realization, for the identity; the path of the file does not."""
        return COSMOS if self.file is None else {"sha256": self.file.sha256, "array": self.array}


@dataclass(frozen=True)
class Noise:
    """Gaussian noise.

    Attributes:
        sigma: standard deviation of every pixel [flux]; None if the type is PerPixel and the images have variances.
        type: Gaussian, PerPixel or Correlated.
        simulated: whether simulated images contain the noise; the likelihood always does.
        correlation: of Correlated noise that all images have; otherwise None.
    """

    sigma: float | None = None
    type: str = "Gaussian"
    simulated: bool = True
    correlation: Correlation | None = None

    @property
    def per_exposure(self) -> bool:
        """Whether each exposure has a Correlated noise of its own."""
        return self.type == "Correlated" and self.correlation is None

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        found = {"sigma": self.sigma, "type": self.type, "simulated": self.simulated}
        return found if self.correlation is None else {**found, "correlation": self.correlation.content}


@dataclass(frozen=True)
class Image:
    """The stamp, and how the model draws it.

    Attributes:
        pixel_scale: size of a pixel [arcsec].
        size_x, size_y: size of the stamp [pixel].
        padding: size of the renderer's grid in stamps; None chooses it by the predicted error.
        accuracy: what may go wrong by the choice of the grid: `answer` or `strict`, see `model.render`.
        sizes: edges of the square stamps that objects of a table may have [pixel], ascending; empty: all objects have
            size_x by size_y.
        origin: x and y of the middle of the stamp [pixel]; None: half its size.
    """

    pixel_scale: float
    size_x: int
    size_y: int
    noise: Noise
    n_objects: int = 1
    padding: int | None = None
    accuracy: str = "answer"
    sizes: tuple[int, ...] = ()
    origin: tuple[float, float] | None = None

    @property
    def middle(self) -> dict[str, float]:
        """x and y of its middle [pixel from the lower left corner]."""
        x, y = self.origin or (self.size_x / 2, self.size_y / 2)
        return {"x": x, "y": y}

    def resized(self, shape: tuple[int, ...]) -> Image:
        """A stamp of (ny, nx) pixels whose middle has the same x and y."""
        ny, nx = shape
        return replace(self, size_x=nx, size_y=ny, origin=(self.middle["x"], self.middle["y"]))

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        found = {**asdict(self), "noise": self.noise.content, "renderer": "fourier"}
        return {name: value for name, value in found.items() if name not in ("sizes", "origin") or value}


@dataclass(frozen=True)
class Component:
    """One profile of a galaxy, and the names of its parameters.

    Attributes:
        type: name of the profile.
        half_light_radius: name of the size parameter.
        shape: name of the Sersic index or Moffat exponent; None for other profiles.
        fraction: name of the fraction of the flux; None for the component that has the rest of the flux.
    """

    type: str
    half_light_radius: str
    shape: str | None = None
    fraction: str | None = None


@dataclass(frozen=True)
class Galaxy:
    """The galaxy: one profile, or several that share centre, ellipticity and shear.

    Attributes:
        type: name of the profile, or Sum.
        components: components with their names; the name of a single profile is empty.
        parameters: parameters with their names: flux, e1, e2 [distortion], g1, g2 [reduced shear], x, y, the centre
            [pixel from the lower left corner of the stamp; the centre of the first pixel is at .5], and per component
            half_light_radius [arcsec], n or beta, and fraction; in a sum, these are preceded by the component's name
            and `_`. Per band flux_ratio, the flux there over `flux`, preceded by the band's name and `_`; in a sum
            there may be one per component, as in `r_bulge_flux_ratio`.
        disc_power: n of the factor (1 − e1² − e2²)^n on the joint prior of e1 and e2.
        bands: their names, each with the name of the ratio of every component; empty: exposures have one band.
    """

    type: str
    components: tuple[tuple[str, Component], ...]
    parameters: tuple[tuple[str, Parameter], ...]
    disc_power: float = 0.0
    bands: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def centres(self) -> dict[str, float]:
        """The value of every fixed parameter, and the centre of every prior."""
        return {name: centre(p) for name, p in self.parameters}

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        named = {"components": {name: part.type for name, part in self.components}} if self.type == "Sum" else {}
        values = {name: p if isinstance(p, float) else p.content for name, p in self.parameters}
        power = {"disc_power": self.disc_power} if self.disc_power else {}
        return {"type": self.type, **named, **values, **power}


def image(value: Mapping[str, Any]) -> Image:
    """The stamp from the section `image` of a config, which the schema has checked."""
    used = {key: part for key, part in value.items() if key not in {"fft_size", "renderer"}}
    if "sizes" in used:
        used["sizes"] = SIZES if used["sizes"] == "auto" else sorted(set(used["sizes"]))
    return typed.build(Image, {**used, "noise": noise(value["noise"])})


def noise(value: Mapping[str, Any]) -> Noise:
    """The noise from a section `noise`, which is checked."""
    found = typed.build(Noise, {key: part for key, part in value.items() if key != "correlation"})
    named = value.get("correlation", PER_EXPOSURE)
    if named == PER_EXPOSURE:
        return found
    return replace(found, correlation=Correlation() if named == COSMOS else Correlation(*inputs.pinned_array(named)))


def galaxy(value: Mapping[str, Any], stamp: Image) -> Galaxy:
    """The galaxy from the section `gal` of a config, which is checked; the stamp gives the bounds of the position."""
    kind = value.get("type", "Exponential")
    ellipticity: Mapping[str, Any] = value.get("ellipticity", {"e1": 0.0, "e2": 0.0})
    position = value.get("position", {})
    place = {
        "x": position_prior(position, "x", stamp.size_x),
        "y": position_prior(position, "y", stamp.size_y),
    }
    parts, own = _components(kind, value)
    bands, ratios = _bands(value, [name for name, _ in parts])
    parameters = {
        "g1": parameter(value["shear"]["g1"]),
        "g2": parameter(value["shear"]["g2"]),
        "flux": parameter(value["flux"]),
        **own,
        "e1": parameter(ellipticity["e1"]),
        "e2": parameter(ellipticity["e2"]),
        **place,
        **ratios,
    }
    return Galaxy(kind, parts, tuple(parameters.items()), float(ellipticity.get("disc_power", 0.0)), bands)


def _bands(
    value: Mapping[str, Any], components: Sequence[str]
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], dict[str, Parameter]]:
    """`Galaxy.bands` in the order of their names, and the ratios by name."""
    bands, ratios = [], {}
    for band, described in sorted(value.get("bands", {}).items()):
        if "flux_ratio" in described:
            names = [f"{band}_flux_ratio"] * len(components)
            ratios[names[0]] = parameter(described["flux_ratio"])
        else:
            names = [f"{band}_{component}_flux_ratio" for component in components]
            ratios |= {
                name: parameter(described["flux_ratios"][one]) for name, one in zip(names, components, strict=True)
            }
        bands.append((band, tuple(names)))
    return tuple(bands), ratios


def _components(kind: str, value: Mapping[str, Any]) -> tuple[tuple[tuple[str, Component], ...], dict[str, Parameter]]:
    """The components in the order of their names, and their parameters by name."""
    described = value["components"] if kind == "Sum" else {"": {**value, "type": kind}}
    parts: list[tuple[str, Component]] = []
    parameters: dict[str, Parameter] = {}
    for name, part in sorted(described.items()):
        named = {
            key: f"{name}_{key}" if name else key
            for key in ("half_light_radius", SHAPES.get(part["type"], ""), "fraction")
            if key in part
        }
        parameters |= {named[key]: parameter(part[key]) for key in named}
        shape = named.get(SHAPES.get(part["type"], ""))
        parts.append((name, Component(part["type"], named["half_light_radius"], shape, named.get("fraction"))))
    return tuple(parts), parameters


def position_prior(position: Mapping[str, Any], axis: str, size: int) -> Prior:
    """Prior of the centre along an axis [pixel from the lower left]; places below 1 are fractions of `size`."""

    def pixel(key: str, default: float) -> float:
        given = float(position.get(f"{axis}_{key}", default))
        return given * size if given < 1 else given

    if position.get("type") == "Normal":
        return Prior("Normal", (pixel("mean", 0.5), float(position["sigma"])))
    return uniform(pixel("min", 0.3), pixel("max", 0.7))
