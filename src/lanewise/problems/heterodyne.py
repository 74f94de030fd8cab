"""Two-time correlations: the model, files that hold them, fits, and draws around them."""

from lanewise.families.heterodyne.c2 import Definitions, two_time_correlation
from lanewise.families.heterodyne.cmc.sample import Sampled
from lanewise.families.heterodyne.cmc.sample import sample_data as sample
from lanewise.families.heterodyne.data import TwoTimeData, load_data, load_each_q
from lanewise.families.heterodyne.models import correlation
from lanewise.families.heterodyne.nlsq.fit import fit, fit_file
from lanewise.families.heterodyne.nlsq.result import FitResult

__all__ = [
    "Definitions",
    "FitResult",
    "Sampled",
    "TwoTimeData",
    "correlation",
    "fit",
    "fit_file",
    "load_data",
    "load_each_q",
    "sample",
    "two_time_correlation",
]
