"""Write tables and results: summary.csv, and nested dataclasses as JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from typing import TypeAlias

import pandas as pd

SUMMARY = "summary.csv"

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def frame_csv(frame: pd.DataFrame) -> bytes:
    """The table as CSV; every float reads back to the same bits."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def to_json(results: object) -> str:
    """Results as JSON text: undefined values are null, keys have the order of the fields."""
    return json.dumps(plain(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(results: object) -> bytes:
    """The values of `to_json`, one line each: path and value."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "value"))
    table.writerows(_leaves("", plain(results)))
    return text.getvalue().encode()


def _leaves(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(f"{path}.{key}".strip("."), part)
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from _leaves(f"{path}[{at}]", part)
    else:
        yield path, value


def plain(value: object) -> Json:
    """Nested dataclasses and tuples as JSON values.

    Raises:
        TypeError: a value has another type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"results: expected dataclasses, tuples, numbers, text or None, got {type(value).__name__}")
