"""Kind `calibration`: scenes of kind `shear` whose g and every latent are drawn from their priors.

Ranks and coverage of a posterior are known only there: on a grid of shears even an exact posterior fails both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from lanewise.errors import Complaint
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import (
    family,
    population_catalogue,
    population_config,
    shears,
    simulation_config,
    truth_draws,
)
from lanewise.families.shear.config import ShearConfig
from lanewise.manifest.document import Document, Path
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Computed, Single
from lanewise.manifest.protocols import Conclusion
from lanewise.statistics.numbers import percent
from lanewise.storage.record import Record

# All but a few truths of a population must lie among the nodes of its likelihood.
_ENDS = (0.001, 0.999)


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """What the schema cannot say of the number of realizations."""
    return shears.check_seeds(manifest, 1, 1)


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """Truths are drawn, images have the noise of the likelihood, and there are draws to rank the truths among."""
    config = shear_config.of(manifest)
    found = [*family.precision(config), *family.width_of_noise(config)]
    if not config.image.noise.simulated:
        message = "without noise no posterior is calibrated; remove it, or set true"
        found.append((("config", "image", "noise", "simulated"), message))
    if manifest.content["config"].get(simulation_config.KEY, {}).get("truths") == "central":
        message = "kind calibration draws every truth from its prior; remove it, or set drawn"
        found.append((("config", simulation_config.KEY, "truths"), message))
    if config.simulation.catalogue is not None:
        message = "kind calibration draws every truth from its prior; remove it"
        found.append((("config", simulation_config.KEY, "catalogue"), message))
    if config.method == "map":
        message = "map leaves no draws to rank the truth among; use a method that samples, such as auto"
        found.append((("config", "inference", "method"), message))
    if config.population is not None and config.population.catalogue is not None:
        found += population_catalogue.misfits(config.population.catalogue, config.parameters)
    if config.population is not None:
        ends = [abs(prior.quantile(share)) for prior in config.latents.values() for share in _ENDS]
        found += population_config.out_of_range(config.population, [(max(ends), 0.0)])
        if config.population.free:
            message = "kind calibration draws no truths of these, so that ranks of g say nothing; remove it"
            found.append((("config", population_config.KEY, "free"), message))
    untold = set(config.latents) - set(dict(config.simulated_galaxy.parameters))
    if untold:
        names = ", ".join(sorted(untold))
        found.append((("config", "simulation", "gal"), f"the simulated galaxy has no {names}, so it has no truth"))
    return found


def realizations(manifest: Manifest) -> Sequence[Single]:
    """Every realization with its truth, drawn with its own seed, which the run id ends with."""
    asked = manifest.realizations
    rule = {"count": asked.count, "base_seed": asked.base_seed}
    return Computed(asked.count, partial(_realization, shear_config.of(manifest), asked.base_seed), rule)


def _realization(config: ShearConfig, base_seed: int, index: int) -> Single:
    seed = base_seed + index
    galaxy = config.simulated_galaxy
    parameters = dict(galaxy.parameters)
    if config.population is not None:
        # Everything else differs from galaxy to galaxy.
        parameters = {name: parameters[name] for name in ("g1", "g2")}
    truth = truth_draws.truth(parameters, seed, galaxy.disc_power)
    return Single(family.run_id(truth["g1"], truth["g2"], seed), seed, truth)


def remarks(manifest: Manifest) -> Sequence[str]:
    """As of a shear campaign, and whether the number of realizations can show the coverage."""
    from lanewise.families.calibration import sizing

    asked, n_latents = manifest.realizations, len(shear_config.of(manifest).latents)
    n = asked.count + sum(asked.extensions)
    margin = sizing.margin_of(manifest.acceptance, sizing.n_ranks(manifest.convergence.ess_min), asked)
    needed = sizing.n_needed(margin, n_latents)
    found = family.remarks(manifest)
    if n >= needed:
        return found
    text = (
        f"realizations: {n} show a coverage within ± {percent(margin.margin)} of "
        f"{percent(margin.nominal, '.0f')} for all {n_latents} "
        f"latents in {percent(margin.p_shown(n) ** n_latents, '.0f')} of calibrated campaigns; {needed} do in "
        f"{percent(sizing.POWER)}"
    )
    return (*found, text)


def conclude(record: Record) -> Conclusion:
    """Writes the summary, ranks with the verdict, and the report."""
    from lanewise.families.calibration import aggregate

    return aggregate.conclude(record)


# What is not named here is as of a shear campaign.
FAMILY = replace(
    family.FAMILY,
    kind="calibration",
    check_extent=check_extent,
    parse_extent=lambda _: None,
    check_campaign=check_campaign,
    realizations=realizations,
    remarks=remarks,
    conclude=conclude,
    forecast=None,
)
