"""Which component is the sample, and whether there are two.

The correlation does not change if both rates are exchanged and f becomes 1 − f. If the share varies, 1 − f is not a
share of the model, and χ² prefers one labelling; if it is constant, nothing does. The other labelling is therefore
searched from the exchanged minimum, and where χ² does not decide, a rule does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy import optimize

from lanewise.families.heterodyne.c2 import FractionClip
from lanewise.families.heterodyne.config import Label
from lanewise.families.heterodyne.nlsq import coordinates, doubts, rates
from lanewise.families.heterodyne.nlsq.coordinates import BOX_NAMES, Gauge
from lanewise.families.heterodyne.nlsq.fit_model import Box
from lanewise.families.heterodyne.nlsq.scene import Scene
from lanewise.families.heterodyne.nlsq.search import Searcher, joined, rows
from lanewise.families.heterodyne.nlsq.solver import Search
from lanewise.statistics.numbers import number

# χ² prefers a labelling by three standard deviations.
DECIDED_CHI2 = 9.0
# Growth of the share over the window at the starts of the other labelling.
_GROWTHS = (-3.0, -0.5, 0.5, 3.0)
# q² ∫J dt over the window at the starts of a single component.
_DECAYS = (0.1, 1.0)
_AT = {name: k for k, name in enumerate(BOX_NAMES)}
_RATE_PARAMETERS = ("D0", "alpha", "D_offset")
# Rate of a component whose correlation has decayed within a frame [Å²/s].
_DECAYED = 1e12


# A second component has a rate (3), a drift (3) with its direction, and a share (3).
_SECOND = 10


@dataclass(frozen=True)
class Labelled:
    """What a labelling says: rates at t_ref [Å²/s], and the mean share of the sample."""

    j_ref: float
    j_sample: float
    share: float


@dataclass(frozen=True)
class Components:
    """What a fit says about its two components.

    Attributes:
        polished: the descents, those of the labelling that χ² or else the rule chooses first.
        exchange_chi2, second_chi2: as in `FitResult`.
        other: the other labelling.
        rule: the rule that chose.
    """

    polished: Search
    exchange_chi2: float
    second_chi2: float
    other: Labelled | None
    rule: Label

    def sentences(self, inflation: float) -> Iterator[str]:
        """Sentences on an absent component, or on components that may be exchanged.

        Args:
            inflation: by how much more than independent noise the noise lowers χ² per unknown.
        """
        needed, second, exchange = doubts.needed(_SECOND), self.second_chi2 / inflation, self.exchange_chi2 / inflation
        if second <= needed:
            yield (
                f"one component is absent: the second lowers χ² by {number(second, '.3g')}, where its {_SECOND} "
                f"unknowns need {number(needed, 'g')}; the rate, share and drift of one component are not determined"
            )
        elif abs(exchange) <= DECIDED_CHI2 and self.other is not None:
            yield (
                f"exchange of the components: with J_ref = {number(self.other.j_ref, '.4g')}, J_sample = "
                f"{number(self.other.j_sample, '.4g')} and a mean share of {number(self.other.share, '.3g')}, "
                f"χ² changes by {number(exchange, '.2g')}; "
                f"labelled by {self.rule}"
            )


def settle(searcher: Searcher, polished: Search) -> Components:
    """The labelling of the best descent, from fits of the other labelling and of a single component."""
    problem, settings = searcher.problem, searcher.settings
    setting = (problem.scene, problem.gauge, settings.model.fraction_clip)
    best = rows(polished, slice(1))
    other = searcher.descend_from(exchanged(np.asarray(best.x[0]), *setting), float(best.at.ssr[0]))
    if np.isfinite(other.at.ssr[0]):
        one, two = (described(np.asarray(part.x[0]), *setting) for part in (best, other))
        rise = _rise(other, rows(polished, 0), searcher.n_data)
        if rise < -DECIDED_CHI2 or (rise <= DECIDED_CHI2 and not preferred(one, two, settings.model.label)):
            polished, other = joined(other, polished), best
    best = rows(polished, 0)
    points, box = one_component(np.asarray(best.x), searcher.where.box, problem.scene, problem.gauge)
    level = 1 + doubts.needed(_SECOND) / searcher.n_data
    alone = searcher.descend_from(points, level * float(best.at.ssr), box)
    exchange, second = (_rise(part, best, searcher.n_data) for part in (other, alone))
    told = described(np.asarray(other.x[0]), *setting) if np.isfinite(exchange) else None
    return Components(polished, exchange, second, told, settings.model.label)


def _rise(other: Search, best: Search, n_data: int) -> float:
    """By how much the first of `other` has a higher χ², where n_data is that of the best; infinite if it has none."""
    ssr = float(other.at.ssr[0])
    return (ssr / float(best.at.ssr) - 1) * n_data if np.isfinite(ssr) else float("inf")


def described(x: np.ndarray, scene: Scene, gauge: Gauge, clip: FractionClip) -> Labelled:
    """The labelling at coordinates x."""
    return Labelled(float(np.exp(x[0])), float(np.exp(x[3])), float(_share(x, scene, gauge, clip).mean()))


def preferred(one: Labelled, other: Labelled, rule: Label) -> bool:
    """Whether the rule chooses the first labelling, if χ² allows both."""
    if rule == "faster_is_sample":
        return one.j_sample - one.j_ref >= other.j_sample - other.j_ref
    # Bounds that allow both labellings do not choose one.
    return one.share <= other.share


def exchanged(x: np.ndarray, scene: Scene, gauge: Gauge, clip: FractionClip) -> np.ndarray:
    """Starts of the other labelling, shape (4, 13): rates exchanged, and shares that come close to 1 − f."""
    age = np.asarray(scene.t) - float(gauge.t_mid)
    wanted = 1 - _share(x, scene, gauge, clip)
    starts = np.tile(np.concatenate([x[3:6], x[0:3], x[6:]]), (len(_GROWTHS), 1))
    for start, growth in zip(starts, _GROWTHS, strict=True):
        f1 = growth / np.ptp(age)
        (amplitude, f3), _ = optimize.nnls(np.stack([np.exp(f1 * age), np.ones_like(age)], axis=1), wanted)
        start[9:12] = np.log(max(amplitude, 1e-6)), f1, f3
    return starts


def one_component(x: np.ndarray, box: Box, scene: Scene, gauge: Gauge) -> tuple[np.ndarray, Box]:
    """Starts of a fit without a second component, shape (4, 13), and its box.

    Its share is 0. The soft clip makes 0.014 of it, so its rate is one that leaves no correlation.

    Args:
        box: the user's bounds; the only component may have the rates of either.
    """
    low, high = np.zeros(len(BOX_NAMES)), np.zeros(len(BOX_NAMES))
    for name in _RATE_PARAMETERS:
        both = [_AT[f"{name}_{which}"] for which in ("ref", "sample")]
        low[both[0]], high[both[0]] = np.min(np.asarray(box.low)[both]), np.max(np.asarray(box.high)[both])
    low[_AT["D0_sample"]] = high[_AT["D0_sample"]] = _DECAYED
    low[_AT["f0"]] = high[_AT["f0"]] = np.log(1e-6)
    starts = np.zeros((2 + len(_DECAYS), len(x)))
    starts[0, :3], starts[1, :3] = x[0:3], x[3:6]
    window = rates.mean_q(scene) ** 2 * np.ptp(np.asarray(scene.t))
    starts[2:, 0], starts[2:, 2] = np.log(np.array(_DECAYS) / window), 0.2
    starts[:, 3], starts[:, 9] = np.log(_DECAYED), np.log(1e-6)
    return starts, Box(jnp.asarray(low), jnp.asarray(high), jnp.arange(len(BOX_NAMES)))


def _share(x: np.ndarray, scene: Scene, gauge: Gauge, clip: FractionClip) -> np.ndarray:
    values = coordinates.values(jnp.asarray(x), scene, gauge, clip)
    return np.asarray(values[3])
