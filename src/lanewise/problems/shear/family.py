"""The door of the shear family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lanewise.document import Document, Path
from lanewise.errors import Complaint
from lanewise.problems.base import Member, Observation, Problem
from lanewise.problems.shear import config as shear_config
from lanewise.problems.shear import grid
from lanewise.problems.shear.config import ShearConfig
from lanewise.problems.shear.grid import Shears

if TYPE_CHECKING:
    from lanewise.manifest import Manifest
    from lanewise.problems.base import Outputs

extension = ""


def check_config(config: Document) -> Sequence[Complaint]:
    """Everything that is wrong with the config."""
    return shear_config.check(config)


def parse_config(value: Mapping[str, Any]) -> ShearConfig:
    """A checked config as frozen types."""
    return shear_config.parse(value)


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """What the schema cannot say of the true shears."""
    return grid.check(manifest)


def resolve(manifest: Document) -> Mapping[str, Any]:
    """The manifest as it is: it names no file but its config."""
    value: Mapping[str, Any] = manifest.value
    return value


def parse_extent(value: Mapping[str, Any]) -> Shears:
    """The true shears of a checked manifest."""
    return grid.parse(value["shear"])


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """A component that the model holds fixed must be fixed at its truth."""
    found: list[tuple[Path, str]] = []
    for at, name in enumerate(("g1", "g2")):
        fixed = manifest.config.fixed.get(name)
        truths = {
            sign * point[at] for point in manifest.extent.points for sign in (1, -1 if manifest.extent.paired else 1)
        }
        if fixed is not None and truths != {fixed}:
            shown = ", ".join(f"{value:g}" for value in sorted(truths))
            message = f"the config fixes gal.shear.{name} at {fixed:g}, the truths are {shown}; give {name} a prior"
            found.append((("shear",), message))
    return found


def settings(manifest: Manifest) -> Mapping[str, Any]:
    """Config, thresholds and lane width."""
    return {
        "config": manifest.config.content,
        "convergence": vars(manifest.convergence),
        "width": manifest.batch.width,
    }


def members(manifest: Manifest) -> tuple[Member, ...]:
    """Every realization: seeds increment through the grid; the arms of a pair share theirs."""
    found = []
    seed = manifest.realizations.base_seed
    for g1, g2 in manifest.extent.points:
        for _ in range(manifest.realizations.count):
            # Subtracting from 0.0 rather than negating keeps a zero component +0.0.
            arms = [(g1, g2), (0.0 - g1, 0.0 - g2)] if manifest.extent.paired else [(g1, g2)]
            found += [Member(run_id(*arm, seed), seed, {"g1": arm[0], "g2": arm[1]}) for arm in arms]
            seed += 1
    return tuple(found)


def run_id(g1: float, g2: float, seed: int) -> str:
    """Name of a realization's directory."""
    # Rounded before it is shown: what rounds to zero is +0.0000, from either side.
    g1, g2 = round(g1, 4) + 0.0, round(g2, 4) + 0.0
    return f"g1_{g1:+.4f}_g2_{g2:+.4f}_s{seed}"


def outputs() -> Outputs:
    """Posteriors in netCDF, truth and diagnostics in JSON."""
    from lanewise import outputs as of_lanes

    return cast("Outputs", of_lanes)


def solver(manifest: Manifest) -> None:
    """The engine runs its lanes."""
    return None


def observe(config: ShearConfig, member: Member) -> Observation:
    """Simulate one image with GalSim."""
    from lanewise.problems.shear.simulate import simulate

    return simulate(config, member)


def problem(config: ShearConfig) -> Problem:
    """The density of one galaxy image."""
    from lanewise.problems.shear.model import ShearProblem

    return ShearProblem(config)
