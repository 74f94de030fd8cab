"""True parameters drawn from their priors, one galaxy per seed.

It uses NumPy and SciPy only: the plan is made without JAX, and needs the truths for the names of its realizations.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lanewise.families.shear.priors import Parameter
from lanewise.families.shear.scene import GUARDED, inside, quantity

# Combined with the seed, so that no other use of the seed gets these random numbers. Changing it changes every truth.
_PURPOSE = 2
_PAIRS = (("g1", "g2"), ("e1", "e2"))


def truth(parameters: Mapping[str, Parameter], seed: int, disc_power: float = 0.0) -> dict[str, float]:
    """A galaxy drawn from the priors, restricted to valid galaxies; the model's density has the same prior.

    Args:
        parameters: parameters of the galaxy; a number is fixed.
        seed: seed of the realization.
        disc_power: n of the factor (1 − e1² − e2²)^n on the prior of e1 and e2.

    Returns:
        All parameters by name.
    """
    return draw(parameters, np.random.default_rng((seed, _PURPOSE)), disc_power)


def draw(parameters: Mapping[str, Parameter], random: np.random.Generator, disc_power: float = 0.0) -> dict[str, float]:
    """As `truth`, with the next numbers of a generator."""
    while True:
        shares = random.random(len(parameters))
        found = {
            name: p if isinstance(p, float) else p.quantile(float(share))
            for (name, p), share in zip(parameters.items(), shares, strict=True)
        }
        # Without a factor no random number is spent on it.
        if exists(found) and (not disc_power or random.random() < _on_disc(found, disc_power)):
            return found


def _on_disc(p: Mapping[str, float], power: float) -> float:
    return float((1 - p["e1"] ** 2 - p["e2"] ** 2) ** power)


def exists(p: Mapping[str, float]) -> bool:
    """Whether the parameters are inside their domains; the same condition as in `model.ShearProblem`."""
    valid = all(p[a] ** 2 + p[b] ** 2 < 1 for a, b in _PAIRS if a in p)
    fractions = 0.0
    for name, value in p.items():
        kind = quantity(name)
        if kind in GUARDED:
            valid &= inside(name, value)
        fractions += value if kind == "fraction" else 0.0
    return valid and fractions <= 1
