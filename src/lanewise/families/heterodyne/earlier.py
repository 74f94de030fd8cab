"""Results of earlier campaigns that a task starts from: the fit of its data, and posteriors of its shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest.status import LaneStatus
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

if TYPE_CHECKING:
    # Only here: they import JAX, which a plan does without.
    from lanewise.families.heterodyne.cmc.shard_sample import ShardSample
    from lanewise.families.heterodyne.nlsq.result import EarlierFit

# Sections of the config that say which minimum is searched; and those that say, with keys of `cmc`, what a shard is.
_FIT = ("data", "model", "parameters", "scaling")
_SHARD, _SHARD_CMC = (*_FIT, "errors"), ("priors", "seed", "num_shards", "shard_by")


def fit(task: Task) -> EarlierFit | None:
    """The fit of the task's data with the task's settings; None if `cmc.nlsq_result` names no files.

    Raises:
        DataError: none of the files is that fit, or one of them is no result.json, or has changed.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    from lanewise.families.heterodyne.nlsq.result import EarlierFit

    named = task.config.cmc.nlsq_result
    if not (task.config.sampled and named):
        return None
    for one, content in _of_task(task, named, _FIT):
        nlsq = content["nlsq"]
        return EarlierFit(
            source=one.path,
            parameters={name: nlsq[name] for name in MODELS[task.config.model.type].names},
            **{name: nlsq[name] for name in ("ssr", "n_data", "agreement", "n_polished", "rounds")},
        )
    raise DataError(
        f"cmc.nlsq_result: none of {len(named)} files is a fit of {task.input.filename} with the same "
        f"{_listed(_FIT)}; fit it first (method: nlsq), or leave nlsq_result out"
    )


def shards(task: Task) -> Mapping[int, ShardSample]:
    """Shards of the task's data that earlier runs have sampled, by number; none if `cmc.shard_results` names no files.

    A retry may take another split, of which no shard has been sampled.

    Raises:
        DataError: none of the files is of such a shard, or one of them is no result.json, or has changed.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    named = task.config.cmc.shard_results
    if not (task.config.sampled and named):
        return {}
    wanted = task.config.content["cmc"]
    found = [
        content
        for _, content in _of_task(task, named, _SHARD)
        if "shard" in content["cmc"] and _same(content["config"]["cmc"], wanted, _SHARD_CMC)
    ]
    if not found:
        raise DataError(
            f"cmc.shard_results: none of {len(named)} files is of a shard of {task.input.filename} with the same "
            f"{_listed(_SHARD)}, and {_listed(_SHARD_CMC)} of cmc; sample the shards first (cmc.shard)"
        )
    split = wanted["split"]
    return {
        content["cmc"]["shard"]["number"]: _shard(content["run_id"], content["cmc"])
        for content in found
        if content["config"]["cmc"]["split"] == split
    }


def _shard(run_id: str, cmc: Mapping[str, Any]) -> ShardSample:
    from lanewise.families.heterodyne.cmc.consensus import Moments
    from lanewise.families.heterodyne.cmc.shard_sample import ShardSample

    (row,) = cmc["shards"]["table"]
    moments = cmc["shard"]["moments"]
    return ShardSample(
        status=LaneStatus.OK if row["converged"] else LaneStatus.NOT_CONVERGED,
        moments=moments and Moments(np.array(moments["mean"]), np.array(moments["covariance"]), moments["size"]),
        source=run_id,
        **{name: row[name] for name in ("sampler", "reason", "max_r_hat", "min_ess", "khat", "divergence_frac")},
        **{name: row[name] for name in ("means", "sds")},
    )


def _of_task(task: Task, named: Sequence[Input], sections: Sequence[str]) -> Iterator[tuple[Input, dict[str, Any]]]:
    """The files of the task's data whose config has the task's sections, and what they contain."""
    for one in named:
        content = _read(one)
        same = content["data_sha256"] == task.input.sha256
        if same and _same(content["config"], task.config.content, sections):
            yield one, content


def _same(one: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return all(one.get(key) == other[key] for key in keys)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


@lru_cache(maxsize=4096)
def _read(one: Input) -> dict[str, Any]:
    try:
        content = json.loads(inputs.read(one))
        found = {name: content[name] for name in ("run_id", "data_sha256", "config", "nlsq")}
        return found | {"cmc": content.get("cmc", {})}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{one.path}: expected the result.json of a heterodyne fit") from None
