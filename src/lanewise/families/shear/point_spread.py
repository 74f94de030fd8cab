"""The point-spread function of a scene as frozen types; the schema documents each key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lanewise.manifest import typed
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

# Full width at half maximum of a Gaussian [σ].
_FWHM = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True)
class Psf:
    """Analytic point-spread function.

    Attributes:
        sigma: standard deviation of a Gaussian, or full width at half maximum of a Moffat [arcsec].
        beta: exponent of a Moffat.
        e1, e2: ellipticity [distortion]; the area does not depend on it.
    """

    sigma: float
    type: str = "Gaussian"
    beta: float = 2.5
    e1: float = 0.0
    e2: float = 0.0

    @property
    def includes_pixel(self) -> bool:
        """Never: it is convolved with the pixel."""
        return False

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        found = asdict(self)
        if self.type != "Moffat":
            del found["beta"]
        if self.e1 == self.e2 == 0:
            del found["e1"], found["e2"]
        return found


@dataclass(frozen=True)
class PsfImage:
    """A point-spread function as an image, centred on the image's centre.

    Attributes:
        array: name of the array in the file; empty: the only one.
        pixel_scale: size of a pixel of this image [arcsec].
        pixel: `included` if the function includes the pixel of the stamp, else `apart`.
    """

    file: Input
    array: str
    pixel_scale: float
    pixel: str = "apart"
    type: str = "Image"

    @property
    def includes_pixel(self) -> bool:
        """Whether it includes the pixel of the stamp."""
        return self.pixel == "included"

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity; the path of the file does not."""
        found = {"type": "Image", "sha256": self.file.sha256, "array": self.array, "pixel_scale": self.pixel_scale}
        return found | ({"pixel": self.pixel} if self.includes_pixel else {})


@dataclass(frozen=True)
class Tiles:
    """Where the tiles of a plane of point-spread functions belong.

    Attributes:
        size: edge of a tile [pixel of the plane]; None: STMPSIZE of the plane's header.
        first, step: x and y of the place of the first tile, and from one tile to the next [pixel of the field]; None:
            the tiles cover the field evenly.
    """

    size: int | None = None
    first: tuple[float, float] | None = None
    step: tuple[float, float] | None = None


@dataclass(frozen=True)
class PsfImages:
    """A point-spread function of its own for each exposure, as an image that `observations.table` names.

    Attributes:
        fwhm: typical full width at half maximum [arcsec], for the choice of the grid and the start of the fit.
        pixel_scale: size of a pixel of these images, where a pixel of the stamp has image.pixel_scale [arcsec].
        pixel: `included` if they include the pixel of the stamp, else `apart`.
        tiles: of planes that hold many of them; None: a plane is one image.
    """

    fwhm: float
    pixel_scale: float
    pixel: str = "apart"
    type: str = "PerExposure"
    tiles: Tiles | None = None

    @property
    def includes_pixel(self) -> bool:
        """Whether they include the pixel of the stamp."""
        return self.pixel == "included"

    @property
    def typical(self) -> Psf:
        """A Gaussian of this width."""
        return Psf(self.fwhm / _FWHM)

    @property
    def narrowest(self) -> Psf:
        """A Gaussian of half the width: the renderer considers modes as far as it lets them through."""
        return Psf(self.fwhm / _FWHM / 2)

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        return {name: value for name, value in asdict(self).items() if value is not None}


AnyPsf = Psf | PsfImage | PsfImages


def parse(value: Mapping[str, Any]) -> AnyPsf:
    """The point-spread function from the section `psf` of a config, which is checked."""
    if value.get("type") == "PerExposure":
        return typed.build(PsfImages, {**value, "tiles": _tiles(value["tiles"])} if "tiles" in value else value)
    if value.get("type") == "Image":
        return PsfImage(*inputs.pinned_array(value["file"]), float(value["pixel_scale"]), value.get("pixel", "apart"))
    shape = {key: value["ellipticity"][key] for key in ("e1", "e2")} if "ellipticity" in value else {}
    return typed.build(Psf, {**{key: part for key, part in value.items() if key != "ellipticity"}, **shape})


def _tiles(value: Mapping[str, Any]) -> Tiles:
    first, step = (
        (float(value[f"{what}_x"]), float(value[f"{what}_y"])) if f"{what}_x" in value else None
        for what in ("first", "step")
    )
    return Tiles(value.get("size"), first, step)
