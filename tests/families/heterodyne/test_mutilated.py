"""Mutilated files: each is read, or refused with a sentence about the file; never a traceback."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lanewise.errors import DataError
from lanewise.families.heterodyne.data import TwoTimeData, load_each_q
from lanewise.families.heterodyne.nlsq.fit import fit

from . import beamline_files as files

Rng = np.random.Generator
MAKERS: tuple[Callable[[Path], str], ...] = (
    lambda path: files.write(path, files.flat(t=files.DT * np.arange(files.N))),
    lambda path: files.write(path, files.aps_u(**{"xpcs/qmap/dynamic_num_pts": np.arange(6)})),
    lambda path: files.write(path, files.aps(**{"exchange/tau": np.geomspace(1, 16, 9)})),
    lambda path: files.write(path, {f"exchange/{key}": value for key, value in files.flat().items()}),
    files.nexus,
    files.chx,
    files.esrf,
    files.mid,
)
# A name of a Python error, or what a traceback has.
UNPLAIN = re.compile(r"Traceback|[A-Z]\w+(Error|Exception|Warning)\b|object at 0x|\bNoneType\b")


def truncated(path: Path, rng: Rng) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(rng.integers(0, len(raw)))])


def overwritten(path: Path, rng: Rng) -> None:
    """Some hundred bytes of zeros, as a file has them whose writer died."""
    raw = bytearray(path.read_bytes())
    start = int(rng.integers(8, len(raw)))
    raw[start : start + 300] = bytes(min(300, len(raw) - start))
    path.write_bytes(bytes(raw))


def on_an_array(change: Callable[[np.ndarray, Rng], Any]) -> Callable[[Path, Rng], None]:
    """A change of one array that is chosen at random."""

    def apply(path: Path, rng: Rng) -> None:
        with h5py.File(path, "r+") as file:
            key = str(rng.choice(_keys(file)))
            found, attributes = np.asarray(file[key][()]), dict(file[key].attrs)
            value = change(found, rng)
            del file[key]
            if value is not None:
                file[key] = value
                file[key].attrs.update(attributes)

    return apply


def with_value(value: float, share: float) -> Callable[[np.ndarray, Rng], Any]:
    def change(array: np.ndarray, rng: Rng) -> Any:
        if array.dtype.kind not in "fiu":
            return array
        numbers = np.atleast_1d(array.astype(np.float64))
        numbers.ravel()[rng.random(numbers.size) < share] = value
        return numbers

    return change


def emptied(path: Path, rng: Rng) -> None:
    """A group without members."""
    with h5py.File(path, "r+") as file:
        groups: list[str] = []
        file.visititems(lambda name, found: groups.append(name) if isinstance(found, h5py.Group) else None)
        if not groups:
            file.clear()
            return
        key = str(rng.choice(groups))
        del file[key]
        file.create_group(key)


def attributes_of_another_type(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        for key in _keys(file):
            for name in ("units", *file[key].attrs):
                choices = (b"\xff\xfe", "furlong", np.array([1.0, np.nan]), np.nan, -1, h5py.Empty("f8"), "")
                file[key].attrs[name] = choices[int(rng.integers(len(choices)))]


def linked_to_nothing(path: Path, rng: Rng) -> None:
    links = (h5py.SoftLink("/nowhere"), h5py.ExternalLink("none.h5", "/c2"), h5py.ExternalLink(path.name, "/"))
    with h5py.File(path, "r+") as file:
        key = str(rng.choice(_keys(file)))
        del file[key]
        file[key] = links[int(rng.integers(len(links)))]


WAYS: dict[str, Callable[[Path, Rng], None]] = {
    "truncated": truncated,
    "overwritten": overwritten,
    "removed": on_an_array(lambda array, rng: None),
    "text": on_an_array(lambda array, rng: np.full(array.shape or (1,), b"text")),
    "truths": on_an_array(lambda array, rng: np.ones(array.shape, dtype=bool)),
    "complex": on_an_array(lambda array, rng: np.ones(array.shape, dtype=complex)),
    "integers": on_an_array(lambda array, rng: np.round(array) if array.dtype.kind == "f" else array),
    "shuffled axes": on_an_array(lambda array, rng: np.transpose(array, rng.permutation(array.ndim))),
    "shuffled values": on_an_array(lambda array, rng: rng.permutation(array.ravel()).reshape(array.shape)),
    "shorter": on_an_array(lambda array, rng: array[: int(rng.integers(0, len(array)))] if array.ndim else array[None]),
    "repeated": on_an_array(lambda array, rng: np.concatenate([np.atleast_1d(array)] * 2)),
    "one axis less": on_an_array(lambda array, rng: array.ravel()),
    "some NaN": on_an_array(with_value(np.nan, 0.1)),
    "all NaN": on_an_array(with_value(np.nan, 1.1)),
    "all zero": on_an_array(with_value(0.0, 1.1)),
    "some infinite": on_an_array(with_value(np.inf, 0.1)),
    "some huge": on_an_array(with_value(1e300, 0.1)),
    "all negative": on_an_array(with_value(-1.0, 1.1)),
    "no value": on_an_array(lambda array, rng: h5py.Empty("f8")),
    "empty group": emptied,
    "attributes": attributes_of_another_type,
    "links": linked_to_nothing,
}


@pytest.mark.parametrize("numbers", [range(46), pytest.param(range(46, 246), marks=pytest.mark.slow)], ids=str)
def test_every_mutilated_file_is_read_or_refused_with_a_sentence(numbers: range, tmp_path: Path) -> None:
    read = [found for number in numbers for found in _read(number, tmp_path / f"{number}.h5")]
    assert len(read) > len(numbers) / 10
    for data in read:
        assert np.isfinite(data.c2[:, data.counted]).all()
        assert np.isfinite([data.q, data.dt, *data.phi]).all()
        assert data.q > 0


@pytest.mark.slow
def test_a_mutilated_file_that_is_read_can_be_fitted(tmp_path: Path) -> None:
    """The fit is right, or it did not converge, or an error says what is wrong with the data."""
    few = {"candidates": 16, "starts": 4, "polish": 4, "agreement": 2, "hops": 0, "rounds": 1, "max_iterations": 5}
    for number in range(200):
        for data in _read(number, tmp_path / f"{number}.h5"):
            for text in _warnings(data, few):
                assert not UNPLAIN.search(text), text
                assert len(text.split()) > 3, text


def _warnings(data: TwoTimeData, settings: dict[str, int]) -> tuple[str, ...]:
    try:
        return fit(data, {"fit": settings}).warnings
    except DataError as error:
        return (str(error),)


def _read(number: int, path: Path) -> tuple[TwoTimeData, ...]:
    """The data of one mutilated file; none if it is refused with a sentence."""
    rng = np.random.default_rng(number)
    way = list(WAYS)[number % len(WAYS)]
    MAKERS[int(rng.integers(len(MAKERS)))](path)
    for _ in range(1 + int(rng.integers(2))):
        _apply(WAYS[way], path, rng)
    found, refusal = _loaded(path, number)
    if not found:
        text = refusal.removeprefix(f"{path}: ")
        assert text != refusal, (way, text)
        assert not UNPLAIN.search(text), (way, text)
        assert len(text.split()) > 3, (way, text)
    return found


def _loaded(path: Path, number: int) -> tuple[tuple[TwoTimeData, ...], str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return load_each_q(str(path), dt=files.DT, phi="all" if number % 3 else [0], train=1), ""
    except DataError as error:
        return (), str(error)


def _apply(change: Callable[[Path, Rng], None], path: Path, rng: Rng) -> None:
    try:
        change(path, rng)
    except (OSError, KeyError, ValueError, RuntimeError):
        # The second change of a file that the first one has torn.
        assert change is not truncated


def _keys(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, one: found.append(name) if isinstance(one, h5py.Dataset) else None)
    return found
