"""The shear config as frozen types; what each key means is written in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lanewise import schema, typed
from lanewise.document import Document, Path
from lanewise.errors import Complaint
from lanewise.methods.settings import MapSettings, NutsSettings

# Keys of the published config that name files; here the manifest does.
_ELSEWHERE = {
    "output_path": "remove it; results go to the manifest's output.url",
    "data_path": "remove it; the images of this campaign are simulated",
}


@dataclass(frozen=True)
class Normal:
    """Normal prior."""

    mean: float
    sigma: float

    @property
    def centre(self) -> float:
        """The value that a simulated truth takes."""
        return self.mean


@dataclass(frozen=True)
class LogNormal:
    """Log-normal prior: `mean` is the median, `sigma` the standard deviation of the natural logarithm."""

    mean: float
    sigma: float

    @property
    def centre(self) -> float:
        """The value that a simulated truth takes."""
        return self.mean


@dataclass(frozen=True)
class Uniform:
    """Uniform prior between `min` and `max`."""

    min: float
    max: float

    @property
    def centre(self) -> float:
        """The value that a simulated truth takes."""
        return (self.min + self.max) / 2


_FLAT = ("warmup", "samples", "chains", "dense_mass", "map_init")
_POSITIVE = ("flux", "half_light_radius")

Prior = Normal | LogNormal | Uniform
Parameter = float | Prior
_PRIORS: dict[str, type[Normal] | type[LogNormal] | type[Uniform]] = {
    "Normal": Normal,
    "LogNormal": LogNormal,
    "Uniform": Uniform,
}


@dataclass(frozen=True)
class Noise:
    """Gaussian noise per pixel; `simulated: false` leaves it out of the image only."""

    sigma: float
    type: str = "Gaussian"
    simulated: bool = True


@dataclass(frozen=True)
class Image:
    """The stamp [pixel, arcsec], and how the model draws it; `padding` None chooses by the predicted error."""

    pixel_scale: float
    size_x: int
    size_y: int
    noise: Noise
    n_objects: int = 1
    fft_size: int = 128
    renderer: str = "fourier"
    padding: int | None = None


@dataclass(frozen=True)
class Psf:
    """Point-spread function; `sigma` is the standard deviation of a Gaussian, the FWHM of a Moffat [arcsec]."""

    sigma: float
    type: str = "Gaussian"
    beta: float = 2.5


@dataclass(frozen=True)
class Galaxy:
    """The galaxy.

    Attributes:
        type: profile.
        parameters: by name: flux, half_light_radius [arcsec], e1, e2 [distortion], g1, g2 [reduced shear], and x, y,
            the centre's offset from the image centre [pixel].
    """

    type: str
    parameters: tuple[tuple[str, Parameter], ...]


@dataclass(frozen=True)
class Inference:
    """The method and its settings."""

    method: str = "nuts"
    precision: str = "float64"
    rng_seed: int = 0
    nuts: NutsSettings = field(default_factory=NutsSettings)
    map: MapSettings = field(default_factory=MapSettings)


@dataclass(frozen=True)
class ShearConfig:
    """A parsed shear config.

    Attributes:
        unused: dotted keys that were accepted for compatibility and have no effect.
    """

    image: Image
    psf: Psf
    galaxy: Galaxy
    inference: Inference
    unused: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter of the galaxy."""
        return dict(self.galaxy.parameters)

    @property
    def latents(self) -> dict[str, Prior]:
        """Priors of the latents, in a fixed order."""
        return {name: p for name, p in self.galaxy.parameters if not isinstance(p, float)}

    @property
    def fixed(self) -> dict[str, float]:
        """Values of the fixed parameters."""
        return {name: p for name, p in self.galaxy.parameters if isinstance(p, float)}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of a config that is valid."""
        found = [f"{key} is accepted for compatibility and not used" for key in self.unused]
        if {"g1", "e1"} <= set(self.latents) or {"g2", "e2"} <= set(self.latents):
            found.append(
                "gal.ellipticity and gal.shear are both latent: one galaxy cannot tell its shape from the shear, "
                "so the posterior is as wide as their priors; fix the ellipticity at its truth"
            )
        return tuple(found)

    @property
    def method(self) -> str:
        """The inference method's name."""
        return self.inference.method

    @property
    def settings(self) -> NutsSettings | MapSettings:
        """Settings of the method."""
        return self.inference.nuts if self.method == "nuts" else self.inference.map

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting that can change a number, defaults filled in, without the settings of other methods."""
        parameters = {
            name: p if isinstance(p, float) else {"type": type(p).__name__, **asdict(p)}
            for name, p in self.galaxy.parameters
        }
        inference = {
            "method": self.method,
            "precision": self.inference.precision,
            "rng_seed": self.inference.rng_seed,
            **asdict(self.settings),
        }
        image, psf = asdict(self.image), asdict(self.psf)
        # What the other renderer reads changes no number.
        del image["padding" if self.image.renderer == "jax-galsim" else "fft_size"]
        if self.psf.type != "Moffat":
            del psf["beta"]
        return {
            "image": image,
            "psf": psf,
            "gal": {"type": self.galaxy.type, **parameters},
            "inference": inference,
        }


def check(config: Document) -> list[Complaint]:
    """Everything that is wrong with a shear config."""
    value = config.value
    if not isinstance(value, dict):
        return schema.complaints(config, "shear-config")
    found = [config.complaint((key,), remedy) for key, remedy in _ELSEWHERE.items() if key in value]
    known = {key: part for key, part in value.items() if key not in _ELSEWHERE}
    found += schema.complaints(replace(config, value=known), "shear-config")
    if found:
        return found
    for path, node in _mappings(value, ()):
        if node.get("type") == "Uniform" and "min" in node and not node["min"] < node["max"]:
            found.append(config.complaint((*path, "max"), f"expected more than min ({node['min']}), got {node['max']}"))
    image = value["image"]
    if image.get("fft_size", 128) < max(image["size_x"], image["size_y"]):
        found.append(
            config.complaint(
                ("image", "fft_size"),
                f"expected at least the stamp's size, got {image.get('fft_size', 128)}; double it",
            )
        )
    position = value["gal"].get("position", {})
    for axis in "xy":
        low, high = _bounds(position, axis, image[f"size_{axis}"])
        if not low < high:
            found.append(
                config.complaint(
                    ("gal", "position", f"{axis}_max"), f"expected more than {axis}_min ({low:g} px), got {high:g} px"
                )
            )
    found += _impossible(config)
    if not any(isinstance(value["gal"]["shear"][g], dict) for g in ("g1", "g2")):
        found.append(
            config.complaint(
                ("gal", "shear"),
                "expected a prior on g1 or g2, got two numbers; nothing of the shear would be inferred",
            )
        )
    return found


def _impossible(config: Document) -> list[Complaint]:
    """Scenes that no realization could have: the truth of every latent is the centre of its prior."""
    found = []
    gal = config.value["gal"]
    for group, names in (("shear", ("g1", "g2")), ("ellipticity", ("e1", "e2"))):
        if group in gal:
            size = sum(_centre(gal[group][name]) ** 2 for name in names) ** 0.5
            if size >= 1:
                found.append(
                    config.complaint(
                        ("gal", group), f"expected a size below 1, got ({', '.join(names)}) of size {size:g}"
                    )
                )
    for name in _POSITIVE:
        if (centre := _centre(gal[name])) <= 0:
            found.append(
                config.complaint(("gal", name), f"expected a prior around a positive value, got one around {centre:g}")
            )
    return found


def _centre(value: float | Mapping[str, Any]) -> float:
    parsed = _parameter(value)
    return parsed if isinstance(parsed, float) else parsed.centre


def parse(value: Mapping[str, Any]) -> ShearConfig:
    """A checked config as frozen types."""
    image, inference, gal = value["image"], value.get("inference", {}), value["gal"]
    ellipticity = gal.get("ellipticity", {"e1": 0.0, "e2": 0.0})
    position = gal.get("position", {})
    offsets = {}
    for axis in "xy":
        size = image[f"size_{axis}"]
        low, high = _bounds(position, axis, size)
        offsets[axis] = Uniform(low - size / 2, high - size / 2)
    parameters = {
        "g1": _parameter(gal["shear"]["g1"]),
        "g2": _parameter(gal["shear"]["g2"]),
        "flux": _parameter(gal["flux"]),
        "half_light_radius": _parameter(gal["half_light_radius"]),
        "e1": _parameter(ellipticity["e1"]),
        "e2": _parameter(ellipticity["e2"]),
        **offsets,
    }
    # The older form has the settings of NUTS directly under `inference`.
    flat = {key: inference[key] for key in _FLAT if key in inference}
    nuts, mode = {**flat, **inference.get("nuts_config", {})}, dict(inference.get("map_config", {}))
    unused = [f"inference.nuts_config.{key}" for key in ("map_init",) if nuts.pop(key, None)]
    unused += [f"inference.map_config.{key}" for key in ("num_steps", "learning_rate") if mode.pop(key, None)]
    unused += ["inference.vi_config"] if "vi_config" in inference else []
    return ShearConfig(
        image=typed.build(Image, {**image, "noise": typed.build(Noise, image["noise"])}),
        psf=typed.build(Psf, value["psf"]),
        galaxy=Galaxy(gal.get("type", "Exponential"), tuple(parameters.items())),
        inference=Inference(
            **{key: inference[key] for key in ("method", "precision", "rng_seed") if key in inference},
            nuts=typed.build(NutsSettings, nuts),
            map=typed.build(MapSettings, mode),
        ),
        unused=tuple(unused),
    )


def _parameter(value: float | Mapping[str, Any]) -> Parameter:
    if isinstance(value, Mapping):
        arguments = {key: float(number) for key, number in value.items() if key != "type"}
        return _PRIORS[value["type"]](**arguments)
    return float(value)


def _bounds(position: Mapping[str, Any], axis: str, size: int) -> tuple[float, float]:
    """Bounds of the centre in pixels from the lower left; below 1 they are fractions of the image."""
    low, high = position.get(f"{axis}_min", 0.3), position.get(f"{axis}_max", 0.7)
    return tuple(bound * size if bound < 1 else float(bound) for bound in (low, high))  # type: ignore[return-value]


def _mappings(value: Any, path: Path) -> list[tuple[Path, dict[str, Any]]]:
    if not isinstance(value, dict):
        return []
    below = [found for key, part in value.items() for found in _mappings(part, (*path, key))]
    return [(path, value), *below]
