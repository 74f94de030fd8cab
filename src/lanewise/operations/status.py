"""`status`: how far a campaign has come and what is wrong with it, from storage alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lanewise.engine.lanes import LaneStatus
from lanewise.errors import Damaged
from lanewise.operations import ladder
from lanewise.storage import claims, commits, failures
from lanewise.storage.claims import Claimed
from lanewise.storage.commits import Commit
from lanewise.storage.failures import Failure

if TYPE_CHECKING:
    from lanewise.api import Campaign

_SHOWN = 12
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?%?")


def status(campaign: Campaign, source: str) -> dict[str, Any]:
    """What storage says of a campaign, and the command that takes it further.

    Args:
        source: the manifest and its overrides, as the command line has them.
    """
    done, damaged = campaign.survey()
    not_ok, broken = _not_ok(campaign, done)
    damaged |= broken
    claimed = [c for c in claims.survey(campaign.store) if c.chunk is None or c.chunk < len(campaign.plan.chunks)]
    alive = [claim for claim in claimed if claim.alive]
    at_work = {claim.chunk for claim in alive}
    lost = claims.lost(claimed, done)
    failed = [one for one in failures.survey(campaign.store) if one.chunk not in done]
    missing = [chunk.index for chunk in campaign.plan.chunks if chunk.index not in {*done, *damaged}]
    counts: Counter[str] = Counter()
    for commit in done.values():
        counts.update(commit.counts)
    n_left = sum(len(campaign.plan.chunks[index].realizations) for index in missing)
    dead = {one.chunk for one in failed} | {claim.chunk for claim in lost}
    words = {status.word for status in ladder.mendable(campaign.manifest.config.method)}
    mendable = [one for one in not_ok if one["status"] in words and not one["retries"]]
    return {
        "name": campaign.manifest.name,
        "output": campaign.manifest.output.url,
        "chunks": {
            "total": len(campaign.plan.chunks),
            "committed": len(done),
            "missing": missing,
            "running": [_shown(claim) for claim in alive if claim.chunk in missing],
            "lost": [_shown(claim) for claim in lost],
            "failed": {one.chunk: f"{one.cause}: {one.message}" for one in failed if one.chunk not in at_work},
            "damaged": {index: str(error) for index, error in damaged.items()},
        },
        "realizations": {"total": len(campaign.plan.realizations), "counts": dict(sorted(counts.items()))},
        "rate": _rate(done.values(), len(alive), n_left),
        "not_ok": not_ok,
        "retried": [
            {"run_id": run_id, "tries": list(tries)}
            for commit in done.values()
            for run_id, tries in commit.tries.items()
        ],
        "causes": _causes(failed, not_ok),
        "narrower": [
            {"chunk": index, **commit.provenance["width"]}
            for index, commit in sorted(done.items())
            if _narrower(commit)
        ],
        "next": f"lanewise {_next(bool(damaged), missing, at_work, dead, bool(mendable))} {source}",
    }


def text(content: Mapping[str, Any]) -> str:
    """The status for a reader."""
    chunks, realizations, rate = content["chunks"], content["realizations"], content["rate"]
    counts = ", ".join(f"{n} {_spoken(word)}" for word, n in realizations["counts"].items()) or "none yet"
    lines = [
        f"{content['name']}: {chunks['committed']} of {chunks['total']} chunks committed in {content['output']}",
        f"realizations: {counts}, of {realizations['total']}",
    ]
    if rate["processes"]:
        at = f"{rate['per_hour']:.3g} realizations an hour" if rate["per_hour"] else "no rate yet"
        left = f", about {_duration(rate['seconds_left'])} left" if rate["seconds_left"] is not None else ""
        lines.append(f"at work: {rate['processes']} process{'es' if rate['processes'] > 1 else ''}, {at}{left}")
    if chunks["missing"]:
        shown = ", ".join(map(str, chunks["missing"][:_SHOWN])) + (" …" if len(chunks["missing"]) > _SHOWN else "")
        lines.append(f"not committed: chunk {shown}")
    lines += _some(f"chunk {c['chunk']} runs on {c['node']}: {_steps(c)}" for c in chunks["running"])
    lines += _some(
        f"chunk {c['chunk']} is lost: {c['node']} (pid {c['pid']}) has been silent for {_duration(c['age_s'])}"
        for c in chunks["lost"]
    )
    lines += _some(f"chunk {index} is damaged: {text}" for index, text in chunks["damaged"].items())
    lines += _some(f"chunk {index} failed: {text}" for index, text in chunks["failed"].items())
    lines += _some(
        f"chunk {one['chunk']}: {', then '.join(map(str, one['used']))} lanes in flight in place of {one['planned']}, "
        "for want of memory"
        for one in content["narrower"]
    )
    lines += _some(
        f"{one['run_id']}: {_spoken(one['status'])}: {one['reason']}"
        + (f" (retried {one['retries']} ×)" * bool(one["retries"]))
        for one in content["not_ok"]
    )
    if content["retried"]:
        ok = sum(one["tries"][-1]["status"] == LaneStatus.OK.word for one in content["retried"])
        lines.append(f"retried: {len(content['retried'])} realizations, {ok} of them ok now")
    lines += _some(
        f"{one['n']} × {one['cause']} on " + ", ".join(f"{node} ({n})" for node, n in one["nodes"].items())
        for one in content["causes"]
    )
    lines.append(f"next: {content['next']}")
    return "\n".join(lines)


def _not_ok(campaign: Campaign, done: Mapping[int, Commit]) -> tuple[list[dict[str, Any]], dict[int, Damaged]]:
    """Committed realizations that are not ok, and chunks whose rows cannot be read."""
    found, damaged = [], {}
    for index in (index for index in sorted(done) if set(done[index].counts) != {LaneStatus.OK.word}):
        commit = done[index]
        try:
            rows = commits.load_rows(campaign.store, commit)
        except Damaged as error:
            damaged[index] = error
            continue
        node = commit.provenance.get("machine", {}).get("host", "unknown")
        found += [
            {
                **{key: row[key] for key in ("run_id", "status", "reason")},
                "retries": max(0, len(commit.tries.get(row["run_id"], ())) - 1),
                "node": node,
            }
            for row in rows
            if row["status"] != LaneStatus.OK.word
        ]
    return found, damaged


def _rate(done: Iterable[Commit], n_alive: int, n_left: int) -> dict[str, Any]:
    """From what committed chunks took, and the processes that are at work; without any there is no rate."""
    spent = [(commit.provenance.get("seconds"), sum(commit.counts.values())) for commit in done]
    timed = [(seconds, n) for seconds, n in spent if seconds]
    each = sum(seconds for seconds, _ in timed) / sum(n for _, n in timed) if timed else None
    per_s = n_alive / each if each and n_alive else None
    return {
        "processes": n_alive,
        "per_hour": per_s * 3600 if per_s else None,
        "seconds_left": n_left / per_s if per_s else None,
    }


def _causes(failed: Sequence[Failure], not_ok: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failures that are alike but for their numbers, with the nodes they happened on; the most frequent first."""
    nodes: dict[tuple[str, str], Counter[str]] = {}
    for one in failed:
        nodes.setdefault(("chunks", f"{one.cause}: {_NUMBER.sub('…', one.message)}"), Counter())[one.node] += 1
    for row in not_ok:
        nodes.setdefault(("realizations", _NUMBER.sub("…", row["reason"])), Counter())[row["node"]] += 1
    found = [
        {"of": of, "cause": cause, "n": sum(where.values()), "nodes": dict(where.most_common())}
        for (of, cause), where in nodes.items()
    ]
    return sorted(found, key=lambda one: -one["n"])


def _narrower(commit: Commit) -> bool:
    width = commit.provenance.get("width") or {"planned": 0, "used": ()}
    return any(used < width["planned"] for used in width["used"])


def _next(
    damaged: bool, missing: Sequence[int], at_work: set[int | None], dead: set[int | None], mendable: bool
) -> str:
    if damaged:
        return "verify"
    if missing and at_work:
        return "status --watch"
    if set(missing) - dead:
        return "run"
    return "retry" if missing or mendable else "aggregate"


def _shown(claim: Claimed) -> dict[str, Any]:
    return {key: value for key, value in asdict(claim).items() if key != "beat_s"}


def _steps(claim: Mapping[str, Any]) -> str:
    return f"{claim['done']} of {claim['total']}" if claim["total"] else "begins"


def _some(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    more = [f"… and {len(every) - _SHOWN} more"] if len(every) > _SHOWN else []
    return [*every[:_SHOWN], *more]


def _spoken(word: str) -> str:
    return word.replace("_", " ")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
