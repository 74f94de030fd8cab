"""File layouts: where the matrices are, and the q, the angle and the time that the file gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lanewise.families.heterodyne import units
from lanewise.families.heterodyne.archive import Archive, Unreadable
from lanewise.families.heterodyne.catalogue import (
    SHOWN,
    Catalogue,
    listed,
    need,
    quantity,
    separate,
    spread,
    stacked,
    time_axis,
    vector,
)
from lanewise.families.heterodyne.config import Quantity, Selection, Units
from lanewise.families.heterodyne.timing import frame_time

APS_U_MAP = "xpcs/twotime/correlation_map"
APS_U_Q = "xpcs/qmap/dynamic_v_list_dim0"
APS_U_PHI = "xpcs/qmap/dynamic_v_list_dim1"
APS_U_BINS = "xpcs/twotime/processed_bins"
APS_Q = "xpcs/dqlist"
APS_PHI = "xpcs/dphilist"
APS_MAP = "exchange/C2T_all"
_PLACES = "xpcs/qmap/dynamic_index_mapping"
_PIXELS, _ROI = "xpcs/qmap/dynamic_num_pts", "xpcs/qmap/dynamic_roi_map"
_AXES: Mapping[Quantity, str] = {"q": APS_U_Q, "phi": APS_U_PHI}
_APS_SUBSET = "xpcs/qphi_bin_to_process"
_APS_DETECTOR = "measurement/instrument/detector/exposure_period"
_C2_KEYS = ("twotime_corr", "twotime", "c2", "corr")
_T_KEYS = ("tau", "t", "times", "delay_time")
_Q_KEYS = ("q_val", "q_values", "q", "qval")
_PHI_KEYS = ("phi", "phi_angles", "azimuth")


def aps_u(file: Archive, chosen: Selection) -> Catalogue:
    """APS 8-ID since the upgrade (boost-corr): one upper triangle per bin, numbered without the empty bins."""
    given = chosen.units or Units()
    notes: list[str] = []
    values = _grid(file, given, notes)
    bins = vector(file, APS_U_BINS)
    keys = _members(file, APS_U_MAP)
    holds = f"it holds q {listed(values['q'])} 1/Å and angles {listed(values['phi'])}°"
    if len(keys) != len(bins):
        raise Unreadable(f"has {len(keys)} matrices in {APS_U_MAP}, but {len(bins)} bins in {APS_U_BINS}; {holds}")
    n_grid = len(values["q"]) * len(values["phi"])
    places = vector(file, _PLACES) if file.has(_PLACES) else np.arange(n_grid, dtype=np.float64)
    for key, numbers, first, last in ((APS_U_BINS, bins, 1, len(places)), (_PLACES, places, 0, n_grid - 1)):
        whole = np.array_equal(numbers, np.round(numbers)) and len(np.unique(numbers)) == len(numbers)
        if not whole or numbers.min() < first or numbers.max() > last:
            raise Unreadable(f"has numbers in {key} that repeat or are not within {first} to {last}; {holds}")
    order = bins.astype(int) - 1
    at_q, at_phi = np.divmod(places.astype(int)[order], len(values["phi"]))
    n_frames, block = separate(file, keys)
    return Catalogue(
        layout="APS-U",
        n_matrices=len(keys),
        n_frames=n_frames,
        block=block,
        halved=True,
        q=values["q"][at_q],
        phi=values["phi"][at_phi],
        times=time_axis(file, ("xpcs/twotime/t", "xpcs/t", "exchange/t"), given),
        frame=frame_time(
            file,
            "entry/instrument/detector_1/frame_time",
            ("xpcs/twotime/config/stride_frame", "xpcs/twotime/config/avg_frame"),
            notes,
        ),
        n_pixels=_pixels(file, order, places.astype(int), n_grid),
        notes=tuple(notes),
    )


def aps(file: Archive, chosen: Selection) -> Catalogue:
    """APS 8-ID before the upgrade: one upper triangle per bin, with one q and one angle each, or for all bins."""
    given = chosen.units or Units()
    notes: list[str] = []
    keys = _members(file, APS_MAP)
    q = quantity(file, "q", APS_Q, given, notes)
    phi = quantity(file, "phi", need(file, APS_PHI), given, notes)
    counts = f"{len(keys)} matrices in {APS_MAP}, {len(q)} values in {APS_Q} and {len(phi)} in {APS_PHI}"
    if len(q) != len(phi):
        raise Unreadable(f"has {counts}")
    if file.has(_APS_SUBSET) and (bins := vector(file, _APS_SUBSET)).size == len(keys) and bins.max() <= len(q):
        if bins.min() < 1 or len(np.unique(bins)) < len(bins) or not np.array_equal(bins, np.round(bins)):
            raise Unreadable(f"has bins in {_APS_SUBSET} that repeat or are not within 1 to {len(q)}; q {listed(q)}")
        q, phi = q[bins.astype(int) - 1], phi[bins.astype(int) - 1]
    if len(keys) != len(q):
        raise Unreadable(
            f"has {counts}, and no {_APS_SUBSET} that says which of them; q {listed(q)} 1/Å, angles {listed(phi)}°"
        )
    n_frames, block = separate(file, keys)
    times = time_axis(file, ("exchange/t", "exchange/tau", "xpcs/t"), given)
    frame = frame_time(file, _APS_DETECTOR, ("xpcs/stride_frames", "xpcs/avg_frames"), notes)
    return Catalogue("APS", len(keys), n_frames, block, True, q, phi, times, frame, notes=tuple(notes))


def stack(file: Archive, layout: str, prefix: str, names: Sequence[str], given: Units) -> Catalogue:
    """A layout with all matrices in one array, of shape (N, N) or (n, N, N)."""
    name = _first(file, prefix, names)
    if name is None:
        raise Unreadable(
            f"has none of the known layouts: no {APS_U_MAP}, no {APS_MAP}, no exchange/{{{','.join(_C2_KEYS)}}}, no "
            f"c2, nor the arrays of CHX, NXxpcs, ESRF or MID. It holds {_contents(file)}; name the arrays: data.keys"
        )
    notes: list[str] = []
    n, n_frames, block = stacked(file, name)
    q = _per_matrix(file, "q", prefix, _Q_KEYS, n, given, notes)
    phi = _per_matrix(file, "phi", prefix, _PHI_KEYS, n, given, notes)
    times = time_axis(file, [f"{prefix}{name}" for name in _T_KEYS], given)
    return Catalogue(layout, n, n_frames, block, False, q, phi, times, notes=tuple(notes))


def exchange(file: Archive, chosen: Selection) -> Catalogue:
    """Whole matrices in a group `exchange`."""
    return stack(file, "exchange", "exchange/", _C2_KEYS, chosen.units or Units())


def flat(file: Archive, chosen: Selection) -> Catalogue:
    """Whole matrices at the root of the file."""
    return stack(file, "flat", "", ("c2",), chosen.units or Units())


def _grid(file: Archive, given: Units, notes: list[str]) -> dict[Quantity, np.ndarray]:
    """q and φ along the axes of the map of bins."""
    names = [name.lower() for name in file.words("xpcs/qmap/map_names")]
    if names and names[:2] != ["q", "phi"]:
        axes = ", ".join(
            f"{name} {listed(file.read(key))}"
            for name, key in zip(names, _AXES.values(), strict=False)
            if file.has(key)
        )
        raise Unreadable(f"has bins over ({', '.join(names)}), not over (q, phi): {axes}; a fit needs q and phi")
    said = file.words("xpcs/qmap/map_units")
    found: dict[Quantity, np.ndarray] = {}
    for at, (kind, key) in enumerate(_AXES.items()):
        unit = given.of(kind) or (said[at] if len(said) > at and units.factor(kind, said[at]) else None)
        found[kind] = quantity(file, kind, need(file, key), replace(given, **{kind: unit}), notes)
    return found


def _pixels(
    file: Archive, order: np.ndarray, places: np.ndarray, n_grid: int
) -> Callable[[list[int]], np.ndarray | None]:
    """The function `n_pixels`: counted in the map of regions, which has the numbers of the bins; else as listed.

    The list has a number per bin or per place of the grid. Some writers keep the shape of the grid in its place.
    """
    mapped, has_list = file.has(_ROI), file.has(_PIXELS)

    def n_pixels(indices: list[int]) -> np.ndarray | None:
        if mapped:
            regions = file.read(_ROI)
            found = np.array([np.count_nonzero(regions == order[index] + 1) for index in indices], dtype=np.float64)
            return found if found.all() else None
        counts = file.read(_PIXELS).ravel() if has_list else np.empty(0)
        at = order[indices] if len(counts) == len(places) else places[order[indices]] if len(counts) == n_grid else None
        return None if at is None or len(counts) <= len(("q", "phi")) else counts[at]

    return n_pixels


def _per_matrix(
    file: Archive, kind: Quantity, prefix: str, names: Sequence[str], n: int, given: Units, notes: list[str]
) -> np.ndarray | None:
    key = _first(file, prefix, names)
    return None if key is None else spread(quantity(file, kind, key, given, notes), n, key)


def _members(file: Archive, group: str) -> tuple[str, ...]:
    keys = tuple(file.arrays(group))
    if not keys:
        raise Unreadable(f"has no matrices in {group}")
    return keys


def _first(file: Archive, prefix: str, names: Sequence[str]) -> str | None:
    """The first of the keys that the file has."""
    return next((f"{prefix}{name}" for name in names if file.has(f"{prefix}{name}")), None)


def _contents(file: Archive) -> str:
    names = file.names("")
    return ", ".join(names[:SHOWN]) or "nothing"
