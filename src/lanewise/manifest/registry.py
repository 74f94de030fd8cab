"""Families by name: the entry points of the group `lanewise.families`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lanewise.errors import UsageError
from lanewise.manifest.family import AnyFamily, Door, Lanes

GROUP = "lanewise.families"


def kinds() -> tuple[str, ...]:
    """Names of the installed families; lanewise's own are first."""
    return tuple(_entries())


@cache
def door(kind: str) -> Door:
    """The door of a family.

    Raises:
        UsageError: the family is not installed.
    """
    if kind not in _entries():
        raise UsageError(f"kind {kind}: expected an installed family: {', '.join(kinds())}")
    found: Door = _entries()[kind].load()
    return found


@cache
def family(kind: str) -> AnyFamily:
    """The family; importing it does not import JAX."""
    return door(kind).load()


def lanes(kind: str) -> Lanes[Any, Any]:
    """How the engine infers the realizations of a family.

    Raises:
        UsageError: the family does not run as lanes.
    """
    found = family(kind).lanes
    if found is None:
        raise UsageError(f"kind {kind} does not run as lanes")
    return found


@cache
def _entries() -> Mapping[str, EntryPoint]:
    """Entry points by name; other packages cannot replace lanewise's own families."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda one: not one.value.startswith("lanewise.")):
        found.setdefault(entry.name, entry)
    return found
