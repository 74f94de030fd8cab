"""Images from files in place of simulated ones: which files, what is true of them, and whether they fit the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanewise.errors import Complaint, DataError, ManifestError
from lanewise.families.shear import exposure_table, stamp_files, truths
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.exposure_table import COLUMNS, ExposureTable
from lanewise.families.shear.point_spread import PsfImages
from lanewise.families.shear.priors import Prior
from lanewise.manifest.document import Document, Path
from lanewise.storage.inputs import Input

KEY, TABLE = "observations", "table"
NO_EXTENSION = "images come from files; add files to observations.images, at the end"
_ROLES = ("images", "variance", "weight", "mask")
# The column of the truths that is no parameter: a number for each galaxy or noise realization.
GROUP = "group"


@dataclass(frozen=True)
class Source:
    """One image of one file.

    Attributes:
        name: of the array in the file.
        index: of the image in the file.
    """

    file: Input
    name: str
    index: int

    @property
    def content(self) -> list[str | int]:
        """The file's SHA-256, and which of its images."""
        return [self.file.sha256, self.name, self.index]


@dataclass(frozen=True)
class Centre:
    """The mean of one image's Normal prior on x and y [pixel from the lower left corner]."""

    x: float
    y: float

    @property
    def content(self) -> list[float]:
        """x and y."""
        return [self.x, self.y]


@dataclass(frozen=True)
class Observations:
    """The images of a campaign.

    Attributes:
        sources: by role: each of the `images`, and of each other role one for each image, one for all, or none.
        truths: per realization, or empty.
        centres: per image, or empty.
        groups: number of each realization's group, from 0 in the order of first appearance; empty without groups.
            Images of a group share a galaxy or a noise realization, and with it their seed, so that errors know it.
        shapes: (ny, nx) that occur, by role.
        pixel_scales: [arcsec] that the files state.
        table: of exposures, in place of sources; then each object is one realization.
    """

    sources: Mapping[str, tuple[Source, ...]]
    truths: tuple[Mapping[str, float], ...]
    centres: tuple[Centre, ...]
    groups: tuple[int, ...]
    shapes: Mapping[str, frozenset[tuple[int, int]]]
    pixel_scales: frozenset[float]
    table: ExposureTable | None = None

    @property
    def n(self) -> int:
        """Number of images, or of objects of the table."""
        return self.table.n_objects if self.table else len(self.sources["images"])


def check(manifest: Document) -> list[Complaint]:
    """What the schema cannot say of `observations`."""
    value, found = manifest.value[KEY], []
    if "count" in manifest.value.get("realizations", {}):
        message = "the number of images says how many; remove this key"
        found.append(manifest.complaint(("realizations", "count"), message))
    if ("images" in value) == (TABLE in value):
        message = "expected 'images' (one for each object) or 'table' (a row for each exposure); give one of the two"
        found.append(manifest.complaint((KEY,), message))
    elif TABLE in value:
        message = "the table names the files of each exposure, and its place; remove this key"
        found += [manifest.complaint((KEY, key), message) for key in (*_ROLES, "centres") if key in value]
    return found


def resolve(manifest: Document) -> dict[str, Any]:
    """`observations` with every file found, pinned and measured, and the tables of truths and centres read.

    Raises:
        ManifestError: a file is missing, is no image or no such table, or the files do not belong together.
    """
    value = manifest.value[KEY]
    found: dict[str, Any] = {role: _measured(manifest, role) for role in _ROLES if role in value}
    if TABLE in value:
        found[TABLE] = exposure_table.resolve(manifest, (KEY, TABLE))
    n_images = found[TABLE]["objects"] if TABLE in value else _count(found["images"])
    for role in _ROLES[1:]:
        if role in found and _count(found[role]) not in {1, n_images}:
            message = f"expected one for all images or {n_images}, one each, got {_count(found[role])}"
            raise ManifestError([manifest.complaint((KEY, role), message)])
    for table in ("truths", "centres"):
        if table in value:
            place: Path = (KEY, table)
            given = value[table]
            found[table] = given if isinstance(given, list) else truths.read(manifest, place)
            # Truths may be those of populations, whose number only the config knows: checked with it.
            if len(found[table]) != n_images and (table == "centres" or not found[table]):
                message = f"expected a row for each of {n_images} images, got {len(found[table])}"
                raise ManifestError([manifest.complaint(place, message)])
    if other := [row for row in found.get("centres", ()) if set(row) != {"x", "y"}]:
        message = f"expected the columns x and y, got {', '.join(other[0])}"
        raise ManifestError([manifest.complaint((KEY, "centres"), message)])
    return found


def parse(value: Mapping[str, Any]) -> Observations:
    """The resolved key `observations` as frozen types."""
    roles: dict[str, Any] = {role: value[role] for role in _ROLES if role in value}
    rows = value.get("truths", ())
    labels = [row[GROUP] for row in rows if GROUP in row]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return Observations(
        sources={role: tuple(_sources(files)) for role, files in roles.items()},
        truths=tuple({name: float(number) for name, number in row.items() if name != GROUP} for row in rows),
        centres=tuple(Centre(float(row["x"]), float(row["y"])) for row in value.get("centres", ())),
        groups=tuple(numbers[label] for label in labels),
        shapes={
            role: frozenset((ny, nx) for one in files for _, ny, nx in [one["shape"]]) for role, files in roles.items()
        },
        pixel_scales=frozenset(one["pixel_scale"] for one in roles.get("images", ()) if "pixel_scale" in one),
        table=exposure_table.parse(value[TABLE]) if TABLE in value else None,
    )


def misfits(extent: Observations, config: ShearConfig) -> Iterator[tuple[Path, str]]:
    """What is wrong between the images and the config."""
    image = config.image
    if extent.groups and len(extent.groups) != len(extent.truths):
        yield (KEY, "truths"), f"{len(extent.truths) - len(extent.groups)} images have no group; give it for all"
    yield from truths.misfits(extent.truths, config, (KEY, "truths"))
    if config.population is None and extent.truths and len(extent.truths) != extent.n:
        yield (KEY, "truths"), f"expected a row for each of {extent.n} images, got {len(extent.truths)}"
    if extent.table:
        yield from _table_misfits(extent.table, config)
        return
    if isinstance(config.psf, PsfImages):
        yield ("config", "psf", "type"), "PerExposure needs a table of exposures; see observations.table"
    if image.noise.per_exposure:
        message = "PerExposure needs a table of exposures; see observations.table"
        yield ("config", "image", "noise", "correlation"), message
    if config.image.sizes:
        yield ("config", "image", "sizes"), "stamps of several sizes need a table of exposures; see observations.table"
    if config.galaxy.bands:
        yield ("config", "gal", "bands"), "images of several bands need a table of exposures; see observations.table"
    yield from _centre_misfits(extent, config)
    for role, shapes in extent.shapes.items():
        for ny, nx in sorted(shapes - {(image.size_y, image.size_x)}):
            size = f"{image.size_x} × {image.size_y}"
            yield (KEY, role), f"{nx} × {ny} pixels, the config's stamp has {size}; set image.size_x and size_y"
    for scale in sorted(extent.pixel_scales):
        if message := stamp_files.contradiction(scale, image.pixel_scale, "image.pixel_scale"):
            yield (KEY, "images"), message
    per_pixel = image.noise.type == "PerPixel"
    if per_pixel and not {"variance", "weight"} & set(extent.sources) and not image.noise.sigma:
        yield (KEY,), "the config's noise is PerPixel without sigma; add 'variance' or 'weight' here, or sigma there"
    if len(extent.sources) > 1 and not per_pixel:
        message = "variance, weight and mask need image.noise: {type: PerPixel} in the config"
        yield (KEY,), f"{message} (with sigma for a mask alone)"


def _table_misfits(table: ExposureTable, config: ShearConfig) -> Iterator[tuple[Path, str]]:
    """The columns belong to the config's noise and point-spread function."""
    columns, noise, place = set(table.columns), config.image.noise, (KEY, TABLE)
    own, per_pixel = isinstance(config.psf, PsfImages), noise.type == "PerPixel"
    known = [name for name, _ in config.galaxy.bands]
    if known and (other := [name for name in table.bands if name not in known]):
        shown = ", ".join(f"'{name}'" if name else "none" for name in other)
        yield place, f"the config has the bands {', '.join(known)} (gal.bands), the column 'band' has {shown}; add them"
    if not known and "band" in columns:
        yield place, "the column 'band' needs gal.bands in the config, with the flux ratio of each band"
    if "stamp_size" in columns and not config.image.sizes:
        yield place, "the column 'stamp_size' needs image.sizes in the config, e.g. sizes: auto"
    if own and "psf" not in columns:
        yield place, "the config's psf.type is PerExposure; add the column 'psf' to the table"
    if not own and "psf" in columns:
        yield place, "the column 'psf' needs psf: {type: PerExposure} in the config"
    by_place = (isinstance(config.psf, PsfImages) and config.psf.tiles) or "psf_places" in columns
    if "tile_x" in columns and not by_place:
        yield place, "the columns 'tile_x' and 'tile_y' need psf.tiles in the config, or a column 'psf_places'"
    if "psf_places" in columns and not own:
        yield place, "the column 'psf_places' needs psf: {type: PerExposure} in the config"
    own_noise = sorted(columns.intersection(exposure_table.NOISE))
    if noise.per_exposure and not own_noise:
        yield place, "the config's noise.correlation is PerExposure; add a column 'correlation' or 'noise_power'"
    if own_noise and not noise.per_exposure:
        message = "needs image.noise: {type: Correlated, correlation: PerExposure} in the config"
        yield place, f"the column '{own_noise[0]}' {message}"
    if {"rms", "variance"} <= columns:
        yield place, "the columns 'rms' and 'variance' say the same; give one of them"
    if not per_pixel and (given := sorted({"weight", "variance", "rms", "mask"} & columns)):
        yield place, f"the column '{given[0]}' needs image.noise: {{type: PerPixel}} in the config"
    if per_pixel and not {"weight", "variance", "rms"} & columns and not noise.sigma:
        message = "add a column 'weight', 'variance' or 'rms', or sigma there"
        yield place, f"the config's noise is PerPixel without sigma; {message}"


def _centre_misfits(extent: Observations, config: ShearConfig) -> Iterator[tuple[Path, str]]:
    """A centre is inside the stamp, and the mean of a Normal prior that has no other."""
    for index, centre in enumerate(extent.centres):
        yield from truths.outside(vars(centre), index, config.image, (KEY, "centres"))
    if not extent.centres:
        return
    for axis, middle in config.image.middle.items():
        prior = config.parameters[axis]
        assert isinstance(prior, Prior)
        if prior.type != "Normal":
            message = "a centre is the mean of a Normal prior; set gal.position: {type: Normal, sigma: …} in the config"
            yield (KEY, "centres"), message
            return
        if prior.centre != middle:
            message = f"observations.centres has the mean of {axis} for each image; remove this key"
            yield ("config", "gal", "position", f"{axis}_mean"), message


def remarks(extent: Observations) -> Sequence[str]:
    """Columns without a meaning, and images of one galaxy that no group holds together."""
    if extent.table and (unused := extent.table.unused):
        shown = ", ".join(f"'{name}'" for name in unused)
        return (f"observations.table: no column with a meaning: {shown}; those are {', '.join(COLUMNS)}",)
    galaxies = [tuple(sorted((k, v) for k, v in row.items() if k not in ("g1", "g2"))) for row in extent.truths]
    n = len(set(galaxies))
    if extent.groups or not any(galaxies) or not 1 < n < len(galaxies):
        return ()
    return (
        f"observations.truths: {len(galaxies)} images show {n} galaxies; if images of one galaxy, or with one noise "
        f"realization, are not independent, give a column '{GROUP}' (a number), so that the errors know it",
    )


def _measured(manifest: Document, role: str) -> list[dict[str, Any]]:
    """The files of a role, pinned with the shape of what is in them."""
    place: Path = (KEY, role)
    found = []
    for here, entry in _entries(manifest.at(place), place):
        if isinstance(entry, Mapping):
            found.append(dict(entry))
            continue
        for one in stamp_files.resolve(manifest, here):
            try:
                images = stamp_files.load(Input(one["path"], one["sha256"]), one["name"])
            except DataError as error:
                raise ManifestError([manifest.complaint(here, str(error))]) from None
            scale = {} if images.pixel_scale is None else {"pixel_scale": images.pixel_scale}
            found.append({**one, "shape": list(images.values.shape), **scale})
    return found


def _entries(value: Any, place: Path) -> list[tuple[Path, Any]]:
    return [((*place, at), one) for at, one in enumerate(value)] if isinstance(value, list) else [(place, value)]


def _count(files: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["shape"][0] for one in files)


def _sources(files: Sequence[Mapping[str, Any]]) -> Iterator[Source]:
    for one in files:
        for index in range(one["shape"][0]):
            yield Source(Input(one["path"], one["sha256"]), one["name"], index)
