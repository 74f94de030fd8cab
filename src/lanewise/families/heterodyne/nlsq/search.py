"""The search for the global minimum: rounds of many starts, the best of them polished on all data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.nlsq import scaling, solver, starts
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitSetting
from lanewise.families.heterodyne.nlsq.solver import DescentStage, FitProblem, Search

# Starts per compiled call; fixed, so that search and polish share one program for any number of starts. Screening a
# point is cheap, so more points share a call.
WIDTH, _SCREEN_WIDTH = 8, 64
# A search descends on this many blocks of data; candidates are screened on the first block only.
_SEARCH_BLOCKS = 4
# Damping of a first step. Polishing starts with the final damping of the search, but at least with _DAMPING_MIN.
_DAMPING, _DAMPING_MIN = 1e-2, 1e-7
# Searches whose costs differ by less than this relative amount count as the same minimum.
_SAME_COST = 1e-3
# Weight of the anchor in descents on a sample of the data.
_ANCHOR_WEIGHT = 3.0
# Relative changes of the sum of squares, except for polishing: a change of χ²; 0.01 does not change the ranking.
_SEARCH_TOLERANCE, _POLISH_CHI2, _FINISH_TOLERANCE = 1e-4, 0.01, 1e-11
# The best start may use this many times the passes of the others.
FINISH_EFFORT = 3
# Starts agree if their χ² differ by less than this, two standard deviations of one parameter: the data do not
# distinguish them. The χ² of a wrong minimum is larger by about 1e-3 of its value: by 15 for 3×100×100 values.
_SAME_CHI2 = 4.0
# Another minimum is close to the best if its χ² is higher by less than this, five standard deviations. At most this
# many sets of hops start from the best.
_CLOSE_CHI2, _MAX_CHALLENGES = 25.0, 5


@dataclass(frozen=True)
class Searcher:
    """Many starts on one problem, `WIDTH` at a time.

    Attributes:
        n_data: number of residuals.
        sigma: standard deviation of the noise of one value [c2].
        sequential: whether the descents of one call run one after the other.
    """

    problem: FitProblem
    where: FitSetting
    kind: scaling.Kind
    settings: HeterodyneConfig
    n_data: int
    sigma: float
    sequential: bool

    def minimise(self) -> tuple[Search, int]:
        """Every polished start, best first, and the number of rounds.

        If enough starts agree on a minimum, hops from it look for a better one. If they do not agree, or a hop finds a
        better one, minima are hard to find in these data: all rounds are run. If χ² is too high for the noise, the
        same minimum must come out of a second round.
        """
        limits = self.settings.fit
        expected = self.n_data * self.sigma**2
        agreed, doubtful = np.nan, False
        polished: Search | None = None
        for rounds in range(1, limits.rounds + 1):
            seed = limits.seed + rounds - 1
            screened = self._screen(starts.design(limits.candidates, seed, self.problem.scene, self.where))
            known = np.nan if polished is None else float(polished.at.ssr[0])
            new = self._search(screened[: limits.starts], limits.polish, known)
            polished = new if polished is None else ordered(joined(polished, new))
            if not np.isfinite(polished.at.ssr[0]):
                break
            same = agreed / float(polished.at.ssr[0]) - 1 <= _SAME_CHI2 / self.n_data
            if self.agreement(polished) >= limits.agreement and not same:
                polished = self._challenge(polished, screened, seed)
            if self.agreement(polished) < limits.agreement:
                doubtful = True
                continue
            ssr = float(polished.at.ssr[0])
            if not doubtful and (same or ssr <= limits.reduced_chi2_max * expected):
                break
            agreed = ssr
        assert polished is not None
        return self._finish(polished), rounds

    def agreement(self, polished: Search) -> int:
        """Number of starts that ended in the minimum of the first."""
        ssr = polished.at.ssr
        return int(np.sum((ssr - ssr[0]) * self.n_data <= _SAME_CHI2 * ssr[0]))

    def _screen(self, points: np.ndarray) -> np.ndarray:
        """The points cut to the box, sorted by their sum of squares on the first block of data, best first."""
        screen = partial(solver.screen, problem=self.problem, kind=self.kind, model=self.where.model)
        parts = [screen(batch) for batch in _batches(points, _SCREEN_WIDTH)]
        x, ssr = (np.concatenate(leaves)[: len(points)] for leaves in zip(*parts, strict=True))
        best: np.ndarray = x[_order(ssr)]
        return best

    def _search(self, begin: np.ndarray, n_polish: int, known: float) -> Search:
        """Descend on a sample of the data, then continue the best descents on all data.

        Args:
            known: sum of squares of the best minimum found so far, NaN if there is none.
        """
        limits = self.settings.fit
        n_blocks = min(_SEARCH_BLOCKS, len(self.problem.data.first))
        sample = _stage(n_blocks, limits.max_iterations, _SEARCH_TOLERANCE, pull=_ANCHOR_WEIGHT)
        searched = self._descend(begin, np.full(len(begin), _DAMPING), sample)
        chosen = rows(searched, diverse(np.asarray(searched.at.ssr), n_polish, limits.agreement))
        # The best one runs first; the others stop early against its result.
        first = self._polish(rows(chosen, slice(1)), known)
        if len(chosen.x) == 1:
            return first
        others = self._polish(rows(chosen, slice(1, None)), float(np.fmin(known, first.at.ssr[0])))
        return ordered(joined(first, others))

    def _challenge(self, polished: Search, fresh: np.ndarray, seed: int) -> Search:
        """The polished starts and those from hops around the best; more hops if others are close or better.

        If several minima differ little, all starts may have missed a better one that is as narrow.
        """
        n = self.settings.fit.hops
        for turn in range(_MAX_CHALLENGES if n else 0):
            points = fresh[turn * n : (turn + 1) * n]
            if not len(points):
                break
            best = float(polished.at.ssr[0])
            hops = starts.hops(np.asarray(polished.x[0]), points, (seed, turn), self.where.model.groups)
            polished = ordered(joined(polished, self._search(hops, n, best)))
            behind = (polished.at.ssr / polished.at.ssr[0] - 1) * self.n_data
            improved = (best / polished.at.ssr[0] - 1) * self.n_data > _SAME_CHI2
            close = np.any((behind > _SAME_CHI2) & (behind < _CLOSE_CHI2))
            if not improved and (turn > 0 or not close):
                break
        return polished

    def _finish(self, polished: Search) -> Search:
        """Descend from the best start until convergence.

        In a flat valley this can lead away from the points at which the other starts stopped. If too few agree then,
        the nearest of them descend again.
        """
        limits = self.settings.fit
        last = _stage(len(self.problem.data.first), FINISH_EFFORT * limits.max_iterations, _FINISH_TOLERANCE)
        best = self._descend(np.asarray(polished.x[:1]), np.full(1, _DAMPING_MIN), last)
        rest = rows(polished, slice(1, None))
        if self.agreement(joined(best, rest)) < limits.agreement and len(rest.x):
            near = self._polish(rows(rest, slice(WIDTH)), float(best.at.ssr[0]))
            rest = ordered(joined(near, rows(rest, slice(WIDTH, None))))
        return joined(best, rest)

    def descend_from(self, points: np.ndarray, known: float, box: Box | None = None) -> Search:
        """The lowest minimum on all data that descents from these points find.

        Args:
            known: sum of squares to compare with; descents that stay far above end early.
            box: bounds in place of the user's.
        """
        problem = self.problem if box is None else self.problem._replace(box=box)
        within, limits = replace(self, problem=problem), self.settings.fit
        n_blocks = len(problem.data.first)
        first = _stage(n_blocks, limits.max_iterations, _POLISH_CHI2 / self.n_data, known=known)
        found = within._descend(points, np.full(len(points), _DAMPING), first)
        last = _stage(n_blocks, limits.max_iterations, _FINISH_TOLERANCE)
        return within._descend(np.asarray(found.x[:1]), np.full(1, _DAMPING_MIN), last)

    def _polish(self, chosen: Search, known: float) -> Search:
        """Continue these descents on all data."""
        stage = _stage(
            len(self.problem.data.first), self.settings.fit.max_iterations, _POLISH_CHI2 / self.n_data, known=known
        )
        return self._descend(np.asarray(chosen.x), np.clip(chosen.damping, _DAMPING_MIN, _DAMPING), stage)

    def _descend(self, begin: np.ndarray, damping: np.ndarray, stage: DescentStage) -> Search:
        """Descents from every row of `begin`, best first."""
        descend = partial(
            solver.descend,
            problem=self.problem,
            stage=stage,
            kind=self.kind,
            model=self.where.model,
            sequential=self.sequential,
        )
        batches = zip(_batches(begin, WIDTH), _batches(damping, WIDTH), strict=True)
        parts = [descend(starts=points, damping=first) for points, first in batches]
        whole: Search = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(begin)], *parts)
        return ordered(whole)


def diverse(ssr: np.ndarray, n: int, copies: int) -> np.ndarray:
    """Indices of the n searches to polish: the best, but at most `copies` of one minimum if others exist.

    On a sample of the data a wide wrong minimum may be as deep as the narrow right one, and would displace it.

    Args:
        ssr: costs of the searches, ascending.
    """
    first: list[int] = []
    spare: list[int] = []
    for k, cost in enumerate(ssr):
        same = sum(abs(cost - ssr[j]) <= _SAME_COST * cost for j in first)
        (first if same < copies else spare).append(k)
    return np.array(sorted((first + spare)[:n]))


def rows(search: Search, which: Any) -> Search:
    """Some of the descents, or one."""
    result: Search = jax.tree.map(lambda leaf: leaf[which], search)
    return result


def _stage(n_blocks: int, passes: int, tolerance: float, *, pull: float = 0.0, known: float = np.nan) -> DescentStage:
    floats = (jnp.float64(number) for number in (tolerance, pull, known))
    return DescentStage(jnp.int32(n_blocks), jnp.int32(passes), *floats)


def _batches(points: np.ndarray, width: int) -> list[jax.Array]:
    """The points in batches of one width; the last is padded with NaN, from where a descent ends after one pass."""
    padding = np.full((-len(points) % width, *points.shape[1:]), np.nan)
    padded = np.concatenate([points, padding])
    return [jnp.asarray(padded[k : k + width]) for k in range(0, len(padded), width)]


def _order(ssr: np.ndarray) -> np.ndarray:
    return np.argsort(np.where(np.isfinite(ssr), ssr, np.inf), kind="stable")


def ordered(search: Search) -> Search:
    """The descents by their sum of squares, best first."""
    return rows(search, _order(np.asarray(search.at.ssr)))


def joined(one: Search, other: Search) -> Search:
    """The descents of both."""
    result: Search = jax.tree.map(lambda a, b: np.concatenate([a, b]), one, other)
    return result
