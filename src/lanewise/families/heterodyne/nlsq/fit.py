"""A fit of one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne.config import ErrorKind, HeterodyneConfig, checked
from lanewise.families.heterodyne.data import TwoTimeData, joined, load
from lanewise.families.heterodyne.models import ModelName
from lanewise.families.heterodyne.nlsq import kernel, noise, scaling, starts
from lanewise.families.heterodyne.nlsq.comparison import compare
from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.fit_models import FIT_MODELS
from lanewise.families.heterodyne.nlsq.result import EarlierFit, FitResult
from lanewise.families.heterodyne.nlsq.scene import Scene
from lanewise.families.heterodyne.nlsq.search import Searcher
from lanewise.families.heterodyne.nlsq.solver import Anchor, FitProblem
from lanewise.families.heterodyne.nlsq.speckle_errors import Detector
from lanewise.machine import device


def fit(data: TwoTimeData, config: HeterodyneConfig | Mapping[str, Any] | None = None) -> FitResult:
    """Fit the model to one data set.

    Args:
        config: a parsed config, the mapping that its YAML file holds, or None for the defaults. Its section `data`
            says how files are read, and is ignored here.

    Raises:
        ManifestError: the config is invalid.
        DataError: the data have too few values, or too few angles for the scaling mode, or errors for speckle noise
            need the number of pixels.
    """
    return fitted(prepared(data, parsed(config)))


def fitted(finish: Finish) -> FitResult:
    """Fit the model of a prepared fit, and those that it is compared with; errors as those of `fit`."""
    data, settings = finish.data, finish.searcher.settings
    first = finish.result()
    if not settings.model.compare:
        return first
    # The same noise for all: what the first fit found, or was told.
    noise: ErrorKind = "speckle" if first.speckle else "independent"
    detector = first.speckle.detector if first.speckle else None
    others = [prepared(data, _other(settings, name, noise), detector).result() for name in settings.model.compare]
    names = (settings.model.type, *settings.model.compare)
    values = [one.criterion for one in (first, *others)]
    return replace(first, comparison=compare("CL-BIC" if first.speckle else "BIC", names, values))


def _other(settings: HeterodyneConfig, name: ModelName, noise: ErrorKind) -> HeterodyneConfig:
    model = replace(settings.model, type=name, compare=(), tied={})
    return replace(settings, model=model, errors=replace(settings.errors, noise=noise))


def prepared(
    data: TwoTimeData,
    settings: HeterodyneConfig,
    detector: Detector | None = None,
    earlier: EarlierFit | None = None,
) -> Finish:
    """A fit before its search.

    Args:
        detector: what made speckle noise, if another fit of the same data has found it.
        earlier: a fit of the same data, whose minimum is taken in place of a search.
    """
    sequential = device.prepare("auto", "float64")
    t = data.ages(settings.model.time_origin)
    model = FIT_MODELS[settings.model.type](settings.model.definitions)
    where = model.setting(settings.parameters, settings.model.tied, t)
    levels = noise.estimate(data.c2)
    weights = np.where(data.counted, levels.factor(data.n_frames) ** -2, 0.0)
    pairs = kernel.pairs(data.c2, weights, settings.fit.seed)
    n_data = int(np.count_nonzero(pairs.root_weight))
    kind, scale = scaling.setting(settings.scaling, data.c2, data.phi, pairs.centre, data.q)
    if n_data <= len(model.coordinate_names) + scale.basis.size:
        raise DataError(f"{data.source or 'these data'}: {n_data} values cannot determine the model; fit more frames")
    scene = Scene(t, np.float64(data.dt), np.asarray(data.q, dtype=np.float64), np.asarray(data.phi, dtype=np.float64))
    problem = FitProblem(pairs, scene, where.gauge, where.box, scale, Anchor(*starts.anchor(where, t)))
    problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.result_type(leaf)), problem)
    searcher = Searcher(problem, where, kind, settings, n_data, levels.sigma, sequential)
    return Finish(data, where, searcher, levels, weights, detector, earlier)


def fit_file(source: str, config: HeterodyneConfig | Mapping[str, Any] | None = None) -> FitResult:
    """Read a file according to the config's section `data`, and fit it; several q share their parameters."""
    settings = parsed(config)
    return fit(joined(load(source, settings.data)), settings)


def parsed(config: HeterodyneConfig | Mapping[str, Any] | None) -> HeterodyneConfig:
    """A config in any of the forms that `fit` takes.

    Raises:
        ManifestError: it is invalid.
    """
    if isinstance(config, HeterodyneConfig):
        return config
    return checked(config or {})
