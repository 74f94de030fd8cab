"""The galaxies of a population, whose data are made when a lane needs them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np

# The data of a galaxy; None if it does not pass the population's cut.
Member = Mapping[str, np.ndarray] | None


class Lazy(Sequence[Member]):
    """The data of a realization's galaxies.

    Args:
        count: number of galaxies.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Member: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Member]: ...
    def __getitem__(self, number: int | slice) -> Member | Sequence[Member]:
        """The data of one galaxy, or of several."""
        if isinstance(number, slice):
            return [self[at] for at in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._member(number)

    @abstractmethod
    def _member(self, number: int) -> Member:
        """The data of a galaxy."""
