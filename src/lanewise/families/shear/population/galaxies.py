"""The images of a population: galaxies drawn one by one, sheared alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lanewise.families.shear import image_simulator, truth_draws
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population import ellipticity, selection
from lanewise.families.shear.population_config import drawn_from, of_catalogue
from lanewise.families.shear.shears import TURNED
from lanewise.manifest.plan import Computed, Single
from lanewise.manifest.problem import Observation

# The data of a galaxy; None if it does not pass the population's cut.
Member = Mapping[str, np.ndarray] | None
# Part of the key of every galaxy's random numbers; see `truth_draws`.
_PURPOSE = 3


class Galaxies(Computed[Member]):
    """The data of a realization's galaxies, drawn when they are asked for.

    A galaxy and its noise depend on the realization's seed and on its number alone: +g and −g share both.

    Args:
        turned: every intrinsic ellipticity has the opposite sign.
    """

    def __init__(self, config: ShearConfig, seed: int, shear: Mapping[str, float], turned: bool) -> None:
        assert config.population is not None
        super().__init__(config.population.galaxies, self._drawn)
        self._config, self._seed, self._shear, self._turned = config, seed, shear, turned
        self._population = config.population
        galaxies = config.simulated_galaxy, config.galaxy
        self._parameters = drawn_from(self._population, *galaxies)
        self._of_catalogue = of_catalogue(self._population, *galaxies)

    def truth(self, number: int) -> dict[str, float]:
        """The true parameters of a galaxy; e1 and e2 are those before the shear [distortion]."""
        return self._truth(self._random(number))

    def _drawn(self, number: int) -> Member:
        """The data of a galaxy, as of `image_simulator.simulate`; None if it is cut."""
        random = self._random(number)
        image = image_simulator.drawn(self._config, self._truth(random))
        noise = self._config.image.noise
        if noise.simulated:
            assert noise.sigma is not None
            image = image + random.normal(scale=noise.sigma, size=image.shape)
        if self._population.selection is not None and not selection.passes(self._config, image):
            return None
        return image_simulator.weighted(self._config, image)

    def _random(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, _PURPOSE, number))

    def _truth(self, random: np.random.Generator) -> dict[str, float]:
        there = self._population
        e1, e2 = ellipticity.draw(there.ellipticity, there.sigma, random, there.table)
        parameters = self._parameters
        if there.catalogue is not None:
            row = there.catalogue.draw(random)
            parameters = {**parameters, **{name: row[name] for name in self._of_catalogue}}
        found = truth_draws.draw(parameters, random)
        # From the g-convention to a distortion, 2 e / (1 + |e|²).
        scale = (-2 if self._turned else 2) / (1 + e1**2 + e2**2)
        return {**found, **self._shear, "e1": scale * e1, "e2": scale * e2}


def observe(config: ShearConfig, planned: Single) -> Observation:
    """A population; its truth is the shear that all galaxies share."""
    shear = {name: planned.truth[name] for name in ("g1", "g2")}
    return Observation(Galaxies(config, planned.seed, shear, planned.run_id.endswith(TURNED)), shear)
