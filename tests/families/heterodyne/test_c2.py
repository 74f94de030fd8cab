from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import two_time_correlation

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "heterodyne" / "golden_c2.npz")
CASES = [str(case) for case in GOLDEN["cases"]]
PARAMETERS = np.array([2e4, -0.2, 500, 8e3, 0.3, 100, 800, 0.2, 5, 0.4, -0.3, 1, 0.2, 2])


def golden(case: str, clip: str) -> tuple[np.ndarray, np.ndarray]:
    """What the model says, and what the file says."""
    named = {key: GOLDEN[f"{case}__{key}"] for key in ("params", "t", "q", "dt", "phi", "contrast", "offset")}
    p, t, phi = named["params"], named["t"], named["phi"]
    q, dt, contrast, offset = (float(named[key]) for key in ("q", "dt", "contrast", "offset"))
    return two_time_correlation(p, t, q, dt, phi, contrast, offset, clip), GOLDEN[f"{case}__c2_{clip}_clip"]  # type: ignore[arg-type]


def test_parameters_stand_in_the_order_of_the_reference() -> None:
    assert tuple(GOLDEN["param_names"]) == c2.NAMES


@pytest.mark.parametrize("clip", ["soft", "hard"])
@pytest.mark.parametrize("case", CASES)
def test_golden_file_is_reproduced(case: str, clip: str) -> None:
    found, expected = golden(case, clip)
    assert np.abs(found - expected).max() < 1e-12
    assert found.dtype == np.float64


@pytest.mark.parametrize("case", CASES)
def test_matrices_are_exactly_symmetric_and_their_diagonal_is_offset_plus_contrast(case: str) -> None:
    found, _ = golden(case, "soft")
    assert np.array_equal(found, np.swapaxes(found, 1, 2))
    top = float(GOLDEN[f"{case}__offset"]) + float(GOLDEN[f"{case}__contrast"])
    # The smoothing of |∫J dt| takes q²·1e-6/2 of the contrast.
    assert np.abs(np.diagonal(found, axis1=1, axis2=2) - top).max() < 1e-9


def test_in_equilibrium_the_closed_form_follows() -> None:
    j_r, j_s, v, f, q, dt, contrast, offset = 3e3, 9e2, 40.0, 0.35, 0.0054, 0.2, 0.3, 1.02
    t, phi = c2.time_grid(60, dt), np.array([-20.0, 0.0, 70.0])
    p = np.array([j_r, 0.0, 0.0, j_s, 0.0, 0.0, v, 0.0, 0.0, 0.0, 0.0, 0.0, f, 3.0])
    x = f**2 / (f**2 + (1 - f) ** 2)
    tau = np.abs(t[:, None] - t[None, :])
    beat = np.cos(q * np.cos(np.deg2rad(phi + 3.0))[:, None, None] * v * tau)
    expected = offset + contrast * (
        (1 - x) ** 2 * np.exp(-(q**2) * j_r * tau)
        + x**2 * np.exp(-(q**2) * j_s * tau)
        + 2 * x * (1 - x) * np.exp(-(q**2) * (j_r + j_s) * tau / 2) * beat
    )
    found = two_time_correlation(p, t, q, dt, phi, contrast, offset, "hard")
    assert np.abs(found - expected).max() < 1e-9


def test_jax_arrays_are_traced_and_give_the_same_numbers() -> None:
    t, phi = c2.time_grid(20, 0.1), np.array([0.0, 30.0])
    arguments = (t, 0.0054, 0.1, phi, np.array([0.3, 0.2]), np.array([1.0, 1.1]))

    def total(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        curve: jax.Array = two_time_correlation(p, *arguments)
        return curve.sum(), curve

    with jax.enable_x64(True):
        slope, found = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(PARAMETERS))
        assert np.abs(np.asarray(found) - two_time_correlation(PARAMETERS, *arguments)).max() < 1e-13
        assert np.isfinite(np.asarray(slope)).all()


def test_a_power_is_zero_at_time_zero_whatever_its_exponent() -> None:
    assert c2.power(np.array([0.0, 4.0]), -0.5).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(("origin", "first"), [("window", 0.1), ("absolute", 1.1)])
def test_ages_count_from_the_window_or_from_the_file(origin: c2.TimeOrigin, first: float) -> None:
    t = c2.time_grid(5, 0.1, start_frame=11, time_origin=origin)
    np.testing.assert_allclose(t, first + 0.1 * np.arange(5), rtol=1e-14)


@pytest.mark.parametrize(
    ("parameters", "clip", "message"), [(PARAMETERS[:13], "soft", "expected 14"), (PARAMETERS, "none", "'none'")]
)
def test_wrong_arguments_are_named(parameters: np.ndarray, clip: c2.FractionClip, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_time_correlation(parameters, c2.time_grid(5, 0.1), 0.0054, 0.1, [0.0], 0.3, 1.0, clip)
