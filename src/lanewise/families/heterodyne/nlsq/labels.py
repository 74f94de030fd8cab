"""Which component is the sample, and whether there are two.

The correlation does not change if both rates are exchanged and f becomes 1 − f. If the share varies, 1 − f is not a
share of the model, and χ² prefers one labelling; if it is constant, nothing does. The other labelling is therefore
searched from the exchanged minimum, and where χ² does not decide, a rule does.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy import optimize

from lanewise.families.heterodyne.c2 import FractionClip
from lanewise.families.heterodyne.config import Label
from lanewise.families.heterodyne.nlsq import coordinates
from lanewise.families.heterodyne.nlsq.coordinates import BOX_NAMES, Box, Gauge
from lanewise.families.heterodyne.nlsq.kernel import Scene

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


@dataclass(frozen=True)
class Labelled:
    """What a labelling says: rates at t_ref [Å²/s], and the mean share of the sample."""

    j_ref: float
    j_sample: float
    share: float


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
    window = float(scene.q) ** 2 * np.ptp(np.asarray(scene.t))
    starts[2:, 0], starts[2:, 2] = np.log(np.array(_DECAYS) / window), 0.2
    starts[:, 3], starts[:, 9] = np.log(_DECAYED), np.log(1e-6)
    return starts, Box(jnp.asarray(low), jnp.asarray(high))


def _share(x: np.ndarray, scene: Scene, gauge: Gauge, clip: FractionClip) -> np.ndarray:
    values = coordinates.values(jnp.asarray(x), t=scene.t, dt=scene.dt, gauge=gauge, clip=clip)
    return np.asarray(values[3])
