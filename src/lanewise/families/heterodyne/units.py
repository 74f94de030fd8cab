"""Units of data files: q in 1/Å, times in s and angles in degrees, from what the file or the config says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from lanewise.families.heterodyne.archive import Archive, Unreadable
from lanewise.families.heterodyne.config import Quantity

OURS: Mapping[Quantity, str] = {"q": "1/Å", "t": "s", "phi": "degree"}
# Length of a unit [Å].
_LENGTHS = {"å": 1.0, "a": 1.0, "ang": 1.0, "angstrom": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4, "m": 1e10}
_TIMES = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "us": 1e-6}
_TIMES |= {"usec": 1e-6, "microsecond": 1e-6, "ns": 1e-9, "nanosecond": 1e-9, "min": 60.0, "minute": 60.0, "h": 3600.0}
_ANGLES = {"degree": 1.0, "deg": 1.0, "°": 1.0, "rad": math.degrees(1.0), "radian": math.degrees(1.0)}
# Texts in attributes that name no unit.
_NONE = {"", "one", "any", "none", "a.u.", "dimensionless", "dim.less", "1", "arb. units"}
_INVERSE = re.compile(r"1/(?P<below>\w+)|(?P<power>[^\W\d]+)(?:\^|\*\*)?(?:-1|\(-1\)|\{-1\})|inverse (?P<named>\w+)")


def factor(quantity: Quantity, unit: str) -> float | None:
    """What a value in this unit is multiplied by to be in ours; None for a unit that is not known."""
    text = unit.strip().lower().replace("⁻¹", "^-1").replace("\u212b", "å").replace("µ", "u").replace("μ", "u")
    if quantity == "q":
        match = _INVERSE.fullmatch(text.replace(" ", "" if "inverse" not in text else " "))
        length = next((part for part in match.groups() if part), "") if match else ""
        size = _LENGTHS.get(length, _LENGTHS.get(length.removesuffix("s")))
        return None if size is None else 1 / size
    known = _TIMES if quantity == "t" else _ANGLES
    return known.get(text, known.get(text.removesuffix("s")))


def attribute(archive: Archive, key: str) -> str:
    """The unit that an array's attribute names; empty if there is none."""
    found = archive.attributes(key)
    text = next((found[name] for name in ("units", "unit") if isinstance(found.get(name), str)), "")
    return "" if text.strip().lower() in _NONE or text.startswith("NX_") else text


def convert(values: np.ndarray, quantity: Quantity, unit: str, key: str, notes: list[str]) -> np.ndarray:
    """Values in our unit; a conversion is said in the notes.

    Raises:
        Unreadable: the unit is not known.
    """
    times = factor(quantity, unit)
    if times is None:
        raise Unreadable(f"gives {key} in units of '{unit}', which are not known; say them: data.units.{quantity}")
    if times == 1.0:
        return values
    notes.append(f"{key} is in {unit}; converted to {OURS[quantity]}")
    return values * times
