"""What images are simulated from, where it is not the model: another scene, truths from priors, a planted bias.

Every difference between model and simulation stands in the config under `simulation`; without it there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lanewise.families.shear import galaxy_table, point_spread, scene
from lanewise.families.shear.galaxy_table import Catalogue
from lanewise.families.shear.point_spread import AnyPsf
from lanewise.families.shear.scene import SHAPES, Galaxy, Image, Noise
from lanewise.manifest import typed
from lanewise.manifest.document import Path

KEY = "simulation"
# Keys of `gal` that belong to a profile: another profile does not inherit them.
_OF_A_TYPE = (*SHAPES.values(), "components")


@dataclass(frozen=True)
class Planted:
    """A bias in the images: they are drawn at (1 + m) g + c, in both components, and their truth is g."""

    m: float = 0.0
    c: float = 0.0


@dataclass(frozen=True)
class Simulation:
    """How images differ from the model.

    Attributes:
        truths: `central` or `drawn`: what a latent takes that the campaign does not set.
        given: parameters that the model is given at their truth.
        psf, galaxy, noise: None where they are those of the model.
        catalogue: galaxies whose parameters take the place of `truths`; None: there is none.
    """

    truths: str = "central"
    given: tuple[str, ...] = ()
    bias: Planted = field(default_factory=Planted)
    psf: AnyPsf | None = None
    galaxy: Galaxy | None = None
    noise: Noise | None = None
    catalogue: Catalogue | None = None

    def differs(self, model: Galaxy) -> bool:
        """Whether images show what the model cannot: another point-spread function, noise, or other profiles."""
        other = self.galaxy is not None and self.galaxy.components != model.components
        return self.psf is not None or self.noise is not None or other

    @property
    def content(self) -> dict[str, Any]:
        """What changes a number; empty where images are as the model."""
        found: dict[str, Any] = {}
        if self.truths != "central":
            found["truths"] = self.truths
        if self.given:
            found["given"] = list(self.given)
        if self.bias != Planted():
            found["bias"] = asdict(self.bias)
        if self.psf is not None:
            found["psf"] = self.psf.content
        if self.galaxy is not None:
            found["gal"] = self.galaxy.content
        if self.noise is not None:
            found["noise"] = self.noise.content
        if self.catalogue is not None:
            found["catalogue"] = self.catalogue.content
        return found


def parse(config: Mapping[str, Any], image: Image) -> Simulation:
    """The checked `simulation` of a config."""
    value = config.get(KEY, {})
    simulated = scene_of(config)
    return Simulation(
        truths=value.get("truths", "central"),
        given=tuple(value.get("given", ())),
        bias=typed.build(Planted, value.get("bias", {})),
        psf=point_spread.parse(simulated["psf"]) if "psf" in value else None,
        galaxy=scene.galaxy(simulated["gal"], image) if "gal" in value else None,
        noise=replace(scene.noise(value["noise"]), simulated=image.noise.simulated) if "noise" in value else None,
        catalogue=galaxy_table.parse(value["catalogue"]) if "catalogue" in value else None,
    )


def scene_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config whose model is what images are drawn from: `simulation.psf` in place of `psf`, keys of
    `simulation.gal` in place of those of `gal`, `simulation.noise` in place of `image.noise`.
    """
    value = config.get(KEY, {})
    plain = {key: part for key, part in config.items() if key != KEY}
    if "psf" in value:
        plain["psf"] = value["psf"]
    if "noise" in value:
        plain["image"] = {**config["image"], "noise": value["noise"]}
    if "gal" in value:
        dropped = _OF_A_TYPE if "type" in value["gal"] else ()
        kept = {key: part for key, part in config["gal"].items() if key not in dropped}
        plain["gal"] = {**kept, **value["gal"]}
    return plain


def faults(config: Mapping[str, Any], model: Galaxy, simulated: Galaxy) -> Iterator[tuple[Path, str]]:
    """What is wrong with `simulation` beyond its two scenes, each on its own.

    Args:
        model, simulated: the galaxies of the two.
    """
    value = config.get(KEY, {})
    if value.get("psf", {}).get("type") in ("Image", "PerExposure"):
        yield (KEY, "psf", "type"), "images are simulated with a Gaussian or a Moffat here; give the model the image"
    if value.get("noise", {}).get("correlation") == scene.PER_EXPOSURE:
        yield (KEY, "noise", "correlation"), "PerExposure is for images from files (observations.table); choose another"
    for name in value.get("catalogue", {}).get("columns", {}):
        if name in ("g1", "g2", "x", "y"):
            yield (KEY, "catalogue", "columns", name), f"{name} is no property of a galaxy; remove it"
        elif name not in dict(simulated.parameters):
            known = ", ".join(dict(simulated.parameters))
            yield (KEY, "catalogue", "columns", name), f"the simulated galaxy has no {name}; it has {known}"
    of_model, of_images = dict(model.parameters), dict(simulated.parameters)
    for at, name in enumerate(value.get("given", ())):
        place: Path = (KEY, "given", at)
        if name in ("g1", "g2"):
            yield place, f"{name} is what is inferred; it cannot be given to the model"
        elif name not in of_model:
            yield place, f"the model has no parameter '{name}'; it has {', '.join(of_model)}"
        elif isinstance(of_model[name], float):
            yield place, f"{name} is a number in the model; give it a prior, which says where its truths lie"
        elif name not in of_images:
            yield place, f"the simulated galaxy has no {name}, so it has no truth"
