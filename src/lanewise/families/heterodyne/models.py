"""The models by name: their parameters, their correlation, their field, and examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lanewise.families.heterodyne import c2, homodyne
from lanewise.families.heterodyne.c2 import Array, Definitions, Fields

ModelName = Literal["two_component", "static", "laminar_flow"]


@dataclass(frozen=True)
class Model:
    """What the rest of the family needs to know about a model.

    Attributes:
        bounds: default bounds of the parameters, in the order of the model's argument `params`.
        headline: the quantities that the data determine best, at the geometric mean age, with their labels.
        shown: further parameters that the report shows.
        rates: labels of the curves over the age.
        tied: groups of parameters of one kind; one of a group may be tied to another of it.
        needs_gap: whether it needs the distance of the walls.
        shape: the correlation without contrast and offset, from params, t, q, dt, phi and the definitions.
        fields: the parts of the field of a pixel, from the same.
        example: a truth that the data of `simulate.Experiment` distinguish from the other models.
    """

    name: ModelName
    bounds: Mapping[str, tuple[float, float]]
    headline: Mapping[str, str]
    shown: tuple[str, ...]
    rates: tuple[str, ...]
    tied: tuple[frozenset[str], ...]
    needs_gap: bool
    shape: Callable[[Array, Array, Array, float, Array, Definitions], Array]
    fields: Callable[[np.ndarray, np.ndarray, Array, float, np.ndarray, Definitions], Fields]
    example: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self.bounds)

    def vector(self, truth: Mapping[str, float]) -> np.ndarray:
        """The parameters of a truth, in order."""
        return np.array([truth[name] for name in self.bounds])


def _two_components(params: Array, t: Array, q: Array, dt: float, phi: Array, by: Definitions) -> Array:
    return c2.two_time_correlation(params, t, q, dt, phi, 1.0, 0.0, by.fraction_clip, by.convention)


MODELS: Mapping[ModelName, Model] = {
    model.name: model
    for model in (
        Model(
            name="two_component",
            bounds=c2.BOUNDS,
            headline={"J_ref": "J_ref [Å²/s]", "J_sample": "J_sample [Å²/s]", "v": "|v| [Å/s]"},
            shown=("alpha_ref", "alpha_sample", "beta"),
            rates=("J_ref [Å²/s]", "J_sample [Å²/s]", "v [Å/s]"),
            tied=(
                frozenset({"D0_ref", "D0_sample"}),
                frozenset({"alpha_ref", "alpha_sample", "beta"}),
                frozenset({"D_offset_ref", "D_offset_sample"}),
            ),
            needs_gap=False,
            shape=_two_components,
            fields=c2.fields,
            # With these, the data distinguish both components, the drift and the change of the fraction.
            example={
                "D0_ref": 2e4,
                "alpha_ref": -0.2,
                "D_offset_ref": 500.0,
                "D0_sample": 8e3,
                "alpha_sample": 0.3,
                "D_offset_sample": 100.0,
                "v0": 800.0,
                "beta": 0.2,
                "v_offset": 5.0,
                "f0": 0.4,
                "f1": -0.3,
                "f2": 1.0,
                "f3": 0.2,
                "phi0": 2.0,
            },
        ),
        Model(
            name="static",
            bounds=homodyne.STATIC_BOUNDS,
            headline={"J": "J [Å²/s]"},
            shown=("alpha",),
            rates=("J [Å²/s]",),
            tied=(),
            needs_gap=False,
            shape=homodyne.static,
            fields=homodyne.static_fields,
            example={"D0": 2e4, "alpha": -0.2, "D_offset": 500.0},
        ),
        Model(
            name="laminar_flow",
            bounds=homodyne.FLOW_BOUNDS,
            headline={"J": "J [Å²/s]", "gamma_dot": "|gamma_dot| [1/s]"},
            shown=("alpha", "beta"),
            rates=("J [Å²/s]", "gamma_dot [1/s]"),
            tied=(frozenset({"alpha", "beta"}),),
            needs_gap=True,
            shape=homodyne.laminar_flow,
            fields=homodyne.flow_fields,
            example={
                "D0": 1e4,
                "alpha": -0.2,
                "D_offset": 500.0,
                "gamma_dot_t0": 8e-5,
                "beta": 0.2,
                "gamma_dot_t_offset": 1e-6,
                "phi0": 2.0,
            },
        ),
    )
}


def shown(names: Iterable[str]) -> dict[str, str]:
    """What a report shows of these models, with labels: headline quantities first."""
    chosen = [MODELS[name] for name in MODELS if name in set(names)]
    headline = {key: label for model in chosen for key, label in model.headline.items()}
    return headline | {name: name for model in chosen for name in model.shown}


def correlation(
    name: ModelName,
    params: Array,
    t: Array,
    q: Array,
    dt: float,
    phi: Array,
    contrast: Array,
    offset: Array,
    by: Definitions = Definitions(),  # noqa: B008  # frozen
) -> Array:
    """The noise-free correlation of a model of any name, as `c2.two_time_correlation`.

    Args:
        params: parameters in the order of `MODELS[name].names`.
        by: definitions of the model; `laminar_flow` needs its gap.

    Raises:
        ValueError: the number of parameters is wrong, or the model lacks its gap.
    """
    model = MODELS[name]
    if len(params) != len(model.names):
        raise ValueError(f"expected {len(model.names)} parameters ({', '.join(model.names)}), got {len(params)}")
    if model.needs_gap and by.gap is None:
        raise ValueError(f"model {name} needs the gap of its walls [Å]")
    params = np.asarray(params, dtype=float) if isinstance(params, list | tuple) else params
    contrast, offset = (one[..., None, None] for one in c2.alike(params, contrast, offset))
    return offset + contrast * model.shape(params, t, q, dt, phi, by)
