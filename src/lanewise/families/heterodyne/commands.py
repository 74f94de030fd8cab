"""`lanewise simulate heterodyne`: synthetic data sets with a known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lanewise.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from lanewise.families.heterodyne.simulate import Detector, Experiment


# Distance of the walls of a simulated flow [Å].
_GAP = 2e6


class LayoutName(StrEnum):
    """Names of the file layouts on the command line."""

    FLAT = "flat"
    EXCHANGE = "exchange"
    APS = "aps"
    APS_U = "aps-u"
    NPZ = "npz"


class ModelChoice(StrEnum):
    """Names of the models on the command line."""

    TWO_COMPONENT = "two_component"
    STATIC = "static"
    LAMINAR_FLOW = "laminar_flow"


class NoiseModel(StrEnum):
    """Kinds of noise on the command line."""

    INDEPENDENT = "independent"
    SPECKLE = "speckle"


def simulate(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Directory for the files: a path or URL.")],
    model: Annotated[
        ModelChoice, typer.Option("--model", help="Model of the correlation.")
    ] = ModelChoice.TWO_COMPONENT,
    gap: Annotated[
        float | None,
        typer.Option("--gap", min=1e-12, help="Distance of the walls [Å], for laminar_flow.  [default: 2e6]"),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Number of data sets; each has its own noise.")] = 1,
    layout: Annotated[
        LayoutName, typer.Option("--layout", help="Layout of the file; aps and aps-u store float32.")
    ] = LayoutName.FLAT,
    frames: Annotated[int, typer.Option("--frames", min=5, help="Number of frames.")] = 100,
    dt: Annotated[float, typer.Option("--dt", min=1e-12, help="Time between frames [s].")] = 0.1,
    q: Annotated[float, typer.Option("--q", min=1e-12, help="Scattering vector [1/Å].")] = 0.0054,
    phi: Annotated[
        list[float] | None, typer.Option("--phi", help="An angle [degree]; repeatable. Default: −5, 0 and 5.")
    ] = None,
    contrast: Annotated[
        float | None, typer.Option("--contrast", min=0, help="Height of the correlation.  [default: 0.3]")
    ] = None,
    offset: Annotated[float | None, typer.Option("--offset", help="Value without correlation.  [default: 1]")] = None,
    noise: Annotated[
        float | None, typer.Option("--noise", min=0, help="Standard deviation of one value.  [default: 0.005]")
    ] = None,
    noise_model: Annotated[
        NoiseModel,
        typer.Option(
            "--noise-model",
            help="independent: one noise value per pair of frames. speckle: the noise of pixels, modes and photons, "
            "which entries share if they share a frame; contrast and offset are then 1/modes and 1.",
        ),
    ] = NoiseModel.INDEPENDENT,
    pixels: Annotated[
        int | None, typer.Option("--pixels", min=2, help="Pixels per angle, for speckle.  [default: 10000]")
    ] = None,
    modes: Annotated[
        int | None, typer.Option("--modes", min=1, help="Modes per pixel, for speckle.  [default: 3]")
    ] = None,
    flux: Annotated[
        float | None, typer.Option("--flux", min=1e-6, help="Photons per pixel and frame, for speckle.  [default: 1]")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the first data set; it is increased by one for each.")
    ] = 42,
    random_truth: Annotated[
        bool,
        typer.Option(
            "--random-truth",
            help="Draw the parameters of each data set at random, so that the correlation falls by 20 to 90 % of the "
            "contrast. The default is one documented example, which --set changes.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the truth, e.g. D0_ref=2e4; repeatable."),
    ] = None,
) -> None:
    """Write two-time correlations, with noise.

    A file is named het_s<seed> and carries its truth in the attribute lanewise_truth (in NPZ, a text array): the
    model, its parameters, contrast, offset and noise (or pixels, modes and flux). The same options write the same
    bytes.

    Examples:
    lanewise simulate heterodyne data --count 8 --set v0=900 --set alpha_ref=0
    lanewise simulate heterodyne data --noise-model speckle --pixels 20000 --modes 3 --flux 1
    """
    from lanewise.families.heterodyne import simulate as simulation
    from lanewise.families.heterodyne.c2 import Definitions
    from lanewise.families.heterodyne.models import MODELS
    from lanewise.storage.store import Store

    chosen = MODELS[model.value]
    if gap is not None and not chosen.needs_gap:
        raise UsageError(f"--gap {gap:g}: --model {model.value} does not use it; leave it out")
    by = Definitions(gap=gap or _GAP) if chosen.needs_gap else Definitions()
    where = simulation.Experiment(frames, dt, q, tuple(phi or (-5.0, 0.0, 5.0)), model=chosen, definitions=by)
    detector = None
    if noise_model is NoiseModel.SPECKLE:
        _without("speckle", contrast=contrast, offset=offset, noise=noise)
        detector = simulation.Detector(**_given({"pixels": 10000, "modes": 3, "flux": 1.0}, pixels, modes, flux))
        where = replace(where, contrast=1 / detector.modes, offset=1.0, noise=0.0)
    else:
        _without("independent", pixels=pixels, modes=modes, flux=flux)
        where = replace(where, **_given({"contrast": 0.3, "offset": 1.0, "noise": 0.005}, contrast, offset, noise))
    changed = _parameters(overrides or [], chosen.example)
    if random_truth and overrides:
        raise UsageError("--random-truth and --set exclude each other")
    store = Store(folder)
    suffix = "npz" if layout is LayoutName.NPZ else "h5"
    for number in range(seed, seed + count):
        truth = simulation.draw_truth(where, number) if random_truth else changed
        c2 = _observed(truth, where, detector, number)
        name = f"het_s{number}.{suffix}"
        store.put(name, simulation.encode(c2, truth, where, layout.value, detector))
        print(store.where(name))


def _observed(truth: Mapping[str, float], where: Experiment, detector: Detector | None, seed: int) -> np.ndarray:
    if detector is None:
        from lanewise.families.heterodyne import simulate as simulation

        return simulation.simulate(truth, where, seed)
    from lanewise.families.heterodyne import speckle
    from lanewise.machine import device

    device.prepare("auto", "float32")
    return speckle.simulate(truth, where, detector, seed)


def _without(model: str, **options: float | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} {value:g}: --noise-model {model} does not use it; leave it out")


def _given(defaults: Mapping[str, Any], *values: float | None) -> dict[str, Any]:
    """The defaults, replaced by the values that are given."""
    return {
        name: default if value is None else value
        for (name, default), value in zip(defaults.items(), values, strict=True)
    }


def _parameters(overrides: list[str], example: Mapping[str, float]) -> dict[str, float]:
    parameters = dict(example)
    for text in overrides:
        name, _, value = text.partition("=")
        if name not in example:
            raise UsageError(f"--set {text}: expected NAME=VALUE with one of {', '.join(example)}")
        try:
            parameters[name] = float(value)
        except ValueError:
            raise UsageError(f"--set {text}: expected a number, got '{value}'") from None
    return parameters
