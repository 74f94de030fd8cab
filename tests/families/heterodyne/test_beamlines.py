"""Every kind of file with its right q, angles, dt and values, or the sentence that says why it is not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lanewise.errors import DataError
from lanewise.families.heterodyne.data import TwoTimeData, load_data, load_each_q

from . import beamline_files as files
from .beamline_files import DT, MATRICES, PHI, N, Q

FLOAT32 = 1e-7
Attributes = dict[str, dict[str, Any]]


def loaded(path: Path, arrays: dict[str, Any], attributes: Attributes | None = None, **chosen: Any) -> TwoTimeData:
    return load_data(files.write(path / "file.h5", arrays, attributes), **chosen)


def refused(path: Path, arrays: dict[str, Any], attributes: Attributes | None = None, **chosen: Any) -> str:
    with pytest.raises(DataError) as error:
        loaded(path, arrays, attributes, **chosen)
    return str(error.value)


def right(found: TwoTimeData, matrices: np.ndarray = MATRICES, phi: tuple[float, ...] = PHI, q: float = Q) -> None:
    assert found.q == pytest.approx(q, rel=1e-12)
    assert found.dt == pytest.approx(DT, rel=1e-6)
    assert found.phi.tolist() == pytest.approx(list(phi))
    off = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose(found.c2[:, off], matrices[:, off], rtol=FLOAT32)


def test_aps_u_places_bins_through_the_mapping(tmp_path: Path) -> None:
    arrays = files.aps_u()
    right(loaded(tmp_path, arrays, q=Q))
    others = np.stack([files.marked(1), files.marked(2), files.marked(3)])
    right(loaded(tmp_path, arrays, q=0.008), others, (-90.0, 0.0, 60.0), 0.008)
    assert "holds no angle -90°; it holds -60, 0, 60" in refused(tmp_path, arrays, q=Q, phi=[-90])


def test_aps_u_without_the_mapping_counts_all_bins(tmp_path: Path) -> None:
    arrays = files.aps_u(**{"xpcs/twotime/processed_bins": np.array([2, 3, 4, 5, 7, 8])})
    del arrays["xpcs/qmap/dynamic_index_mapping"]
    right(loaded(tmp_path, arrays, q=Q))


def test_aps_u_with_some_bins_processed(tmp_path: Path) -> None:
    arrays = {key: value for key, value in files.aps_u().items() if "correlation_map" not in key}
    arrays |= files.triangles("xpcs/twotime/correlation_map/c2_", [MATRICES[1], files.marked(2)])
    arrays["xpcs/twotime/processed_bins"] = np.array([2, 5])
    right(loaded(tmp_path, arrays, q=Q), MATRICES[1:2], (0.0,))
    right(loaded(tmp_path, arrays, q=0.008), files.marked(2)[None], (0.0,), 0.008)


def test_matrices_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    arrays = {key: value for key, value in files.aps_u().items() if "correlation_map" not in key}
    many = [MATRICES[0] + 0.01 * k for k in range(12)]
    arrays |= {f"xpcs/twotime/correlation_map/c2_{k + 1}": np.triu(one) for k, one in enumerate(many)}
    arrays |= {"xpcs/qmap/dynamic_v_list_dim1": np.arange(6.0), "xpcs/twotime/processed_bins": np.arange(1, 13)}
    del arrays["xpcs/qmap/dynamic_index_mapping"]
    right(loaded(tmp_path, arrays, q=Q), np.stack(many[:6]), tuple(range(6)))


def test_bins_over_other_axes_are_listed(tmp_path: Path) -> None:
    text = refused(tmp_path, files.aps_u(**{"xpcs/qmap/map_names": np.array([b"x", b"y"])}), q=Q)
    assert "bins over (x, y), not over (q, phi): x 0.0054, 0.008, y -90, -60, 0, 60" in text


def test_the_units_of_the_map_are_read(tmp_path: Path) -> None:
    arrays = files.aps_u(**{"xpcs/qmap/map_units": np.array([b"nm^-1", b"rad"])})
    arrays["xpcs/qmap/dynamic_v_list_dim0"] = np.array([10 * Q, 0.08])
    arrays["xpcs/qmap/dynamic_v_list_dim1"] = np.deg2rad([-90.0, *PHI])
    found = loaded(tmp_path, arrays, q=Q)
    right(found)
    assert "is in nm^-1; converted to 1/Å" in found.notes[0]
    assert "is in rad; converted to degree" in found.notes[1]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("xpcs/twotime/processed_bins", [1, 2, 3, 4, 5, 9], "processed_bins that repeat or are not within 1 to 6"),
        ("xpcs/twotime/processed_bins", [1, 2, 3, 4, 5, 5], "processed_bins that repeat"),
        ("xpcs/twotime/processed_bins", [1, 2, 3], "6 matrices in"),
        ("xpcs/qmap/dynamic_index_mapping", [1, 2, 3, 4, 6, 8], "mapping that repeat or are not within 0 to 7"),
        ("xpcs/qmap/dynamic_index_mapping", [1, 2, 3, 4, 6], "processed_bins that repeat or are not within 1 to 5"),
    ],
)
def test_a_bin_that_cannot_be_placed_is_an_error_that_lists_the_rest(
    key: str, value: list[int], message: str, tmp_path: Path
) -> None:
    text = refused(tmp_path, files.aps_u(**{key: np.array(value)}), q=Q)
    assert message in text
    assert "it holds q 0.0054, 0.008 1/Å and angles -90, -60, 0, 60°" in text


def test_a_bin_that_is_not_asked_for_cannot_stop_a_fit(tmp_path: Path) -> None:
    arrays = files.aps_u()
    arrays["xpcs/twotime/correlation_map/c2_00004"] = np.full((N, N), np.nan)
    arrays["xpcs/twotime/correlation_map/c2_00005"] = np.zeros((3, 4))
    arrays["xpcs/twotime/correlation_map/c2_00006"] = np.full((N, N), b"?")
    right(loaded(tmp_path, arrays, q=Q))
    older = files.aps()
    older["xpcs/dqlist"][0, 8] = np.nan
    right(loaded(tmp_path, older, dt=DT))


@pytest.mark.parametrize(
    ("more", "pixels"),
    [
        ({"xpcs/qmap/dynamic_num_pts": np.array([10, 20, 30, 40, 50, 60])}, [10, 20, 30]),
        ({"xpcs/qmap/dynamic_num_pts": np.array([0, 10, 20, 30, 40, 0, 50, 60])}, [10, 20, 30]),
        # The shape of the grid, as some maps have it, is no number of pixels.
        ({"xpcs/qmap/dynamic_num_pts": np.array([2, 4])}, None),
        ({"xpcs/qmap/dynamic_roi_map": np.array([[1, 1, 0, 2], [3, 3, 3, 6]])}, [2, 1, 3]),
        # A map without the bin's number has other numbers.
        ({"xpcs/qmap/dynamic_roi_map": np.array([[1, 1, 0, 2], [5, 5, 5, 6]])}, None),
    ],
)
def test_the_pixels_of_a_bin(more: dict[str, Any], pixels: list[int] | None, tmp_path: Path) -> None:
    found = loaded(tmp_path, files.aps_u(**more), q=Q).n_pixels
    assert (None if found is None else found.tolist()) == pixels


def test_older_aps_delays_are_no_time_axis(tmp_path: Path) -> None:
    arrays = files.aps(**{"exchange/tau": np.geomspace(1, 16, 9)[None]})
    assert "no time axis; give dt" in refused(tmp_path, arrays)
    found = loaded(tmp_path, arrays, dt=DT)
    right(found)
    assert found.notes == ("exchange/tau has 9 values for 24 frames: delays, not a time axis; not used",)


def test_older_aps_bins_that_were_processed(tmp_path: Path) -> None:
    right(loaded(tmp_path, files.aps(), dt=DT))
    arrays = files.aps()
    del arrays["xpcs/qphi_bin_to_process"]
    text = refused(tmp_path, arrays, dt=DT)
    assert "3 matrices in exchange/C2T_all, 9 values in xpcs/dqlist" in text
    assert "q 0.003, 0.0054, 0.008 1/Å, angles -60, 0, 60°" in text


def test_older_aps_frame_time(tmp_path: Path) -> None:
    detector = {"measurement/instrument/detector/exposure_period": 0.02, "xpcs/stride_frames": 5, "xpcs/avg_frames": 1}
    right(loaded(tmp_path, files.aps(**detector)))


@pytest.mark.parametrize("mode", ["one_array_q_first", "one_array_q_last"])
@pytest.mark.parametrize("baseline", [0, 1])
@pytest.mark.parametrize("origin", ["upper_left", "lower_left"])
def test_nexus(mode: str, baseline: int, origin: str, tmp_path: Path) -> None:
    found = load_data(files.nexus(tmp_path / "file.nxs", baseline, mode, origin))
    right(found)
    assert found.layout == "NXxpcs"
    assert any("1 was added" in note for note in found.notes) == (baseline == 0)
    assert any("no unit of an angle; taken as degree" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("storage_mode", "data_exchange_keys", "storage mode data_exchange_keys; expected one_array_q_first"),
        ("time_origin_location", "centre", "time origin at centre"),
        ("baseline_reference", 3, "baseline_reference 3; expected 0 or 1"),
    ],
)
def test_a_nexus_file_that_is_stored_in_another_way_is_refused(
    name: str, value: Any, message: str, tmp_path: Path
) -> None:
    path = files.nexus(tmp_path / "file.nxs")
    with h5py.File(path, "r+") as file:
        file["entry/twotime/two_time_corr_func"].attrs[name] = value
    with pytest.raises(DataError, match=message):
        load_data(path)


def test_a_wrong_time_origin_is_seen(tmp_path: Path) -> None:
    path = files.nexus(tmp_path / "file.nxs", origin="lower_left")
    with h5py.File(path, "r+") as file:
        file["entry/twotime/two_time_corr_func"].attrs["time_origin_location"] = "upper_left"
    with pytest.raises(DataError, match="not symmetric"):
        load_data(path)


def test_chx(tmp_path: Path) -> None:
    found = load_data(files.chx(tmp_path / "file.h5"))
    right(found)
    assert "the second value of each entry of qval_dict is taken as its angle" in found.notes
    path = files.chx(tmp_path / "file.h5", labelled=False)
    with pytest.raises(DataError, match="no angles; give phi"):
        load_data(path)
    right(load_data(path, phi=PHI))


@pytest.mark.parametrize("mean", [True, False])
def test_esrf(mean: bool, tmp_path: Path) -> None:
    path = files.esrf(tmp_path / "file.h5", mean)
    found = load_data(path, phi=PHI)
    right(found)
    assert "taken as 1/nm" in " ".join(found.notes)
    with pytest.raises(DataError, match=r"3 matrices \(direction_0, direction_1, direction_2\)"):
        load_data(path)


def test_esrf_before_2021(tmp_path: Path) -> None:
    right(load_data(files.esrf_older(tmp_path / "file.h5"), phi=[-60]), MATRICES[:1], PHI[:1])


def test_esrf_with_half_frames_of_age(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    over = np.zeros((1, 2 * N - 1, N))
    for first in range(N):
        for second in range(first, N):
            over[0, first + second, second - first] = MATRICES[0, first, second]
    folder = "entry_0000/correlations/full"
    arrays = {f"{folder}/twotime/ttcf": over, f"{folder}/parameters/q": np.array([10 * Q])}
    arrays |= {f"{folder}/twotime/age": np.arange(2 * N - 1) * DT / 2, f"{folder}/twotime/lag": np.arange(N) * DT}
    right(loaded(path.parent, arrays, phi=[0]), MATRICES[:1], (0.0,))


def test_esrf_log_binned_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = files.esrf(tmp_path / "file.h5", lags=np.geomspace(DT, 2.3, N))
    with pytest.raises(DataError, match=r"uneven steps \(log-binned\): a bin holds the mean of many pairs"):
        load_data(path, phi=PHI)


@pytest.mark.parametrize("last", [True, False])
def test_mid_takes_one_train(last: bool, tmp_path: Path) -> None:
    path = files.mid(tmp_path / "file.h5", last=last)
    with pytest.raises(DataError, match=r"holds 4 trains; choose one, counted from 1: data\.train"):
        load_data(path, q=Q, phi=[-60])
    with pytest.raises(DataError, match="holds trains 1 to 4, not train 5"):
        load_data(path, q=Q, phi=[-60], train=5)
    right(load_data(path, q=Q, phi=[-60], train=2), MATRICES[:1], PHI[:1])
    assert [data.q for data in load_each_q(path, phi=[-60], train=2)] == pytest.approx([0.002, Q])


@pytest.mark.parametrize("last", [True, False])
def test_any_other_file_by_its_keys(last: bool, tmp_path: Path) -> None:
    arrays = {"my/cube": np.moveaxis(MATRICES, 0, -1) if last else MATRICES, "my/q": 10 * Q, "my/angle": np.array(PHI)}
    arrays["my/clock"] = 1.7e9 + DT * np.arange(N)
    keys = {"c2": "my/cube", "q": "my/q", "phi": "my/angle", "t": "my/clock", "matrices": "last" if last else "first"}
    found = loaded(tmp_path, arrays, keys=keys, units={"q": "1/nm"})
    right(found)
    assert found.layout == "keys"
    text = refused(tmp_path, arrays)
    assert "none of the known layouts" in text
    assert "It holds my; name the arrays: data.keys" in text
    assert "has no my/none" in refused(tmp_path, arrays, keys={**keys, "q": "my/none"})


def test_a_link_within_a_file_is_followed(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", {"data/c2": MATRICES, "data/q": Q, "phi": np.array(PHI)})
    with h5py.File(path, "r+") as file:
        file["c2"] = h5py.SoftLink("/data/c2")
        file["q"] = h5py.SoftLink("data/q")
    right(load_data(path, dt=DT))
    with h5py.File(path, "r+") as file:
        del file["q"]
        file["q"], file["q2"] = h5py.SoftLink("/q2"), h5py.SoftLink("/q")
    with pytest.raises(DataError, match="links q in a circle"):
        load_data(path, dt=DT)


Write = Callable[[Path], str]


def external(path: Path, name: str = "sub/source.h5") -> str:
    """A master whose matrices are in another file, and which has other matrices at their path itself."""
    path.mkdir(exist_ok=True)
    (path / "sub").mkdir(exist_ok=True)
    files.write(path / "sub" / "source.h5", {"data/c2": MATRICES})
    master = files.write(path / "master.h5", {"data/c2": MATRICES + 5.0, "q": Q, "phi": np.array(PHI)})
    with h5py.File(master, "r+") as file:
        file["c2"] = h5py.ExternalLink(name, "/data/c2")
    return master


def virtual(path: Path, name: str = "sub/source.h5") -> str:
    """A master whose matrices are assembled from another file."""
    master = external(path)
    with h5py.File(master, "r+") as file:
        del file["c2"]
        layout = h5py.VirtualLayout((3, N, N), "f8")
        layout[:] = h5py.VirtualSource(name, "data/c2", (3, N, N))
        file.create_virtual_dataset("c2", layout)
    return master


@pytest.mark.parametrize("make", [external, virtual])
class TestLinks:
    def test_they_start_at_the_folder_of_the_file(
        self, make: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # HDF5 itself would find a file of this name in the working directory.
        other = tmp_path / "elsewhere"
        external(other)
        files.write(other / "sub" / "source.h5", {"data/c2": MATRICES + 7.0})
        monkeypatch.chdir(other)
        right(load_data(make(tmp_path / "here"), dt=DT))

    def test_a_prefix_in_the_environment_does_not_change_what_is_read(
        self, make: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "elsewhere"
        external(other)
        files.write(other / "sub" / "source.h5", {"data/c2": MATRICES + 7.0})
        monkeypatch.setenv("HDF5_VDS_PREFIX", str(other))
        monkeypatch.setenv("HDF5_EXT_PREFIX", str(other))
        master = make(tmp_path / "here")
        if make is external:
            right(load_data(master, dt=DT))
        else:
            with pytest.raises(DataError, match=r"takes c2 from .* where HDF5_VDS_PREFIX says; unset it"):
                load_data(master, dt=DT)

    def test_a_missing_source_is_said(self, make: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        master = make(tmp_path / "here")
        external(tmp_path / "elsewhere")
        monkeypatch.chdir(tmp_path / "elsewhere")
        (tmp_path / "here" / "sub" / "source.h5").unlink()
        with pytest.raises(DataError, match=r"takes c2 from another file, sub/source\.h5, which is missing"):
            load_data(master, dt=DT)

    def test_an_object_that_the_source_lacks_is_said(self, make: Write, tmp_path: Path) -> None:
        master = make(tmp_path)
        files.write(tmp_path / "sub" / "source.h5", {"other": MATRICES})
        with pytest.raises(DataError, match=r"takes c2 from /?data/c2 of sub/source\.h5, which has no such object"):
            load_data(master, dt=DT)

    def test_the_sha256_covers_the_source(self, make: Write, tmp_path: Path) -> None:
        master = make(tmp_path)
        before = load_data(master, dt=DT).sha256
        files.write(tmp_path / "sub" / "source.h5", {"data/c2": MATRICES + 0.25})
        after = load_data(master, dt=DT)
        assert after.sha256 != before
        right(after, MATRICES + 0.25)

    def test_a_file_that_is_not_on_a_disk_is_refused_by_name(self, make: Write, memory: str, tmp_path: Path) -> None:
        import fsspec

        with fsspec.open(f"{memory}/master.h5", "wb") as stream:
            stream.write(Path(make(tmp_path)).read_bytes())
        with pytest.raises(DataError, match=r"another file, sub/source\.h5: links are followed on a disk only"):
            load_data(f"{memory}/master.h5", dt=DT)


def test_the_sha256_covers_the_sources_of_a_layout_that_only_the_config_knows(tmp_path: Path) -> None:
    master = external(tmp_path)
    with h5py.File(master, "r+") as file:
        file.move("c2", "cube")
    keys = {"c2": "cube", "q": "q", "phi": "phi"}
    before = load_data(master, dt=DT, keys=keys)
    right(before)
    files.write(tmp_path / "sub" / "source.h5", {"data/c2": MATRICES + 0.25})
    assert load_data(master, dt=DT, keys=keys).sha256 != before.sha256


def test_a_source_that_the_sha256_does_not_cover_is_refused(tmp_path: Path) -> None:
    master = external(tmp_path)
    with h5py.File(master, "r+") as file:
        file.move("c2", "cube")
        file["c2"] = MATRICES
    with pytest.raises(DataError, match="which its SHA-256 does not cover"):
        load_data(master, dt=DT, keys={"c2": "cube", "q": "q", "phi": "phi"})


def test_a_link_to_an_absolute_path_that_has_moved_is_found_beside_the_file(tmp_path: Path) -> None:
    master = external(tmp_path, "/nowhere/of/its/origin/source.h5")
    with pytest.raises(DataError, match="which is missing: no file /nowhere"):
        load_data(master, dt=DT)
    (tmp_path / "sub" / "source.h5").rename(tmp_path / "source.h5")
    right(load_data(master, dt=DT))
