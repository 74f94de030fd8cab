"""What lanewise asks of the toy family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from lanewise.engine.files import LaneOutputs
from lanewise.engine.results import Result
from lanewise.manifest.family import Family, Lanes, climbed
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.manifest.plan import Planned, Single
from lanewise.manifest.problem import LaneInference, Observation
from lanewise.manifest.protocols import Conclusion
from lanewise.methods.settings import ImportanceSettings
from lanewise.report.page import REPORT
from lanewise.report.tables import SUMMARY, frame_csv
from lanewise.storage.record import Record

SIGMA = {"description": "Width of the numbers.", "type": "number", "exclusiveMinimum": 0}
CONFIG = {"type": "object", "additionalProperties": False, "required": ["sigma"], "properties": {"sigma": SIGMA}}


@dataclass(frozen=True)
class ToyConfig:
    sigma: float
    samples: int = 400
    method: str = "importance"
    precision: str = "float64"

    @property
    def content(self) -> Mapping[str, Any]:
        return {"sigma": self.sigma, "samples": self.samples}

    def climbed(self, rung: Rung) -> ToyConfig:
        return climbed(self, rung)


def realizations(manifest: Manifest) -> Sequence[Single]:
    first = manifest.realizations.base_seed
    seeds = range(first, first + manifest.realizations.count)
    return [Single(f"toy_s{seed}", seed, {"mean": np.random.default_rng(seed).normal()}) for seed in seeds]


def inference(config: ToyConfig) -> LaneInference:
    stages = (("importance", ImportanceSettings(config.samples)),)
    return LaneInference(config.method, config.precision, rng_seed=0, stages=stages, khat_max=0.7)


def observe(config: ToyConfig, planned: Planned) -> Observation:
    noise = config.sigma * np.random.default_rng([planned.seed, 1]).normal(size=5)
    return Observation.of({"y": planned.truth["mean"] + noise}, planned.truth)


def conclude(record: Record) -> Conclusion:
    rows, damaged = record.rows()
    summary = pd.DataFrame(rows)
    record.store.put(SUMMARY, frame_csv(summary))
    off = float((summary["mean_mean"] - summary["mean_true"]).abs().mean())
    told = f"{record.manifest.name}: the means are off by {off:.3f}"
    record.store.put(REPORT, f"<p>{told}</p>".encode())
    return Conclusion(off, (told,), 0, record.run_ids - set(summary["run_id"]), record.damaged_chunks(damaged))


FAMILY: Family[ToyConfig, Result, Record] = Family(
    kind="toy",
    config_schema=CONFIG,
    parse_config=lambda value: ToyConfig(float(value["sigma"])),
    realizations=realizations,
    outputs=lambda: LaneOutputs(("mean",)),
    collect=lambda record: pd.DataFrame(record.rows()[0]),
    conclude=conclude,
    lanes=Lanes(inference, observe, lambda config: import_module("lanewise_toy.problem").ToyProblem(config.sigma)),
    ladders={"importance": (Rung("four times the draws", {"samples": 4}),)},
)
