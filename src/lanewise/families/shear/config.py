"""The shear config as frozen types; what each key means is written in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lanewise.families.shear import brightness, point_spread, population_config, scene
from lanewise.families.shear import simulation_config as simulation
from lanewise.families.shear.point_spread import AnyPsf
from lanewise.families.shear.population_config import Population
from lanewise.families.shear.priors import Parameter, Prior
from lanewise.families.shear.scene import Galaxy, Image
from lanewise.families.shear.simulation_config import Simulation
from lanewise.manifest import typed
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.methods.inference import SETTINGS, Inference

_FLAT = ("warmup", "samples", "chains", "dense_mass", "map_init")


@dataclass(frozen=True)
class ShearConfig:
    """A parsed shear config.

    Attributes:
        unused: dotted keys that were accepted for compatibility and have no effect.
    """

    image: Image
    psf: AnyPsf
    galaxy: Galaxy
    inference: Inference
    unused: tuple[str, ...] = ()
    simulation: Simulation = field(default_factory=Simulation)
    population: Population | None = None

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter of the galaxy."""
        return dict(self.galaxy.parameters)

    @property
    def latents(self) -> dict[str, Prior]:
        """Priors of the latents, in a fixed order; of a population, those of the shear that its galaxies share."""
        given: tuple[str, ...] = self.simulation.given
        if self.population is not None:
            given = tuple(name for name in self.parameters if name not in ("g1", "g2"))
        return {name: p for name, p in self.galaxy.parameters if not isinstance(p, float) and name not in given}

    @property
    def one_galaxy(self) -> ShearConfig:
        """The config of a single image; of a population, that of one of its galaxies."""
        if self.population is None:
            return self
        galaxy = population_config.one_galaxy(self.galaxy, self.population)
        return replace(self, galaxy=galaxy, population=None)

    def on_stamp(self, shape: tuple[int, ...]) -> ShearConfig:
        """The same scene on a stamp of (ny, nx) pixels; x and y are counted as before."""
        same = shape == (self.image.size_y, self.image.size_x)
        return self if same else replace(self, image=self.image.resized(shape))

    @property
    def simulated_galaxy(self) -> Galaxy:
        """What images are drawn of; the model's own galaxy unless the config says otherwise."""
        return self.simulation.galaxy or self.galaxy

    def central(self, galaxy: Galaxy) -> dict[str, float]:
        """A galaxy's parameters where nothing sets them: fixed values, and the centres of priors.

        Bounds of a position do not move the galaxy from the middle of the stamp.
        """
        middle = self.image.middle
        bounded = {
            name: middle[name]
            for name, p in galaxy.parameters
            if name in middle and isinstance(p, Prior) and p.type == "Uniform"
        }
        return galaxy.centres | bounded

    @property
    def simulated_image(self) -> Image:
        """The stamp with the noise that images are drawn with."""
        return replace(self.image, noise=self.simulation.noise or self.image.noise)

    @property
    def simulated_psf(self) -> AnyPsf:
        """What images are drawn through."""
        return self.simulation.psf or self.psf

    @property
    def fixed(self) -> dict[str, float]:
        """Values of the fixed parameters."""
        return {name: p for name, p in self.galaxy.parameters if isinstance(p, float)}

    @property
    def method(self) -> str:
        """The inference method's name."""
        return self.inference.method

    @property
    def precision(self) -> str:
        """`float32` or `float64`."""
        return self.inference.precision

    def climbed(self, rung: Rung) -> ShearConfig:
        """With another method and the settings that the config has for it, or with other settings of its method."""
        return replace(self, inference=self.inference.climbed(rung))

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting that can change a number, defaults filled in, without the settings of other methods."""
        found = {
            "image": self.image.content,
            "psf": self.psf.content,
            "gal": self.galaxy.content,
            "inference": self.inference.content,
        }
        if self.population is not None:
            found["population"] = self.population.content
        different = self.simulation.content
        return {**found, "simulation": different} if different else found


def of(manifest: Manifest) -> ShearConfig:
    """The config of a campaign of kind shear or calibration."""
    assert isinstance(manifest.config, ShearConfig)
    return manifest.config


def parse(value: Mapping[str, Any]) -> ShearConfig:
    """A checked config as frozen types."""
    image, inference = scene.image(value["image"]), value.get("inference", {})
    # The older form has the settings of NUTS directly under `inference`.
    flat = {key: inference[key] for key in _FLAT if key in inference}
    given = {name: dict(inference.get(f"{name}_config", {})) for name in SETTINGS}
    given["nuts"] = {**flat, **given["nuts"]}
    unused = ["image.fft_size"] if "fft_size" in value["image"] else []
    unused += [f"inference.nuts_config.{key}" for key in ("map_init",) if given["nuts"].pop(key, None)]
    unused += [f"inference.map_config.{key}" for key in ("num_steps", "learning_rate") if given["map"].pop(key, None)]
    psf, galaxy = point_spread.parse(value["psf"]), scene.galaxy(value["gal"], image)
    simulated = simulation.parse(value, image)
    population = population_config.parse(value)
    precision = inference.get("precision", "auto")
    if precision == "auto" and population is not None:
        precision = "float64"
    if precision == "auto":
        # What is drawn may be brighter than what the model expects; of a catalogue nobody knows by how much.
        needed = [brightness.precision(image, psf, one) for one in (galaxy, simulated.galaxy) if one]
        precision = "float64" if simulated.catalogue else max(needed)
    return ShearConfig(
        image=image,
        psf=psf,
        galaxy=galaxy,
        inference=Inference(
            precision=precision,
            **{key: inference[key] for key in ("method", "rng_seed") if key in inference},
            **{name: typed.build(kind, given[name]) for name, kind in SETTINGS.items()},
        ),
        unused=tuple(unused),
        simulation=simulated,
        population=population,
    )
