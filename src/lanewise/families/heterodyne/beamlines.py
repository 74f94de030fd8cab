"""Layouts of other beamlines and of NeXus, files described by `data.keys`, and which layout a file has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lanewise.families.heterodyne import age_lag, layouts, units
from lanewise.families.heterodyne.age_lag import Direction
from lanewise.families.heterodyne.archive import Archive, Unreadable
from lanewise.families.heterodyne.catalogue import Catalogue, need, quantity, spread, stacked, time_axis, vector
from lanewise.families.heterodyne.config import Keys, Quantity, Selection, Units
from lanewise.families.heterodyne.timing import FrameTime, TimeAxis, frame_time

_CHX = "g12b"
_CHX_FRAME_TIMES = ("timeperframe", "frame_time", "cam_acquire_period", "acquire period")
_MID = ("train_resolved/correlation/ttc", "train_resolved/correlation/g2")
_NX = "two_time_corr_func"
_ESRF = (("entry_0000/correlations", "twotime"), ("entry_0000/dynamix/correlations/directions", "2times_correlation"))


def catalogue(file: Archive, chosen: Selection) -> Catalogue:
    """The contents of the file: as `data.keys` says, else in the first layout whose arrays are there.

    Raises:
        Unreadable: no layout matches, or its arrays are inconsistent.
    """
    if chosen.keys is not None:
        return mapped(file, chosen.keys, chosen)
    for needed, read in _LAYOUTS:
        if all(file.has(key) for key in needed):
            return read(file, chosen)
    if (entry := _nexus_entry(file)) is not None:
        return nexus(file, entry, chosen)
    return (layouts.exchange if file.is_group("exchange") else layouts.flat)(file, chosen)


def mapped(file: Archive, keys: Keys, chosen: Selection) -> Catalogue:
    """A file whose arrays the config names."""
    given, notes = chosen.units or Units(), list[str]()
    n, n_frames, block = stacked(file, need(file, keys.c2), last=keys.matrices == "last")

    def labels(kind: Quantity, key: str | None) -> np.ndarray | None:
        return None if key is None else spread(quantity(file, kind, need(file, key), given, notes), n, key)

    q, phi = labels("q", keys.q), labels("phi", keys.phi)
    times = time_axis(file, [] if keys.t is None else [need(file, keys.t)], given)
    return Catalogue("keys", n, n_frames, block, False, q, phi, times, notes=tuple(notes))


def chx(file: Archive, chosen: Selection) -> Catalogue:
    """NSLS-II CHX (pyCHX): whole matrices in g12b, the last axis counts them; `taus` are delays."""
    given, notes = chosen.units or Units(), list[str]()
    n, n_frames, block = stacked(file, _CHX, last=True)
    q = phi = frame = None
    if file.has("qval_dict"):
        q, phi = _chx_labels(file, n, given, notes)
    metadata = file.attributes("md")
    for name in _CHX_FRAME_TIMES:
        if isinstance(value := metadata.get(name), int | float | np.number) and value > 0:
            frame = FrameTime(float(value), f"md.{name} {value:g} s", False)
            break
    return Catalogue("CHX", n, n_frames, block, False, q, phi, time_axis(file, (), given), frame, notes=tuple(notes))


def _chx_labels(file: Archive, n: int, given: Units, notes: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """q and angle of each matrix: the writer keeps them as attributes 0, 1, … of `qval_dict`."""
    found = file.attributes("qval_dict")
    numbered = {int(key): np.ravel(value) for key, value in found.items() if key.isdigit()}
    if not numbered:
        return spread(quantity(file, "q", "qval_dict", given, notes), n, "qval_dict"), None
    rows = [numbered.get(at) for at in range(n)]
    if any(row is None or row.dtype.kind not in "fiu" or len(row) not in {1, 2} for row in rows):
        raise Unreadable(f"has no q, or q and angle, of each of its {n} matrices in the attributes of qval_dict")
    q = np.array([float(row[0]) for row in rows if row is not None])
    q = units.convert(q, "q", given.q or units.OURS["q"], "qval_dict", notes)
    if {len(row) for row in rows if row is not None} != {2}:
        return q, None
    notes.append("the second value of each entry of qval_dict is taken as its angle")
    phi = np.array([float(row[1]) for row in rows if row is not None])
    return q, units.convert(phi, "phi", given.phi or units.OURS["phi"], "qval_dict", notes)


def _nexus_entry(file: Archive) -> str | None:
    """The group of a NeXus entry that has a two-time correlation."""
    for name in file.names(""):
        # A broken link of another name is no reason to stop.
        with contextlib.suppress(Unreadable):
            if file.has(f"{name}/twotime/{_NX}"):
                return name
    return None


def nexus(file: Archive, entry: str, chosen: Selection) -> Catalogue:
    """NeXus NXxpcs: all matrices in one array, whose attributes say how they are stored."""
    given, notes = chosen.units or Units(), list[str]()
    key, masks = f"{entry}/twotime/{_NX}", f"{entry}/instrument/masks"
    said = file.attributes(key)
    mode = str(said.get("storage_mode", "one_array_q_first"))
    if mode not in {"one_array_q_first", "one_array_q_last"}:
        raise Unreadable(f"has {key} in the storage mode {mode}; expected one_array_q_first or one_array_q_last")
    origin = str(said.get("time_origin_location", "upper_left"))
    if origin not in {"upper_left", "lower_left"}:
        raise Unreadable(f"has {key} with its time origin at {origin}; expected upper_left or lower_left")
    baseline = str(said.get("baseline_reference", 1)).removesuffix(".0")
    if baseline not in {"0", "1"}:
        raise Unreadable(f"has {key} with the baseline_reference {baseline}; expected 0 or 1")
    if baseline == "0":
        notes.append(f"{key} holds c2 − 1 (baseline_reference 0); 1 was added")
    n, n_frames, block = stacked(file, key, last=mode.endswith("last"), flipped=origin == "lower_left")
    q = quantity(file, "q", need(file, f"{masks}/dynamic_q_list"), given, notes)
    phi = None
    if file.has(angles := f"{masks}/dynamic_phi_list"):
        unit = units.attribute(file, angles)
        if given.phi is None and units.factor("phi", unit) is None:
            if unit:
                # The definition gives this list the units of q.
                notes.append(f"{angles} is in '{unit}', which is no unit of an angle; taken as degree")
            given = replace(given, phi="degree")
        phi = spread(quantity(file, "phi", angles, given, notes), n, angles)
    detectors = (f"{entry}/instrument/{name}/frame_time" for name in ("detector", "detector_1"))
    frame = next((frame_time(file, key, (), notes) for key in detectors if file.has(key)), None)
    half = said.get("populated_elements") in {"upper_half", "lower_half"}
    q = spread(q, n, f"{masks}/dynamic_q_list")
    return Catalogue(
        layout="NXxpcs",
        n_matrices=n,
        n_frames=n_frames,
        block=block,
        halved=half,
        q=q,
        phi=phi,
        times=time_axis(file, (), given),
        frame=frame,
        baseline=1.0 - float(baseline),
        notes=tuple(notes),
    )


def mid(file: Archive, chosen: Selection) -> Catalogue:
    """EuXFEL MID (midtools): a short matrix per train and q, with q in 1/nm; a fit takes those of one train."""
    given, notes = chosen.units or Units(), list[str]()
    key = next(name for name in _MID if file.has(name))
    folder = key.rpartition("/")[0]
    q_key = need(file, f"{folder}/q")
    shape = file.shape(key)
    n_q = len(file.read(q_key).ravel())
    last = shape[-1] == n_q and len(shape) == 4 and shape[1] == shape[2]
    if not last and (len(shape) < 3 or shape[-1] != shape[-2] or (len(shape) == 4 and shape[1] != n_q)):
        raise Unreadable(f"has {key} of shape {shape}; expected (trains, N, N, {n_q}) or (trains, {n_q}, N, N)")
    if chosen.train is None and shape[0] > 1:
        raise Unreadable(f"holds {shape[0]} trains; choose one, counted from 1: data.train")
    at = (chosen.train or 1) - 1
    if not 0 <= at < shape[0]:
        raise Unreadable(f"holds trains 1 to {shape[0]}, not train {chosen.train}")
    if len(shape) == 3 and n_q > 1:
        raise Unreadable(f"has {n_q} values in {q_key}, but one matrix per train in {key}")
    n = shape[1] if last else shape[-1]

    def block(index: int, start: int, stop: int) -> np.ndarray:
        frames = (slice(start, stop), slice(start, stop))
        return file.read(key, (at, *frames, index) if last else (at, *((index,) if len(shape) == 4 else ()), *frames))

    if given.q is None and not units.attribute(file, q_key):
        given = replace(given, q="1/nm")
    q = quantity(file, "q", q_key, given, notes)
    times = time_axis(file, (f"{folder}/t",), given)
    return Catalogue("MID", n_q, lambda _: n, block, False, q, None, times, notes=tuple(notes))


def esrf(file: Archive, chosen: Selection) -> Catalogue:
    """ESRF ID02: correlations over (age, lag) for each q of each direction; the directions have no angle."""
    given, notes = chosen.units or Units(), list[str]()
    root, name = next(one for one in _ESRF if file.is_group(one[0]))
    groups = [one for one in file.names(root) if file.has(f"{root}/{one}/{name}/ttcf")]
    if not groups:
        raise Unreadable(f"has no {root}/<direction>/{name}/ttcf")
    if given.q is None:
        given = replace(given, q="1/nm")
        notes.append("this layout names no unit of q; taken as 1/nm")
    found = [_direction(file, root, one, name, given, notes) for one in groups]
    if len({len(one.ages) for one in found}) > 1:
        raise Unreadable(f"has directions of different lengths in {root}")
    owner = [(one, at) for one in found for at in range(len(one.q))]

    def block(index: int, start: int, stop: int) -> np.ndarray:
        one, at = owner[index]
        return one.over_ages(file.read(one.key, at))[start:stop, start:stop]

    return Catalogue(
        layout="ESRF",
        n_matrices=len(owner),
        n_frames=lambda index: owner[index][0].n_frames,
        block=block,
        halved=False,
        q=np.concatenate([one.q for one in found]),
        phi=None,
        times=lambda _, __: TimeAxis(found[0].lags, given.t or "s", found[0].lag_key),
        names=tuple(one for one, direction in zip(groups, found, strict=True) for _ in direction.q),
        notes=tuple(dict.fromkeys(notes)),
    )


def _direction(file: Archive, root: str, group: str, name: str, given: Units, notes: list[str]) -> Direction:
    folder = f"{root}/{group}"
    lag_key = next(
        (k for k in (f"{folder}/{name}/lag", f"{folder}/{name}/timeshift") if file.has(k)), f"{folder}/{name}/lag"
    )
    ages, lags = vector(file, f"{folder}/{name}/age"), vector(file, lag_key)
    shape = file.shape(key := f"{folder}/{name}/ttcf")
    if len(shape) != 3 or shape[1:] != (len(ages), len(lags)):
        raise Unreadable(f"has {key} of shape {shape}; expected (n, {len(ages)} ages, {len(lags)} lags)")
    if file.has(q_key := f"{folder}/parameters/q"):
        q = quantity(file, "q", q_key, given, notes)
    else:
        limits = file.read(need(file, limit_key := "entry_0000/dynamix/correlations/q_index_min_max"))
        chosen = vector(file, f"{folder}/q_index")
        if limits.ndim != 2 or limits.shape[1] != 3:
            raise Unreadable(f"has {limit_key} of shape {limits.shape}; expected (n, 3)")
        mean = limits[np.isin(limits[:, 0], chosen), 1:].mean(axis=1)
        q = units.convert(mean, "q", given.q or "1/nm", limit_key, notes)
    if len(q) != shape[0]:
        raise Unreadable(f"has {len(q)} q values for {shape[0]} matrices in {key}")
    return age_lag.direction(key, lag_key, ages, lags, q)


_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[Archive, Selection], Catalogue]], ...] = (
    ((layouts.APS_U_MAP, layouts.APS_U_Q), layouts.aps_u),
    ((layouts.APS_Q, layouts.APS_MAP), layouts.aps),
    *(((key,), mid) for key in _MID),
    *(((root,), esrf) for root, _ in _ESRF),
    ((_CHX,), chx),
)
