"""Fits of an earlier campaign as starts of the sampling: the result.json that belongs to a task."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from lanewise.errors import DataError
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq.result import EarlierFit
from lanewise.families.heterodyne.tasks import Task
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

# Sections of the config that say which minimum is searched.
_SAME = ("data", "model", "parameters", "scaling")


def of(task: Task) -> EarlierFit | None:
    """The fit of the task's data with the task's settings; None if `cmc.nlsq_result` names no files.

    Raises:
        DataError: none of the files is that fit, or one of them is no result.json, or has changed.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    named = task.config.cmc.nlsq_result
    if not (task.config.sampled and named):
        return None
    wanted = {name: task.config.content[name] for name in _SAME}
    for one in named:
        content = _read(one)
        if content["data_sha256"] == task.input.sha256 and {n: content["config"][n] for n in _SAME} == wanted:
            nlsq = content["nlsq"]
            return EarlierFit(
                source=one.path,
                parameters={name: nlsq[name] for name in MODELS[task.config.model.type].names},
                **{name: nlsq[name] for name in ("ssr", "n_data", "agreement", "n_polished", "rounds")},
            )
    raise DataError(
        f"cmc.nlsq_result: none of {len(named)} files is a fit of {task.input.filename} with the same "
        f"{', '.join(_SAME[:-1])} and {_SAME[-1]}; fit it first (method: nlsq), or leave nlsq_result out"
    )


@lru_cache(maxsize=4096)
def _read(one: Input) -> dict[str, Any]:
    try:
        content = json.loads(inputs.read(one))
        return {name: content[name] for name in ("data_sha256", "config", "nlsq")}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{one.path}: expected the result.json of a heterodyne fit") from None
