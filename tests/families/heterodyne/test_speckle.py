"""The speckle simulator against the model's correlation and closed forms of its noise; it knows no fit."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from lanewise import cli
from lanewise.errors import DataError, UsageError
from lanewise.families.heterodyne import simulate, speckle

RUN = CliRunner()
WHERE = simulate.Experiment(n_frames=12, dt=0.8, phi=(-60.0, 60.0))
DETECTOR = simulate.Detector(pixels=2000, modes=2, flux=5.0)
REPEATS = 40


@pytest.fixture(scope="module")
def repeats() -> np.ndarray:
    """Correlations minus the model, shape (REPEATS, 2, 12, 12)."""
    model = 1 + simulate.shape(simulate.EXAMPLE, WHERE) / DETECTOR.modes
    return np.stack([speckle.simulate(simulate.EXAMPLE, WHERE, DETECTOR, seed) - model for seed in range(REPEATS)])


def test_the_mean_is_the_correlation_of_the_model(repeats: np.ndarray) -> None:
    above = repeats[..., *np.triu_indices(12, 1)]
    z = above.mean(axis=0) / (above.std(axis=0, ddof=1) / np.sqrt(REPEATS))
    # 132 values of Student's t with 39 degrees of freedom: beyond 5 once in 600 runs.
    assert np.abs(z).max() < 5
    # The correlation falls by 0.43 of the contrast: a wrong decay or phase would be seen at 60 of these errors.
    assert (above.std(axis=0) / np.sqrt(REPEATS)).max() < 0.15 / DETECTOR.modes / 10


def test_the_noise_has_the_variance_of_pixels_modes_and_photons(repeats: np.ndarray) -> None:
    # Last and first frame are nearly uncorrelated: the variance is (1/modes + 1/flux)²/pixels, by hand.
    expected = (1 / DETECTOR.modes + 1 / DETECTOR.flux) ** 2 / DETECTOR.pixels
    far = repeats[..., *np.triu_indices(12, 8)]
    # 800 values, those of a row correlated by 0.3 at most: the variance is good to 7 %; four of these.
    assert (far**2).mean() == pytest.approx(expected, rel=0.28)


def test_entries_that_share_a_frame_share_noise_and_others_do_not(repeats: np.ndarray) -> None:
    shape, beta = simulate.shape(simulate.EXAMPLE, WHERE), 1 / DETECTOR.modes
    far = repeats[:, :, :4, 8:]
    scale = (far**2).mean()
    shared = (far[..., 1:] * far[..., :-1]).mean() / scale
    # Entries (0, 8), (1, 9), … and (0, 9), (1, 8), … share no frame, and no correlated ones beyond 5 %.
    unshared = (far[..., :-2, :-2] * far[..., 2:, 2:]).mean() / scale
    neighbours = beta * np.mean([shape[:, j, j + 1].mean() for j in (8, 9, 10)]) / (beta + 1 / DETECTOR.flux)
    assert neighbours > 0.3
    # 80 matrices of 12 and of 4 products, each worth half an independent one: four errors are 0.18 and 0.3.
    assert shared == pytest.approx(neighbours, abs=0.18)
    assert abs(unshared) < 0.3


def test_the_diagonal_has_contrast_and_shot_noise(repeats: np.ndarray) -> None:
    diagonal = np.diagonal(repeats, axis1=2, axis2=3).mean()
    # Above the model by 1/flux; the error of a mean over 960 values is below 1 %.
    assert diagonal == pytest.approx(1 / DETECTOR.flux, rel=0.03)


@pytest.mark.slow
def test_a_frame_without_photons_is_an_error() -> None:
    with pytest.raises(DataError, match="raise pixels or flux"):
        speckle.simulate(simulate.EXAMPLE, WHERE, simulate.Detector(pixels=2, modes=1, flux=1e-3), 0)


def test_the_command_writes_speckle_and_its_truth(tmp_path: Path) -> None:
    options = ["--noise-model", "speckle", "--pixels", "700", "--modes", "2", "--flux", "2", "--frames", "12"]
    options += ["--phi", "-60", "--phi", "60"]  # the shape of the other tests: one program
    for folder in ("a", "b"):
        done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(tmp_path / folder), *options])
        assert done.exit_code == 0, done.output
    first, second = (tmp_path / folder / "het_s42.h5" for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with h5py.File(first) as file:
        truth = json.loads(file.attrs[simulate.TRUTH])
        assert file["c2"].shape == (2, 12, 12)
    assert {name: truth[name] for name in ("contrast", "offset", "pixels", "modes", "flux")} == {
        "contrast": 0.5,
        "offset": 1.0,
        "pixels": 700,
        "modes": 2,
        "flux": 2.0,
    }
    assert "noise" not in truth


@pytest.mark.parametrize(
    "options",
    [
        ["--noise-model", "speckle", "--contrast", "0.3"],
        ["--pixels", "100"],
        ["--noise-model", "independent", "--flux", "2"],
    ],
)
def test_options_of_the_other_noise_are_usage_errors(tmp_path: Path, options: list[str]) -> None:
    done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(tmp_path / "out"), *options])
    assert isinstance(done.exception, UsageError)
    assert "does not use it" in str(done.exception)
    assert not (tmp_path / "out").exists()
