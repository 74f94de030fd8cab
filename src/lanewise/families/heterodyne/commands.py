"""`lanewise simulate heterodyne`: synthetic data sets with a known truth."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from lanewise.errors import UsageError


class LayoutName(StrEnum):
    """Names of the file layouts on the command line."""

    FLAT = "flat"
    EXCHANGE = "exchange"
    APS = "aps"
    APS_U = "aps-u"
    NPZ = "npz"


def simulate(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Directory for the files: a path or URL.")],
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
    contrast: Annotated[float, typer.Option("--contrast", min=0, help="Height of the correlation.")] = 0.3,
    offset: Annotated[float, typer.Option("--offset", help="Value without correlation.")] = 1.0,
    noise: Annotated[float, typer.Option("--noise", min=0, help="Standard deviation of one value.")] = 0.005,
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
    """Write two-time correlations of two interfering components, with noise.

    A file is named het_s<seed> and carries its truth in the attribute lanewise_truth (in NPZ, a text array): the 14
    parameters, contrast, offset and noise. The same options write the same bytes.

    Example: lanewise simulate heterodyne data --count 8 --set v0=900 --set alpha_ref=0
    """
    from lanewise.families.heterodyne import simulate as simulation
    from lanewise.storage.store import Store

    where = simulation.Experiment(frames, dt, q, tuple(phi or (-5.0, 0.0, 5.0)), contrast, offset, noise)
    changed = _parameters(overrides or [], simulation.EXAMPLE)
    if random_truth and overrides:
        raise UsageError("--random-truth and --set exclude each other")
    store = Store(folder)
    suffix = "npz" if layout is LayoutName.NPZ else "h5"
    for number in range(seed, seed + count):
        truth = simulation.draw_truth(where, number) if random_truth else changed
        c2 = simulation.simulate(truth, where, number)
        name = f"het_s{number}.{suffix}"
        store.put(name, simulation.encode(c2, truth, where, layout.value))
        print(store.where(name))


def _parameters(overrides: list[str], example: Mapping[str, float]) -> dict[str, float]:
    from lanewise.families.heterodyne.c2 import NAMES

    parameters = dict(example)
    for text in overrides:
        name, _, value = text.partition("=")
        if name not in NAMES:
            raise UsageError(f"--set {text}: expected NAME=VALUE with one of {', '.join(NAMES)}")
        try:
            parameters[name] = float(value)
        except ValueError:
            raise UsageError(f"--set {text}: expected a number, got '{value}'") from None
    return parameters
