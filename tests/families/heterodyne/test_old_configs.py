"""Configs of the older packages, written in the layout of each: what is carried over, and what is said to be lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lanewise import cli
from lanewise.errors import UsageError
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.old_configs import Converted, convert
from lanewise.manifest.document import Document
from lanewise.manifest.loading import load

RUN = CliRunner()

HETERODYNE: Mapping[str, Any] = {
    "experimental_data": {"data_folder_path": "data", "data_file_name": "het_s42.h5", "cache_compression": True},
    "analyzer_parameters": {"dt": 0.4, "start_frame": 1, "end_frame": 100000, "scattering": {"wavevector_q": 0.00545}},
    "phi_filtering": {"enabled": True, "target_ranges": [{"min_angle": 170.0, "max_angle": -10.0}]},
    "parameters": {
        "reference": {
            "D0_ref": {"value": 1e4, "min": 100.0, "max": 5e4, "vary": True, "prior": "normal"},
            "alpha_ref": {"value": 0.0, "min": -2.0, "max": 2.0, "vary": False},
        },
        "sample": {"D0_sample": {"value": 1e4, "min": 500.0, "max": 5e4, "vary": True}},
        "velocity": {"v0": {"value": 1e3, "min": 1e-6, "max": 1e4, "vary": True}},
        "fraction": {"f3": {"value": 0.0, "min": -1.0, "max": 0.5, "vary": True}},
        "scaling": {"contrast": {"value": 0.3, "min": 0.3, "max": 0.3, "vary": True}},
    },
    "optimization": {
        "method": "nlsq",
        "nlsq": {"per_angle_mode": "independent", "loss": "soft_l1"},
        "cmc": {"per_shard_mcmc": {"num_samples": 1000}},
    },
}
HOMODYNE: Mapping[str, Any] = {
    "analysis_mode": "laminar_flow",
    "analyzer_parameters": {
        "dt": 0.4,
        "start_frame": 3,
        "end_frame": 20,
        "scattering": {"wavevector_q": 0.0054},
        "geometry": {"stator_rotor_gap": 2000000},
    },
    "experimental_data": {"file_path": "data/het_s42.h5", "phi_angles_file": "phi_angles_list.txt"},
    "initial_parameters": {
        "parameter_names": ["D0", "alpha", "D_offset", "gamma_dot_0", "beta", "gamma_dot_t_offset", "phi0"],
        "values": [1e3, 0.1, 10.0, 1e-3, 0.25, 0.0, 0.0],
        "active_parameters": ["D0", "alpha", "D_offset", "gamma_dot_0"],
        "fixed_parameters": {"phi0": 1.5},
    },
    "parameter_space": {
        "bounds": [
            {"name": "D0", "min": 100.0, "max": 1e5, "type": "TruncatedNormal", "prior_mu": 1e3, "prior_sigma": 1e3},
            {"name": "offset", "min": 0.9, "max": 1.1},
        ]
    },
    "optimization": {"nlsq": {"multi_start": {"seed": 7}, "anti_degeneracy": {"per_angle_mode": "fourier"}}},
}
XPCSJAX: Mapping[str, Any] = {
    "analysis_mode": "two_component",
    "analyzer_parameters": {"dt": 0.4, "frame_step": 2, "time_unit": "seconds", "scattering": {"wavevector_q": 0.2}},
    "experimental_data": {"data_folder_path": "./data/", "data_file_name": "het_s42.h5", "use_caching": True},
    "initial_parameters": {"tied_parameters": {"D0_sample": "D0_ref"}, "per_angle_scaling": {"contrast": [0.3]}},
    "parameter_space": {
        "bounds": [
            {"name": "D0_ref", "min": 0.0, "max": 1e6},
            {"name": "D0_sample", "min": 0.0, "max": 1e6},
            {"name": "v_beta", "min": 0.0, "max": 2.0},
            {"name": "phi0_het", "min": -5.0, "max": 5.0},
        ]
    },
    "something_new": {"deep": 3},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data file at the angles −40, 0 and 40 and the q 0.0054."""
    root = tmp_path_factory.mktemp("old")
    options = ["--frames", "24", "--dt", "0.4", "--layout", "aps-u", "--phi", "-40", "--phi", "0", "--phi", "40"]
    done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(root / "data"), *options])
    assert done.exit_code == 0, done.output
    return root


def converted(value: Mapping[str, Any], place: Path) -> Converted:
    found = convert(Document(str(place / "old.yaml"), value))
    assert found.inputs == (str(place / "data" / "het_s42.h5"),)
    return found


def test_groups_of_heterodyne_are_bounds_and_numbers(place: Path) -> None:
    found = converted(HETERODYNE, place)
    # q is the nearest of the file, and −40° the only angle between 170° and −10° across ±180°.
    assert found.config["data"] == {
        "dt": 0.4,
        "start_frame": 1,
        "end_frame": -1,
        "q": pytest.approx(0.0054),
        "phi": [-40.0],
    }
    assert found.config["model"] == {"type": "two_component"}
    assert found.config["parameters"] == {
        "D0_ref": {"min": 100.0, "max": 5e4},
        "alpha_ref": 0.0,
        "D0_sample": {"min": 500.0, "max": 5e4},
        "v0": {"min": 1e-6, "max": 1e4},
        "f3": {"max": 0.5},
    }
    assert found.config["scaling"] == {"contrast": 0.3, "mode": "individual"}
    lost = "\n".join(found.lost)
    for text in (
        "wavevector_q: 0.00545 is 0.0054 in the file",
        "parameters.reference.D0_ref: prior: a fit has no priors",
        "starting values of D0_ref, D0_sample, v0, f3",
        "parameters.f3.min: expected a number ≥ 0, got -1",
        "experimental_data.cache_compression: nothing is cached",
        "optimization.cmc: the settings of the sampling are in the section 'cmc'",
        "optimization.nlsq: the search has its own settings",
    ):
        assert text in lost, text
    assert "alpha_ref" not in lost


def test_the_words_of_the_page_are_settings_of_the_sampling(place: Path) -> None:
    page = {"seed": 42, "max_r_hat": 1.05, "max_points_per_shard": "auto", "num_shards": None, "warmstart": True}
    optimization = {"method": "cmc", "cmc": {**page, "backend_name": "auto"}}
    found = converted({**HETERODYNE, "optimization": optimization}, place)
    assert found.config["method"] == "cmc"
    assert found.config["cmc"] == {"seed": 42, "max_r_hat": 1.05, "max_points_per_shard": "auto", "warmstart": True}
    assert any(line.startswith("optimization.cmc: the settings of the sampling") for line in found.lost)
    assert "optimization.cmc.seed" not in "\n".join(found.lost)


def test_lists_of_homodyne_are_bounds_and_numbers(place: Path) -> None:
    found = converted(HOMODYNE, place)
    assert found.config["model"] == {"type": "laminar_flow", "gap": 2000000}
    assert found.config["parameters"] == {
        "D0": {"min": 100.0, "max": 1e5},
        "beta": 0.25,
        "gamma_dot_t_offset": 0.0,
        "phi0": 1.5,
    }
    assert found.config["scaling"] == {"offset": {"min": 0.9, "max": 1.1}, "mode": "fourier"}
    assert found.config["fit"] == {"seed": 7}
    assert {key: found.config["data"][key] for key in ("start_frame", "end_frame")} == {
        "start_frame": 3,
        "end_frame": 20,
    }
    lost = "\n".join(found.lost)
    assert "parameter_space: a fit has no priors" in lost
    assert "experimental_data.phi_angles_file: angles are those of the data file" in lost


def test_ties_and_new_names_of_xpcsjax_are_ours(place: Path) -> None:
    found = converted(XPCSJAX, place)
    assert found.config["model"] == {"type": "two_component", "tied": {"D0_sample": "D0_ref"}}
    assert found.config["parameters"] == {
        "D0_ref": {"min": 0.0, "max": 1e6},
        "beta": {"min": 0.0, "max": 2.0},
        "phi0": {"min": -5.0, "max": 5.0},
    }
    lost = "\n".join(found.lost)
    for text in (
        "frame_step: every frame of the window is fitted",
        "wavevector_q: the file has no q near 0.2",
        "something_new.deep: no key of a config here has this meaning",
    ):
        assert text in lost, text


def test_an_older_section_of_times_is_read_as_the_package_reads_it(place: Path) -> None:
    old = {**HETERODYNE, "analyzer_parameters": {}, "temporal": {"dt": 0.4, "t_start": 2, "time_length": 10}}
    found = converted({**old, "scattering": {"wavevector_q": 0.0054}}, place)
    data = found.config["data"]
    assert (data["dt"], data["start_frame"], data["end_frame"], data["q"]) == (0.4, 3, 12, pytest.approx(0.0054))


@pytest.mark.parametrize("value", [HETERODYNE, HOMODYNE, XPCSJAX], ids=["heterodyne", "homodyne", "xpcsjax"])
def test_init_writes_a_manifest_that_validates_and_plans(
    place: Path, value: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    Path("old.yaml").write_text(yaml.safe_dump(dict(value)))
    done = RUN.invoke(cli.app, ["init", "heterodyne", "--from", "old.yaml", "-o", "new.yaml", "--force"])
    assert done.exit_code == 0, done.output
    assert "Carried over from old.yaml" in done.stderr
    text = Path("new.yaml").read_text()
    for line in done.stderr.splitlines():
        assert f"# {line}" in text
    for command in ("validate", "plan"):
        done = RUN.invoke(cli.app, [command, "new.yaml"])
        assert done.exit_code == 0, done.output
    config = load("new.yaml").config
    assert isinstance(config, HeterodyneConfig)
    assert config.model.type == value.get("analysis_mode", "two_component")


def test_a_converted_config_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    old = {**HETERODYNE, "phi_filtering": {"enabled": False}}
    old = {**old, "optimization": {}, "parameters": {"fraction": {"f3": {"min": 0.0, "max": 0.5, "vary": True}}}}
    Path("old.yaml").write_text(yaml.safe_dump(old))
    done = RUN.invoke(cli.app, ["init", "heterodyne", "--from", "old.yaml", "-o", "run.yaml", "--force"])
    assert "heterodyne fits the angle 0 if none are chosen" in done.stderr
    quick = [("candidates", 128), ("starts", 8), ("polish", 4), ("agreement", 2), ("hops", 8)]
    sets = [word for key, value in quick for word in ("--set", f"config.fit.{key}={value}")]
    done = RUN.invoke(cli.app, ["run", "run.yaml", *sets])
    assert done.exit_code == 0, done.output


def test_what_cannot_be_read_as_an_old_config_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(UsageError, match="expected analysis_mode, one of two_component"):
        convert(Document("old.yaml", {"analysis_mode": "three"}))
    gone = {**HOMODYNE, "experimental_data": {"file_path": "gone.h5"}}
    Path("gone.yaml").write_text(yaml.safe_dump(gone))
    for arguments, text in (
        (["--from", "gone.yaml"], "its data file gone.h5 is not there; give the files with --data"),
        (["--from", "no.yaml"], "No such file"),
        (["--from", "gone.yaml", "--config", "c.yaml"], "exclude each other"),
        ([], "expected a data file, got none"),
    ):
        done = RUN.invoke(cli.app, ["init", "heterodyne", *arguments])
        assert isinstance(done.exception, UsageError), done.output
        assert text in str(done.exception)
