"""The models that can be fitted, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.models import ModelName
from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.homodyne import LaminarFlow, Static
from lanewise.families.heterodyne.nlsq.two_component import TwoComponents

FIT_MODELS: Mapping[ModelName, Callable[[Definitions], FitModel]] = {
    "two_component": TwoComponents,
    "static": Static,
    "laminar_flow": LaminarFlow,
}
