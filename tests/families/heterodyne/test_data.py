from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lanewise.errors import DataError
from lanewise.families.heterodyne import simulate
from lanewise.families.heterodyne.commands import LayoutName
from lanewise.families.heterodyne.data import load_data, load_each_q

REFERENCE = Path(__file__).parents[2] / "data" / "heterodyne"
LAYOUTS = {"flat": "flat", "exchange": "exchange", "aps_old": "APS", "aps_u": "APS-U"}
Edit = Callable[[h5py.File], None]


def reference(layout: str) -> str:
    return str(REFERENCE / f"a3n100_{layout}.h5")


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, Edit], str]:
    """A reference file with something changed."""

    def make(layout: str, edit: Edit) -> str:
        path = tmp_path / "edited.h5"
        shutil.copy(reference(layout), path)
        with h5py.File(path, "r+") as file:
            edit(file)
        return str(path)

    return make


def replaced(key: str, value: Any) -> Edit:
    def edit(file: h5py.File) -> None:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value

    return edit


def changed(key: str, where: Any, value: float) -> Edit:
    def edit(file: h5py.File) -> None:
        file[key][where] = value

    return edit


@pytest.mark.parametrize(("layout", "name"), LAYOUTS.items())
def test_four_layouts_hold_the_same_data(layout: str, name: str) -> None:
    found = load_data(reference(layout), q=0.0054, dt=0.1)
    whole = load_data(reference("flat"), dt=0.1)
    assert (found.layout, found.q, found.dt, found.n_frames, found.notes) == (name, 0.0054, 0.1, 100, ())
    assert found.phi.tolist() == [-5.0, 0.0, 5.0]
    np.testing.assert_allclose(found.c2, whole.c2, rtol=1e-7)
    assert np.array_equal(found.c2, np.swapaxes(found.c2, 1, 2))
    assert found.sha256 == hashlib.sha256(Path(reference(layout)).read_bytes()).hexdigest()


def test_the_diagonal_is_the_mean_of_its_neighbours() -> None:
    c2 = load_data(reference("flat"), dt=0.1).c2[0]
    assert c2[0, 0] == c2[0, 1]
    assert c2[5, 5] == pytest.approx((c2[4, 5] + c2[5, 6]) / 2, rel=1e-15)
    assert c2[99, 99] == c2[98, 99]


def test_npz_is_read_like_flat_hdf5_through_any_file_system(memory: str) -> None:
    import fsspec

    where = simulate.Experiment(n_frames=12)
    c2 = simulate.simulate(simulate.EXAMPLE, where, 1)
    raw = simulate.encode(c2, simulate.EXAMPLE, where, "npz")
    with fsspec.open(f"{memory}/one.npz", "wb") as stream:
        stream.write(raw)
    found = load_data(f"{memory}/one.npz")
    assert (found.q, found.layout) == (0.0054, "flat")
    assert found.dt == pytest.approx(0.1)
    above = np.triu_indices(12, 1)
    assert np.array_equal(found.c2[:, above[0], above[1]], c2[:, above[0], above[1]])


@pytest.mark.parametrize("layout", list(LayoutName))
def test_what_is_simulated_in_a_layout_is_read_back(layout: str, tmp_path: Path) -> None:
    where = simulate.Experiment(n_frames=12, phi=(0.0, 40.0))
    c2 = simulate.simulate(simulate.EXAMPLE, where, 1)
    path = tmp_path / "file"
    path.write_bytes(simulate.encode(c2, simulate.EXAMPLE, where, layout))
    found = load_data(str(path))
    above = np.triu_indices(12, 1)
    np.testing.assert_allclose(found.c2[:, above[0], above[1]], c2[:, above[0], above[1]], rtol=1e-7)
    assert (found.q, found.phi.tolist(), found.notes) == (0.0054, [0.0, 40.0], ())


def test_frames_count_from_1_and_include_both_ends() -> None:
    whole = load_data(reference("flat"), dt=0.1)
    window = load_data(reference("flat"), dt=0.1, start_frame=11, end_frame=50)
    assert (window.n_frames, window.start_frame) == (40, 11)
    assert np.array_equal(window.c2[:, 0, 1:], whole.c2[:, 10, 11:50])


def test_angles_come_in_the_order_asked_for_and_modulo_360() -> None:
    found = load_data(reference("aps_u"), q=0.0054, dt=0.1, phi=[5, 355])
    assert found.phi.tolist() == [5.0, -5.0]
    assert np.array_equal(found.c2[0], load_data(reference("aps_u"), q=0.0054, dt=0.1, phi=[5]).c2[0])


def test_every_q_of_a_file_is_a_data_set_of_its_own() -> None:
    found = load_each_q(reference("aps_u"), dt=0.1)
    assert [data.q for data in found] == [0.0027, 0.0054]
    assert np.abs(found[0].c2 - found[1].c2).max() > 0.01


@pytest.mark.parametrize(
    ("layout", "arguments", "message"),
    [
        ("aps_u", {"dt": 0.1}, "holds 2 q values, choose one of 0.0027, 0.0054"),
        ("aps_u", {"dt": 0.1, "q": 0.005}, "holds no q 0.005 1/Å; it holds 0.0027, 0.0054"),
        ("flat", {"dt": 0.1, "q": 0.0108}, "holds no q 0.0108 1/Å; it holds 0.0054"),
        ("flat", {"dt": 0.1, "phi": [0.2]}, "holds no angle 0.2°; it holds -5, 0, 5"),
        ("flat", {"dt": 0.1, "phi": [0, 0]}, "the angle 0° is requested twice"),
        ("flat", {"dt": 0.1, "phi": []}, "empty list"),
        ("flat", {"dt": 0.1, "end_frame": 101}, "holds frames 1 to 100"),
        ("flat", {"dt": 0.1, "start_frame": 0}, "holds frames 1 to 100"),
        ("flat", {"dt": 0.1, "start_frame": 98}, "too short"),
        ("flat", {}, "counts frames; give dt"),
        ("aps_u", {"q": 0.0054}, "no time axis; give dt"),
        ("flat", {"dt": -1.0}, "expected dt > 0"),
    ],
)
def test_what_is_not_in_the_file_is_an_error_that_says_what_is(
    layout: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as error:
        load_data(reference(layout), **arguments)
    assert message in str(error.value)
    assert str(error.value).startswith(reference(layout))


@pytest.mark.parametrize(
    ("layout", "edit", "message"),
    [
        (
            "flat",
            changed("c2", (1, 3, 7), np.nan),
            "1 pairs with values that are not finite at angle 0°, the first at frames (4, 8)",
        ),
        ("flat", changed("c2", (0, 3, 7), np.inf), "not finite"),
        ("flat", changed("c2", 2, 0.0), "nothing but zeros or NaN at angle 5°"),
        ("flat", replaced("c2", np.ones((3, 100, 90))), "shape (3, 100, 90)"),
        ("flat", replaced("c2", None), "none of the known layouts"),
        ("flat", replaced("c2", np.full((100, 100), b"x")), "no array of real numbers at c2"),
        ("flat", replaced("t", np.arange(99.0)), "time axis, t, of shape (99,) for 100 frames"),
        ("flat", replaced("t", np.r_[np.arange(99.0), 5.0]), "does not increase"),
        ("flat", replaced("t", np.geomspace(1, 10, 100)), "uneven times"),
        ("flat", replaced("t", 0.2 * np.arange(100)), "the config has dt 0.1 s, but t has steps of 0.2 s"),
        ("flat", replaced("phi", [0.0, 1.0]), "2 values in phi for 3 matrices"),
        ("flat", replaced("phi", [0.0, 1.0, 1.0]), "more than one matrix for an angle"),
        ("flat", replaced("phi", None), "holds no angles"),
        ("flat", replaced("q", None), "holds no q"),
        ("flat", replaced("q", np.nan), "no finite numbers in q"),
        ("aps_u", replaced("xpcs/twotime/processed_bins", [1, 2, 3]), "6 matrices in"),
        ("aps_u", replaced("xpcs/twotime/processed_bins", [1, 2, 3, 4, 5, 7]), "not within 1 to 6"),
        ("aps_u", replaced("xpcs/qmap/dynamic_v_list_dim1", None), "has no xpcs/qmap/dynamic_v_list_dim1"),
        ("aps_old", replaced("exchange/C2T_all/g2_00002", np.ones((9, 9))), "matrices of 9 and 100 frames at this q"),
        ("aps_old", replaced("exchange/C2T_all/g2_00002", np.ones((9, 8))), "of shape (9, 8); expected (N, N)"),
        ("aps_old", replaced("xpcs/dqlist", [[0.0054]]), "1 values in xpcs/dqlist"),
    ],
)
def test_a_wrong_file_is_an_error_of_its_own(
    edited: Callable[[str, Edit], str], layout: str, edit: Edit, message: str
) -> None:
    with pytest.raises(DataError) as error:
        load_data(edited(layout, edit), dt=0.1)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"not a data file", "neither an HDF5 nor an NPZ"),
        (Path(reference("flat")).read_bytes()[:5000], "damaged HDF5"),
        (b"PK\x03\x04 torn", "damaged NPZ"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "file.h5"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        load_data(str(path), dt=0.1)


def test_an_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, c2=np.array([{"a": 1}], dtype=object))
    path = tmp_path / "file.npz"
    path.write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="damaged NPZ"):
        load_data(str(path), dt=0.1)


def test_an_npz_without_known_keys_is_an_error_that_lists_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", g2=np.ones((9, 9)), tau=np.arange(9))
    with pytest.raises(DataError, match=r"It holds g2, tau; name the arrays: data\.keys"):
        load_data(str(tmp_path / "file.npz"), dt=0.1)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(DataError, match="no such file"):
        load_data(str(REFERENCE / "none.h5"))


def test_a_full_matrix_in_a_half_matrix_layout_is_not_doubled(edited: Callable[[str, Edit], str]) -> None:
    def fill(file: h5py.File) -> None:
        for matrix in file["exchange/C2T_all"].values():
            upper = matrix[()]
            matrix[...] = upper + np.triu(upper, 1).T

    found = load_data(edited("aps_old", fill), dt=0.1)
    assert np.array_equal(found.c2, load_data(reference("aps_old"), dt=0.1).c2)
    assert any("not added up" in note for note in found.notes)


def test_a_half_matrix_in_a_full_layout_is_mirrored_and_noted(edited: Callable[[str, Edit], str]) -> None:
    found = load_data(edited("flat", lambda file: file["c2"].write_direct(np.tril(file["c2"][()]))), dt=0.1)
    assert np.array_equal(found.c2, load_data(reference("flat"), dt=0.1).c2)
    assert any("mirrored" in note for note in found.notes)


def test_unequal_triangles_are_averaged_and_noted(edited: Callable[[str, Edit], str]) -> None:
    found = load_data(edited("flat", changed("c2", (0, 3, 7), 1.5)), dt=0.1)
    other = load_data(reference("flat"), dt=0.1).c2[0, 7, 3]
    assert found.c2[0, 3, 7] == pytest.approx((1.5 + other) / 2)
    assert "differs from its transpose" in found.notes[0]
