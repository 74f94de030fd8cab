"""True parameters drawn from their priors, one galaxy per seed.

NumPy and SciPy alone: the plan names its realizations by their truths, and is made without JAX.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lanewise.families.shear.priors import Parameter
from lanewise.families.shear.scene import DOMAINS, quantity

# Beside the seed, so that no other use of the seed shares these random numbers; part of every result.
_PURPOSE = 2
_PAIRS = (("g1", "g2"), ("e1", "e2"))


def truth(parameters: Mapping[str, Parameter], seed: int) -> dict[str, float]:
    """A galaxy from the priors, given that it exists: this is the prior that the model's density has, too.

    Args:
        parameters: of the galaxy; a number stays as it is.
        seed: of the realization.
    """
    random = np.random.default_rng((seed, _PURPOSE))
    while True:
        shares = random.random(len(parameters))
        found = {
            name: p if isinstance(p, float) else p.quantile(float(share))
            for (name, p), share in zip(parameters.items(), shares, strict=True)
        }
        if exists(found):
            return found


def exists(p: Mapping[str, float]) -> bool:
    """Whether there is a galaxy with these parameters; as in `model.ShearProblem`."""
    whole = all(p[a] ** 2 + p[b] ** 2 < 1 for a, b in _PAIRS)
    fractions = 0.0
    for name, value in p.items():
        kind = quantity(name)
        if kind in ("half_light_radius", "n", "beta", "fraction"):
            low, high = DOMAINS[kind]
            whole &= low < value < high if high == float("inf") else low <= value <= high
        fractions += value if kind == "fraction" else 0.0
    return whole and fractions <= 1
