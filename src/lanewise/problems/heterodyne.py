"""Two-time correlations: the model, files that hold them, and fits."""

from lanewise.families.heterodyne.c2 import two_time_correlation
from lanewise.families.heterodyne.data import TwoTimeData, load_data, load_each_q
from lanewise.families.heterodyne.nlsq.fit import fit, fit_file
from lanewise.families.heterodyne.nlsq.result import FitResult

__all__ = ["FitResult", "TwoTimeData", "fit", "fit_file", "load_data", "load_each_q", "two_time_correlation"]
