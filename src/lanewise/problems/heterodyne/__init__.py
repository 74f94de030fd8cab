"""Heterodyne XPCS: two-time correlations of two interfering components are simulated, read and fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanewise.problems.heterodyne.c2 import two_time_correlation
    from lanewise.problems.heterodyne.data import TwoTimeData, load_data, load_each_q
    from lanewise.problems.heterodyne.nlsq.fit import FitResult, fit, fit_file

__all__ = ["FitResult", "TwoTimeData", "fit", "fit_file", "load_data", "load_each_q", "two_time_correlation"]

_HOME = {
    "FitResult": "nlsq.fit",
    "TwoTimeData": "data",
    "fit": "nlsq.fit",
    "fit_file": "nlsq.fit",
    "load_data": "data",
    "load_each_q": "data",
    "two_time_correlation": "c2",
}


def __getattr__(name: str) -> Any:
    # Late, so that `lanewise --help` imports none of what a fit needs.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
