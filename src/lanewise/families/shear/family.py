"""The shear family: images with a known weak-lensing shear are simulated, or read from files, and inferred."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lanewise.engine.results import Result
from lanewise.errors import Complaint
from lanewise.families.shear import (
    brightness,
    checks,
    correlation,
    galaxy_table,
    observations,
    observed,
    observed_populations,
    population_catalogue,
    population_config,
    predictions,
    psf_image,
    shears,
    simulation_config,
    truth_draws,
)
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.observations import Observations
from lanewise.families.shear.point_spread import PsfImages
from lanewise.families.shear.shears import TURNED, Shears
from lanewise.manifest import schema
from lanewise.manifest.document import Document, Path
from lanewise.manifest.family import Family, Lanes
from lanewise.manifest.manifest import Convergence, Manifest
from lanewise.manifest.plan import Computed, Planned, Single
from lanewise.manifest.problem import Data, LaneInference, Membership, Observation, Problem
from lanewise.manifest.protocols import Conclusion, Forecast, Outputs
from lanewise.methods.ladders import LADDERS
from lanewise.storage.record import Record

if TYPE_CHECKING:
    import pandas as pd


def resolve_config(config: Document) -> Mapping[str, Any]:
    """The config with the files of its point-spread function, noise and catalogue pinned to their content."""
    value: dict[str, Any] = config.value
    if value["psf"].get("type") == "Image":
        value = psf_image.resolve(config)
    for section in ("image", simulation_config.KEY):
        if "noise" in value.get(section, {}):
            value = {**value, section: {**value[section], "noise": correlation.resolve(config, (section, "noise"))}}
    for section in (population_config.KEY, simulation_config.KEY):
        if "catalogue" in value.get(section, {}):
            found = galaxy_table.resolve(config, (section, "catalogue"))
            value = {**value, section: {**value[section], "catalogue": found}}
    return value


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """What the schema cannot say of the true shears, or of the images."""
    there = [key for key in ("shear", observations.KEY) if key in manifest.value]
    if not there:
        text = "expected 'shear' (true shears, of which images are simulated) or 'observations' (images from files)"
        return [manifest.complaint((), f"{text}, got neither; add one")]
    if len(there) == 2:
        text = "images are either simulated for the truths under 'shear' or read from files; keep one of the two"
        return [manifest.complaint((observations.KEY,), text)]
    return shears.check(manifest) if there == ["shear"] else observations.check(manifest)


def resolve(manifest: Document) -> Mapping[str, Any]:
    """The manifest with every image file found and pinned to its content."""
    value: Mapping[str, Any] = manifest.value
    if observations.KEY in value:
        return {**value, observations.KEY: observations.resolve(manifest)}
    return value


def parse_extent(value: Mapping[str, Any]) -> Shears | Observations:
    """The true shears, or the images, of a resolved manifest."""
    return shears.parse(value["shear"]) if "shear" in value else observations.parse(value[observations.KEY])


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """Precision must carry the S/N, images fit the config; a component that is fixed must be fixed at its truth."""
    config, extent = shear_config.of(manifest), manifest.extent
    found = [*precision(config), *_estimator(manifest, config)]
    if config.population is not None and config.population.catalogue is not None:
        found += population_catalogue.misfits(config.population.catalogue, config.parameters)
    if isinstance(extent, Observations):
        place: Path = (observations.KEY, "truths")
        if config.simulation.content:
            message = "images come from files here, none is simulated; remove it"
            found.append((("config", simulation_config.KEY), message))
        found += list(observations.misfits(extent, config))
        if config.population is not None:
            found += observed_populations.misfits(extent, config, config.population)
        known = {name: {truth[name] for truth in extent.truths if name in truth} for name in ("g1", "g2")}
    else:
        assert isinstance(extent, Shears)
        place = ("shear",)
        found += list(width_of_noise(config))
        found += list(_ring(config, extent))
        if any(
            len({run_id(*arm, 0) for arm in extent.arms(*point)}) < len(extent.arms(*point)) for point in extent.points
        ):
            message = "the two shears of a pair would share a directory; expected shears of 1e-4 or more"
            found.append((("shear",), message))
        arms = [arm for point in extent.points for arm in extent.arms(*point)]
        known = {"g1": {g1 for g1, _ in arms}, "g2": {g2 for _, g2 in arms}}
        if config.population is not None:
            found += population_config.out_of_range(config.population, arms)
    for name, truths in known.items():
        fixed = config.fixed.get(name)
        if fixed is not None and truths and truths != {fixed}:
            shown = ", ".join(f"{value:g}" for value in sorted(truths))
            message = f"the config fixes gal.shear.{name} at {fixed:g}, the truths are {shown}; give {name} a prior"
            found.append((place, message))
    return found


def _estimator(manifest: Manifest, config: ShearConfig) -> Iterator[tuple[Path, str]]:
    """The score is that of populations whose distributions are known."""
    if manifest.acceptance.estimator == "posterior":
        return
    if config.population is None:
        yield ("acceptance", "estimator"), "only populations have a score of the shear; remove it"
    elif config.population.free:
        message = "the score is that of the known distributions, and population.free infers them; remove one of the two"
        yield ("acceptance", "estimator"), message


def _ring(config: ShearConfig, extent: Shears) -> Iterator[tuple[Path, str]]:
    """A model that holds an ellipticity fixed would hold that of the turned galaxy fixed, too."""
    if config.population is not None:
        return
    held = [name for name in ("e1", "e2") if config.fixed.get(name)]
    shape = dict(config.simulated_galaxy.parameters)
    drawn = config.simulation.catalogue.names if config.simulation.catalogue else frozenset()
    if extent.ring and held:
        fixed = " and ".join(held)
        message = f"a ring turns the galaxy, the config fixes {fixed}; give a prior, and name it in simulation.given"
        yield ("shear", "ring"), message
    elif extent.ring and not any(shape[name] for name in ("e1", "e2")) and not {"e1", "e2"} & drawn:
        yield ("shear", "ring"), "the galaxy is round, and the same turned by 90°; remove it"


def width_of_noise(config: ShearConfig) -> Iterator[tuple[Path, str]]:
    """Simulated images need noise of a known width, one point-spread function and one size."""
    if config.image.sizes:
        yield ("config", "image", "sizes"), "for images from files (observations.table); simulated ones have one size"
    if config.galaxy.bands:
        yield ("config", "gal", "bands"), "for images from files (observations.table); simulated ones have one band"
    if isinstance(config.simulated_psf, PsfImages):
        message = "PerExposure is for images from files (observations.table); simulated ones need another type"
        yield ("config", "psf", "type"), message
    if config.image.noise.per_exposure:
        message = "PerExposure is for images from files (observations.table); simulated ones need another correlation"
        yield ("config", "image", "noise", "correlation"), message
    elif config.image.noise.sigma is None:
        message = "the config's noise is PerPixel without sigma, which simulated images need; add image.noise.sigma"
        yield ("config",), message


def precision(config: ShearConfig) -> Iterator[tuple[Path, str]]:
    """The precision of the likelihood must carry the S/N, if the config tells it."""
    if config.inference.precision != "float32":
        return
    place: Path = ("config", "inference", "precision")
    signal = brightness.signal_to_noise(config.image, config.psf, config.galaxy)
    if not config.image.noise.simulated:
        yield place, "an estimate from an image without noise is as good as the arithmetic; set float64"
    elif math.isfinite(signal) and signal > brightness.FLOAT32_LIMIT:
        message = f"the S/N is about {signal:.0e}, and float32 carries {brightness.FLOAT32_LIMIT:.0e}"
        yield place, f"{message}; set float64"


def remarks(manifest: Manifest) -> Sequence[str]:
    """Keys without effect, shape and shear that one galaxy cannot tell apart, and what the scene lets expect."""
    config = shear_config.of(manifest)
    found = [f"{key} is accepted for compatibility and not used" for key in config.unused]
    if {"g1", "e1"} <= set(config.latents) or {"g2", "e2"} <= set(config.latents):
        found.append(
            "gal.ellipticity and gal.shear are both latent: one galaxy cannot tell its shape from the shear, "
            "so the posterior is as wide as their priors; fix the ellipticity at its truth"
        )
    ratios = [name for _, names in config.galaxy.bands for name in names]
    if ratios and {"flux", *ratios} <= set(config.latents):
        found.append(
            "gal.flux and the flux ratios of all bands are latent: only their products are measured, so the posterior "
            "of each is as wide as the priors let it be; set the ratio of one band to 1"
        )
    if isinstance(manifest.extent, Observations):
        found += observations.remarks(manifest.extent)
    return (*found, *predictions.remarks(config))


def realizations(manifest: Manifest) -> Sequence[Single]:
    """Every realization: seeds increment through the grid, or the images; the arms of a pair share theirs.

    Run ids of simulated images differ: those of two seeds by the seed, those of one seed by the sign of the shear,
    which `check_campaign` ensures, and by the turn.
    """
    config, extent, asked = shear_config.of(manifest), manifest.extent, manifest.realizations
    if isinstance(extent, Observations):
        per_population = config.population.galaxies if config.population else 0
        return observed.realizations(extent, asked.base_seed, run_id, per_population)
    assert isinstance(extent, Shears)
    rule = {**extent.content, "count": asked.count, "base_seed": asked.base_seed}
    n = len(extent.points) * asked.count * extent.n_arms
    return Computed(n, partial(_realization, config, extent, asked.count, asked.base_seed), rule)


def _realization(config: ShearConfig, extent: Shears, count: int, base_seed: int, index: int) -> Single:
    """A realization by its index: point by point, then seed by seed, then the galaxy as it is and turned, then ±g."""
    nth, arm = divmod(index, extent.n_arms)
    (g1, g2), seed = extent.points[nth // count], base_seed + nth
    arms = extent.arms(g1, g2)
    galaxy = config.simulation.catalogue.galaxy(seed) if config.simulation.catalogue else {}
    if config.simulation.truths == "drawn":
        simulated = config.simulated_galaxy
        known = {**dict(simulated.parameters), **galaxy, "g1": g1, "g2": g2}
        galaxy = truth_draws.truth(known, seed, simulated.disc_power if {"e1", "e2"} - galaxy.keys() else 0.0)
    turned = arm >= len(arms)
    if turned and config.population is None:
        shape = config.simulated_galaxy.centres | galaxy
        galaxy = galaxy | {name: 0.0 - shape[name] for name in ("e1", "e2")}
    a, b = arms[arm % len(arms)]
    return Single(run_id(a, b, seed) + (TURNED if turned else ""), seed, {**galaxy, "g1": a, "g2": b})


def run_id(g1: float, g2: float, seed: int) -> str:
    """Name of a realization's directory."""
    # Rounded before it is shown: what rounds to zero is +0.0000, from either side.
    g1, g2 = round(g1, 4) + 0.0, round(g2, 4) + 0.0
    return f"g1_{g1:+.4f}_g2_{g2:+.4f}_s{seed}"


def no_extension(manifest: Manifest) -> str:
    """Single realizations can be added to; files are what they are."""
    return observations.NO_EXTENSION if isinstance(manifest.extent, Observations) else ""


def outputs() -> Outputs[Result]:
    """Posteriors in netCDF, truth and diagnostics in JSON."""
    from lanewise.families.shear.outputs import OUTPUTS

    return OUTPUTS


def collect(record: Record) -> pd.DataFrame:
    """The summary: one row per committed realization."""
    from lanewise.families.shear.statistics import summary

    return summary.collect(record)


def conclude(record: Record) -> Conclusion:
    """Writes the summary, m and c with the verdict, and the report."""
    from lanewise.families.shear import aggregate

    return aggregate.conclude(record)


def forecast(record: Record, target: float) -> Sequence[Forecast]:
    """The realizations that an error of m needs, per component."""
    from lanewise.families.shear import aggregate

    return aggregate.forecast(record, target)


def inference(config: ShearConfig) -> LaneInference:
    """Methods, settings and precision."""
    return config.inference.for_lanes


def observe(config: ShearConfig, planned: Planned) -> Observation:
    """Read one image, or simulate it with GalSim."""
    assert isinstance(planned, Single)
    if planned.sources and config.population is not None:
        from lanewise.families.shear.population import stamps

        return stamps.observe(config, planned)
    if planned.sources:
        return observed.observe(config, planned)
    if config.population is not None:
        from lanewise.families.shear.population import galaxies

        return galaxies.observe(config, planned)
    from lanewise.families.shear.image_simulator import simulate

    return simulate(config, planned)


def problem(config: ShearConfig) -> Problem:
    """The density of one galaxy image."""
    from lanewise.families.shear.model.problem import ShearProblem

    return ShearProblem(config.one_galaxy)


def membership(config: ShearConfig) -> Membership[ShearConfig, Result] | None:
    """How a population ends; None for single images."""
    if config.population is None:
        return None
    from lanewise.families.shear.population import membership as of_populations

    return of_populations.membership(config)


def judge(problem: Problem, fits: Sequence[tuple[Result, Data]], criteria: Convergence) -> Sequence[Result]:
    """The results with the goodness of their fit."""
    from lanewise.families.shear.model import misfit

    return misfit.judge(problem, fits, criteria)


LANES: Lanes[ShearConfig, Result] = Lanes(
    inference=inference,
    observe=observe,
    problem=problem,
    membership=membership,
    judge=judge,
    shaped=ShearConfig.on_stamp,
)
FAMILY: Family[ShearConfig, Result, Record] = Family(
    kind="shear",
    config_schema=schema.load("shear-config"),
    check_config=checks.check,
    resolve_config=resolve_config,
    parse_config=shear_config.parse,
    check_extent=check_extent,
    resolve=resolve,
    parse_extent=parse_extent,
    check_campaign=check_campaign,
    realizations=realizations,
    outputs=outputs,
    collect=collect,
    conclude=conclude,
    lanes=LANES,
    remarks=remarks,
    no_extension=no_extension,
    ladders=LADDERS,
    forecast=forecast,
)
