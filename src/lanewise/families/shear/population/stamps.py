"""The galaxies of a population from files, each read when a lane needs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from lanewise.families.shear import exposure_files, observed
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.exposure_table import Exposures
from lanewise.families.shear.observed import Stack
from lanewise.families.shear.population import selection
from lanewise.families.shear.population.galaxies import Member
from lanewise.manifest.plan import Computed, Single
from lanewise.manifest.problem import Observation


def observe(config: ShearConfig, planned: Single) -> Observation:
    """A population; its truth is the shear that all galaxies share, empty where nobody knows it."""
    stack = observed.stack_of(planned)
    exposures = [one for sources in stack.galaxies if (one := observed.exposures_in(sources))]
    n = len(stack.galaxies)
    if not exposures:
        return Observation(Computed(n, partial(_stamp, config, stack)), planned.truth)
    assert len(exposures) == n
    return Observation(
        Computed(n, partial(_object, config, exposures)),
        planned.truth,
        ragged=exposure_files.arrays(config),
        sizes=[len(one.rows) for one in exposures],
    )


def _stamp(config: ShearConfig, stack: Stack, number: int) -> Member:
    """The data of a galaxy, as of `observed.read`; None if it does not pass the population's cut.

    Raises:
        DataError: as of `observed.read`; the failure of this galaxy alone.
        InputUnreachable: as of `observed.read`.
    """
    assert config.population is not None
    data = observed.read(config, stack.galaxies[number])
    # A pixel that is not finite is no matter of brightness: that galaxy fails.
    if config.population.selection is None or not np.isfinite(data["image"]).all():
        return data
    return data if selection.passes(config, data["image"]) else None


def _object(config: ShearConfig, exposures: Sequence[Exposures], number: int) -> Member:
    """The data of a galaxy, as of `exposure_files.galaxy`.

    Raises:
        DataError: as of `exposure_files.galaxy`; the failure of this galaxy alone.
        InputUnreachable: as of `exposure_files.galaxy`.
    """
    return exposure_files.galaxy(config, exposures[number])
