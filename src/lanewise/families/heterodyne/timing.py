"""The time between frames: from the file's time axis, from its frame time, or from the config; never two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanewise.families.heterodyne import units
from lanewise.families.heterodyne.archive import Archive, Unreadable
from lanewise.families.heterodyne.config import Selection

# Two values for dt agree if they differ by less than this share.
_AGREEMENT = 1e-3
# Largest distance of a time stamp from equal steps, as a share of a step; and the smallest that is mentioned.
_JITTER, _MENTIONED = 0.05, 1e-3
_REMEDY = "; if it is not the time of the frames, give data.dt and data.dt_insist: true"


@dataclass(frozen=True)
class TimeAxis:
    """Times of the frames as the file has them.

    Attributes:
        values: one per frame, in `unit`.
        unit: unit that the file names; empty if it names none.
        key: where they are, for messages.
    """

    values: np.ndarray
    unit: str
    key: str


@dataclass(frozen=True)
class FrameTime:
    """The time between rows of a matrix from the settings of detector and correlation.

    Attributes:
        dt: time between two rows [s].
        text: how it was computed, for messages.
        combined: whether the file says how many raw frames a row stands for.
    """

    dt: float
    text: str
    combined: bool


def frame_time(archive: Archive, key: str, factors: Sequence[str], notes: list[str]) -> FrameTime | None:
    """The frame time at a key times stride and average; a factor that is not there is 1. None without the frame time.

    Raises:
        Unreadable: one of the numbers is not a positive number.
    """
    if not archive.has(key):
        return None
    found = {name: _positive(archive, name) for name in (key, *factors) if archive.has(name)}
    seconds = units.convert(np.array(found.pop(key)), "t", units.attribute(archive, key) or "s", key, notes)
    text = " × ".join([f"{key} {seconds:g} s", *(f"{name.rsplit('/', 1)[-1]} {n:g}" for name, n in found.items())])
    return FrameTime(float(seconds * np.prod(list(found.values()))), text, bool(found))


def time_step(
    axis: TimeAxis | None, frame: FrameTime | None, n_frames: int, chosen: Selection, notes: list[str]
) -> float:
    """dt [s] of the matrices.

    Raises:
        Unreadable: neither file nor config has it, they contradict each other, or the time axis is not even.
    """
    dt = chosen.dt
    if dt is not None and not (np.isfinite(dt) and dt > 0):
        raise Unreadable(f"expected dt > 0 s, got {dt:g}")
    if chosen.dt_insist:
        if dt is None:
            raise Unreadable("dt_insist needs dt [s]")
        notes.append(f"dt is {dt:g} s, because the config insists; the times of the file were not used")
        return dt
    found, counts, step = {}, False, 0.0
    if axis is not None:
        step, counts = _axis_step(axis, n_frames, chosen, notes)
        if not counts:
            found[f"{axis.key} has steps of"] = step
        elif frame and not frame.combined and step != 1:
            frame = FrameTime(frame.dt * step, f"{frame.text} × steps of {step:g} frames in {axis.key}", True)
    if frame is not None:
        found[f"{frame.text} is"] = frame.dt
    if dt is None:
        if not found:
            raise Unreadable(f"{_counts(axis, step) if axis and counts else 'holds no time axis'}; give dt [s]")
        text, dt = next(iter(found.items()))
        if frame is not None and len(found) == 1:
            notes.append(f"dt is {dt:g} s: {frame.text}")
        what = text
    else:
        what = "the config has dt"
    for text, value in found.items():
        if abs(value - dt) > _AGREEMENT * dt:
            raise Unreadable(
                f"has contradicting times: {what} {dt:g} s, but {text} {value:g} s; correct data.dt, or insist on it "
                "with data.dt_insist: true"
            )
    return dt


def _axis_step(axis: TimeAxis, n_frames: int, chosen: Selection, notes: list[str]) -> tuple[float, bool]:
    """Step of the time axis, in seconds or in frames; and whether it is in frames."""
    values = axis.values
    if values.shape != (n_frames,):
        raise Unreadable(f"has a time axis, {axis.key}, of shape {values.shape} for {n_frames} frames{_REMEDY}")
    if not np.isfinite(values).all():
        raise Unreadable(f"has a time axis, {axis.key}, with values that are not finite{_REMEDY}")
    # Clocks count from 1970: subtract the first time, so that steps keep their digits.
    passed = values - values[0]
    whole = bool(np.array_equal(passed, np.round(passed)))
    # Whole numbers without a unit are frame numbers far more often than seconds.
    counts = chosen.time == "frames" or (chosen.time is None and not axis.unit and whole)
    if whole and not counts and not axis.unit:
        notes.append(f"whole numbers in {axis.key} are taken as seconds, as the config says")
    if not counts:
        passed = units.convert(passed, "t", axis.unit or "s", axis.key, notes)
    if not (np.diff(passed) > 0).all():
        raise Unreadable(f"has a time axis, {axis.key}, that does not increase strictly{_REMEDY}")
    # The slope of the best straight line; the mean of the steps has the jitter of the first and the last.
    number = np.arange(n_frames) - (n_frames - 1) / 2
    step = float(number @ passed / (number @ number))
    jitter = float(np.abs(passed - passed.mean() - step * number).max()) / step
    if jitter > _JITTER:
        steps = np.diff(passed)
        raise Unreadable(
            f"has uneven times in {axis.key} (steps from {steps.min():g} to {steps.max():g}): they leave equal steps "
            f"by {jitter:.2g} of a step, {_JITTER:g} is allowed; the model needs equal steps{_REMEDY}"
        )
    if jitter > _MENTIONED:
        notes.append(f"times in {axis.key} leave equal steps by up to {100 * jitter:.2g} % of a step")
    return step, counts


def _counts(axis: TimeAxis, step: float) -> str:
    return f"has a time axis, {axis.key}, that counts frames{'' if step == 1 else f' in steps of {step:g}'}"


def _positive(archive: Archive, key: str) -> float:
    values = archive.read(key).ravel()
    if values.size != 1 or not (np.isfinite(values[0]) and values[0] > 0):
        raise Unreadable(f"has no positive number at {key}")
    return float(values[0])
