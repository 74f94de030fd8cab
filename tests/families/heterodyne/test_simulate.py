from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from lanewise import cli
from lanewise.errors import UsageError
from lanewise.families.heterodyne import simulate
from lanewise.families.heterodyne.commands import LayoutName
from lanewise.families.heterodyne.data import load_data

RUN = CliRunner()


def test_same_options_write_the_same_bytes_and_another_seed_other_noise(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(tmp_path / folder), "--count", "2", "--frames", "12"])
        assert done.exit_code == 0, done.output
    first, second = sorted((tmp_path / "a").iterdir())
    assert (first.name, second.name) == ("het_s42.h5", "het_s43.h5")
    assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize("layout", list(LayoutName))
def test_every_layout_is_written(tmp_path: Path, layout: str) -> None:
    arguments = ["simulate", "heterodyne", str(tmp_path), "--layout", layout, "--frames", "12", "--phi", "7"]
    done = RUN.invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    found = load_data(done.output.strip())
    assert (found.phi.tolist(), found.n_frames) == ([7.0], 12)


def test_a_file_carries_its_truth(tmp_path: Path) -> None:
    RUN.invoke(cli.app, ["simulate", "heterodyne", str(tmp_path), "--frames", "12", "--set", "v0=900"])
    with h5py.File(tmp_path / "het_s42.h5") as file:
        truth = json.loads(file.attrs[simulate.TRUTH])
    assert (truth["v0"], truth["beta"], truth["contrast"]) == (900.0, 0.2, 0.3)


def test_noise_has_its_sigma_and_is_symmetric() -> None:
    where = simulate.Experiment(n_frames=80, noise=0.01)
    noise = simulate.simulate(simulate.EXAMPLE, where, 3) - where.offset
    noise -= where.contrast * simulate.shape(simulate.EXAMPLE, where)
    assert np.array_equal(noise, np.swapaxes(noise, 1, 2)) or np.abs(noise - np.swapaxes(noise, 1, 2)).max() < 1e-15
    above = noise[:, *np.triu_indices(80, 1)]
    # n = 9480: σ is known to 0.7 %; five of these.
    assert above.std() == pytest.approx(0.01, rel=0.036)


def test_random_truths_fall_by_20_to_90_percent_and_repeat() -> None:
    where = simulate.Experiment()
    truths = [simulate.draw_truth(where, seed) for seed in range(20)]
    falls = [1 - simulate.shape(truth, where).min() for truth in truths]
    assert min(falls) >= 0.2
    assert max(falls) <= 0.9
    assert truths[3] == simulate.draw_truth(where, 3)
    assert len({truth["v0"] for truth in truths}) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "v=3"], "expected NAME=VALUE with one of D0_ref"),
        (["--set", "v0=fast"], "expected a number, got 'fast'"),
        (["--random-truth", "--set", "v0=3"], "exclude each other"),
    ],
)
def test_wrong_options_are_usage_errors_and_write_nothing(tmp_path: Path, options: list[str], message: str) -> None:
    done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(tmp_path / "out"), *options])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()
