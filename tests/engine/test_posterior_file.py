import warnings
from dataclasses import replace
from pathlib import Path

import h5netcdf
import netCDF4
import numpy as np
import pytest

from lanewise.engine.posterior_file import posterior_nc
from lanewise.engine.results import Result
from lanewise.manifest.status import LaneStatus

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

RNG = np.random.default_rng(5)
RESULT = Result(
    run_id="a",
    seed=42,
    status=LaneStatus.OK,
    reason="",
    method="nuts",
    truth={},
    posterior={name: RNG.normal(size=(2, 5)) for name in ("g1", "chi")},
    stats={"diverging": RNG.random((2, 5)) < 0.5, "n_steps": np.full((2, 5), 7)},
    laplace_std={"g1": 0.1},
    groups={
        "log_likelihood": {"y": RNG.normal(size=(2, 5, 3)).astype(np.float32)},
        "observed_data": {"y": np.arange(3)},
        "constant_data": {"period": np.array(2.5)},
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "posterior.nc"
    arrays = {
        **{name: ((), draws) for name, draws in RESULT.posterior.items()},
        "theta": (("school",), np.arange(20.0).reshape(2, 5, 2)),
    }
    found.write_bytes(posterior_nc(RESULT, arrays, {"id": "ß"}))
    return found


def test_it_opens_with_arviz_and_holds_the_draws(path: Path) -> None:
    data = arviz.from_netcdf(path)
    for name, draws in RESULT.posterior.items():
        np.testing.assert_array_equal(data.posterior[name].values, draws)
        assert data.posterior[name].dims == ("chain", "draw")
    assert data.posterior["theta"].sel(school=1, chain=1, draw=4) == 19
    diverging = data.sample_stats["diverging"].values
    assert diverging.dtype == bool
    np.testing.assert_array_equal(diverging, RESULT.stats["diverging"])
    np.testing.assert_array_equal(data.sample_stats["laplace_std_g1"], 0.1)
    assert data.posterior.attrs["inference_method"] == "nuts"
    np.testing.assert_array_equal(data.log_likelihood["y"], RESULT.groups["log_likelihood"]["y"])
    np.testing.assert_array_equal(data.observed_data["y"], [0, 1, 2])
    assert data.observed_data["y"].dims == ("y_dim_0",)
    assert float(data.constant_data["period"]) == 2.5


@pytest.mark.parametrize("library", [netCDF4.Dataset, h5netcdf.File])
def test_other_libraries_see_dimensions_and_coordinates(path: Path, library: type) -> None:
    with library(path, "r") as file:
        group = file["posterior"]
        assert list(group.dimensions) == ["chain", "draw", "school"]
        assert group["theta"].dimensions == ("chain", "draw", "school")
        np.testing.assert_array_equal(group["draw"][:], np.arange(5))
        np.testing.assert_array_equal(group["g1"][:], RESULT.posterior["g1"])
        root = file if library is netCDF4.Dataset else file.attrs
        assert (root.id if library is netCDF4.Dataset else root["id"]) == "ß"


def test_a_netcdf_library_can_add_to_it(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file["posterior"].comment = "mine"
        file["posterior"].createVariable("more", "f8", ("draw",))[:] = 1.0
    assert arviz.from_netcdf(path).posterior["more"].shape == (5,)


def test_fewer_draws_of_the_same_result_are_another_file() -> None:
    short = replace(RESULT, posterior={"g1": RESULT.posterior["g1"][:, :3]}, stats={}, groups={})
    assert posterior_nc(short) == posterior_nc(short)
    assert posterior_nc(short) != posterior_nc(replace(RESULT, stats={}, groups={}))
