"""What `lanewise init model` writes where no model and no table are named: a first model, and data to fit."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files as resources

from lanewise.manifest.document import Document

FILE, TABLE = "first_model.py", "first_data.csv"
MODEL = f"{FILE}:model"
ID, COLUMNS = "star", ("x", "y")
_N_DATA_SETS = 12


def files(manifest: Document) -> Mapping[str, bytes]:
    """The files that the manifest names and that are ours, by path."""
    value = manifest.value
    found = {}
    if value["model"] == MODEL:
        found[FILE] = resources("lanewise.families.model").joinpath("first_model.txt").read_bytes()
    if value["inputs"].get("table") == TABLE:
        found[TABLE] = _simulated().encode()
    return found


def _simulated() -> str:
    """Straight lines with 20 to 60 points each, a tenth of them outliers, as a long table."""
    import numpy as np

    rng = np.random.default_rng(1)
    rows = ["star,x,y"]
    for star in range(1, _N_DATA_SETS + 1):
        n, slope, intercept = int(rng.integers(20, 61)), rng.normal(0, 2), rng.normal(0, 5)
        x = np.sort(rng.uniform(0, 10, n))
        y = intercept + slope * x + rng.normal(0, 0.5, n) * np.where(rng.random(n) < 0.1, 10, 1)
        rows += [f"s{star:02d},{a:.3f},{b:.3f}" for a, b in zip(x, y, strict=True)]
    return "\n".join(rows) + "\n"
