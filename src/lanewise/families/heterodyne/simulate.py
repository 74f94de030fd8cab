"""Synthetic data sets: a truth, its correlation, noise, and files in the layouts of the instruments."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import h5py
import numpy as np

from lanewise.families.heterodyne.c2 import Definitions, time_grid
from lanewise.families.heterodyne.layouts import APS_MAP, APS_PHI, APS_Q, APS_U_BINS, APS_U_MAP, APS_U_PHI, APS_U_Q
from lanewise.families.heterodyne.models import MODELS, Model

TRUTH = "lanewise_truth"

EXAMPLE = MODELS["two_component"].example
# Allowed range of the decay of the correlation within the window, as a share of the contrast.
_FALL = (0.2, 0.9)


@dataclass(frozen=True)
class Experiment:
    """Conditions of a synthetic measurement.

    Attributes:
        n_frames: number of frames N.
        dt: time between frames [s].
        q: scattering vector [1/Å].
        phi: angles [degree].
        contrast: height of the correlation, at every angle.
        offset: value without any correlation, at every angle.
        noise: standard deviation of one value of c2.
        model: what is measured, with its definitions.
    """

    n_frames: int = 100
    dt: float = 0.1
    q: float = 0.0054
    phi: tuple[float, ...] = (-5.0, 0.0, 5.0)
    contrast: float = 0.3
    offset: float = 1.0
    noise: float = 0.005
    model: Model = MODELS["two_component"]
    definitions: Definitions = Definitions()  # noqa: RUF009  # frozen


@dataclass(frozen=True)
class Detector:
    """What a detector records at each angle.

    Attributes:
        pixels: pixels per angle.
        modes: modes of each pixel; the contrast is 1/modes.
        flux: photons per pixel and frame.
    """

    pixels: int
    modes: int
    flux: float


def shape(truth: Mapping[str, float], where: Experiment) -> np.ndarray:
    """The correlation without contrast, offset and noise, shape (n_phi, N, N); 1 on the diagonal."""
    t, phi = time_grid(where.n_frames, where.dt), np.array(where.phi)
    curve: np.ndarray = where.model.shape(where.model.vector(truth), t, where.q, where.dt, phi, where.definitions)
    return curve


def simulate(truth: Mapping[str, float], where: Experiment, seed: int) -> np.ndarray:
    """Noisy correlations, shape (n_phi, N, N); symmetric, one independent noise value per pair of frames."""
    noise = np.random.default_rng(seed).normal(0.0, where.noise, (len(where.phi), where.n_frames, where.n_frames))
    upper = np.triu(noise)
    return where.offset + where.contrast * shape(truth, where) + upper + np.swapaxes(np.triu(noise, 1), 1, 2)


def draw_truth(where: Experiment, seed: int) -> dict[str, float]:
    """A random truth whose correlation falls by 20 to 90 % of the contrast within the window.

    Rates are log-uniform around those that the window resolves; exponents and fractions are uniform.
    """
    rng = np.random.default_rng(seed)
    while True:
        parameters = _DRAWS[where.model.name](where, rng)
        truth = {name: parameters[name] for name in where.model.names}
        if _FALL[0] <= 1 - shape(truth, where).min() <= _FALL[1]:
            return truth


def _draw_two(where: Experiment, rng: np.random.Generator) -> dict[str, float]:
    span = where.n_frames * where.dt
    rates = {name: _draw_rate(where, rng) for name in ("D0_ref", "D0_sample")}
    drawn = {
        **rates,
        "alpha_ref": rng.uniform(-1.0, 1.0),
        "alpha_sample": rng.uniform(-1.0, 1.0),
        "v0": float(np.clip(10 ** rng.uniform(-0.3, 1.5) / (where.q * span), 1e-6, 1e4)),
        "beta": rng.uniform(-0.8, 0.8),
        "v_offset": rng.uniform(-50.0, 50.0),
        "f0": rng.uniform(0.1, 0.9),
        "f1": rng.uniform(-5.0, 5.0) / span,
        "f2": span / 2,
        "f3": rng.uniform(0.0, 0.4),
        "phi0": rng.uniform(-8.0, 8.0),
    }
    return drawn | {f"D_offset_{one}": rates[f"D0_{one}"] * rng.uniform(0.0, 0.5) for one in ("ref", "sample")}


def _draw_static(where: Experiment, rng: np.random.Generator) -> dict[str, float]:
    d0 = _draw_rate(where, rng)
    return {"D0": d0, "alpha": rng.uniform(-1.0, 1.0), "D_offset": d0 * rng.uniform(0.0, 0.5)}


def _draw_flow(where: Experiment, rng: np.random.Generator) -> dict[str, float]:
    assert where.definitions.gap is not None
    span, half_width = where.n_frames * where.dt, where.q * where.definitions.gap / 2
    shear = float(np.clip(10 ** rng.uniform(-0.3, 1.0) / (half_width * span), 1e-6, 0.5))
    return {
        **_draw_static(where, rng),
        "gamma_dot_t0": shear,
        "beta": rng.uniform(-0.8, 0.8),
        "gamma_dot_t_offset": shear * rng.uniform(0.0, 0.5),
        "phi0": rng.uniform(-8.0, 8.0),
    }


def _draw_rate(where: Experiment, rng: np.random.Generator) -> float:
    return float(np.clip(10 ** rng.uniform(-0.7, 1.0) / (where.q**2 * where.n_frames * where.dt), 100.0, 1e6))


_DRAWS = {"two_component": _draw_two, "static": _draw_static, "laminar_flow": _draw_flow}


def encode(
    c2: np.ndarray, truth: Mapping[str, float], where: Experiment, layout: str, detector: Detector | None = None
) -> bytes:
    """A file with one data set; its attribute (in NPZ: its text array) `lanewise_truth` contains the truth as JSON.

    Args:
        truth: the parameters by name.
        layout: one of `LayoutName`.
        detector: what made speckle noise; None if the noise is that of `where`.
    """
    t = time_grid(where.n_frames, where.dt)
    noise = {"noise": where.noise} if detector is None else asdict(detector)
    named = {"model": where.model.name} | ({"gap": where.definitions.gap} if where.model.needs_gap else {})
    truth_json = json.dumps({**truth, **named, "contrast": where.contrast, "offset": where.offset, **noise})
    n = len(where.phi)
    stream = io.BytesIO()
    if layout == "npz":
        np.savez_compressed(stream, c2=c2, t=t, q=where.q, phi=np.array(where.phi), lanewise_truth=np.array(truth_json))
        return stream.getvalue()
    with h5py.File(stream, "w") as file:
        file.attrs[TRUTH] = truth_json
        match layout:
            case "flat":
                arrays = {"c2": c2, "t": t, "q": where.q, "phi": where.phi}
            case "exchange":
                values = {"twotime_corr": c2, "tau": t, "q_val": np.full(n, where.q), "phi": where.phi}
                arrays = {f"exchange/{key}": value for key, value in values.items()}
            case "aps":
                arrays = {APS_Q: np.full((1, n), where.q), APS_PHI: np.array([where.phi]), "exchange/t": t}
                arrays |= _halves(f"{APS_MAP}/g2_", c2)
            case "aps-u":
                bins = np.arange(1, n + 1)
                arrays = {APS_U_Q: np.array([where.q]), APS_U_PHI: where.phi, APS_U_BINS: bins, "xpcs/twotime/t": t}
                arrays |= _halves(f"{APS_U_MAP}/c2_", c2)
        for key, value in arrays.items():
            # With creation times, equal data sets would give different files.
            file.create_dataset(key, data=value, track_times=False)
    return stream.getvalue()


def _halves(prefix: str, c2: np.ndarray) -> dict[str, np.ndarray]:
    """Upper triangles in float32, as in files of instruments; keys end in 00001, 00002, …"""
    return {f"{prefix}{k + 1:05d}": np.triu(matrix).astype(np.float32) for k, matrix in enumerate(c2)}
