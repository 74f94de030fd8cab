"""Summary tables with a known answer: realizations of a linear-Gaussian problem.

The likelihood of g has width sigma; with the prior N(mu, s0²) the posterior is Gaussian, its mean
λ ĝ + (1 − λ) mu and its variance λ sigma², with λ = s0² / (s0² + sigma²).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike, NDArray

from lanewise.families.shear.statistics.estimates import Estimates

T = TypeVar("T")


def known(value: T | None) -> T:
    """The value, in a test that means that there is one."""
    assert value is not None
    return value


class MakeTable(Protocol):
    """Makes a summary table; `g2` is the truth of the second component, None for one that is held fixed."""

    def __call__(
        self,
        grid: Sequence[float] = (0.01, 0.02, 0.05),
        n: int = 4,
        *,
        g2: float | None = 0.0,
        m: float = 0.0,
        c: float = 0.0,
        sigma: float = 1e-4,
        noise: float | None = None,
        prior: tuple[float, float] = (0.0, 0.05),
        seed: int = 1,
    ) -> pd.DataFrame: ...


class Spoil(Protocol):
    """Marks rows of a table as failed: no numbers, not counted, with a reason."""

    def __call__(self, table: pd.DataFrame, rows: Sequence[int], reason: str = ...) -> pd.DataFrame: ...


@pytest.fixture(scope="session")
def make_table() -> MakeTable:
    def make(
        grid: Sequence[float] = (0.01, 0.02, 0.05),
        n: int = 4,
        *,
        g2: float | None = 0.0,
        m: float = 0.0,
        c: float = 0.0,
        sigma: float = 1e-4,
        noise: float | None = None,
        prior: tuple[float, float] = (0.0, 0.05),
        seed: int = 1,
    ) -> pd.DataFrame:
        rng, (mu, s0) = np.random.default_rng(seed), prior
        lam = s0**2 / (s0**2 + sigma**2)
        g1 = np.repeat(np.asarray(grid, dtype=float), n)
        seeds = 42 + np.arange(len(g1))
        second = 0.0 if g2 is None else g2
        columns: dict[str, object] = {
            "run_id": [f"g1_{g:+.4f}_g2_{second:+.4f}_s{s}" for g, s in zip(g1, seeds, strict=True)],
            "g1_true": g1,
            "g2_true": second,
        }
        for k, truth in (("g1", g1), ("g2", np.full_like(g1, second))):
            scatter = (sigma if noise is None else noise) * rng.standard_normal(len(g1))
            mean = lam * ((1 + m) * truth + c + scatter) + (1 - lam) * mu
            fixed = k == "g2" and g2 is None
            columns[f"{k}_mean"] = columns[f"{k}_median"] = np.nan if fixed else mean
            columns[f"{k}_std"] = np.nan if fixed else np.sqrt(lam) * sigma
            columns[f"{k}_half_mean"] = columns[f"{k}_half_std"] = np.nan
            columns[f"rhat_{k}"], columns[f"ess_{k}"] = 1.0, 1000.0
        return pd.DataFrame(
            columns
            | {
                "divergences": 0,
                "divergence_frac": 0.0,
                "passed_convergence": True,
                "seed": seeds,
                "status": "ok",
            }
            | {
                "method_used": "nuts",
                "ess_kind": "bulk",
                "khat": np.nan,
                "misfit_p": np.nan,
                "peak_sigma": np.nan,
                "reason": np.nan,
            }
        )

    return make


@pytest.fixture(scope="session")
def spoil() -> Spoil:
    def spoiled(table: pd.DataFrame, rows: Sequence[int], reason: str = "the image holds a NaN") -> pd.DataFrame:
        table = table.copy()
        numbers = [f"{k}_{column}" for k in ("g1", "g2") for column in ("mean", "median", "std")]
        table["reason"] = table["reason"].astype(object)
        table.loc[list(rows), numbers] = np.nan
        table.loc[list(rows), "passed_convergence"] = False
        table.loc[list(rows), "status"] = "failed"
        table.loc[list(rows), "reason"] = reason
        return table

    return spoiled


def plain(
    truth: ArrayLike, value: ArrayLike, width: ArrayLike = np.nan, seed: Sequence[int] | NDArray[np.int64] | None = None
) -> Estimates:
    """Estimates without a prior; a width is one for all or one for each, and every realization has its own seed."""
    truth, value = (np.asarray(a, dtype=float) for a in (truth, value))
    width, unknown = np.broadcast_to(np.asarray(width, dtype=float), truth.shape), np.full(truth.shape, np.nan)
    return Estimates(
        run_id=np.array([f"r{i}" for i in range(len(truth))]),
        seed=np.arange(len(truth)) if seed is None else np.asarray(seed),
        truth=truth,
        value=value,
        width=width,
        raw=value,
        raw_width=width,
        shrinkage=None,
        response=None,
        half=unknown,
        half_width=unknown,
    )
