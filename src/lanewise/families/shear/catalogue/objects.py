"""The rows of single objects: their place, means, covariance, response to a shear, and the fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lanewise.engine.results import Result
from lanewise.families.shear.catalogue.columns import (
    Column,
    Row,
    flag_column,
    flags,
    node_columns,
    node_values,
)
from lanewise.families.shear.observed import exposures_of
from lanewise.families.shear.population.nodes import Nodes
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.scene import quantity
from lanewise.manifest.plan import Planned

_UNITS = {"flux": "flux", "half_light_radius": "arcsec", "g1": "reduced shear", "g2": "reduced shear"}
_UNITS |= {"e1": "distortion", "e2": "distortion", "x": "pixel", "y": "pixel"}
# From draws of an object's shape, shape (draw, 2), to its values at the nodes, shape (node of g1, node of g2).
OfShapes = Callable[[np.ndarray], np.ndarray]


def columns(latents: Mapping[str, Prior], nodes: Nodes | None) -> tuple[Column, ...]:
    """The columns for these latents, and for the nodes of ln L if there are any."""
    units = {name: _UNITS.get(quantity(name), "1") for name in latents}
    pairs = itertools.combinations_with_replacement(latents, 2)
    return (
        Column("id", "string", "", "object of the table of exposures; without one, the run id"),
        Column("run_id", "string", "", "name of the realization"),
        Column("n_exposures", "int32", "1", "exposures in the table; 1 without one"),
        Column("ra", "double", "degree", "right ascension in the table"),
        Column("dec", "double", "degree", "declination in the table"),
        Column("x_image", "double", "pixel", "place in the first image by the table, from the lower left corner"),
        Column("y_image", "double", "pixel", "place in the first image by the table, from the lower left corner"),
        flag_column(),
        Column("method", "string", "", "method of inference"),
        *(Column(f"{name}_mean", "double", units[name], f"posterior mean of {name}") for name in latents),
        *(
            Column(f"cov_{a}_{b}", "double", f"{units[a]} · {units[b]}", f"posterior covariance of {a} and {b}")
            for a, b in pairs
        ),
        *(
            Column(
                f"response_{name}",
                "double",
                "1",
                f"change of {name}_mean by a shift of the likelihood: 1 − posterior / prior variance; 1 for no pull",
            )
            for name in _pulled(latents)
        ),
        Column("signal_to_noise", "double", "1", "of the image by the fitted model"),
        Column("chi2", "double", "1", "χ² of the residual"),
        Column("dof", "int64", "1", "its degrees of freedom"),
        Column("misfit_p", "double", "1", "probability, at most, that the tests of the fit find as much by chance"),
        Column("peak_sigma", "double", "standard deviations", "largest residual in a matched filter"),
        Column("khat", "double", "1", "Pareto shape of the importance weights"),
        Column("rhat_max", "double", "1", "largest R̂ of a latent"),
        Column("ess_min", "double", "1", "smallest effective sample size of a latent"),
        *(() if nodes is None else node_columns(nodes)),
    )


def row(result: Result, planned: Planned, latents: Mapping[str, Prior], of_shapes: OfShapes | None) -> Row:
    """The row of a realization; values that it does not have are absent or None."""
    exposures = exposures_of(planned)
    first: Mapping[str, float] = exposures.rows[0].numbers if exposures else {}
    diagnostics = result.diagnostics
    found: Row = {
        "id": exposures.id if exposures else result.run_id,
        "run_id": result.run_id,
        "n_exposures": len(exposures.rows) if exposures else 1,
        "ra": first.get("ra"),
        "dec": first.get("dec"),
        "x_image": first.get("x"),
        "y_image": first.get("y"),
        "flags": flags(result.status),
        "method": result.method,
        "khat": diagnostics.khat,
        "rhat_max": _extreme(diagnostics.rhat.values(), max),
        "ess_min": _extreme(diagnostics.ess.values(), min),
    }
    if (fit := diagnostics.goodness) is not None:
        found |= {"signal_to_noise": fit.signal_to_noise, "chi2": fit.chi2, "dof": fit.dof}
        found |= {"misfit_p": fit.p, "peak_sigma": fit.peak_sigma}
    if result.posterior:
        draws = np.stack([result.posterior[name].ravel() for name in latents])
        found |= {f"{name}_mean": float(one.mean()) for name, one in zip(latents, draws, strict=True)}
        found |= _covariance(result, draws, tuple(latents))
        for name, sigma in _pulled(latents).items():
            variance = found.get(f"cov_{name}_{name}")
            found[f"response_{name}"] = None if variance is None else 1 - variance / sigma**2
        if of_shapes is not None:
            shapes = np.stack([result.posterior[name].ravel() for name in ("g1", "g2")], axis=-1)
            found |= node_values(of_shapes(shapes))
    return found


def _pulled(latents: Mapping[str, Prior]) -> dict[str, float]:
    """Width of the prior of each component of the shear that has a Gaussian one."""
    return {
        name: latents[name].fields["sigma"]
        for name in ("g1", "g2")
        if name in latents and latents[name].type == "Normal"
    }


def _covariance(result: Result, draws: np.ndarray, latents: Sequence[str]) -> dict[str, float]:
    """Of the draws; of a mode, which is one draw, the variances of the Laplace approximation."""
    if draws.shape[1] == 1:
        return {f"cov_{name}_{name}": width**2 for name in latents if (width := result.width(name)) is not None}
    covariance = np.atleast_2d(np.cov(draws))
    pairs = itertools.combinations_with_replacement(range(len(latents)), 2)
    return {f"cov_{latents[i]}_{latents[j]}": float(covariance[i, j]) for i, j in pairs}


def _extreme(values: Iterable[float | None], of: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(of(known)) if known else None
