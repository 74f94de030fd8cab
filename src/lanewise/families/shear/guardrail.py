"""`lanewise check`: the small, paired form of a campaign, with as many ±g pairs as decide |m| < its bound.

The first look is small. The scatter that it measures tells how many pairs would decide, and the campaign is extended by
them, as often as the time allows. Each look needs more errors than the first, see `statistics.sequential`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lanewise.errors import UsageError
from lanewise.families.shear import aggregate, predictions
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.shears import Shears
from lanewise.families.shear.statistics import forecast
from lanewise.families.shear.statistics import summary as table
from lanewise.families.shear.statistics.criteria import bounds_of
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.machine.progress import Reporter
from lanewise.manifest import planning
from lanewise.manifest.manifest import Manifest
from lanewise.operations import extend, run
from lanewise.statistics.sequential import Reach
from lanewise.statistics.verdict import Verdict
from lanewise.storage.checkpoints import Policy
from lanewise.storage.record import MANIFEST, Record, open_record

# Pairs per shear at the first look: fewer measure no scatter, more are too many where the method is good.
_FEWEST, _MOST = 8, 32
# A further look is worth its price if it has so many times the pairs of the last one.
_GROWTH = 1.125


@dataclass(frozen=True)
class Checked:
    """What a check came to.

    Attributes:
        n_pairs: ±g pairs that are committed.
        out_of_time: the verdict is INCONCLUSIVE, and more pairs might have decided.
    """

    results: BiasResults
    record: Record
    n_pairs: int
    out_of_time: bool

    @property
    def verdict(self) -> Verdict:
        """The verdict on |m|."""
        return self.results.verdict.verdict

    @property
    def line(self) -> str:
        """Verdict, number of pairs and reasons in one line."""
        shears = self.record.manifest.extent
        assert isinstance(shears, Shears)
        sizes = ", ".join(f"{size:g}" for size in sorted({math.hypot(*point) for point in shears.points}))
        return f"{self.verdict}: {self.n_pairs} pairs at |g| = {sizes}. {' '.join(self.results.verdict.reasons)}"


def small_form(source: str, overrides: Sequence[str], *, max_abs_m: float | None, url: str | None) -> Record:
    """The small, paired form of a campaign: the same scene and method at its largest shears, a bound on m alone.

    Args:
        source: path or URL of the manifest.
        overrides: `path=value` pairs as `--set` takes them.
        max_abs_m: the bound; None: the manifest's.
        url: of the results; None: beside those of the campaign, with `-check` at the end.

    Raises:
        ManifestError: the manifest or its config is invalid.
        UsageError: there is no bound, or no shear to measure m at.
    """
    manifest = open_record(source, overrides).manifest
    shears = manifest.extent
    if manifest.kind != "shear" or not isinstance(shears, Shears):
        what = f"kind {manifest.kind}" if manifest.kind != "shear" else "a campaign on images from files"
        raise UsageError(f"{source}: {what} has no shears to simulate, which a check of m needs")
    bound = bounds_of(manifest.acceptance, Reach()).max_abs_m if max_abs_m is None else max_abs_m
    if not bound:
        raise UsageError(f"{source}: sets no bound on m; add --max-abs-m or acceptance.max_abs_m")
    points = _largest(shears.points)
    if not points:
        raise UsageError(f"{source}: every shear is 0, which tells nothing of m; add another one")
    count = _first_count(manifest, bound, points)
    small = replace(shears, points=points, paired=True)
    asked = manifest.acceptance
    acceptance = {"max_abs_m": bound, "max_excluded_frac": asked.max_excluded_frac, "estimator": asked.estimator}
    changes = {
        "shear": small.content,
        "realizations": {"count": count, "base_seed": manifest.realizations.base_seed},
        "batch": {"size": count * len(points) * small.n_arms, "width": manifest.batch.width},
        "acceptance": acceptance,
        "output": {"url": url or f"{manifest.output.url.rstrip('/')}-check", "layout": "packed"},
    }
    return open_record(source, [*overrides, *(f"{key}={json.dumps(value)}" for key, value in changes.items())])


def check(record: Record, minutes: float, *, overwrite: bool, n_workers: int, progress: Reporter) -> Checked:
    """Compute pairs until |m| is decided or the time is over; what is committed already is not computed again.

    Args:
        record: from `small_form`.
        minutes: no further look is begun that would end later. The first look always ends.

    Raises:
        ResultsDiffer: the output holds results of another campaign, and `overwrite` is false.
        StorageError: the results cannot be read or written.
        MachineError: this machine lacks the device that the manifest requires.
    """
    end = time.monotonic() + 60 * minutes
    if not overwrite:
        record = _resumed(record)
    while True:
        begun, committed = time.monotonic(), {} if overwrite else record.commits()
        outcome = run.run(record, None, Policy(), overwrite=overwrite, n_workers=n_workers, progress=progress)
        if outcome.errors:
            raise outcome.errors[0]
        overwrite = False
        left, spent = end - time.monotonic(), time.monotonic() - begun
        results = aggregate.evaluated(record, *table.survey(record))
        asked, total, pairs = record.manifest.realizations, _count(record), _pairs_per_count(record)
        wanted = _wanted(results, total)
        # What was found committed took no time, and tells nothing of it.
        computed = (len(record.plan.realizations) - sum(sum(one.counts.values()) for one in committed.values())) / 2
        count = min(wanted, int(left / spent * computed / pairs) if computed else total)
        if count < (_GROWTH - 1) * total or left <= 0:
            return Checked(aggregate.aggregate(record), record, total * pairs, bool(wanted))
        text = f"{total * pairs} pairs cannot decide yet; {count * pairs} more follow"
        progress.say("look", text, pairs=total * pairs, more=count * pairs)
        record = _extended(record, (*asked.extensions, count))


def _largest(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The points with the largest |g1| and the largest |g2|: m of each component needs no others."""
    found = [max(points, key=lambda point: (abs(point[k]), math.hypot(*point))) for k in (0, 1)]
    return tuple(dict.fromkeys(point for k, point in enumerate(found) if point[k]))


def _first_count(manifest: Manifest, bound: float, points: Sequence[tuple[float, float]]) -> int:
    """Pairs per shear of the first look: as many as decide if nothing cancels in a pair, within limits."""
    smallest = min(math.hypot(*point) for point in points)
    error = predictions.shear_width(shear_config.of(manifest)) / (math.sqrt(2) * smallest)
    # Three errors are then half of the bound.
    return min(max(math.ceil((6 * error / bound) ** 2), _FEWEST), _MOST)


def _count(record: Record) -> int:
    asked = record.manifest.realizations
    return asked.count + sum(asked.extensions)


def _pairs_per_count(record: Record) -> int:
    per_count = forecast.n_per_count(record)
    assert per_count is not None
    return per_count // 2


def _wanted(results: BiasResults, total: int) -> int:
    """Further `realizations.count` that may decide; 0 if |m| is decided, or if more do not help."""
    decision = results.verdict
    if decision.verdict is not Verdict.INCONCLUSIVE:
        return 0
    undecided = any(j.criterion == "m" and j.verdict is Verdict.INCONCLUSIVE for j in decision.judgements)
    # Close to the bound the number that decides is not known.
    return decision.extend_count or (total if undecided else 0)


def _extended(record: Record, extensions: tuple[int, ...]) -> Record:
    manifest = record.manifest
    asked = replace(manifest.realizations, extensions=extensions)
    content = {**manifest.content, "realizations": {**manifest.content["realizations"], "extensions": [*extensions]}}
    manifest = replace(manifest, realizations=asked, content=content)
    return Record(manifest, planning.build(manifest))


def _resumed(record: Record) -> Record:
    """With the extensions of an earlier check, if the output holds one of the same campaign."""
    try:
        text = record.store.read(MANIFEST).decode()
    except FileNotFoundError:
        return record
    if not extend.is_extended(text, record.manifest):
        return record
    return _extended(record, tuple(extend.content_of(text)["realizations"].get("extensions", ())))
