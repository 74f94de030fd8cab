from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanewise.errors import DataError
from lanewise.families.heterodyne import frames, simulate
from lanewise.families.heterodyne.data import load_data
from lanewise.families.heterodyne.nlsq.fit import fit

from . import beamline_files as files
from .beamline_files import DT, MATRICES, N


def spoiled(value: float, *numbers: int, angles: slice = slice(None)) -> dict[str, Any]:
    """A flat file with this value in these frames, counted from 1."""
    matrices = MATRICES.copy()
    for number in numbers:
        matrices[angles, number - 1, :] = matrices[angles, :, number - 1] = value
    return files.flat(c2=matrices)


def left(found: Any) -> list[int]:
    """Frames with a pair that counts, counted from 1."""
    return [int(k) + found.start_frame for k in np.flatnonzero(found.counted.any(axis=0))]


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf])
@pytest.mark.parametrize("angles", [slice(None), slice(1, 2)])
def test_frames_with_nothing_are_masked_and_named(value: float, angles: slice, tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", spoiled(value, 5, 9, 10, angles=angles))
    found = load_data(path, dt=DT)
    assert set(range(1, N + 1)) - set(left(found)) == {5, 9, 10}
    assert found.notes == ("masked, because they have nothing but NaN or zeros: frames 5, 9-10 (counted from 1)",)
    assert np.isnan(found.c2[:, 4]).all()


def test_frames_are_those_of_the_file_in_any_window(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", spoiled(np.nan, 2, 9))
    found = load_data(path, dt=DT, start_frame=4, mask_frames=["auto", "1-5", 12])
    assert left(found) == [6, 7, 8, 10, 11, *range(13, N + 1)]
    assert found.notes == (
        "masked, because they have nothing but NaN or zeros: frame 9 (counted from 1)",
        "masked, as the config asks: frames 4-5, 12 (counted from 1)",
    )


def test_a_file_of_triangles_has_its_frames_masked_too(tmp_path: Path) -> None:
    arrays = files.aps_u()
    spoiled_matrix = arrays["xpcs/twotime/correlation_map/c2_00002"]
    spoiled_matrix[5, 5:] = spoiled_matrix[:5, 5] = np.nan
    found = load_data(files.write(tmp_path / "file.h5", arrays), q=files.Q)
    assert 6 not in left(found)


def test_an_empty_list_masks_nothing_and_the_error_says_where(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", spoiled(np.nan, 5))
    with pytest.raises(DataError) as error:
        load_data(path, dt=DT, mask_frames=[])
    assert "23 pairs with values that are not finite at angle -60°, the first at frames (1, 5), most at frame 5" in str(
        error.value
    )


def test_a_single_value_is_masked_as_a_pair(tmp_path: Path) -> None:
    matrices = MATRICES.copy()
    matrices[0, 3, 7] = matrices[0, 7, 3] = np.nan
    path = files.write(tmp_path / "file.h5", files.flat(c2=matrices))
    with pytest.raises(DataError, match=r"1 pairs .* the first at frames \(4, 8\)"):
        load_data(path, dt=DT)
    found = load_data(path, dt=DT, mask_pairs=["4 x 8", "10-12 x 15-17"])
    out = {tuple(pair) for pair in np.argwhere(~found.counted & ~np.eye(N, dtype=bool)) + 1}
    assert out == {(4, 8), (8, 4)} | {(i, j) for i in (10, 11, 12) for j in (15, 16, 17)} | {
        (j, i) for i in (10, 11, 12) for j in (15, 16, 17)
    }


def test_too_many_empty_frames_are_an_error(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", spoiled(0.0, *range(1, 9)))
    with pytest.raises(DataError, match=r"8 of 24 frames with nothing but NaN or zeros: frames 1-8"):
        load_data(path, dt=DT)
    for masks in (["1-8"], ["auto", "1-5"]):
        assert left(load_data(path, dt=DT, mask_frames=masks)) == list(range(9, N + 1))
    with pytest.raises(DataError, match="no pair of frames left"):
        load_data(path, dt=DT, mask_frames=["1-24"])


def test_a_frame_that_stands_out_is_named_but_counts(tmp_path: Path) -> None:
    matrices = MATRICES.copy()
    matrices[:, 11, :] += 0.05
    matrices[:, :, 11] += 0.05
    path = files.write(tmp_path / "file.h5", files.flat(c2=matrices))
    found = load_data(path, dt=DT)
    assert (
        "neighbouring frames: frame 12 (counted from 1); if it is a fault, mask it: data.mask_frames: [auto, 12]"
        in (found.notes[0])
    )
    assert left(found) == list(range(1, N + 1))
    assert load_data(path, dt=DT, mask_frames=["auto", 12]).notes == (
        "masked, as the config asks: frame 12 (counted from 1)",
    )


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.2])
def test_no_frame_of_good_data_stands_out(noise: float) -> None:
    # 200 matrices of 60 frames; at 8 times a Gaussian scatter, none of 12 000 frames is expected.
    where = simulate.Experiment(n_frames=60, phi=(0.0,), noise=noise)
    for seed in range(200 if noise else 20):
        truth = simulate.draw_truth(where, seed) if not noise else simulate.EXAMPLE
        assert frames.standing_out(simulate.simulate(truth, where, seed), 1) == ""


def test_bins_are_means_of_blocks_with_the_mean_age(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", spoiled(np.nan, 6))
    found = load_data(path, dt=DT, start_frame=2, bin_frames=4)
    assert (found.n_frames, found.start_frame, found.end_frame) == (5, 2, 21)
    assert found.dt == pytest.approx(0.4)
    assert found.notes[1] == "averaged: 4 frames each, 5 bins; left over at the end: frames 22-24 (counted from 1)"
    assert found.c2[1, 0, 3] == pytest.approx(MATRICES[1, 1:5, 13:17].mean())
    # Frame 6 is masked: the other three count.
    assert found.c2[1, 1, 3] == pytest.approx(MATRICES[1, 6:9, 13:17].mean())
    np.testing.assert_allclose(found.ages("window"), [0.25, 0.65, 1.05, 1.45, 1.85])
    np.testing.assert_allclose(found.ages("absolute"), [0.35, 0.75, 1.15, 1.55, 1.95])


def test_a_bin_of_which_less_than_half_counts_does_not_count(tmp_path: Path) -> None:
    found = load_data(files.write(tmp_path / "file.h5", files.flat()), dt=DT, bin_frames=4, mask_frames=["5-7"])
    assert not found.counted[1].any()
    with pytest.raises(DataError, match="has 24 frames, in 4 bins of 6; a fit needs 5"):
        load_data(files.write(tmp_path / "file.h5", files.flat()), dt=DT, bin_frames=6)


@pytest.mark.slow
def test_a_fit_of_bins_gives_the_truth(tmp_path: Path) -> None:
    """Within a bin of 0.02 s the phase changes by 0.1 at most: its loss, 1e-3 of the contrast, is within the noise."""
    where = simulate.Experiment(n_frames=160, dt=0.01, noise=0.01)
    raw = simulate.encode(simulate.simulate(simulate.EXAMPLE, where, 3), simulate.EXAMPLE, where, "flat")
    (tmp_path / "file.h5").write_bytes(raw)
    result = fit(load_data(str(tmp_path / "file.h5"), bin_frames=2))
    assert result.converged, result.warnings
    truth, t = simulate.EXAMPLE, result.t_ref
    assert t == pytest.approx(np.exp(np.log(0.015 + 0.02 * np.arange(80)).mean()))
    v = truth["v0"] * t ** truth["beta"] + truth["v_offset"]
    assert result.v.error < 0.01 * v
    assert abs(result.v.value - v) < 3 * result.v.error


def test_a_frame_of_garbage_can_be_masked(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", spoiled(1e300, 5))
    with pytest.raises(DataError, match=r"values up to 1e\+300 at angle -60°; a correlation is near 1"):
        load_data(path, dt=DT)
    assert 5 not in left(load_data(path, dt=DT, mask_frames=[5]))


def test_equal_values_everywhere_are_nothing_to_fit(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", files.flat(c2=np.round(MATRICES)))
    with pytest.raises(DataError, match="the same value 1 everywhere at angle -60°; nothing to fit"):
        load_data(path, dt=DT)
