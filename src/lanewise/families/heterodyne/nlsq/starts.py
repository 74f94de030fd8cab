"""Starting points of the descents: a seeded Latin hypercube over what the window can resolve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lanewise.families.heterodyne.nlsq.coordinates import N_COORDINATES
from lanewise.families.heterodyne.nlsq.kernel import Scene

# log10 of q² ∫J dt and of the phase q |∫v dt| [rad] over the window: from hardly any decay to decay within a frame.
_DECAY = (-1.5, 2.0)
_PHASE = (-1.0, 2.0)
_EXPONENT = (-1.0, 1.0)
_SHARE = (0.0, 0.5)
_FRACTION = (0.03, 0.97)


def design(n: int, seed: int, scene: Scene, phi0: tuple[float, float]) -> np.ndarray:
    """n points of a Latin hypercube, in the fit's coordinates, shape (n, 13).

    Args:
        phi0: bounds of phi0 [degree].
    """
    t, q, phi = np.asarray(scene.t), float(scene.q), np.asarray(scene.phi)
    rng = np.random.default_rng(seed)
    strata = rng.permuted(np.tile(np.arange(n), (N_COORDINATES, 1)), axis=1).T
    u = (strata + rng.uniform(size=(n, N_COORDINATES))) / n

    def between(column: int, low: float, high: float) -> np.ndarray:
        return low + (high - low) * u[:, column]

    span = t[-1] - t[0]
    log_j = [np.log(10.0) * between(k, *_DECAY) - np.log(q**2 * span) for k in (0, 3)]
    largest_cosine = max(float(np.abs(np.cos(np.deg2rad(phi + np.mean(phi0)))).max()), 0.1)
    v = 10 ** between(6, *_PHASE) / (q * span * largest_cosine)
    # The fractions at the first and the last age are more natural ranges than those of A, f1 and f3.
    first, last = between(9, *_FRACTION), between(10, *_FRACTION)
    abs_f1 = between(11, 0.3, 6.0) / span
    f1 = np.where(last > first, abs_f1, -abs_f1)
    growth = np.exp(f1 * span / 2)
    amplitude = (last - first) / (growth - 1 / growth)
    f3 = np.maximum(first - amplitude / growth, 0.0)
    columns = [
        log_j[0],
        between(1, *_EXPONENT),
        between(2, *_SHARE),
        log_j[1],
        between(4, *_EXPONENT),
        between(5, *_SHARE),
        v,
        between(7, *_EXPONENT),
        (between(8, *_SHARE) - 0.25) * 0.4 * v,
        np.log(np.maximum(amplitude, 1e-6)),
        f1,
        f3,
        between(12, *phi0),
    ]
    return np.stack(columns, axis=1)


# Coordinates that belong together: the rate of each component, the drift with its direction, the fraction.
_GROUPS = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 12), (9, 10, 11))


def hops(x: np.ndarray, fresh: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Copies of x, one per row of `fresh`, in which one or two random groups of coordinates come from that row.

    For each minimum of the strong component the weak one has several minima, and independent starts seldom find the
    right pair.
    """
    rng = np.random.default_rng(seed)
    found = np.tile(x, (len(fresh), 1))
    for row, point in zip(found, fresh, strict=True):
        for group in rng.choice(len(_GROUPS), size=rng.integers(1, 3), replace=False):
            columns = list(_GROUPS[group])
            row[columns] = point[columns]
    return found


def anchor(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected value and spread of each coordinate, shape (13,), for ages t [s]; an infinite spread: no expectation.

    They exclude rates that are 0 for part of the window, and extreme exponents.
    """
    span = t[-1] - t[0]
    expected = {
        1: (0.0, 1.0),
        2: (0.2, 0.4),
        4: (0.0, 1.0),
        5: (0.2, 0.4),
        7: (0.0, 0.7),
        8: (0.0, 50.0),
        9: (-1.0, 1.5),
        10: (0.0, 5.0 / span),
        11: (0.2, 0.3),
    }
    centre, spread = np.zeros(N_COORDINATES), np.full(N_COORDINATES, np.inf)
    for k, (value, width) in expected.items():
        centre[k], spread[k] = value, width
    return centre, spread
