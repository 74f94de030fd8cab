"""From an unbounded position to bounded numbers and back, one number after the other.

A number between two bounds is their distribution function of a standard normal position: a uniform prior is a standard
normal one there. The prior of a shard, its K-th root, is then normal again with K times the variance, so that the
consensus of shards is exact where the data say nothing, too. With a map whose prior has exponential tails it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.scipy.special import erf, erfinv

# A start is kept this far inside its interval, relative to the width: the position of a bound is infinite.
_MARGIN = 1e-3
_ROOT_2 = math.sqrt(2.0)


class Reader:
    """Reads the numbers of a position.

    Attributes:
        log_jacobian: log |d numbers / d position| of those read so far, up to a constant.
    """

    def __init__(self, position: Any) -> None:
        self._position, self._at = position, 0
        self.log_jacobian: Any = jnp.zeros((), position.dtype)

    def interval(self, low: Any, high: Any, _: Callable[[], Any]) -> Any:
        """The next number, which lies between these bounds."""
        u = self._next()
        self.log_jacobian += jnp.log(high - low) - 0.5 * u**2
        return low + (high - low) * 0.5 * (1 + erf(u / _ROOT_2))

    def line(self, _: Callable[[], Any]) -> Any:
        """The next number, which has no bounds."""
        return self._next()

    def scaled(self, log_factor: Any) -> None:
        """Numbers follow from those read by a map with this logarithm of its determinant."""
        self.log_jacobian += log_factor

    def _next(self) -> Any:
        found = self._position[self._at]
        self._at += 1
        return found


class Writer:
    """Finds the position of known numbers; `interval` and `line` return the number that is known."""

    def __init__(self) -> None:
        self._found: list[Any] = []

    def interval(self, low: Any, high: Any, known: Callable[[], Any]) -> Any:
        """As `Reader.interval`; a number at or outside a bound is moved inside."""
        margin = _MARGIN * (high - low)
        number = jnp.clip(known(), low + margin, high - margin)
        self._found.append(_ROOT_2 * erfinv(2 * (number - low) / (high - low) - 1))
        return number

    def line(self, known: Callable[[], Any]) -> Any:
        """As `Reader.line`."""
        self._found.append(known())
        return self._found[-1]

    def scaled(self, _: Any) -> None:
        """Nothing to do."""

    @property
    def position(self) -> Any:
        """The position, shape (n,)."""
        return jnp.stack(self._found)


Cursor = Reader | Writer
