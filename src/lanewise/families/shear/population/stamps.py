"""The galaxies of a population from files, each read when a lane needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lanewise.families.shear import exposure_files, observed
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.exposure_table import Exposures
from lanewise.families.shear.observed import Stack
from lanewise.families.shear.population import selection
from lanewise.families.shear.population.lazy import Lazy, Member
from lanewise.manifest.plan import Single
from lanewise.manifest.problem import Observation


class Stamps(Lazy):
    """The data of a population's galaxies, in the order of the files."""

    def __init__(self, config: ShearConfig, stack: Stack) -> None:
        assert config.population is not None
        super().__init__(len(stack.galaxies))
        self._config, self._stack, self._selection = config, stack, config.population.selection

    def _member(self, number: int) -> Member:
        """The data of a galaxy, as of `observed.read`; None if it does not pass the population's cut.

        Raises:
            DataError: as of `observed.read`; the failure of this galaxy alone.
            InputUnreachable: as of `observed.read`.
        """
        data = observed.read(self._config, self._stack.galaxies[number])
        # A pixel that is not finite is no matter of brightness: that galaxy fails.
        if self._selection is None or not np.isfinite(data["image"]).all():
            return data
        return data if selection.passes(self._config, data["image"]) else None


class Objects(Lazy):
    """The data of a population's galaxies with exposures, in the order of the table."""

    def __init__(self, config: ShearConfig, exposures: Sequence[Exposures]) -> None:
        super().__init__(len(exposures))
        self._config, self._exposures = config, exposures

    def _member(self, number: int) -> Member:
        """The data of a galaxy, as of `exposure_files.galaxy`.

        Raises:
            DataError: as of `exposure_files.galaxy`; the failure of this galaxy alone.
            InputUnreachable: as of `exposure_files.galaxy`.
        """
        return exposure_files.galaxy(self._config, self._exposures[number])


def observe(config: ShearConfig, planned: Single) -> Observation:
    """A population; its truth is the shear that all galaxies share, empty where nobody knows it."""
    stack = observed.stack_of(planned)
    exposures = [one for sources in stack.galaxies if (one := observed.exposures_in(sources))]
    if not exposures:
        return Observation(Stamps(config, stack), planned.truth)
    assert len(exposures) == len(stack.galaxies)
    sizes = [len(one.rows) for one in exposures]
    return Observation(Objects(config, exposures), planned.truth, ragged=exposure_files.arrays(config), sizes=sizes)
