from __future__ import annotations

import numpy as np
import pytest

from lanewise.families.shear.statistics.by_galaxies import Arm, errors

N_BLOCKS = 50


def arms(seed: int, g: float, scatter: float, common: float = 0.3) -> list[Arm]:
    """A pair whose estimates are means over 50 blocks: what is common cancels, and the responses scatter."""
    random = np.random.default_rng(seed)
    shared, response = random.normal(scale=common, size=N_BLOCKS), 1 + random.normal(scale=scatter, size=N_BLOCKS)
    found = []
    for sign in (1, -1):
        blocks = np.stack([shared + sign * g * response, shared], axis=-1)
        found.append(Arm(seed, False, (sign * g, 0.0), (blocks.sum(axis=0) - blocks) / (N_BLOCKS - 1)))
    return found


def test_error_of_a_pair_is_that_of_the_mean_of_its_responses() -> None:
    found = errors(arms(1, 0.02, 0.1))
    # The jackknife of a mean: its standard error. Fifty blocks know it to a tenth: four of these.
    assert found == {"g1": pytest.approx(0.1 / np.sqrt(N_BLOCKS), rel=0.4)}


def test_error_of_more_pairs_falls_as_their_number_and_larger_shears_weigh_more() -> None:
    def mean_error(sizes: list[float]) -> float:
        return errors([arm for seed, g in enumerate(sizes) for arm in arms(seed, g, 0.1)])["g1"]

    assert mean_error([0.02] * 100) == pytest.approx(0.1 / np.sqrt(N_BLOCKS * 100), rel=0.1)
    # Weights g²: the smaller shears hardly enter.
    assert mean_error([0.02] * 100 + [0.002] * 100) == pytest.approx(0.1 / np.sqrt(N_BLOCKS * 100), rel=0.1)


def test_an_arm_without_its_partner_tells_nothing() -> None:
    plus, minus = arms(1, 0.02, 0.1)
    assert errors([plus]) == errors([minus]) == {}
    assert errors([plus, minus._replace(seed=2)]) == {}
