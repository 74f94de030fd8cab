"""The door of kind `calibration`: scenes of kind `shear` whose g and every latent are drawn from their priors.

Ranks and coverage of a posterior are known only there: on a grid of shears even an exact posterior fails both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lanewise.errors import Complaint
from lanewise.families.shear import family, shears, simulation, truth_draws
from lanewise.manifest.document import Document, Path
from lanewise.manifest.protocols import Member

if TYPE_CHECKING:
    from lanewise.manifest.loading import Manifest

check_config = family.check_config
resolve_config = family.resolve_config
parse_config = family.parse_config
settings = family.settings
outputs = family.outputs
solver = family.solver
observe = family.observe
problem = family.problem


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """What the schema cannot say of the number of realizations."""
    return shears.check_seeds(manifest, 1, 1)


def resolve(manifest: Document) -> Mapping[str, Any]:
    """The manifest as it stands: it names no files."""
    value: Mapping[str, Any] = manifest.value
    return value


def parse_extent(value: Mapping[str, Any]) -> None:
    """The config's priors are all that the campaign runs over."""


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """Truths are drawn, images have the noise of the likelihood, and there are draws to rank the truths among."""
    found = [*family.precision(manifest.config), *family.width_of_noise(manifest.config)]
    if not manifest.config.image.noise.simulated:
        message = "without noise no posterior is calibrated; remove it, or set true"
        found.append((("config", "image", "noise", "simulated"), message))
    if manifest.content["config"].get(simulation.KEY, {}).get("truths") == "central":
        message = "kind calibration draws every truth from its prior; remove it, or set drawn"
        found.append((("config", simulation.KEY, "truths"), message))
    if manifest.config.method == "map":
        message = "map leaves no draws to rank the truth among; use a method that samples, such as auto"
        found.append((("config", "inference", "method"), message))
    untold = set(manifest.config.latents) - set(dict(manifest.config.simulated_galaxy.parameters))
    if untold:
        names = ", ".join(sorted(untold))
        found.append((("config", "simulation", "gal"), f"the simulated galaxy has no {names}, so it has no truth"))
    return found


def members(manifest: Manifest) -> Sequence[Member]:
    """Every realization with its truth, drawn with its own seed."""
    first = manifest.realizations.base_seed
    found = []
    for seed in range(first, first + manifest.realizations.count):
        truth = truth_draws.truth(dict(manifest.config.simulated_galaxy.parameters), seed)
        found.append(Member(family.run_id(truth["g1"], truth["g2"], seed), seed, truth))
    return found


def no_extension(manifest: Manifest) -> str:
    """There is always one more draw."""
    return ""
