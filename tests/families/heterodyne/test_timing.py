from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanewise.errors import DataError
from lanewise.families.heterodyne import units
from lanewise.families.heterodyne.data import TwoTimeData, load_data

from . import beamline_files as files
from .beamline_files import DT, N

FRAMES = np.arange(N)
JITTER = np.random.default_rng(3).uniform(-1, 1, N)
DETECTOR = "entry/instrument/detector_1/frame_time"
CONFIG = "xpcs/twotime/config"


def loaded(path: Path, arrays: dict[str, Any], unit: str = "", **chosen: Any) -> TwoTimeData:
    attributes = {"t": {"units": unit}} if unit else None
    return load_data(files.write(path / "file.h5", arrays, attributes), **chosen)


@pytest.mark.parametrize(
    ("times", "unit", "rel", "note"),
    [
        (100 * FRAMES, "ms", 1e-12, "t is in ms; converted to s"),
        (FRAMES * 1e5, "µs", 1e-12, "t is in µs; converted to s"),
        (FRAMES / 600, "minutes", 1e-12, "t is in minutes; converted to s"),
        (FRAMES * DT, "seconds", 1e-12, ""),
        # A share of 2e-3 of a step on every stamp changes the slope by less than 2e-3 / N.
        (DT * (FRAMES + 2e-3 * JITTER), "", 1e-4, "times in t leave equal steps by up to 0.2"),
        ((1000 + FRAMES * DT).astype(np.float32), "", 1e-4, ""),
        (1.7e9 + FRAMES * DT, "", 1e-6, ""),
    ],
)
def test_a_time_axis_gives_dt(times: np.ndarray, unit: str, rel: float, note: str, tmp_path: Path) -> None:
    found = loaded(tmp_path, files.flat(t=times), unit)
    assert found.dt == pytest.approx(DT, rel=rel)
    assert note in " ".join(found.notes)
    assert loaded(tmp_path, files.flat(t=times), unit, dt=DT).dt == DT


@pytest.mark.parametrize("step", [1, 5])
def test_whole_numbers_without_a_unit_count_frames(step: int, tmp_path: Path) -> None:
    arrays = files.flat(t=step * FRAMES)
    with pytest.raises(
        DataError, match="counts frames" + (f" in steps of {step}; give dt" if step > 1 else "; give dt")
    ):
        loaded(tmp_path, arrays)
    assert loaded(tmp_path, arrays, dt=DT).dt == DT
    assert loaded(tmp_path, arrays, "s").dt == step
    found = loaded(tmp_path, arrays, time="file")
    assert found.dt == step
    assert found.notes == ("whole numbers in t are taken as seconds, as the config says",)


def test_the_config_can_say_that_a_time_axis_counts_frames(tmp_path: Path) -> None:
    arrays = files.flat(t=0.5 * FRAMES)
    assert loaded(tmp_path, arrays).dt == 0.5
    with pytest.raises(DataError, match=r"counts frames in steps of 0\.5; give dt"):
        loaded(tmp_path, arrays, time="frames")
    assert loaded(tmp_path, arrays, time="frames", dt=DT).dt == DT


def test_the_frame_time_counts_with_stride_and_average(tmp_path: Path) -> None:
    arrays = files.aps_u(**{DETECTOR: 0.01, f"{CONFIG}/stride_frame": 5, f"{CONFIG}/avg_frame": 2})
    found = loaded(tmp_path, arrays, q=files.Q)
    assert found.dt == pytest.approx(DT, rel=1e-12)
    assert found.notes == (f"dt is 0.1 s: {DETECTOR} 0.01 s × stride_frame 5 × avg_frame 2",)


@pytest.mark.parametrize(
    "arrays", [files.aps_u(**{DETECTOR: 0.02, f"{CONFIG}/stride_frame": 5}), files.flat(t=FRAMES * DT)]
)
def test_a_dt_that_contradicts_the_file_is_an_error_that_can_be_insisted_on(
    arrays: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as error:
        loaded(tmp_path, arrays, q=files.Q, dt=0.02)
    for part in ("the config has dt 0.02 s", "0.1 s", "data.dt_insist: true"):
        assert part in str(error.value)
    found = loaded(tmp_path, arrays, q=files.Q, dt=0.02, dt_insist=True)
    assert found.dt == 0.02
    assert found.notes == ("dt is 0.02 s, because the config insists; the times of the file were not used",)


def test_a_file_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    arrays = files.aps_u(**{"xpcs/twotime/t": 0.5 * FRAMES})
    with pytest.raises(DataError, match=r"xpcs/twotime/t has steps of 0\.5 s, but .*frame_time 0\.1 s is 0\.1 s"):
        loaded(tmp_path, arrays, q=files.Q)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (DT * (FRAMES + 0.2 * JITTER), r"uneven times in t .* 0\.05 is allowed"),
        (np.geomspace(1, 10, N), "uneven times"),
        (DT * np.where(FRAMES < 9, FRAMES, FRAMES + 1), "uneven times"),
        ((1.7e9 + FRAMES * DT).astype(np.float32), "does not increase strictly"),
        (np.where(FRAMES == 3, np.nan, FRAMES * DT), "not finite"),
        (FRAMES[:-1] * DT, r"of shape \(23,\) for 24 frames"),
    ],
)
def test_a_time_axis_that_is_none_is_an_error_that_can_be_overruled(
    times: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as error:
        loaded(tmp_path, files.flat(t=times), dt=DT)
    assert "data.dt_insist: true" in str(error.value)
    assert loaded(tmp_path, files.flat(t=times), dt=DT, dt_insist=True).dt == DT


@pytest.mark.parametrize(
    ("kind", "unit", "factor"),
    [
        *(("q", unit, 1.0) for unit in ("1/Å", "1/A", "Å⁻¹", "A^-1", "angstrom^-1", "1/angstrom", "inverse angstrom")),
        *(("q", unit, 0.1) for unit in ("1/nm", "nm^-1", "nm-1", "nm⁻¹", " 1 / nm ")),
        ("q", "m^-1", 1e-10),
        *(("t", unit, 1e-3) for unit in ("ms", "msec", "milliseconds")),
        *(("t", unit, 1e-6) for unit in ("us", "µs", "μs", "microsecond")),
        *(("phi", unit, 1.0) for unit in ("deg", "degree", "Degrees", "°")),
        ("phi", "rad", 180 / np.pi),
        *((kind, "furlong", None) for kind in ("q", "t", "phi")),
        ("q", "Å", None),
        ("t", "1/s", None),
    ],
)
def test_units(kind: Any, unit: str, factor: float | None) -> None:
    found = units.factor(kind, unit)
    assert found is None if factor is None else found == pytest.approx(factor, rel=1e-12)


def test_q_and_angles_are_converted_and_it_is_said(tmp_path: Path) -> None:
    arrays = files.flat(q=10 * files.Q, phi=np.deg2rad(files.PHI))
    path = files.write(tmp_path / "file.h5", arrays, {"q": {"units": "1/nm"}, "phi": {"units": "rad"}})
    found = load_data(path, dt=DT)
    assert found.q == pytest.approx(files.Q, rel=1e-12)
    assert found.phi.tolist() == pytest.approx(list(files.PHI))
    assert found.notes == ("q is in 1/nm; converted to 1/Å", "phi is in rad; converted to degree")
    assert load_data(path, dt=DT, units={"q": "1/Å"}).q == 10 * files.Q


def test_an_unknown_unit_is_an_error(tmp_path: Path) -> None:
    path = files.write(tmp_path / "file.h5", files.flat(), {"q": {"units": "furlong"}})
    with pytest.raises(DataError, match=r"q in units of 'furlong', which are not known; say them: data\.units\.q"):
        load_data(path, dt=DT)
